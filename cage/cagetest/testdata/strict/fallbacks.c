/* fallbacks: calls that a program tries first and can do without: what each says is printed; those that no cage gives must
 * say so in a way that sends a program on to the older one, and the older one works. Arguments are such that nothing
 * happens outside of a cage either. */
#include "strict.h"
#include <linux/io_uring.h>
#include <linux/sched.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/rseq.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

/* said prints whether a call was taken, and the error if not; never a number that only this machine would give. */
static long said(const char *name, long r)
{
	int e = errno;
	printf("%s: %s\n", name, r < 0 ? strerrorname_np(e) : "yes");
	return r < 0 ? -e : r;
}
static void refused(const char *name, long r)
{
	r = said(name, r);
	WANT(r == -ENOSYS || r == -EPERM || r == -EACCES || r == -EOPNOTSUPP, "%s gave %ld, which no program takes for \"not here\"", name, r);
}
static void taken(const char *name, long r)
{
	r = said(name, r);
	WANT(r >= 0, "%s gave %ld", name, r);
}
static void *thread(void *arg)
{
	*(int *)arg += 1;
	return arg;
}

int main(void)
{
	struct io_uring_params up;
	memset(&up, 0, sizeof up);
	refused("io_uring_setup", syscall(SYS_io_uring_setup, 8, &up));
	refused("io_uring_enter", syscall(SYS_io_uring_enter, 0, 1, 1, 0, NULL, 0));
	refused("io_uring_register", syscall(SYS_io_uring_register, 0, 0, NULL, 0));
	struct clone_args ca;
	memset(&ca, 0, sizeof ca);
	ca.exit_signal = SIGCHLD;
	fflush(stdout);
	long r = syscall(SYS_clone3, &ca, sizeof ca);
	if (r == 0)
		_exit(0);
	refused("clone3", r);
	int n = 0;
	pthread_t t;
	MUST(pthread_create(&t, NULL, thread, &n) == 0 && pthread_join(t, NULL) == 0, "pthread_create");
	WANT(n == 1, "a thread did %d things", n);

	/* The kernel would write the processor's number there at every switch. */
	static char area[32] __attribute__((aligned(32)));
	refused("rseq", syscall(SYS_rseq, area, sizeof area, 0, 0x53053053));
	const struct rseq *own = (const void *)((char *)__builtin_thread_pointer() + __rseq_offset);
	printf("library's rseq: size %u flags %u processor %d\n", __rseq_size, __rseq_flags, (int)own->cpu_id);
	WANT((int)own->cpu_id < 0, "the kernel told the library of processor %d", (int)own->cpu_id);
	WANT(sched_getcpu() >= 0, "sched_getcpu: %s", strerror(errno));

	refused("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC));
	refused("perf_event_open", syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
	refused("bpf", syscall(SYS_bpf, 0, NULL, 0));
	refused("keyctl", syscall(SYS_keyctl, 0, -3, 0));
	refused("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -3));
	refused("request_key", syscall(SYS_request_key, "user", "x", NULL, -3));
	refused("kcmp", syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 1));
	refused("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, area, O_RDONLY));
	refused("fanotify_init", syscall(SYS_fanotify_init, 0, 0));
	refused("mount", syscall(SYS_mount, "none", "/nothing/here", "no such kind", 0, NULL));
	refused("unshare", syscall(SYS_unshare, CLONE_NEWUTS));
	refused("setns", syscall(SYS_setns, 0, 0));
	refused("process_vm_readv", syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
	refused("landlock", syscall(SYS_landlock_create_ruleset, NULL, 0, 1));
	refused("iopl", syscall(SYS_iopl, 3));
	refused("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
	refused("init_module", syscall(SYS_init_module, area, 1, ""));
	refused("swapon", syscall(SYS_swapon, "/nothing/here", 0));
	said("clock_settime", clock_settime(CLOCK_REALTIME, &(struct timespec){5, -1}));
	refused("call 600", syscall(600, 1, 2, 3));

	/* These a cage may give or not; the answer is the same everywhere. */
	said("futex_waitv", syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0));
	said("openat2", syscall(SYS_openat2, AT_FDCWD, "/tmp", (uint64_t[3]){O_RDONLY}, 24));
	said("faccessat2", syscall(SYS_faccessat2, AT_FDCWD, "/tmp", R_OK, 0));
	said("close_range", syscall(SYS_close_range, 500, 600, 0));
	said("membarrier", syscall(SYS_membarrier, 0, 0, 0));
	said("pidfd_open", syscall(SYS_pidfd_open, getpid(), 0));
	said("memfd_create", syscall(SYS_memfd_create, "m", 0));
	said("memfd_secret", syscall(SYS_memfd_secret, 0));
	said("pkey_alloc", syscall(SYS_pkey_alloc, 0, 0));
	said("epoll_pwait2", syscall(SYS_epoll_pwait2, -1, NULL, 1, NULL, NULL, 8));
	said("inotify_init1", inotify_init1(IN_NONBLOCK));
	said("eventfd", eventfd(1, 0));
	said("socket inet", socket(AF_INET, SOCK_STREAM, 0));
	said("socket unix", socket(AF_UNIX, SOCK_DGRAM, 0));
	said("socket netlink", socket(AF_NETLINK, SOCK_RAW, 0));
	said("get_mempolicy", syscall(SYS_get_mempolicy, NULL, NULL, 0, NULL, 0));
	said("name_to_handle_at", syscall(SYS_name_to_handle_at, AT_FDCWD, "/", area, area, 0));
	said("sched_setattr", syscall(SYS_sched_setattr, 0, NULL, 0));
	said("ioprio_get", syscall(SYS_ioprio_get, 1, 0));
	said("modify_ldt", syscall(SYS_modify_ldt, 0, area, 32));
	said("map_shadow_stack", syscall(453, 0, 4096, 0));

	/* Ways to copy, of which the last is read and write. */
	int from = open("from", O_CREAT | O_RDWR | O_TRUNC, 0600), to = open("to", O_CREAT | O_RDWR | O_TRUNC, 0600), p[2];
	MUST(from >= 0 && to >= 0 && pipe(p) == 0, "files");
	static char text[10000], back[10000];
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (char)('a' + i % 26);
	MUST(write(from, text, sizeof text) == sizeof text, "write");
	for (int way = 0; way < 4; way++) {
		static const char *const names[] = {"copy_file_range", "sendfile", "splice", "read and write"};
		MUST(lseek(from, 0, SEEK_SET) == 0 && lseek(to, 0, SEEK_SET) == 0 && ftruncate(to, 0) == 0, "rewind");
		long got = way == 0 ? copy_file_range(from, NULL, to, NULL, sizeof text, 0) : way == 1 ? sendfile(to, from, NULL, sizeof text) :
			   way == 2 ? splice(from, NULL, p[1], NULL, sizeof text, 0) : read(from, back, sizeof back);
		if (way == 2 && got > 0)
			got = splice(p[0], NULL, to, NULL, (size_t)got, 0);
		if (way == 3)
			got = write(to, back, (size_t)got);
		if (said(names[way], got) < 0)
			continue;
		memset(back, 0, sizeof back);
		WANT(got > 0 && pread(to, back, sizeof back, 0) == got && memcmp(back, text, (size_t)got) == 0, "%s copied %ld bytes otherwise", names[way], got);
		WANT(way != 3 || got == sizeof text, "%ld bytes", got);
	}
	taken("unlink", unlink("from") | unlink("to"));
	return SENSIBLE();
}
