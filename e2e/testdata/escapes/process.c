/* process: attempts on other processes: the tracer, the first process of the cage, and those outside. */
#include "escape.h"
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/mount.h>

static int outside_pid(void) { return atoi(canary("PID")); }

static void ptraces(void)
{
	int pids[] = {1, getppid(), outside_pid(), atoi(canary("NODE"))};
	for (int i = 0; i < 4; i++) {
		refused("PTRACE_ATTACH", ptrace(PTRACE_ATTACH, pids[i], NULL, NULL));
		refused("PTRACE_SEIZE", ptrace(PTRACE_SEIZE, pids[i], NULL, NULL));
		refused("PTRACE_INTERRUPT", ptrace(PTRACE_INTERRUPT, pids[i], NULL, NULL));
	}
}
static void ptrace_own(void)
{
	REFUSED(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	pid_t p = fork();
	if (p == 0) {
		pause();
		_exit(0);
	}
	if (p > 0) {
		/* A traced child would no longer be the cage's own. */
		REFUSED(ptrace(PTRACE_ATTACH, p, NULL, NULL));
		REFUSED(ptrace(PTRACE_SEIZE, p, NULL, (void *)PTRACE_O_EXITKILL));
		kill(p, SIGKILL);
		waitpid(p, NULL, 0);
	}
}
static void memory_of_others(void)
{
	char b[16];
	struct iovec mine = {b, sizeof b}, its = {(void *)0x400000, sizeof b};
	int pids[] = {1, getppid(), outside_pid()};
	char path[64];
	for (int i = 0; i < 3; i++) {
		REFUSED(process_vm_readv(pids[i], &mine, 1, &its, 1, 0));
		REFUSED(process_vm_writev(pids[i], &mine, 1, &its, 1, 0));
		if (pids[i] == getpid())
			continue;
		static const char *const names[] = {"mem", "environ", "maps", "stack", "syscall", "root/etc/shadow", "cwd/../etc/shadow"};
		for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
			snprintf(path, sizeof path, "/proc/%d/%s", pids[i], names[k]);
			int fd = open(path, strcmp(names[k], "mem") == 0 ? O_RDWR : O_RDONLY);
			char text[4096] = "";
			ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
			if (n > 0 && (strstr(text, "docklock") || strstr(text, "BPI_") || strstr(text, "root:$")))
				got("%s tells of the cage: %.60s", path, text);
			else if (n > 0 && strcmp(names[k], "mem") == 0)
				got("%s can be read", path);
			else
				note("%s: %zd", path, n);
			close(fd);
		}
	}
	REFUSED(syscall(SYS_process_madvise, 0, &its, 1, MADV_COLD, 0));
}
static void signals_outside(void)
{
	int pid = outside_pid();
	REFUSED(kill(pid, SIGKILL));
	REFUSED(kill(-pid, SIGKILL));
	REFUSED(syscall(SYS_tkill, pid, SIGKILL));
	REFUSED(syscall(SYS_tgkill, pid, pid, SIGKILL));
	siginfo_t info;
	memset(&info, 0, sizeof info);
	info.si_code = SI_QUEUE;
	REFUSED(syscall(SYS_rt_sigqueueinfo, pid, SIGKILL, &info));
	REFUSED(syscall(SYS_rt_tgsigqueueinfo, pid, pid, SIGKILL, &info));
	REFUSED(kill(atoi(canary("NODE")), SIGKILL));
	REFUSED(setpriority(PRIO_PROCESS, pid, 19));
	REFUSED(setpgid(pid, 0));
	struct rlimit l = {0, 0};
	REFUSED(prlimit(pid, RLIMIT_NOFILE, &l, NULL));
	cpu_set_t all;
	memset(&all, 0xff, sizeof all);
	REFUSED(sched_setaffinity(pid, sizeof all, &all));
	union sigval v = {0};
	REFUSED(sigqueue(pid, SIGTERM, v));
}
static void signals_all(void)
{
	/* To everybody: everybody is the cage. */
	signal(SIGTERM, SIG_IGN);
	int r = kill(-1, SIGTERM);
	note("kill(-1, SIGTERM): %d", r);
	r = kill(1, SIGKILL);
	note("kill(1, SIGKILL): %d", r);
	r = kill(getppid(), SIGSTOP);
	note("kill(parent, SIGSTOP): %d", r);
}
static void kill_first(void)
{
	/* The process that the cage's namespace begins with, and whoever else is not ours. */
	for (int pid = 1; pid < getpid(); pid++)
		for (int sig = 1; sig < 65; sig++)
			if (sig != SIGSTOP)
				kill(pid, sig);
	note("all signals to all before us");
}
static void pidfds(void)
{
	int fd = (int)syscall(SYS_pidfd_open, outside_pid(), 0);
	refused("pidfd_open of a process outside", fd);
	int first = (int)syscall(SYS_pidfd_open, 1, 0), own = (int)syscall(SYS_pidfd_open, getpid(), 0);
	refused("a descriptor of the first process", syscall(SYS_pidfd_getfd, first, 3, 0));
	refused("a descriptor of the parent", syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, getppid(), 0), 3, 0));
	note("pidfds %s %s", first < 0 ? "no" : "yes", own < 0 ? "no" : "yes");
	refused("kcmp", syscall(SYS_kcmp, 1, getpid(), KCMP_VM, 0, 0));
	refused("process_mrelease", syscall(SYS_process_mrelease, first, 0));
}
static int untraced(void *arg)
{
	(void)arg;
	/* Free of the tracer, the real clock could be read. */
	struct timespec t;
	syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
	_exit(t.tv_sec > 1700000000 ? 77 : 0);
}
static void clone_flags(void)
{
	static char stack[65536];
	static const struct { int flags; const char *name; } tries[] = {
		{CLONE_UNTRACED | SIGCHLD, "CLONE_UNTRACED"}, {CLONE_PTRACE | SIGCHLD, "CLONE_PTRACE"}, {CLONE_PARENT | SIGCHLD, "CLONE_PARENT"},
		{CLONE_UNTRACED | CLONE_VM | CLONE_VFORK | SIGCHLD, "CLONE_UNTRACED as vfork"}, {SIGKILL, "no signal of a child's"}, {0, "no signal at all"},
		{CLONE_IO | CLONE_SYSVSEM | SIGCHLD, "shared IO"}, {CLONE_PIDFD | SIGCHLD, "CLONE_PIDFD"},
	};
	for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
		int fd = -1, status = 0;
		pid_t p = clone(untraced, stack + sizeof stack, tries[i].flags, NULL, &fd, NULL, NULL);
		if (p < 0) {
			note("%s: %s", tries[i].name, strerrorname_np(errno));
			continue;
		}
		if (waitpid(p, &status, __WALL) == p && WIFEXITED(status) && WEXITSTATUS(status) == 77)
			got("%s: the child sees the machine's clock", tries[i].name);
		else
			note("%s: status %x", tries[i].name, status);
	}
	struct clone_args a;
	memset(&a, 0, sizeof a);
	a.flags = CLONE_UNTRACED;
	a.exit_signal = SIGCHLD;
	long r = syscall(SYS_clone3, &a, sizeof a);
	if (r == 0)
		_exit(0);
	refused("clone3", r);
}
static void daemon_stays(void)
{
	/* Children that outlive the program, in sessions of their own; the test looks for them afterwards. */
	for (int i = 0; i < 3; i++)
		if (fork() == 0) {
			setsid();
			if (fork() == 0) {
				signal(SIGTERM, SIG_IGN);
				signal(SIGHUP, SIG_IGN);
				prctl(PR_SET_PDEATHSIG, 0);
				for (;;)
					pause();
			}
			_exit(0);
		}
	while (wait(NULL) > 0) {
	}
	held("three processes left behind");
}
static void prctls(void)
{
	REFUSED(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		got("no_new_privs is off");
	REFUSED(prctl(PR_SET_TSC, PR_TSC_ENABLE));
	REFUSED(prctl(PR_SET_MM, PR_SET_MM_BRK, 0, 0, 0));
	REFUSED(prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0));
	REFUSED(prctl(PR_SET_PTRACER, outside_pid(), 0, 0, 0));
	int r = prctl(PR_SET_DUMPABLE, 1);
	note("PR_SET_DUMPABLE: %d", r);
	r = prctl(PR_SET_CHILD_SUBREAPER, 1);
	note("PR_SET_CHILD_SUBREAPER: %d", r);
	r = prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1, 0, 0, NULL);
	refused("PR_SET_SYSCALL_USER_DISPATCH", r);
	REFUSED(prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0));
	REFUSED(prctl(PR_TASK_PERF_EVENTS_ENABLE));
}
static void limits(void)
{
	struct rlimit big = {RLIM_INFINITY, RLIM_INFINITY};
	static const int kinds[] = {RLIMIT_AS, RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_CORE};
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		refused("setrlimit to infinity", setrlimit(kinds[i], &big));
	struct rlimit l;
	REFUSED(prlimit(1, RLIMIT_AS, &big, &l));
	REFUSED(prlimit(getppid() == 1 ? 1 : getppid(), RLIMIT_NOFILE, &big, &l));
	/* These may be answered with yes, as long as nothing comes of it. */
	struct sched_param p = {50};
	note("nice: %d", nice(-10));
	note("a real-time scheduler: %d", sched_setscheduler(0, SCHED_FIFO, &p));
	note("ioprio_set: %ld", syscall(SYS_ioprio_set, 1, 1, 1 << 13));
	note("mlock: %d", mlock((void *)((uintptr_t)&p & ~4095ul), 1ul << 40));
}
static void core_dump(void)
{
	struct rlimit big = {RLIM_INFINITY, RLIM_INFINITY};
	setrlimit(RLIMIT_CORE, &big);
	prctl(PR_SET_DUMPABLE, 1);
	chdir("/work");
	pid_t p = fork();
	if (p == 0)
		abort();
	int status = 0;
	waitpid(p, &status, 0);
	if (WCOREDUMP(status) || access("/work/core", F_OK) == 0)
		escaped("a core was dumped, status %x", status);
	held("status %x, no core", status);
}
static void seccomp_games(void)
{
	/* A filter of one's own may only take away. One that would hand calls to a listener, or answer what the cage traces. */
	struct { unsigned short code; unsigned char jt, jf; unsigned k; } allow[] = {{6, 0, 0, 0x7fff0000}}, notify[] = {{6, 0, 0, 0x7fc00000}},
		trace[] = {{6, 0, 0, 0x7ff00000}};
	struct { unsigned short len; void *filter; } pa = {1, allow}, pn = {1, notify}, pt = {1, trace};
	long r = syscall(SYS_seccomp, 1 /* SET_MODE_FILTER */, 1 << 3 /* NEW_LISTENER */, &pn);
	refused("a listener", r);
	r = syscall(SYS_seccomp, 1, 0, &pa);
	note("an allowing filter: %ld", r);
	r = prctl(PR_SET_SECCOMP, 2, &pt);
	note("a tracing filter: %ld", r);
	r = syscall(SYS_seccomp, 1, 1, &pa);
	note("a filter for all threads: %ld", r);
	struct timespec t = {0, 0};
	syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
	if (t.tv_sec > 1700000000)
		got("the filters let the machine's clock through");
	REFUSED(mount("none", "/work", "tmpfs", 0, NULL));
}
static void traps(void)
{
	/* What a tracer sees as its own stops, made by the program itself; then a call that must still be answered. */
	struct sigaction s;
	memset(&s, 0, sizeof s);
	s.sa_handler = SIG_IGN;
	for (int sig = 1; sig < 65; sig++)
		sigaction(sig, &s, NULL);
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	raise(SIGTRAP);
	raise(SIGSYS);
	raise(SIGSEGV);
	raise(SIGCHLD);
	siginfo_t info;
	memset(&info, 0, sizeof info);
	info.si_signo = SIGTRAP;
	info.si_code = 0x80 | SIGTRAP | (7 << 8);
	syscall(SYS_rt_sigqueueinfo, getpid(), SIGTRAP, &info);
	info.si_code = -6;
	syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGTRAP | 0, &info);
	pid_t p = fork();
	if (p == 0) {
		raise(SIGSTOP);
		_exit(5);
	}
	int status = 0;
	kill(p, SIGCONT);
	kill(p, SIGKILL);
	waitpid(p, &status, 0);
	struct timespec t = {0, 0};
	syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
	if (t.tv_sec > 1700000000)
		escaped("the machine's clock");
	held("the tracer still answers; child %x", status);
}
static void stops(void)
{
	/* A stopped process, and one that stops itself for good: nobody would wake it. */
	pid_t p = fork();
	if (p == 0) {
		raise(SIGSTOP);
		_exit(0);
	}
	int status = 0;
	pid_t w = waitpid(p, &status, WUNTRACED);
	note("stopped: %d %x", w == p, status);
	kill(p, SIGKILL);
	waitpid(p, &status, 0);
	note("killed: %x", status);
}

const struct attempt process_attempts[] = {
	{"ptrace-others", ptraces}, {"ptrace-own", ptrace_own}, {"memory-of-others", memory_of_others}, {"signals-outside", signals_outside},
	{"signals-to-all", signals_all}, {"signals-to-first", kill_first}, {"pidfds", pidfds}, {"clone-flags", clone_flags}, {"daemons", daemon_stays},
	{"prctl", prctls}, {"rlimits", limits}, {"core-dump", core_dump}, {"seccomp", seccomp_games}, {"false-stops", traps}, {"stopped", stops}, {NULL, NULL},
};
