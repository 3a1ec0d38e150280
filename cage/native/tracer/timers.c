/* timers.c: alarms, interval timers and POSIX timers. All run by virtual time; the scheduler asks for the next end, and
 * has the signals sent when the clock has reached it. Those by processor time end only while somebody works, so that
 * nobody waits for one. In relaxed mode, where the clock does not move while all
 * wait, they are the kernel's, and what is virtual is only the clock that an absolute time is given by. */
#include "clock.h"
#include "core.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define POSIX_MAX 1024       /* POSIX timers of all processes, as RLIMIT_SIGPENDING says; past it EAGAIN */
#define FINEST_NS 100000     /* an interval below it counts as it: else a timer that nobody looks at would stop the world */
#define HALF_SECOND 500000000u
#define SECOND 1000000000u

/* One that is set, or a POSIX one from its making to its deletion. A process has at most three with ids below 0. */
struct timer {
	struct process *p;
	int id;            /* POSIX: 0 and up; else -1 - ITIMER_REAL, ITIMER_VIRTUAL or ITIMER_PROF */
	struct clock by;   /* of processor time, or the virtual clock */
	int notify, sig;   /* SIGEV_SIGNAL for the three */
	uint32_t vtid;     /* SIGEV_THREAD_ID */
	uint64_t value;    /* what comes with the signal */
	uint64_t end, interval; /* virtual ns, or as `by` shows them; end 0: stands still */
	uint64_t overrun;  /* ends since the last signal that found it still pending */
	bool sent;
	struct timer *next;
};

static struct timer *timers; /* in the order of their making */
static unsigned posix_timers;
static uint64_t earliest;    /* end of the next one by the virtual clock; 0: none runs */
static unsigned by_processor; /* how many run by processor time */

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

static uint64_t now_of(const struct timer *m) { return m->by.of ? clock_now(&m->by) : vnow(); }

/* ended_first gives the timer that has ended first: of those by processor time, then of the others. */
static struct timer *ended_first(void)
{
	struct timer *first = NULL;
	for (struct timer *m = timers; m && by_processor; m = m->next)
		if (m->by.of && m->end && m->end <= now_of(m))
			return m;
	for (struct timer *m = timers; m; m = m->next)
		if (!m->by.of && m->end && m->end <= vnow() && (!first || m->end < first->end))
			first = m;
	return first;
}

static void note_earliest(void)
{
	earliest = by_processor = 0;
	for (struct timer *m = timers; m; m = m->next) {
		if (m->by.of)
			by_processor += m->end != 0;
		else if (m->end && (!earliest || m->end < earliest))
			earliest = m->end;
	}
}

uint64_t next_timer(void)
{
	return by_processor && ended_first() ? vnow() : earliest;
}

static struct timer *timer_of(struct process *p, int id)
{
	for (struct timer *m = timers; m; m = m->next)
		if (m->p == p && m->id == id)
			return m;
	return NULL;
}

static struct timer *new_timer(struct process *p, int id)
{
	struct timer **last = &timers, *m = calloc(1, sizeof *m);
	if (!m)
		trouble("memory for a timer");
	m->p = p;
	m->id = id;
	while (*last)
		last = &(*last)->next;
	*last = m;
	posix_timers += id >= 0;
	return m;
}

/* drop_timers frees those of p whose ids are from first to last. */
static void drop_timers(struct process *p, int first, int last)
{
	for (struct timer **at = &timers; *at;) {
		struct timer *m = *at;
		if (m->p != p || m->id < first || m->id > last) {
			at = &m->next;
			continue;
		}
		*at = m->next;
		posix_timers -= m->id >= 0;
		free(m);
	}
	note_earliest();
}

void timers_exec(struct process *p) { drop_timers(p, 0, INT_MAX); }

