/* launch.c: from an ordinary process to a tracer inside its cage, with the first program about to be executed.
 *
 * As root, the cage's one user is NOBODY, mapped by a namespace that a helper process makes for us; as an ordinary user
 * it is ourselves. Either way the program finds user 0, sees files of others as others do, and has no capability. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534
#define PROGRAM_VPID 2

pid_t init_pid;

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
	int e = errno;
	if (fd >= 0)
		close(fd);
	errno = e;
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

static int map_ids(pid_t of, unsigned uid, unsigned gid)
{
	char path[64], map[32];
	snprintf(path, sizeof path, "/proc/%d/uid_map", of);
	snprintf(map, sizeof map, "0 %u 1", uid);
	if (put(path, map) < 0)
		return -1;
	snprintf(path, sizeof path, "/proc/%d/setgroups", of);
	if (put(path, "deny") < 0)
		return -1;
	snprintf(path, sizeof path, "/proc/%d/gid_map", of);
	snprintf(map, sizeof map, "0 %u 1", gid);
	return put(path, map);
}

static int hold[2]; /* of the process that holds nobody_namespace open until it is mapped */

static int holder(void *unused)
{
	char c;
	(void)unused;
	while (read(hold[0], &c, 1) < 0 && errno == EINTR)
		;
	return 0;
}

/* nobody_namespace gives a user namespace in which 0 is NOBODY: who enters one by itself may map only its own user, so
 * another process makes it, sharing our memory since it does nothing but wait, and we map it. */
static int nobody_namespace(void)
{
	static char stack[16384] __attribute__((aligned(16)));
	char path[64];
	int ns = -1;
	if (pipe2(hold, O_CLOEXEC) < 0)
		return -1;
	pid_t child = clone(holder, stack + sizeof stack, CLONE_VM | CLONE_FILES | CLONE_NEWUSER | SIGCHLD, NULL);
	if (child > 0 && map_ids(child, NOBODY, NOBODY) == 0) {
		snprintf(path, sizeof path, "/proc/%d/ns/user", child);
		ns = open(path, O_RDONLY | O_CLOEXEC);
	}
	int e = errno;
	if (write(hold[1], "", 1) < 0)
		e = errno;
	if (child > 0)
		waitpid(child, NULL, 0);
	close(hold[0]);
	close(hold[1]);
	errno = e;
	return ns;
}

void drop_rights(bool keep_ptrace)
{
	if (prctl(PR_SET_SECUREBITS, 1 | 2 | 4 | 8 | 32 | 64 | 128) < 0)
		trouble("lock the secure bits");
	for (int c = 0; c < 64; c++)
		if (prctl(PR_CAPBSET_DROP, c) < 0 && errno != EINVAL)
			trouble("drop the bounding set");
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	memset(d, 0, sizeof d);
	if (keep_ptrace)
		d[0].effective = d[0].permitted = 1u << CAP_SYS_PTRACE;
	if (syscall(SYS_capset, &h, d) < 0)
		trouble("drop capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		trouble("no_new_privs");
}

static void limit(int what, uint64_t value)
{
	struct rlimit l = {value, value};
	if (setrlimit((__rlimit_resource_t)what, &l) < 0)
		trouble("set a resource limit");
}

/* The program's process, until it is the program. What fails here is told through `report`, which an exec closes. */
struct failure { int error; char what[60]; };
static int report = -1;

static void fail(const char *what)
{
	struct failure f = {.error = errno};
	snprintf(f.what, sizeof f.what, "%s", what);
	if (write(report, &f, sizeof f) < 0)
		_exit(1);
	_exit(1);
}

/* found looks for name in the folders of PATH, as execvp does. */
static const char *found(const char *name, char **envp)
{
	static char path[4096];
	struct stat st;
	const char *dirs = "/usr/local/bin:/usr/bin:/bin";
	if (strchr(name, '/') || !*name)
		return name;
	for (char **e = envp; *e; e++)
		if (!strncmp(*e, "PATH=", 5))
			dirs = *e + 5;
	const char *refused = NULL;
	for (const char *d = dirs; d;) {
		const char *end = strchr(d, ':');
		int l = end ? (int)(end - d) : (int)strlen(d);
		snprintf(path, sizeof path, "%.*s%s%s", l, d, l ? "/" : "", name);
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
			if (access(path, X_OK) == 0)
				return path;
			refused = name;
		}
		d = end ? end + 1 : NULL;
	}
	errno = refused ? EACCES : ENOENT;
	return NULL;
}

