/* wait.c: waiting for children, and which process is whose. */
#include "core.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

/* What a wait is for: 0 any, a pid, or a group. */
struct wanted { enum { ANY, PID, GROUP } of; uint32_t number; };

static struct wanted wanted_by(struct thread *t)
{
	int pid = (int)t->a[0];
	if (t->nr == SYS_waitid) {
		uint32_t id = (uint32_t)t->a[1];
		return (struct wanted){pid == P_ALL ? ANY : pid == P_PID ? PID : GROUP, pid == P_PGID && !id ? t->p->pgid : id};
	}
	if (pid == -1)
		return (struct wanted){ANY, 0};
	if (pid > 0)
		return (struct wanted){PID, (uint32_t)pid};
	return (struct wanted){GROUP, pid == 0 ? t->p->pgid : (uint32_t)-pid};
}

static bool matches(struct thread *t, const struct process *p)
{
	struct wanted w = wanted_by(t);
	return p->parent == t->p && (w.of == ANY || (w.of == PID ? p->vpid : p->pgid) == w.number);
}

static uint64_t options(const struct thread *t) { return t->a[t->nr == SYS_waitid ? 3 : 2]; }

/* first_news finds the child of which there is something to tell. */
static struct process *first_news(struct thread *t, bool *children)
{
	uint64_t asked = options(t);
	*children = false;
	for (struct process *p = processes; p; p = p->next)
		if (matches(t, p)) {
			*children = true;
			if (p->zombie && (t->nr != SYS_waitid || asked & WEXITED))
				return p;
			if (!p->zombie && ((asked & WUNTRACED && p->stop_news) || (asked & WCONTINUED && p->continue_news)))
				return p;
		}
	return NULL;
}

static bool wait_retry(struct thread *t)
{
	bool children;
	return first_news(t, &children) || !children;
}

static int reaped(struct thread *t, long result)
{
	static const char zeroes[sizeof(struct rusage)];
	struct process *p = NULL;
	uint64_t usage = t->nr == SYS_waitid ? t->a[4] : t->a[3];
	if (t->nr == SYS_waitid) {
		siginfo_t info;
		if (result != 0)
			return V_DONE;
		if (t->a[2] && peek(t, t->a[2], &info, sizeof info)) {
			if (info.si_pid) {
				p = process_of((uint32_t)info.si_pid);
				info.si_utime = info.si_stime = 0;
				poke(t, t->a[2], &info, sizeof info);
			}
		} else if (!t->a[2]) {
			bool children;
			p = first_news(t, &children);
		}
	} else if (result > 0) {
		p = process_of((uint32_t)result);
	}
	if (!p)
		return V_DONE;
	if (usage)
		poke(t, usage, zeroes, sizeof zeroes);
	if (t->nr == SYS_waitid && t->a[3] & WNOWAIT)
		return V_DONE;
	if (p->zombie)
		forget_child(p);
	else if (p->stop_news)
		p->stop_news = false;
	else
		p->continue_news = false;
	return V_DONE;
}

static int do_wait(struct thread *t)
{
	bool children, waits = !(options(t) & WNOHANG);
	t->after = reaped;
	if (job->flags & TJ_RELAXED || !waits || first_news(t, &children) || !children)
		return V_AFTER;
	t->state = RETRY;
	t->retry = wait_retry;
	return V_BLOCK;
}

static int do_getppid(struct thread *t) { return give(t, t->p->parent ? t->p->parent->vpid : 1); }

/* orphans gives the children of p to the next above that adopts, or to the init, which nobody knows. */
void orphans(struct process *p)
{
	struct process *to = p->parent;
	while (to && (!to->adopts || to->zombie))
		to = to->parent;
	for (struct process *c = processes, *next; c; c = next) {
		next = c->next;
		if (c->parent != p)
			continue;
		c->parent = to;
		if (c->zombie && to)
			signal_sent(to, NULL, SIGCHLD);
		else if (c->zombie)
			forget_child(c);
		else if (c->parent_end)
			send_signal(c, NULL, c->parent_end, SI_USER, 0, 0);
	}
}

static int moved(struct thread *t, long result)
{
	if (t->nr == SYS_setsid && result > 0) {
		t->p->pgid = t->p->sid = t->p->vpid;
	} else if (t->nr == SYS_setpgid && result == 0) {
		struct process *p = (uint32_t)t->a[0] ? process_of((uint32_t)t->a[0]) : t->p;
		if (p)
			p->pgid = (uint32_t)t->a[1] ? (uint32_t)t->a[1] : p->vpid;
	}
	return V_DONE;
}

static int do_move(struct thread *t)
{
	t->after = moved;
	return V_AFTER;
}

#define TRACE(n, f) {SYS_##n, C_TRACE, f, 0}
#define PASS(n) {SYS_##n, C_PASS, NULL, 0}
#define ERRNO(n, e) {SYS_##n, C_ERRNO, NULL, e}

const struct call process_calls[] = {
	TRACE(wait4, do_wait), TRACE(waitid, do_wait), TRACE(getppid, do_getppid), TRACE(setsid, do_move), TRACE(setpgid, do_move),
	PASS(getpid), PASS(gettid), PASS(getpgid), PASS(getpgrp), PASS(getsid),
	ERRNO(pidfd_open, ENOSYS), ERRNO(pidfd_getfd, ENOSYS), ERRNO(pidfd_send_signal, ENOSYS),
	{-1, C_PASS, NULL, 0},
};
