/* process.c: how threads and processes begin and end. */
#include "core.h"
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

struct process *process_of(uint32_t vpid)
{
	for (struct process *p = processes; p; p = p->next)
		if (p->vpid == vpid)
			return p;
	return NULL;
}

/* --- children's first stops, which may come before their parents' events */
#define EARLY 64
static pid_t early[EARLY];

bool early_stop(pid_t tid)
{
	for (int i = 0; i < EARLY; i++)
		if (!early[i]) {
			early[i] = tid;
			return true;
		}
	return false;
}

static void first_stop(pid_t tid)
{
	for (int i = 0; i < EARLY; i++)
		if (early[i] == tid) {
			early[i] = 0;
			return;
		}
	while (waitpid(tid, NULL, __WALL) < 0 && errno == EINTR)
		tick();
	stops_seen++;
}

/* vpid_of reads the number that the cage's own namespace gives: the last of a list. */
static uint32_t vpid_of(pid_t tid)
{
	char name[32], text[4096];
	snprintf(name, sizeof name, "%d/status", tid);
	int fd = openat(host_proc, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	text[n < 0 ? 0 : n] = 0;
	char *line = strstr(text, "\nNSpid:"), *end = line ? strchr(line + 1, '\n') : NULL;
	if (!end)
		trouble("read a process's number");
	*end = 0;
	return (uint32_t)strtoul(strrchr(line, '\t') + 1, NULL, 10);
}

static void *copy(const void *from, size_t n)
{
	void *to = from ? malloc(n ? n : 1) : NULL;
	if (from && !to)
		trouble("memory for a process");
	return from ? memcpy(to, from, n) : NULL;
}

uint64_t address_spaces = 1;

static struct process *new_process(struct process *parent, pid_t pid, uint32_t vpid, bool shares_memory)
{
	struct process *p = calloc(1, sizeof *p);
	if (!p)
		trouble("memory for a process");
	p->pid = pid;
	p->vpid = vpid;
	p->parent = parent;
	p->mm = shares_memory ? parent->mm : ++address_spaces;
	p->pgid = parent->pgid;
	p->sid = parent->sid;
	p->exe = copy(parent->exe, parent->exe ? strlen(parent->exe) + 1 : 0);
	p->argv = copy(parent->argv, parent->argv_len);
	p->argv_len = parent->argv_len;
	p->env = copy(parent->env, parent->env_len);
	p->env_len = parent->env_len;
	memcpy(p->comm, parent->comm, sizeof p->comm);
	p->started_ns = vnow();
	p->scratch = parent->scratch;
	p->vdso = parent->vdso;
	p->clock_at = parent->clock_at;
	p->clock_reads = parent->clock_reads;
	p->tight = parent->tight;
	p->reads_traced = parent->reads_traced;
	p->entry = parent->entry;
	p->limited = parent->limited;
	memcpy(p->limits, parent->limits, sizeof p->limits);
	/* In the order of birth, as the kernel's list of children is. */
	struct process **at = &processes;
	while (*at)
		at = &(*at)->next;
	*at = p;
	return p;
}

void born(struct thread *parent, int kind)
{
	unsigned long message = 0;
	ptrace(PTRACE_GETEVENTMSG, parent->tid, 0, &message);
	pid_t tid = (pid_t)message;
	uint64_t flags = parent->nr == SYS_clone ? parent->a[0] : parent->nr == SYS_vfork ? CLONE_VM | CLONE_VFORK : 0;
	struct thread *t = calloc(1, sizeof *t);
	if (!t)
		trouble("memory for a thread");
	first_stop(tid);
	t->tid = tid;
	t->vtid = vpid_of(tid);
	t->state = READY;
	if (flags & CLONE_THREAD) {
		t->p = parent->p;
	} else {
		t->p = new_process(parent->p, tid, t->vtid, flags & CLONE_VM);
		fd_fork(t->p, parent->p, flags & CLONE_FILES);
		signals_fork(t->p, parent->p);
		patch_fork(t->p, parent->p);
	}
	t->p->threads++;
	if (parent->nr == SYS_clone && flags & CLONE_CHILD_CLEARTID)
		t->clear_tid = parent->a[3];
	spawned++;
	alive++;
	add_thread(t);
	if (!(flags & CLONE_THREAD))
		proc_born(t->p);
	uint64_t told[2] = {flags, t->vtid};
	event(parent, TJ_CLONE, told, sizeof told);
	if (kind == PTRACE_EVENT_VFORK) {
		t->p->vforker = parent;
		parent->state = IN_KERNEL;
		if (running == parent)
			running = NULL;
	}
	resume(parent, parent->in_call ? PTRACE_SYSCALL : PTRACE_CONT, 0);
}

/* Its child has executed or ended; where among the others it goes on does not hang on when we hear of that. */
void vfork_done(struct thread *t)
{
	for (struct process *p = processes; p; p = p->next)
		if (p->vforker == t)
			p->vforker = NULL;
	t->state = READY;
	to_tail(t);
}

void await_vforker(struct process *p)
{
	int status;
	struct thread *t = p->vforker;
	if (!t)
		return;
	pid_t got;
	while ((got = waitpid(t->tid, &status, __WALL)) < 0 && errno == EINTR)
		tick();
	if (got < 0)
		return;
	stops_seen++;
	t->out = false;
	if (WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_VFORK_DONE)
		vfork_done(t);
	else if (!WIFSTOPPED(status))
		ended(t, status, NULL);
}

/* --- the end */
static int do_exit(struct thread *t)
{
	futex_exit(t);
	if (t->p->threads == 1) {
		t->p->exiting = true;
		return V_PASS;
	}
	t->leaving = true;
	if (t->tid == t->p->pid) {
		/* The kernel reports a first thread only when the others are gone. Its word was cleared just now. */
		inject(t, SYS_set_tid_address, 0, 0, 0, 0, 0, 0);
		stand_at_entry(t);
		uint64_t code = (t->a[0] & 0xff) << 8; /* as a wait status */
		event(t, TJ_EXIT, &code, sizeof code);
		t->state = DEAD;
		running = NULL;
		resume(t, PTRACE_CONT, 0);
		return V_BLOCK;
	}
	return V_PASS;
}

static int do_exit_group(struct thread *t)
{
	t->p->exiting = true;
	return V_PASS;
}

void forget_child(struct process *p)
{
	struct process **at = &processes;
	while (*at && *at != p)
		at = &(*at)->next;
	if (*at)
		*at = p->next;
	proc_gone(p);
	free(p->exe);
	free(p->argv);
	free(p->env);
	free(p);
}

static void process_ended(struct process *p, int status, const struct rusage *used)
{
	uint64_t told = (uint64_t)(uint32_t)status;
	struct thread *first = thread_of(p->pid);
	event(first, TJ_EXIT, &told, sizeof told);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !p->exiting)
		finish_none(TJ_NONE_OOM); /* killed from outside of the cage */
	for (struct thread *t = threads, *next; t; t = next) {
		next = t->next;
		if (t->p == p) {
			alive--;
			drop_thread(t);
		}
	}
	p->zombie = true;
	p->exiting = false;
	p->threads = 0;
	p->status = status;
	if (used)
		account(p, used);
	fd_exit(p);
	timers_exit(p);
	signals_exit(p);
	futex_gone();
	patch_free(p);
	await_vforker(p);
	if (p == processes)
		finish_done(status); /* the first program: what it left behind goes with it */
	orphans(p);
	struct process *parent = p->parent;
	if (!parent || parent->sig[SIGCHLD].handler == (uint64_t)SIG_IGN || parent->sig[SIGCHLD].flags & SA_NOCLDWAIT)
		forget_child(p);
	if (parent)
		signal_sent(parent, NULL, SIGCHLD);
}

