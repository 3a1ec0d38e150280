/* docklock.c: the serving half of a zygote and the walls around each job. See docklock.h for its use. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <elf.h>
#include <unistd.h>

#include "docklock.h"
#include "docklock_wire.h"

#ifndef PR_TSC_SIGSEGV
#define PR_TSC_SIGSEGV 2
#endif
#define DL_MAX_JOBS 64
#define DL_NOTE __attribute__((section(".note.docklock"), used, aligned(4)))

/* The note by which the node tells a zygote from any other program. */
static const struct {
	uint32_t namesz, descsz, type;
	char name[12];
	uint32_t desc;
} dl_note DL_NOTE = {9, 4, 1, "DockLock", DL_WIRE_VERSION};

extern char **environ;

static int dl_caged;

/* The page that a job's process shares with the zygote until its program starts. */
struct dl_page {
	volatile int ready;
	volatile int error;
	char stage[32];
};

struct dl_slot {
	int used, killed;
	uint64_t id;
	pid_t init, child; /* 0 once reaped */
	int status;
	uint64_t cpu_us;
	struct dl_page *page;
	char *stack; /* of the pid namespace's init */
};

#define DL_STACK 16384

static struct dl_slot dl_slots[DL_MAX_JOBS];
static int dl_self = -1; /* pidfd of the zygote */

static __attribute__((noreturn)) void dl_fail(struct dl_page *p, const char *stage)
{
	p->error = errno ? errno : EINVAL;
	strncpy(p->stage, stage, sizeof p->stage - 1);
	_exit(125);
}

static int dl_clone_pid_ns_init(void *arg)
{
	/* Runs on the zygote's memory with its own descriptors: nothing but raw system calls that touch no memory. */
	(void)arg;
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(SYS_close_range), "D"(0L), "S"(0xffffffffL), "d"(0L) : "rcx", "r11", "memory");
	for (;;)
		__asm__ volatile("syscall" : "=a"(r) : "a"(SYS_pause) : "rcx", "r11", "memory");
	return 0;
}

/* The vDSO answers clock questions without a system call; without its code the question faults. */
static int dl_drop_vdso(void)
{
	const char *base = (const char *)getauxval(AT_SYSINFO_EHDR);
	if (!base)
		return 0;
	const Elf64_Ehdr *eh = (const Elf64_Ehdr *)base;
	const Elf64_Phdr *ph = (const Elf64_Phdr *)(base + eh->e_phoff);
	size_t size = 0;
	for (int i = 0; i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_LOAD && ph[i].p_offset + ph[i].p_memsz > size)
			size = ph[i].p_offset + ph[i].p_memsz;
	return munmap((void *)base, (size + 4095) & ~(size_t)4095);
}