static const char working_directory[] = "the working directory";

static void become_program(int go)
{
	char c, **argv = calloc(job->argc + 1, sizeof *argv), **envp = calloc(job->envc + 1, sizeof *envp);
	if (!argv || !envp)
		fail("memory for the arguments");
	for (uint32_t i = 0; i < job->argc; i++)
		argv[i] = (char *)(uintptr_t)job_string(1 + i);
	for (uint32_t i = 0; i < job->envc; i++)
		envp[i] = (char *)(uintptr_t)job_string(1 + job->argc + i);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fail("bind to the tracer's life");
	for (int s = 1; s < 65; s++)
		if (s != SIGKILL && s != SIGSTOP)
			signal(s, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (setsid() < 0)
		fail("start a session");
	umask(022);
	int nowhere = chdir(job_string(0)) < 0 ? errno : 0;
	int out = fcntl(report, F_DUPFD_CLOEXEC, 64), wait = fcntl(go, F_DUPFD_CLOEXEC, 64);
	if (out < 0 || wait < 0 || dup2(TJ_STDIN, 0) < 0 || dup2(TJ_STDOUT, 1) < 0 || dup2(TJ_STDERR, 2) < 0)
		fail("set the standard streams");
	report = out;
	int low = out < wait ? out : wait, high = out < wait ? wait : out;
	syscall(SYS_close_range, 3, low - 1, 0);
	if (high > low + 1)
		syscall(SYS_close_range, low + 1, high - 1, 0);
	syscall(SYS_close_range, high + 1, ~0u, 0);
	drop_rights(false);
	if (!(job->flags & TJ_RELAXED) && personality(ADDR_NO_RANDOMIZE) < 0)
		fail("fix the address space");
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_STACK, 8u << 20);
	limit(RLIMIT_FSIZE, job->file_bytes);
	limit(RLIMIT_MEMLOCK, 65536);
	limit(RLIMIT_MSGQUEUE, 0);
	limit(RLIMIT_SIGPENDING, 1024);
	limit(RLIMIT_AS, job->memory_bytes);
	const char *program = found(argv[0], envp);
	int missing = program ? 0 : errno;
	if (read(wait, &c, 1) != 1) /* until the tracer has taken hold */
		_exit(1);
	close(wait);
	if (nowhere) {
		errno = nowhere;
		fail(working_directory);
	}
	if (!program) {
		errno = missing;
		fail("program");
	}
	/* Last, since nothing of ours needs to open a descriptor any more. */
	limit(RLIMIT_NOFILE, job->files);
	const char *failed = install_filter();
	if (failed)
		fail(failed);
	execve(program, argv, envp);
	_exit(127); /* the tracer has seen why */
}

static void become_init(void)
{
	sigset_t all;
	siginfo_t info;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	syscall(SYS_close_range, 0, ~0u, 0);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (;;) {
		while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
			;
		sigset_t child;
		sigemptyset(&child);
		sigaddset(&child, SIGCHLD);
		sigwaitinfo(&child, &info);
	}
}

static unsigned long namespaces(void)
{
	return CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWCGROUP | (job->flags & TJ_SKIP_NET ? 0 : CLONE_NEWNET) |
	       (job->flags & TJ_SKIP_IPC ? 0 : CLONE_NEWIPC) | (job->flags & TJ_SKIP_UTS ? 0 : CLONE_NEWUTS);
}

