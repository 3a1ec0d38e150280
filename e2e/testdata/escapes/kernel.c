/* kernel: attempts by calls that change the machine or open its inside. Arguments are such that little would happen if one
 * were answered. */
#include "escape.h"
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/quota.h>
#include <sys/reboot.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>

static void mount_tmpfs(void)
{
	REFUSED(mount("none", "/work", "tmpfs", 0, NULL));
	REFUSED(mount("none", "/tmp", "proc", 0, NULL));
	REFUSED(mount("none", "/tmp", "sysfs", 0, NULL));
	REFUSED(mount("none", "/tmp", "devtmpfs", 0, NULL));
	REFUSED(mount("none", "/tmp", "overlay", 0, "lowerdir=/usr,upperdir=/work,workdir=/work"));
}
static void mount_bind(void)
{
	REFUSED(mount("/", "/work", NULL, MS_BIND | MS_REC, NULL));
	REFUSED(mount("/proc/1/root", "/work", NULL, MS_BIND, NULL));
	REFUSED(mount("/proc/self/fd/0", "/work", NULL, MS_BIND, NULL));
}
static void mount_remount(void)
{
	REFUSED(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
	REFUSED(mount(NULL, "/in", NULL, MS_REMOUNT | MS_BIND, NULL));
	REFUSED(mount(NULL, "/opt", NULL, MS_REMOUNT | MS_BIND, NULL));
	REFUSED(mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL));
}
static void mount_new_calls(void)
{
	REFUSED(syscall(SYS_fsopen, "tmpfs", 0));
	REFUSED(syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */));
	REFUSED(syscall(SYS_move_mount, AT_FDCWD, "/in", AT_FDCWD, "/work", 0));
	REFUSED(syscall(SYS_fspick, AT_FDCWD, "/", 0));
	REFUSED(syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, NULL, 0));
}
static void unmount(void)
{
	REFUSED(umount2("/proc", MNT_DETACH));
	REFUSED(umount2("/in", MNT_DETACH));
	REFUSED(umount2("/in/data/hello.txt", MNT_DETACH));
	REFUSED(umount2("/", MNT_DETACH));
	REFUSED(umount2("/dev", 0));
}
static void pivot(void)
{
	mkdir("/work/old", 0755);
	REFUSED(syscall(SYS_pivot_root, "/work", "/work/old"));
	REFUSED(syscall(SYS_pivot_root, ".", "."));
}
static void chroots(void)
{
	/* The old way out: change the root to a folder below, and walk up past it. */
	int top = open("/", O_RDONLY | O_DIRECTORY);
	mkdir("/work/below", 0755);
	if (REFUSED(chroot("/work/below")) == 0 && fchdir(top) == 0)
		for (int i = 0; i < 50; i++)
			if (chdir("..") != 0)
				break;
	opened("the canary's path from there", open(canary("FILE") + 1, O_RDONLY));
}
static void unshares(void)
{
	static const int kinds[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWCGROUP, 0x80 /* time */,
				    CLONE_NEWUSER | CLONE_NEWNS, CLONE_FILES | CLONE_NEWUSER};
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		refused("unshare", syscall(SYS_unshare, kinds[i]));
}
static void clone_namespaces(void)
{
	static const int kinds[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWCGROUP,
				    CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID};
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		long r = syscall(SYS_clone, kinds[i] | SIGCHLD, 0, NULL, NULL, 0);
		if (r == 0)
			_exit(0);
		refused("clone with a new namespace", r);
	}
}
static void set_namespaces(void)
{
	static const char *const names[] = {"user", "mnt", "net", "pid", "uts", "ipc", "cgroup", "time"};
	char path[64];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		for (int pid = 1; pid <= 2; pid++) {
			snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, names[i]);
			int fd = open(path, O_RDONLY);
			refused(path, fd < 0 ? -1 : syscall(SYS_setns, fd, 0));
		}
	int fd = (int)syscall(SYS_pidfd_open, 1, 0);
	refused("setns to the first process", syscall(SYS_setns, fd, CLONE_NEWNS | CLONE_NEWUSER));
	refused("setns to oneself", syscall(SYS_setns, 0, CLONE_NEWUSER));
}
static void keys(void)
{
	REFUSED(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
	REFUSED(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1));
	REFUSED(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL));
	REFUSED(syscall(SYS_add_key, "user", "escape", "x", 1, KEY_SPEC_USER_KEYRING));
	REFUSED(syscall(SYS_request_key, "user", "canary", NULL, 0));
}
static void bpf(void)
{
	union bpf_attr a;
	memset(&a, 0, sizeof a);
	a.map_type = BPF_MAP_TYPE_ARRAY;
	a.key_size = 4;
	a.value_size = 4;
	a.max_entries = 1;
	REFUSED(syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof a));
	memset(&a, 0, sizeof a);
	static const struct bpf_insn code[] = {{.code = 0xb7}, {.code = 0x95}};
	a.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	a.insns = (uintptr_t)code;
	a.insn_cnt = 2;
	a.license = (uintptr_t)"GPL";
	REFUSED(syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof a));
	memset(&a, 0, sizeof a);
	REFUSED(syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, &a, sizeof a));
}
static void perf(void)
{
	struct perf_event_attr a;
	memset(&a, 0, sizeof a);
	a.size = sizeof a;
	a.type = PERF_TYPE_SOFTWARE;
	a.config = PERF_COUNT_SW_CPU_CLOCK;
	a.exclude_kernel = 1;
	REFUSED(syscall(SYS_perf_event_open, &a, 0, -1, -1, 0));
	REFUSED(syscall(SYS_perf_event_open, &a, -1, 0, -1, 0));
}
static void io_uring(void)
{
	struct io_uring_params p;
	memset(&p, 0, sizeof p);
	REFUSED(syscall(SYS_io_uring_setup, 4, &p));
	REFUSED(syscall(SYS_io_uring_enter, 3, 1, 0, 0, NULL, 0));
	REFUSED(syscall(SYS_io_uring_register, -1, 0, NULL, 0));
}
static void userfault(void)
{
	REFUSED(syscall(SYS_userfaultfd, O_CLOEXEC));
	REFUSED(syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */));
	REFUSED(open("/dev/userfaultfd", O_RDWR));
}
static void kexec(void)
{
	REFUSED(syscall(SYS_kexec_load, 0, 0, NULL, 0));
	REFUSED(syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0));
	REFUSED(reboot(RB_DISABLE_CAD));
}
static void modules(void)
{
	REFUSED(syscall(SYS_init_module, "x", 1, ""));
	REFUSED(syscall(SYS_finit_module, 0, "", 0));
	REFUSED(syscall(SYS_delete_module, "escape_no_such_module", O_NONBLOCK));
}
static void swaps(void)
{
	REFUSED(swapon("/work/given", 0));
	REFUSED(swapoff("/work/given"));
	REFUSED(syscall(SYS_acct, "/work/given"));
	REFUSED(quotactl(QCMD(Q_SYNC, USRQUOTA), NULL, 0, NULL));
}
static void clocks(void)
{
	struct timespec t = {1, 0};
	struct timeval v = {1, 0};
	struct timex x;
	memset(&x, 0, sizeof x);
	x.modes = ADJ_OFFSET;
	REFUSED(clock_settime(CLOCK_REALTIME, &t));
	REFUSED(settimeofday(&v, NULL));
	REFUSED(adjtimex(&x));
	REFUSED(clock_adjtime(CLOCK_REALTIME, &x));
	REFUSED(open("/dev/rtc0", O_RDWR));
}
static void names(void)
{
	REFUSED(sethostname("escaped", 7));
	REFUSED(setdomainname("escaped", 7));
}
static void ports(void)
{
	REFUSED(iopl(3));
	REFUSED(ioperm(0x80, 1, 1));
	REFUSED(open("/dev/port", O_RDWR));
}
static void sysctls(void)
{
	static const char *const paths[] = {"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger", "/proc/sys/kernel/hostname",
					    "/proc/sys/vm/drop_caches", "/proc/sys/kernel/ns_last_pid", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/fs/binfmt_misc/register",
					    "/proc/self/oom_score_adj", "/proc/self/uid_map", "/proc/self/setgroups", "/proc/self/mem", "/proc/1/mem", "/proc/self/attr/current",
					    "/proc/self/timens_offsets", "/proc/self/coredump_filter", "/proc/self/comm", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs",
					    "/proc/acpi/wakeup", "/proc/kcore", "/proc/self/clear_refs", "/proc/kallsyms"};
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		int fd = open(paths[i], O_WRONLY | O_TRUNC);
		refused(paths[i], fd < 0 ? -1 : write(fd, "|/bin/escape", 12));
		close(fd);
	}
	REFUSED(open("/proc/sys/kernel/escape", O_CREAT | O_WRONLY, 0644));
	REFUSED(mkdir("/proc/escape", 0755));
	REFUSED(unlink("/proc/self/status"));
	REFUSED(rename("/proc/uptime", "/proc/uptime2"));
	REFUSED(symlink("/", "/proc/link"));
	REFUSED(chmod("/proc/uptime", 0777));
	REFUSED(truncate("/proc/uptime", 0));
}
static void capabilities(void)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	memset(d, 0xff, sizeof d);
	REFUSED(syscall(SYS_capset, &h, d));
	REFUSED(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0));
	memset(d, 0, sizeof d);
	if (syscall(SYS_capget, &h, d) == 0 && (d[0].effective | d[1].effective | d[0].permitted | d[1].permitted | d[0].inheritable | d[1].inheritable))
		got("capabilities %x %x", d[0].effective, d[0].permitted);
	for (int c = 0; c < 41; c++)
		if (prctl(PR_CAPBSET_READ, c) == 1)
			got("capability %d is in the bounding set", c);
	REFUSED(prctl(PR_SET_SECUREBITS, 0));
}
static void users(void)
{
	/* Whoever the program is to itself, it is nobody outside and cannot become anybody else. */
	REFUSED(setresuid(12, 12, 12));
	REFUSED(setresgid(12, 12, 12));
	gid_t g = 5;
	REFUSED(setgroups(1, &g));
	/* It may say yes, as to somebody who unpacks an archive, but the file must stay whose it is. */
	struct stat st;
	int r = chown("/work/given", 12, 12);
	if (stat("/work/given", &st) != 0 || st.st_uid == 12 || st.st_gid == 12)
		got("chown: %d, the file is %u's", r, st.st_uid);
	else
		note("chown: %d, the file stays %u's", r, st.st_uid);
	int old = (int)syscall(SYS_setfsuid, 12);
	if ((int)syscall(SYS_setfsuid, -1) == 12)
		got("setfsuid");
	else
		note("setfsuid: was %d and stays", old);
}
static void nodes(void)
{
	REFUSED(mknod("/work/disk", S_IFBLK | 0666, makedev(254, 0)));
	REFUSED(mknod("/work/mem", S_IFCHR | 0666, makedev(1, 1)));
	REFUSED(mknod("/dev/kmsg2", S_IFCHR | 0666, makedev(1, 11)));
	static const char *const paths[] = {"/dev/mem", "/dev/kmem", "/dev/vda", "/dev/sda", "/dev/kmsg", "/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/loop-control",
					    "/dev/vhost-net", "/dev/ptmx", "/dev/tty", "/dev/console", "/dev/mapper/control", "/dev/dri/card0", "/dev/snd/seq", "/dev/uinput"};
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		refused(paths[i], open(paths[i], O_RDWR | O_NONBLOCK | O_NOCTTY));
}
static void handles(void)
{
	struct { struct file_handle h; unsigned char b[128]; } f;
	int mount_id;
	memset(&f, 0, sizeof f);
	f.h.handle_bytes = 128;
	int r = name_to_handle_at(AT_FDCWD, "/opt", &f.h, &mount_id, 0);
	note("name_to_handle_at: %s", r < 0 ? strerrorname_np(errno) : "yes");
	f.h.handle_bytes = 8;
	f.h.handle_type = 1;
	memset(f.b, 0, sizeof f.b);
	f.b[0] = 2; /* the inode of many a file system's root */
	REFUSED(open_by_handle_at(AT_FDCWD, &f.h, O_RDONLY));
	REFUSED(syscall(SYS_fanotify_init, 0, O_RDONLY));
	REFUSED(syscall(SYS_syslog, 3, f.b, sizeof f.b));
	REFUSED(syscall(SYS_vhangup));
}

const struct attempt kernel_attempts[] = {
	{"mount-new", mount_tmpfs}, {"mount-bind", mount_bind}, {"mount-remount", mount_remount}, {"mount-by-descriptors", mount_new_calls}, {"umount", unmount},
	{"pivot-root", pivot}, {"chroot", chroots}, {"unshare", unshares}, {"clone-namespaces", clone_namespaces}, {"setns", set_namespaces}, {"keyctl", keys},
	{"bpf", bpf}, {"perf", perf}, {"io-uring", io_uring}, {"userfaultfd", userfault}, {"kexec", kexec}, {"modules", modules}, {"swap", swaps},
	{"set-clocks", clocks}, {"set-names", names}, {"ports", ports}, {"sysctl", sysctls}, {"capabilities", capabilities}, {"users", users},
	{"device-nodes", nodes}, {"file-handles", handles}, {NULL, NULL},
};