static void dl_new_root(struct dl_page *p, int root)
{
	if (syscall(SYS_move_mount, root, "", AT_FDCWD, "/job", 4 /* MOVE_MOUNT_F_EMPTY_PATH */) < 0)
		dl_fail(p, "mount the job's root");
	if (chdir("/job") < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		dl_fail(p, "pivot_root");
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		dl_fail(p, "detach the old root");
}

static void dl_drop_capabilities(struct dl_page *p)
{
	/* NOROOT, NO_SETUID_FIXUP, KEEP_CAPS and NO_CAP_AMBIENT_RAISE, locked: user 0 of the namespace is nobody. */
	if (prctl(PR_SET_SECUREBITS, 1 | 2 | 4 | 8 | 32 | 64 | 128) < 0)
		dl_fail(p, "lock the secure bits");
	for (int c = 0; c < 64; c++)
		if (prctl(PR_CAPBSET_DROP, c) < 0 && errno != EINVAL)
			dl_fail(p, "drop the bounding set");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		dl_fail(p, "drop ambient capabilities");
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	memset(d, 0, sizeof d);
	if (syscall(SYS_capset, &h, d) < 0)
		dl_fail(p, "drop capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		dl_fail(p, "no_new_privs");
}

static void dl_limit(struct dl_page *p, int what, uint64_t soft, uint64_t hard)
{
	struct rlimit l = {soft, hard};
	if (setrlimit((__rlimit_resource_t)what, &l) < 0)
		dl_fail(p, "set a resource limit");
}

/* dl_child is the job's process, second in its pid namespace. It does not return. */
static __attribute__((noreturn)) void dl_child(struct dl_page *p, const int *fds, int nfds, int (*run)(int, char **))
{
	errno = 0;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		dl_fail(p, "bind to the zygote's life");
	for (int s = 1; s < 65; s++)
		if (s != SIGKILL && s != SIGSTOP)
			signal(s, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	umask(022);

	struct stat st;
	struct dl_job job;
	if (fstat(fds[0], &st) < 0 || st.st_size < (off_t)sizeof job || st.st_size > DL_JOB_MAX)
		dl_fail(p, "size of the job");
	char *buf = (char *)malloc((size_t)st.st_size);
	if (!buf || pread(fds[0], buf, (size_t)st.st_size, 0) != st.st_size)
		dl_fail(p, "read the job");
	memcpy(&job, buf, sizeof job);
	errno = 0;
	if (job.magic != DL_JOB_MAGIC || job.argc > DL_JOB_STRINGS || job.envc > DL_JOB_STRINGS || job.argc < 1 ||
	    job.filter_len > BPF_MAXINSNS ||
	    sizeof job + 8ull * job.filter_len + job.strings_len != (uint64_t)st.st_size)
		dl_fail(p, "form of the job");
	struct sock_filter *filter = (struct sock_filter *)(buf + sizeof job);
	char *s = buf + sizeof job + 8 * job.filter_len, *end = s + job.strings_len;
	char **argv = (char **)calloc(job.argc + 1, sizeof *argv), **envp = (char **)calloc(job.envc + 1, sizeof *envp);
	if (!argv || !envp)
		dl_fail(p, "memory for the job");
	for (uint32_t i = 0; i < job.argc + job.envc; i++) {
		char *z = s < end ? (char *)memchr(s, 0, (size_t)(end - s)) : NULL;
		if (!z)
			dl_fail(p, "strings of the job");
		*(i < job.argc ? &argv[i] : &envp[i - job.argc]) = s;
		s = z + 1;
	}

	/* The zygote's own network, IPC and host name are as empty as new ones, and the filter kills whoever calls for any of
	 * them. Where there is no filter, each job gets its own, so that jobs do not meet there. A network namespace alone costs
	 * a millisecond to make and to end. */
	int ns = CLONE_NEWNS;
	if (job.flags & DL_SKIP_SECCOMP)
		ns |= (job.flags & DL_SKIP_NET ? 0 : CLONE_NEWNET) | (job.flags & DL_SKIP_IPC ? 0 : CLONE_NEWIPC) |
		      (job.flags & DL_SKIP_UTS ? 0 : CLONE_NEWUTS);
	if (unshare(ns) < 0)
		dl_fail(p, "make the job's namespaces");
	if (ns & CLONE_NEWUTS && (sethostname("docklock", 8) < 0 || setdomainname("", 0) < 0))
		dl_fail(p, "set the host name");
	dl_new_root(p, fds[4]);

	for (int i = 0; i < 3; i++)
		if (dup2(fds[1 + i], i) < 0)
			dl_fail(p, "set the standard streams");
	int first = 3;
	if (!run) {
		if (nfds < 6 || dup3(fds[5], 3, O_CLOEXEC) < 0)
			dl_fail(p, "keep the program's descriptor");
		first = 4;
	}
	if (syscall(SYS_close_range, first, ~0u, 0) < 0)
		dl_fail(p, "close descriptors");

	dl_drop_capabilities(p);
	if (prctl(PR_SET_TSC, PR_TSC_SIGSEGV) < 0)
		dl_fail(p, "make rdtsc fault");
	if (run) {
		if (dl_drop_vdso() < 0)
			dl_fail(p, "drop the vDSO");
		unsigned char *rnd = (unsigned char *)getauxval(AT_RANDOM);
		if (rnd)
			memset(rnd, 0, 16);
		if (prctl(PR_SET_DUMPABLE, 0) < 0)
			dl_fail(p, "refuse tracers");
		environ = envp;
		dl_caged = 1;
	}
	dl_limit(p, RLIMIT_CORE, 0, 0);
	dl_limit(p, RLIMIT_NOFILE, job.files, job.files);
	dl_limit(p, RLIMIT_FSIZE, job.output_bytes, job.output_bytes);
	dl_limit(p, RLIMIT_NPROC, 0, 0);
	dl_limit(p, RLIMIT_MEMLOCK, 0, 0);
	dl_limit(p, RLIMIT_MSGQUEUE, 0, 0);
	dl_limit(p, RLIMIT_SIGPENDING, 0, 0);
	dl_limit(p, RLIMIT_CPU, job.cpu_seconds, job.cpu_seconds + 1);
	dl_limit(p, RLIMIT_DATA, job.memory_bytes, job.memory_bytes);
	dl_limit(p, RLIMIT_AS, job.memory_bytes, job.memory_bytes);
	if (!(job.flags & DL_SKIP_SECCOMP)) {
		struct sock_fprog prog = {(unsigned short)job.filter_len, filter};
		if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
			dl_fail(p, "seccomp");
	}
	p->ready = 1;
	if (!run) {
		syscall(SYS_execveat, 3, "", argv, envp, AT_EMPTY_PATH);
		p->ready = 0;
		dl_fail(p, "execute the program");
	}
	munmap(p, sizeof *p);
	exit(run((int)job.argc, argv));
}

static void dl_send(int control, const struct dl_packet *k)
{
	while (send(control, k, sizeof *k, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			_exit(0); /* the node is gone */
}

static void dl_refuse(int control, uint64_t id, int err, const char *stage)
{
	struct dl_packet k;
	memset(&k, 0, sizeof k);
	k.kind = DL_DONE;
	k.id = id;
	k.error = err ? err : EINVAL;
	strncpy(k.stage, stage, sizeof k.stage - 1);
	dl_send(control, &k);
}

static void dl_start(int control, uint64_t id, const int *fds, int nfds, int (*run)(int, char **))
{
	struct dl_slot *s = NULL;
	for (int i = 0; i < DL_MAX_JOBS && !s; i++)
		if (!dl_slots[i].used)
			s = &dl_slots[i];
	if (!s || nfds < 5) {
		dl_refuse(control, id, EAGAIN, "find a place for the job");
		return;
	}
	memset(s, 0, sizeof *s);
	s->id = id;
	s->page = (struct dl_page *)mmap(NULL, sizeof *s->page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	s->stack = (char *)mmap(NULL, DL_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->page == MAP_FAILED || s->stack == MAP_FAILED) {
		dl_refuse(control, id, errno, "memory for the job");
		goto undo;
	}
	{
		int pidfd = -1;
		s->init = clone(dl_clone_pid_ns_init, s->stack + DL_STACK, CLONE_VM | CLONE_NEWPID | CLONE_PIDFD | SIGCHLD, NULL, &pidfd);
		if (s->init < 0) {
			dl_refuse(control, id, errno, "make a pid namespace");
			goto undo;
		}
		s->used = 1;
		if (setns(pidfd, CLONE_NEWPID) < 0 || (s->child = fork()) < 0) {
			s->child = 0;
			s->page->error = errno;
			strncpy(s->page->stage, "enter the pid namespace", sizeof s->page->stage - 1);
			kill(s->init, SIGKILL);
		}
		if (s->child == 0 && s->page->error == 0)
			dl_child(s->page, fds, nfds, run);
		close(pidfd);
		/* Back home: clone refuses a new pid namespace while children go to another than ours. */
		if (setns(dl_self, CLONE_NEWPID) < 0)
			_exit(124);
	}
	return;
undo:
	if (s->page != MAP_FAILED)
		munmap(s->page, sizeof *s->page);
	if (s->stack != MAP_FAILED)
		munmap(s->stack, DL_STACK);
}

static void dl_reap(int control)
{
	int status;
	struct rusage ru;
	pid_t pid;
	while ((pid = wait4(-1, &status, WNOHANG | __WALL, &ru)) > 0) {
		for (int i = 0; i < DL_MAX_JOBS; i++) {
			struct dl_slot *s = &dl_slots[i];
			if (!s->used || (s->child != pid && s->init != pid))
				continue;
			if (s->child == pid) {
				s->child = 0;
				s->status = status;
				s->cpu_us = (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000u +
					    (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
				if (s->init)
					kill(s->init, SIGKILL); /* and with it whatever else lives in the namespace */
			} else {
				s->init = 0;
			}
			if (s->child || s->init)
				break;
			struct dl_packet k;
			memset(&k, 0, sizeof k);
			k.kind = DL_DONE;
			k.id = s->id;
			k.status = s->status;
			k.cpu_us = s->cpu_us;
			k.flags = (uint32_t)s->killed;
			if (!s->page->ready && !s->killed) {
				k.error = s->page->error ? s->page->error : ECHILD;
				memcpy(k.stage, s->page->stage, sizeof k.stage - 1);
			}
			munmap(s->page, sizeof *s->page);
			munmap(s->stack, DL_STACK);
			s->used = 0;
			dl_send(control, &k);
			break;
		}
	}
}

/* dl_serve answers the node on control until it goes away. With run NULL each job brings its program as sixth
 * descriptor, which is executed: so the supervisor serves programs that are no zygotes. */
static int dl_serve(int control, int (*run)(int, char **))
{
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	int sfd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	dl_self = (int)syscall(SYS_pidfd_open, getpid(), 0); /* closed on exec */
	if (sfd < 0 || dl_self < 0)
		return 124;
	free(malloc(1)); /* glibc draws a random number at the first allocation: let it be here */
	fflush(NULL);
	struct dl_packet k;
	memset(&k, 0, sizeof k);
	k.kind = DL_HELLO;
	k.status = DL_WIRE_VERSION;
	dl_send(control, &k);
	for (;;) {
		struct pollfd p[2] = {{control, POLLIN, 0}, {sfd, POLLIN, 0}};
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return 124;
		if (p[1].revents) {
			struct signalfd_siginfo si;
			while (read(sfd, &si, sizeof si) > 0)
				;
			dl_reap(control);
		}
		if (!p[0].revents)
			continue;
		union {
			char b[CMSG_SPACE(8 * sizeof(int))];
			struct cmsghdr align;
		} c;
		struct iovec iov = {&k, sizeof k};
		struct msghdr m;
		memset(&m, 0, sizeof m);
		m.msg_iov = &iov;
		m.msg_iovlen = 1;
		m.msg_control = c.b;
		m.msg_controllen = sizeof c.b;
		ssize_t n = recvmsg(control, &m, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n != (ssize_t)sizeof k)
			return 0; /* the node is gone; our end takes every job with it */
		int fds[8], nfds = 0;
		for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
			if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
				int have = (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
				for (int i = 0; i < have; i++) {
					int fd;
					memcpy(&fd, CMSG_DATA(h) + (size_t)i * sizeof fd, sizeof fd);
					if (nfds < 8)
						fds[nfds++] = fd;
					else
						close(fd);
				}
			}
		if (k.kind == DL_RUN)
			dl_start(control, k.id, fds, nfds, run);
		else if (k.kind == DL_KILL)
			for (int i = 0; i < DL_MAX_JOBS; i++)
				if (dl_slots[i].used && dl_slots[i].id == k.id) {
					dl_slots[i].killed = 1;
					if (dl_slots[i].child)
						kill(dl_slots[i].child, SIGKILL);
					if (dl_slots[i].init)
						kill(dl_slots[i].init, SIGKILL);
				}
		for (int i = 0; i < nfds; i++)
			close(fds[i]);
	}
}

int docklock_in_cage(void) { return dl_caged; }

int docklock_main(int argc, char **argv, int (*warm_up)(void), int (*run)(int, char **))
{
	const char *control = getenv("DOCKLOCK_CONTROL");
	int fd = control ? atoi(control) : 0;
	unsetenv("DOCKLOCK_CONTROL");
	int code = warm_up ? warm_up() : 0;
	if (code)
		return code;
	return fd > 2 ? dl_serve(fd, run) : run(argc, argv);
}