void timers_exit(struct process *p)
{
	drop_timers(p, INT_MIN, INT_MAX);
	/* Another's by the time of this process stands for ever: as by that of a thread which is no more. */
	for (struct timer *m = timers; m; m = m->next)
		if (m->by.of == p)
			m->by = (struct clock){.of = m->p, .vtid = UINT32_MAX};
}

static uint64_t left(const struct timer *m)
{
	if (!m || !m->end)
		return 0;
	uint64_t now = now_of(m);
	return m->end > now ? m->end - now : 1; /* it has ended, and its signal is on the way */
}

/* still_pending says whether the signal of a timer's last end waits to be taken; then another would say nothing new, and
 * further ends are only counted. */
static bool still_pending(const struct timer *m)
{
	if (m->sent)
		for (struct thread *o = threads; o; o = o->next)
			if (o->p == m->p && o->state != DEAD && (m->notify != SIGEV_THREAD_ID || o->vtid == m->vtid) && pending_signals(o) >> (m->sig - 1) & 1)
				return true;
	return false;
}

static void fire(struct timer *m)
{
	uint64_t missed = 0;
	struct thread *to = NULL;
	if (m->interval) {
		uint64_t step = m->interval < FINEST_NS ? FINEST_NS : m->interval;
		missed = (now_of(m) - m->end) / step;
		uint64_t on = (missed + 1) * step; /* at most a step past now, and neither is above INT64_MAX */
		m->end = on > INT64_MAX - m->end ? INT64_MAX : m->end + on;
	} else
		m->end = 0;
	note_earliest();
	if (m->notify == SIGEV_NONE)
		return;
	if (still_pending(m)) {
		m->overrun += missed + 1;
		return;
	}
	m->overrun = missed;
	m->sent = true;
	if (m->id < 0) {
		send_signal(m->p, NULL, m->sig, SI_KERNEL, 0, 0);
		return;
	}
	if (m->notify == SIGEV_THREAD_ID) {
		for (to = threads; to && (to->vtid != m->vtid || to->p != m->p || to->state == DEAD);)
			to = to->next;
		if (!to)
			return; /* it has ended; nobody else gets its signal */
	}
	send_signal(m->p, to, m->sig, SI_TIMER, m->id, m->value);
}

void fire_timers(void)
{
	/* Each that has ended then ends in the future or stands still, so this comes to an end. */
	for (struct timer *m; (m = ended_first());)
		fire(m);
}

/* --- alarm and interval timers */

/* set_itimer sets one of p's three; value 0 stops it. */
static void set_itimer(struct process *p, int which, uint64_t value, uint64_t interval)
{
	static const int sigs[] = {SIGALRM, SIGVTALRM, SIGPROF};
	struct timer *m = timer_of(p, -1 - which);
	if (!value) {
		if (m)
			drop_timers(p, -1 - which, -1 - which);
		return;
	}
	if (!m)
		m = new_timer(p, -1 - which);
	m->sig = sigs[which];
	m->interval = interval;
	m->by.of = which == ITIMER_REAL ? NULL : p;
	m->end = clock_when((int64_t)now_of(m), value);
	note_earliest();
}

static bool kernels_own(void) { return job->flags & TJ_RELAXED; }

int do_alarm(struct thread *t)
{
	if (kernels_own())
		return V_PASS;
	uint32_t seconds = (uint32_t)t->a[0];
	uint64_t was = left(timer_of(t->p, -1 - ITIMER_REAL));
	set_itimer(t->p, ITIMER_REAL, (uint64_t)(seconds > INT_MAX ? INT_MAX : seconds) * SECOND, 0);
	/* To the nearest second, but never 0 for one that was set. */
	uint64_t whole = was / SECOND + (was % SECOND >= HALF_SECOND || (was && was < SECOND));
	return give(t, (long)whole);
}