/* enter moves this process into the cage's namespaces and root, and gives a descriptor of its /out or -1. */
static int enter(const char *stage)
{
	bool root = geteuid() == 0;
	unsigned uid = geteuid(), gid = getegid();
	int ns = -1;
	const char *failed;
	if (root) {
		if (setgroups(0, NULL) < 0)
			trouble("drop groups");
		ns = nobody_namespace();
		if (ns < 0)
			trouble("user namespace");
	} else if (unshare(CLONE_NEWUSER) < 0 || map_ids(getpid(), uid, gid) < 0) {
		trouble("user namespace");
	}
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		trouble("mount namespace");
	/* By relative paths from here on: the unprivileged user may have no way through the folders above the stage. */
	char options[64];
	snprintf(options, sizeof options, "mode=0755,size=1m,uid=%u,gid=%u", root ? NOBODY : 0, root ? NOBODY : 0);
	if (mount("stage", stage, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0 || chdir(stage) < 0 || mkdir("root", 0755) < 0 || mkdir("turn", 0755) < 0)
		trouble("make the stage");
	if ((failed = compose("root", root ? NOBODY : 0, ns)))
		trouble(failed);
	struct stat st;
	int out = stat("root/out", &st) == 0 && S_ISDIR(st.st_mode) ? open("root/out", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int tree = (int)syscall(SYS_open_tree, AT_FDCWD, "root", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (tree < 0)
		trouble("detach the cage's root");
	struct mount_attr a = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &a, sizeof a) < 0)
		trouble("make the cage's root read-only");
	if (umount2("root", MNT_DETACH) < 0)
		trouble("leave the stage");
	if (root && (setns(ns, CLONE_NEWUSER) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0))
		trouble("become the unprivileged user");
	if (unshare(namespaces()) < 0)
		trouble("make the cage's namespaces");
	if (!(job->flags & TJ_SKIP_UTS) && (sethostname("cage", 4) < 0 || setdomainname("(none)", 6) < 0))
		trouble("set the host name");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		trouble("mount namespace");
	if (mount("turn", "turn", "tmpfs", 0, "mode=0755,size=64k") < 0 || chdir("turn") < 0 || mkdir("root", 0755) < 0)
		trouble("mount a place to turn");
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, "root", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		trouble("mount the cage's root again");
	if (chdir("root") < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		trouble("pivot_root");
	close(tree);
	if (ns >= 0)
		close(ns);
	make_proc_and_dev();
	return out;
}

struct thread *launch(const char *stage)
{
	int go[2], back[2], status;
	struct failure f;
	host_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (host_proc < 0)
		trouble("open /proc");
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		trouble("bind to the node's life");
	if (job->cpu != ~0u) {
		cpu_set_t one;
		CPU_ZERO(&one);
		CPU_SET(job->cpu, &one);
		if (sched_setaffinity(0, sizeof one, &one) < 0)
			trouble("pin the cage to its processor");
	}
	int out = enter(stage);
	if (pipe2(go, O_CLOEXEC) < 0 || pipe2(back, O_CLOEXEC) < 0)
		trouble("make a pipe");
	init_pid = fork();
	if (init_pid == 0)
		become_init();
	pid_t pid = init_pid < 0 ? -1 : fork();
	if (pid < 0)
		trouble("start the cage's first processes");
	if (pid == 0) {
		report = back[1];
		become_program(go[0]);
	}
	close(go[0]);
	close(back[1]);
	drop_rights(true);
	prctl(PR_SET_DUMPABLE, 1);
	const long options = PTRACE_O_EXITKILL | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_TRACECLONE |
			     PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE;
	if (ptrace(PTRACE_SEIZE, pid, 0, options) < 0)
		trouble("trace the program");
	give_out(out); /* now the node finds our children, and can wait for their end should we be killed */
	if (write(go[1], "", 1) != 1)
		trouble("start the program");
	close(go[1]);
	/* The first report is its execve, at the filter; before that, it can only end with a failure told in words. */
	while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
		;
	if (!WIFSTOPPED(status) || status >> 8 != (SIGTRAP | PTRACE_EVENT_SECCOMP << 8)) {
		if (read(back[0], &f, sizeof f) == (ssize_t)sizeof f) {
			if (!strcmp(f.what, working_directory))
				bad_job(f.what, f.error);
			if (!strcmp(f.what, "program"))
				bad_job(f.error == ENOENT ? "no such program in the folders of PATH" : "the program is not executable", f.error);
			errno = f.error;
			trouble(f.what);
		}
		errno = ECHILD;
		trouble("start the program");
	}
	close(back[0]);
	struct process *p = calloc(1, sizeof *p);
	struct thread *t = calloc(1, sizeof *t);
	if (!p || !t)
		trouble("memory for the first process");
	p->pid = t->tid = pid;
	p->vpid = t->vtid = p->pgid = p->sid = PROGRAM_VPID;
	p->mm = 1;
	p->threads = 1;
	p->started_ns = job->epoch_ns;
	p->next = processes;
	processes = p;
	t->p = p;
	t->state = READY;
	return t;
}