void ended(struct thread *t, int status, const struct rusage *used)
{
	struct process *p = t->p;
	if (t->tid == p->pid) {
		process_ended(p, status, used);
		return;
	}
	if (t->leaving) {
		uint64_t code = (uint64_t)(uint32_t)status;
		event(t, TJ_EXIT, &code, sizeof code);
	} else if (!p->exiting && ((running && running->p != p) || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS))) {
		p->exiting = true; /* killed with its process, whose report follows */
	}
	p->threads--;
	alive--;
	drop_thread(t);
}

/* --- beginnings */
#define ALLOWED (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_VFORK | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS | \
		 CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | CLONE_DETACHED | CLONE_IO | 0xff)

static int do_clone(struct thread *t)
{
	if (t->nr == SYS_clone && t->a[0] & ~(uint64_t)ALLOWED)
		return give(t, -EPERM);
	/* The kernel sends a child's last signal itself, whichever it is: with SIGKILL a parent would seem to be killed from outside. */
	if (t->nr == SYS_clone && t->a[0] & 0xff && (t->a[0] & 0xff) != SIGCHLD)
		return give(t, -EINVAL);
	if (job->flags & TJ_NO_PROCESSES)
		return give(t, -EPERM);
	if (!may_begin(t->p, alive))
		return give(t, -EAGAIN);
	if (spawned >= job->spawned)
		finish_killed(TJ_KILLED_PROCESSES);
	if (t->nr == SYS_clone && t->a[0] & CLONE_FILES && !(t->a[0] & CLONE_THREAD))
		tighten(t); /* what one of them makes, the other has */
	return V_PASS;
}

static int do_yield(struct thread *t)
{
	vtick(1000);
	answer(t, 0);
	return V_YIELD;
}

#define TRACE(n, f) {SYS_##n, C_TRACE, f, 0}
#define ERRNO(n, e) {SYS_##n, C_ERRNO, NULL, e}

const struct call life_calls[] = {
	TRACE(clone, do_clone), TRACE(fork, do_clone), TRACE(vfork, do_clone), ERRNO(clone3, ENOSYS),
	TRACE(execve, do_exec), TRACE(execveat, do_exec), TRACE(exit, do_exit), TRACE(exit_group, do_exit_group),
	TRACE(sched_yield, do_yield),
	{-1, C_PASS, NULL, 0},
};
