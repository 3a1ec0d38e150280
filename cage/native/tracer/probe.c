/* probe.c: tries each wall that a strict cage needs, in a process of its own, and says whether the machine gives it. */
#include "core.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>

static int alone(void)
{
	char map[32];
	unsigned uid = geteuid(), gid = getegid();
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return errno;
	const char *files[] = {"/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/gid_map"};
	for (int i = 0; i < 3; i++) {
		int fd = open(files[i], O_WRONLY | O_CLOEXEC);
		snprintf(map, sizeof map, "0 %u 1", i == 1 ? uid : gid);
		const char *text = i ? map : "deny";
		if (fd < 0 || write(fd, text, strlen(text)) < 0)
			return errno;
		close(fd);
	}
	return 0;
}

static int try_cgroup_namespace(const char *stage)
{
	(void)stage;
	int e = alone();
	return e ? e : unshare(CLONE_NEWCGROUP) < 0 ? errno : 0;
}

static int try_tmpfs(const char *stage)
{
	int e = alone();
	if (e)
		return e;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("probe", stage, "tmpfs", 0, NULL) < 0)
		return errno;
	int tree = (int)syscall(SYS_open_tree, AT_FDCWD, "/usr", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	struct mount_attr a = {.attr_set = MOUNT_ATTR_RDONLY};
	return tree < 0 || syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &a, sizeof a) < 0 ? errno : 0;
}

/* The whole way: a child under a filter that stops at getpid, answered by us. */
static int try_ptrace(const char *stage)
{
	(void)stage;
	int go[2], status;
	if (pipe(go) < 0)
		return errno;
	pid_t pid = fork();
	if (pid < 0)
		return errno;
	if (pid == 0) {
		char c;
		struct sock_filter f[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpid, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog p = {4, f};
		if (read(go[0], &c, 1) != 1 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p) < 0)
			_exit(2);
		_exit(syscall(SYS_getpid) == 7 ? 0 : 1);
	}
	int e = ENOSYS;
	if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD) < 0) {
		e = errno;
	} else if (write(go[1], "", 1) == 1 && waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_SECCOMP) {
		struct user_regs_struct r;
		struct __ptrace_syscall_info info;
		if (ptrace(PTRACE_GETREGS, pid, 0, &r) == 0 && ptrace((enum __ptrace_request)PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) > 0) {
			r.rax = 7;
			r.orig_rax = ~0ull;
			if (ptrace(PTRACE_SETREGS, pid, 0, &r) == 0 && ptrace(PTRACE_CONT, pid, 0, 0) == 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0)
				return 0;
		}
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return e;
}

static int try_tsc(const char *stage)
{
	(void)stage;
	return prctl(PR_SET_TSC, PR_TSC_SIGSEGV) < 0 ? errno : 0;
}

static int try_proc(const char *stage)
{
	(void)stage;
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	return fd < 0 ? errno : 0;
}

static const struct { const char *name; int (*try)(const char *stage); } walls[] = {
	{"cgroup namespace", try_cgroup_namespace}, {"mounts of host folders", try_tmpfs}, {"ptrace with seccomp", try_ptrace},
	{"rdtsc trapped", try_tsc}, {"memory through /proc", try_proc},
};

int probe(const char *stage)
{
	for (size_t i = 0; i < sizeof walls / sizeof *walls; i++) {
		fflush(stdout);
		pid_t p = fork();
		int status = 0;
		if (p < 0)
			return 1;
		if (p == 0)
			_exit(walls[i].try(stage));
		while (waitpid(p, &status, 0) < 0 && errno == EINTR)
			;
		int e = WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
		printf("%s\t%s\n", walls[i].name, e ? strerror(e) : "ok");
	}
	return 0;
}
