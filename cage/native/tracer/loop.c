/* loop.c: the order in which the cage's threads run, and what follows from each report of the kernel. */
#include "core.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SLICE 1000 /* after so many calls in one go, others have a turn */

struct thread *threads, *running;
struct process *processes;
static struct thread *last; /* of the queue */

#define BUCKETS 1024
static struct thread *by_tid[BUCKETS];

struct thread *thread_of(pid_t tid)
{
	struct thread *t = by_tid[(unsigned)tid % BUCKETS];
	while (t && t->tid != tid)
		t = t->same;
	return t;
}

static void enqueue(struct thread *t)
{
	t->next = NULL;
	if (last)
		last->next = t;
	else
		threads = t;
	last = t;
}

static void dequeue(struct thread *t)
{
	struct thread *before = NULL;
	for (struct thread *o = threads; o != t; o = o->next)
		before = o;
	if (before)
		before->next = t->next;
	else
		threads = t->next;
	if (last == t)
		last = before;
}

void add_thread(struct thread *t)
{
	t->same = by_tid[(unsigned)t->tid % BUCKETS];
	by_tid[(unsigned)t->tid % BUCKETS] = t;
	enqueue(t);
}

void drop_thread(struct thread *t)
{
	struct thread **at = &by_tid[(unsigned)t->tid % BUCKETS];
	while (*at != t)
		at = &(*at)->same;
	*at = t->same;
	dequeue(t);
	forget_opening(t);
	for (struct process *p = processes; p; p = p->next)
		if (p->vforker == t)
			p->vforker = NULL;
	if (running == t)
		running = NULL;
	free(t);
}

void to_tail(struct thread *t)
{
	if (t != last) {
		dequeue(t);
		enqueue(t);
	}
}

/* go resumes a thread that is READY and at a stop. */
static void go(struct thread *t)
{
	int sig = t->deliver;
	t->deliver = 0;
	if (t->in_call && t->behind)
		stand_at_entry(t);
	t->behind = false;
	resume(t, t->in_call ? PTRACE_SYSCALL : PTRACE_CONT, sig);
}

/* obey does what a handler's verdict asks for. */
static void obey(struct thread *t, int verdict)
{
	switch (verdict) {
	case V_AFTER:
		t->in_call = true;
		break;
	case V_PASS:
		if (t->behind) /* the kernel makes the call; its exit stop, which nobody asked for, is not in the way */
			stand_at_entry(t);
		break;
	case V_BLOCK:
		to_tail(t);
		if (running == t)
			running = NULL;
		return;
	case V_YIELD:
		to_tail(t);
		if (running == t)
			running = NULL;
		t->slice = 0;
		if (!(job->flags & TJ_RELAXED))
			return;
	}
	if (t->state == READY && ++t->slice > SLICE && !t->p->exiting && !(job->flags & TJ_RELAXED)) {
		t->slice = 0;
		to_tail(t);
		if (running == t)
			running = NULL;
		return;
	}
	go(t);
}

static void fire_due(void)
{
	uint64_t due = next_timer();
	if (due && due <= vnow())
		fire_timers();
	due = fd_next_timer();
	if (due && due <= vnow())
		fd_fire_timers();
}

static void at_call(struct thread *t)
{
	if (!fetch(t))
		return;
	t->nr = (long)t->r.orig_rax;
	t->a[0] = t->r.rdi, t->a[1] = t->r.rsi, t->a[2] = t->r.rdx;
	t->a[3] = t->r.r10, t->a[4] = t->r.r8, t->a[5] = t->r.r9;
	t->answered = t->behind = t->in_call = t->timed_out = false;
	t->after = NULL;
	t->restart = RESTART;
	t->deadline = 0;
	if (++calls_made > job->calls)
		finish_killed(TJ_KILLED_CALLS);
	if (vtick(CALL_NS) - job->epoch_ns > job->virtual_ns)
		finish_killed(TJ_KILLED_TIME);
	fire_due();
	if (t->p->killed)
		return;
	const struct call *c = call_of(t->nr);
	int verdict = V_DONE;
	if (c && c->entry) {
		verdict = c->entry(t);
	} else if (!c) {
		uint64_t nr = (uint64_t)t->nr;
		event(t, TJ_REFUSED, &nr, sizeof nr);
		answer(t, -ENOSYS);
	} else {
		verdict = V_PASS;
	}
	obey(t, verdict);
}

static void at_return(struct thread *t)
{
	t->in_call = false;
	if (!fetch(t))
		return;
	long result = (long)t->r.rax;
	int (*after)(struct thread *, long) = t->after;
	t->after = NULL;
	/* A signal in the middle of an interruptible call: the kernel begins it again by itself. */
	t->behind = true;
	obey(t, after ? after(t, result) : V_DONE);
}

/* can says whether a thread may go on now, and makes it READY if so. */
static bool can(struct thread *t)
{
	if (t->out)
		return false;
	switch (t->state) {
	case READY:
		return true;
	case FUTEX:
	case SLEEP:
		if (!t->deadline || t->deadline > vnow())
			return false;
		t->timed_out = true;
		answer(t, t->state == SLEEP ? 0 : -ETIMEDOUT);
		break;
	case RETRY:
		t->answered = false;
		t->timed_out = t->deadline && t->deadline <= vnow();
		if (!t->retry(t))
			return false;
		t->in_call = !t->answered && t->after;
		if (!t->answered && !t->after)
			stand_at_entry(t);
		break;
	default:
		return false;
	}
	t->state = READY;
	t->deadline = 0;
	return true;
}