static struct timeval timeval_of(uint64_t ns)
{
	uint64_t us = ns / 1000;
	return (struct timeval){(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
}

static bool show_itimer(struct thread *t, int which, uint64_t to)
{
	struct timer *m = timer_of(t->p, -1 - which);
	struct itimerval v;
	uint64_t rest = left(m);
	v.it_value = timeval_of(rest && rest < 1000 ? 1000 : rest);
	v.it_interval = timeval_of(m ? m->interval : 0);
	return poke(t, to, &v, sizeof v);
}

int do_getitimer(struct thread *t)
{
	if (kernels_own())
		return V_PASS;
	if (t->a[0] > ITIMER_PROF)
		return give(t, -EINVAL);
	return give(t, show_itimer(t, (int)t->a[0], t->a[1]) ? 0 : -EFAULT);
}

int do_setitimer(struct thread *t)
{
	struct itimerval v;
	uint64_t value, interval;
	if (kernels_own())
		return V_PASS;
	memset(&v, 0, sizeof v); /* no new value stops it */
	if (t->a[1] && !peek(t, t->a[1], &v, sizeof v))
		return give(t, -EFAULT);
	if ((uint64_t)v.it_value.tv_usec > 999999 || (uint64_t)v.it_interval.tv_usec > 999999 || t->a[0] > ITIMER_PROF ||
	    span_of(v.it_value.tv_sec, v.it_value.tv_usec * 1000, &value) < 0 || span_of(v.it_interval.tv_sec, v.it_interval.tv_usec * 1000, &interval) < 0)
		return give(t, -EINVAL);
	bool shown = !t->a[2] || show_itimer(t, (int)t->a[0], t->a[2]);
	set_itimer(t->p, (int)t->a[0], value, interval);
	return give(t, shown ? 0 : -EFAULT);
}

/* --- POSIX timers */

/* good_event reads how a timer tells of its end, as timer_create(2) has it: 0, -EFAULT or -EINVAL. */
static long good_event(struct thread *t, uint64_t from, struct sigevent *e)
{
	if (!peek(t, from, e, sizeof *e))
		return -EFAULT;
	switch (e->sigev_notify) {
	case SIGEV_NONE:
		return 0;
	case SIGEV_THREAD_ID:
		for (struct thread *o = threads; o; o = o->next)
			if (o->p == t->p && o->vtid == (uint32_t)e->_sigev_un._tid && o->state != DEAD)
				return e->sigev_signo > 0 && e->sigev_signo <= 64 ? 0 : -EINVAL;
		return -EINVAL;
	case SIGEV_SIGNAL:
	case SIGEV_THREAD: /* a library's affair; to the kernel the same */
		return e->sigev_signo > 0 && e->sigev_signo <= 64 ? 0 : -EINVAL;
	}
	return -EINVAL;
}

/* made notes the clock of a timer that the kernel keeps. */
static int made(struct thread *t, long result)
{
	int id;
	if (result == 0 && peek(t, t->a[2], &id, sizeof id) && id >= 0 && !timer_of(t->p, id))
		new_timer(t->p, id)->by.zero = (int64_t)t->keep[0];
	return V_DONE;
}

int do_timer_create(struct thread *t)
{
	struct clock c;
	struct sigevent e;
	int id = 0;
	long r = clock_of(t, (int)t->a[0], &c);
	if (r == 0)
		r = c.no_timer;
	if (r == 0 && kernels_own()) {
		t->keep[0] = (uint64_t)c.zero;
		t->after = made;
		return V_AFTER;
	}
	if (r == 0 && posix_timers >= POSIX_MAX)
		r = -EAGAIN;
	while (timer_of(t->p, id))
		id++;
	memset(&e, 0, sizeof e);
	e.sigev_signo = SIGALRM;
	e.sigev_value.sival_int = id;
	if (r == 0 && t->a[1])
		r = good_event(t, t->a[1], &e);
	if (r == 0 && !poke(t, t->a[2], &id, sizeof id))
		r = -EFAULT;
	if (r < 0)
		return give(t, r);
	struct timer *m = new_timer(t->p, id);
	m->by = c;
	m->notify = e.sigev_notify;
	m->sig = e.sigev_signo;
	m->vtid = e.sigev_notify == SIGEV_THREAD_ID ? (uint32_t)e._sigev_un._tid : 0;
	memcpy(&m->value, &e.sigev_value, sizeof m->value);
	return give(t, 0);
}

static struct timer *posix_timer(struct thread *t)
{
	int id = (int)t->a[0];
	return id < 0 ? NULL : timer_of(t->p, id);
}

static struct itimerspec state_of(const struct timer *m)
{
	uint64_t rest = left(m);
	if (m->notify == SIGEV_NONE && m->end && m->end <= now_of(m))
		rest = 0;
	return (struct itimerspec){timespec_of(m->interval), timespec_of(rest)};
}

int do_timer_gettime(struct thread *t)
{
	struct timer *m = posix_timer(t);
	if (kernels_own())
		return V_PASS;
	if (!m)
		return give(t, -EINVAL);
	struct itimerspec now = state_of(m);
	return give(t, poke(t, t->a[1], &now, sizeof now) ? 0 : -EFAULT);
}

static int was_set(struct thread *t, long result)
{
	(void)result;
	t->r.rsi = t->a[1], t->r.rdx = t->a[2];
	set_args(t);
	return V_DONE;
}

/* settime_relaxed gives the kernel an absolute time as the time until then. */
static int settime_relaxed(struct thread *t, const struct timer *m)
{
	struct itimerspec want;
	uint64_t value;
	if (!(t->a[1] & TIMER_ABSTIME) || !m || !peek(t, t->a[2], &want, sizeof want) || span_of(want.it_value.tv_sec, want.it_value.tv_nsec, &value) < 0 || !value)
		return V_PASS;
	uint64_t end = clock_when(m->by.zero, value), at = scratch(t, sizeof want);
	want.it_value = timespec_of(end > vnow() ? end - vnow() : 1);
	if (!poke(t, at, &want, sizeof want))
		return give(t, -EFAULT);
	t->r.rsi = t->a[1] & ~(uint64_t)TIMER_ABSTIME, t->r.rdx = at;
	set_args(t);
	t->after = was_set;
	return V_AFTER;
}

int do_timer_settime(struct thread *t)
{
	struct itimerspec want, was;
	uint64_t value, interval;
	struct timer *m = posix_timer(t);
	if (kernels_own())
		return settime_relaxed(t, m);
	if (!t->a[2])
		return give(t, -EINVAL);
	if (!peek(t, t->a[2], &want, sizeof want))
		return give(t, -EFAULT);
	if (!m || span_of(want.it_value.tv_sec, want.it_value.tv_nsec, &value) < 0 || span_of(want.it_interval.tv_sec, want.it_interval.tv_nsec, &interval) < 0)
		return give(t, -EINVAL);
	was = state_of(m);
	int64_t from = !(t->a[1] & TIMER_ABSTIME) ? (int64_t)now_of(m) : m->by.of ? 0 : m->by.zero;
	m->end = value ? clock_when(from, value) : 0;
	m->interval = value ? interval : 0;
	m->overrun = 0;
	note_earliest();
	return give(t, !t->a[3] || poke(t, t->a[3], &was, sizeof was) ? 0 : -EFAULT);
}

int do_timer_getoverrun(struct thread *t)
{
	struct timer *m = posix_timer(t);
	if (kernels_own())
		return V_PASS;
	return give(t, !m ? -EINVAL : m->overrun > INT_MAX ? INT_MAX : (long)m->overrun);
}

int do_timer_delete(struct thread *t)
{
	struct timer *m = posix_timer(t);
	if (m)
		drop_timers(t->p, (int)t->a[0], (int)t->a[0]);
	return kernels_own() ? V_PASS : give(t, m ? 0 : -EINVAL);
}