static void earlier(uint64_t *least, uint64_t at)
{
	if (at && (!*least || at < *least))
		*least = at;
}

/* pick gives the next thread to run. Nobody can: time moves to where somebody may. */
static struct thread *pick(void)
{
	for (;;) {
		uint64_t least = 0;
		bool kernel = false;
		for (struct thread *t = threads; t; t = t->next) {
			if (can(t))
				return t;
			if (t->state == IN_KERNEL || (t->out && t->state != STOPPED && t->state != DEAD))
				kernel = true;
			else if (t->state != DEAD)
				earlier(&least, t->deadline);
		}
		earlier(&least, next_timer());
		earlier(&least, fd_next_timer());
		if (kernel && !least)
			return NULL; /* its report will come */
		if (!least)
			finish_killed(TJ_KILLED_DEADLOCK);
		if (least > vnow())
			vtick(least - vnow());
		if (vnow() - job->epoch_ns > job->virtual_ns)
			finish_killed(TJ_KILLED_TIME);
		fire_timers();
		fd_fire_timers();
		if (anybody_dies())
			return NULL;
	}
}

/* A process is stopped when all of its threads are: then its parent can hear of it. */
static void all_stopped(struct process *p)
{
	for (struct thread *t = threads; t; t = t->next)
		if (t->p == p && t->state != STOPPED && t->state != DEAD)
			return;
	p->stop_news = true;
	p->continue_news = false;
}

static void stopped(struct thread *t, int status)
{
	int event = status >> 16, sig = WSTOPSIG(status);
	t->out = false;
	if (t->p->clock_at)
		clock_in(t);
	switch (event) {
	case PTRACE_EVENT_SECCOMP:
		at_call(t);
		return;
	case PTRACE_EVENT_CLONE:
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
		born(t, event);
		return;
	case PTRACE_EVENT_EXEC:
		executed(t);
		return;
	case PTRACE_EVENT_VFORK_DONE:
		vfork_done(t);
		return;
	case PTRACE_EVENT_STOP:
		if (sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU) {
			t->state = STOPPED; /* until SIGCONT */
			if (running == t)
				running = NULL;
			resume(t, PTRACE_LISTEN, 0);
			all_stopped(t->p);
		} else if (t->state == STOPPED) {
			t->state = READY;
			t->p->stop_news = false;
			t->p->continue_news = true;
			to_tail(t);
		} else {
			go(t);
		}
		return;
	}
	if (sig == (SIGTRAP | 0x80)) {
		at_return(t);
		return;
	}
	int verdict = sig == SIGSEGV || sig == SIGILL ? emulate_instruction(t, sig) : -1;
	if (verdict >= 0) {
		fire_due();
		obey(t, verdict);
		return;
	}
	signal_stop(t, sig);
	go(t);
}

void await_going_on(struct process *p)
{
	for (struct thread *t = threads, *next; t; t = next) {
		int status;
		pid_t got;
		next = t->next;
		if (t->p != p || t->state != STOPPED)
			continue;
		while ((got = waitpid(t->tid, &status, __WALL)) < 0 && errno == EINTR)
			tick();
		if (got < 0)
			continue;
		stops_seen++;
		if (WIFSTOPPED(status))
			stopped(t, status);
		else
			ended(t, status, NULL);
	}
}

bool wait_one(void)
{
	int status;
	struct rusage used;
	/* What was used is asked for only when a process may end: it costs something at every stop. */
	bool may_end = !running || running->p->exiting;
	pid_t tid = wait4(-1, &status, __WALL, may_end ? &used : NULL);
	if (tid < 0) {
		if (errno != EINTR)
			trouble("wait for the cage");
		tick();
		return false;
	}
	stops_seen++;
	if (tid == init_pid) {
		init_pid = 0;
		errno = ECHILD;
		trouble("the cage's init has ended");
	}
	struct thread *t = thread_of(tid);
	if (!t) {
		if (WIFSTOPPED(status))
			early_stop(tid);
	} else if (WIFSTOPPED(status)) {
		stopped(t, status);
	} else {
		ended(t, status, may_end ? &used : NULL);
	}
	return true;
}

static bool draining(void)
{
	for (struct process *p = processes; p; p = p->next)
		if (p->exiting && !p->zombie)
			return true;
	return false;
}

/* In relaxed mode all that can run do. */
static void run_relaxed(void)
{
	for (;;) {
		for (struct thread *t = threads, *next; t; t = next) {
			next = t->next;
			if (!t->out && t->state == READY)
				go(t);
		}
		wait_one();
	}
}

void run(void)
{
	/* The first thread stands at its execve. */
	at_call(threads);
	running = threads && threads->out ? threads : NULL;
	if (job->flags & TJ_RELAXED)
		run_relaxed();
	for (;;) {
		if (bury())
			continue;
		if (!running && !draining() && (running = pick()))
			go(running);
		if (!anybody_dies())
			wait_one();
	}
}
