/* time.c: the virtual clock. It stands still but for what a trapped call costs, what a read of it adds, and the jump to
 * the next deadline when all wait. */
#include "clock.h"
#include "core.h"
#include "vdso/page.h"

#include <sys/syscall.h>
#include <sys/time.h>

#define SECOND 1000000000u
#define READ_NS (CLOCK_READ_NS - CALL_NS) /* what a read of a clock costs, so that a loop which waits for time to pass ends */
#define READS_A_TURN 8    /* reads of one thread after which the others have their turn */

static uint64_t passed; /* virtual ns since job->epoch_ns */

uint64_t vnow(void) { return job->epoch_ns + passed; }

/* While all wait nobody runs, and nobody uses the time. In relaxed mode it is not known who does. */
static void used(struct thread *t, uint64_t ns)
{
	if (t && !(job->flags & TJ_RELAXED)) {
		t->used_ns += ns;
		t->p->used_ns += ns;
	}
}

uint64_t vtick(uint64_t ns)
{
	if (ns > job->virtual_ns || passed > job->virtual_ns - ns) {
		passed = job->virtual_ns;
		finish_killed(TJ_KILLED_TIME);
	}
	passed += ns;
	used(running, ns);
	return vnow();
}

void time_ran(struct thread *t, uint64_t ns)
{
	passed += ns;
	used(t, ns);
}

void clock_reach(uint64_t at)
{
	if (at > vnow())
		vtick(at - vnow());
}

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

/* A thread that only looks at the clock until another has done its work would never let it: after some reads without a
 * read of anybody else's between them it yields. Yielding at each would switch threads at every lap of a benchmark. */
bool read_enough(struct thread *t)
{
	static uint32_t reader;
	static unsigned reads;
	if (t->p->clock_at)
		return alive > 1; /* it has read without a stop, and has had its turn */
	if (reader != t->vtid) {
		reader = t->vtid;
		reads = 0;
	}
	return ++reads % READS_A_TURN == 0;
}

static int give_read(struct thread *t, long r)
{
	clock_asked(t);
	answer(t, r);
	return read_enough(t) ? V_YIELD : V_DONE;
}

/* process_by finds the process that a clock id names, by the number of its leader, or of the caller itself. */
static struct process *process_by(struct thread *t, uint32_t pid)
{
	if (pid == 0 || pid == t->vtid || pid == t->p->vpid)
		return t->p;
	for (struct process *p = processes; p; p = p->next)
		if (p->vpid == pid)
			return p->zombie ? NULL : p;
	return NULL;
}

uint64_t clock_now(const struct clock *c)
{
	if (c->of && job->flags & TJ_RELAXED)
		return vnow() - c->of->started_ns;
	for (struct thread *o = threads; o && c->vtid; o = o->next)
		if (o->p == c->of && o->vtid == c->vtid)
			return o->used_ns;
	if (c->vtid)
		return 0; /* of a thread that has ended; nothing runs by it any more */
	return c->of ? c->of->used_ns : vnow() - (uint64_t)c->zero;
}

/* of_processor makes c the processor time of p, or of one thread of it. What a sleep by it means is left to the virtual
 * clock: it lasts as if somebody worked all the time. */
static int of_processor(struct clock *c, struct process *p, uint32_t vtid)
{
	c->of = p;
	c->vtid = vtid;
	c->zero = (int64_t)(vnow() - clock_now(c));
	return 0;
}

/* Ids below 0 name the processor time of a process or thread: ~pid in the upper bits, a bit for threads, and which
 * time: user and system, user, or scheduled. Which 3 would be a clock behind a descriptor; there is none. */
static int processor_clock(struct thread *t, int id, struct clock *c)
{
	uint32_t pid = ~(uint32_t)(id >> 3);
	if ((id & 3) == 3)
		return -EINVAL;
	if (!(id & 4)) {
		struct process *p = process_by(t, pid);
		return p ? of_processor(c, p, 0) : -EINVAL;
	}
	if (pid == 0 || pid == t->vtid) {
		c->no_sleep = -EINVAL; /* it would never wake */
		return of_processor(c, t->p, t->vtid);
	}
	for (struct thread *o = threads; o; o = o->next)
		if (o->vtid == pid && o->p == t->p && o->state != DEAD)
			return of_processor(c, o->p, pid);
	return -EINVAL;
}

int clock_of(struct thread *t, int id, struct clock *c)
{
	*c = (struct clock){.step = 1};
	if (id < 0)
		return processor_clock(t, id, c);
	switch (id) {
	case CLOCK_REALTIME_COARSE:
	case CLOCK_MONOTONIC_COARSE:
		c->step = CLOCK_COARSE_NS;
		/* fall through */
	case CLOCK_MONOTONIC_RAW:
		c->no_sleep = c->no_timer = -EOPNOTSUPP;
		break;
	case CLOCK_REALTIME_ALARM:
	case CLOCK_BOOTTIME_ALARM:
		c->no_sleep = c->no_timer = -EPERM;
		break;
	}
	switch (id) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_TAI: /* no leap seconds are known, as on a machine that nobody told of them */
		return 0;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM:
		c->zero = (int64_t)job->epoch_ns - (int64_t)CLOCK_BOOTED_NS;
		return 0;
	case CLOCK_THREAD_CPUTIME_ID:
		c->no_sleep = -EOPNOTSUPP;
		return of_processor(c, t->p, t->vtid);
	case CLOCK_PROCESS_CPUTIME_ID:
		return of_processor(c, t->p, 0);
	}
	return -EINVAL;
}

uint64_t clock_when(int64_t zero, uint64_t ns)
{
	int64_t at = (int64_t)ns;
	if (zero > 0 && at > INT64_MAX - zero)
		return INT64_MAX;
	at += zero;
	return at < 1 ? 1 : (uint64_t)at;
}

uint64_t clock_soon(uint64_t ns) { return clock_when((int64_t)vnow(), ns); }

long span_of(int64_t sec, int64_t nsec, uint64_t *ns)
{
	if (sec < 0 || nsec < 0 || nsec >= (int64_t)SECOND)
		return -EINVAL;
	*ns = sec >= INT64_MAX / (int64_t)SECOND ? INT64_MAX : (uint64_t)sec * SECOND + (uint64_t)nsec;
	return 0;
}

long read_span(struct thread *t, uint64_t addr, uint64_t *ns)
{
	struct timespec ts;
	if (!peek(t, addr, &ts, sizeof ts))
		return -EFAULT;
	return span_of(ts.tv_sec, ts.tv_nsec, ns);
}

struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){(time_t)(ns / SECOND), (long)(ns % SECOND)};
}

static int do_clock_gettime(struct thread *t)
{
	struct clock c;
	long r = clock_of(t, (int)t->a[0], &c);
	if (r < 0)
		return give(t, r);
	vtick(READ_NS);
	uint64_t shows = clock_now(&c);
	struct timespec ts = timespec_of(shows - shows % c.step);
	return give_read(t, poke(t, t->a[1], &ts, sizeof ts) ? 0 : -EFAULT);
}

static int do_clock_getres(struct thread *t)
{
	struct clock c;
	long r = clock_of(t, (int)t->a[0], &c);
	struct timespec ts = timespec_of(c.step);
	if (r == 0 && t->a[1] && !poke(t, t->a[1], &ts, sizeof ts))
		r = -EFAULT;
	return give(t, r);
}

static int do_gettimeofday(struct thread *t)
{
	struct timespec now = timespec_of(vtick(READ_NS));
	struct timeval tv = {now.tv_sec, now.tv_nsec / 1000};
	struct timezone utc = {0, 0};
	if ((t->a[0] && !poke(t, t->a[0], &tv, sizeof tv)) || (t->a[1] && !poke(t, t->a[1], &utc, sizeof utc)))
		return give_read(t, -EFAULT);
	return give_read(t, 0);
}

static int do_time(struct thread *t)
{
	int64_t now = (int64_t)(vtick(READ_NS) / SECOND);
	return give_read(t, t->a[0] && !poke(t, t->a[0], &now, sizeof now) ? -EFAULT : now);
}

/* In relaxed mode the kernel sleeps, as long as the virtual clock says; that clock is then where the sleep should end. */
static int slept(struct thread *t, long result)
{
	if (result == 0)
		clock_reach(t->keep[1]);
	t->r.rdi = t->a[0], t->r.rsi = t->a[1], t->r.rdx = t->a[2], t->r.r10 = t->a[3];
	set_args(t);
	return V_DONE;
}

static int sleep_relaxed(struct thread *t, uint64_t deadline, uint64_t left_at)
{
	struct timespec rest = timespec_of(deadline > vnow() ? deadline - vnow() : 0);
	if (t->nr == SYS_clock_nanosleep) {
		uint64_t at = scratch(t, sizeof rest);
		if (!poke(t, at, &rest, sizeof rest))
			return give(t, -EFAULT);
		t->r.rdi = CLOCK_MONOTONIC, t->r.rsi = 0, t->r.rdx = at, t->r.r10 = left_at;
		set_args(t);
	}
	t->keep[1] = deadline;
	t->after = slept;
	return V_AFTER;
}

/* sleep_until: left_at is where the time that is left goes if a signal ends the sleep; 0: nowhere. */
static int sleep_until(struct thread *t, uint64_t deadline, uint64_t left_at)
{
	if (job->flags & TJ_RELAXED)
		return sleep_relaxed(t, deadline, left_at);
	if (deadline <= vnow()) {
		answer(t, 0);
		return V_YIELD;
	}
	t->keep[0] = left_at;
	t->deadline = deadline;
	t->state = SLEEP;
	t->restart = NO_RESTART;
	return V_BLOCK;
}

long cut_sleep(struct thread *t)
{
	if ((t->nr != SYS_nanosleep && t->nr != SYS_clock_nanosleep) || !t->keep[0])
		return -EINTR;
	struct timespec left = timespec_of(t->deadline > vnow() ? t->deadline - vnow() : 0);
	return poke(t, t->keep[0], &left, sizeof left) ? -EINTR : -EFAULT;
}

static int do_nanosleep(struct thread *t)
{
	uint64_t ns;
	long r = read_span(t, t->a[0], &ns);
	return r < 0 ? give(t, r) : sleep_until(t, clock_soon(ns), t->a[1]);
}

static int do_clock_nanosleep(struct thread *t)
{
	struct clock c;
	uint64_t ns;
	long r = clock_of(t, (int)t->a[0], &c);
	/* Of a processor's clock of one's own the kernel tells only after it has read the time. */
	if (r == 0 && c.no_sleep != -EINVAL)
		r = c.no_sleep;
	if (r == 0)
		r = read_span(t, t->a[2], &ns);
	if (r == 0)
		r = c.no_sleep;
	if (r < 0)
		return give(t, r);
	return t->a[1] & TIMER_ABSTIME ? sleep_until(t, clock_when(c.zero, ns), 0) : sleep_until(t, clock_soon(ns), t->a[3]);
}

#define TRACE(n, f) {SYS_##n, C_TRACE, f, 0}
#define ERRNO(n, e) {SYS_##n, C_ERRNO, NULL, e}

const struct call time_calls[] = {
	TRACE(clock_gettime, do_clock_gettime), TRACE(clock_getres, do_clock_getres), TRACE(gettimeofday, do_gettimeofday),
	TRACE(time, do_time), TRACE(nanosleep, do_nanosleep), TRACE(clock_nanosleep, do_clock_nanosleep),
	ERRNO(clock_settime, EPERM), ERRNO(settimeofday, EPERM), ERRNO(adjtimex, EPERM), ERRNO(clock_adjtime, EPERM),
	TRACE(alarm, do_alarm), TRACE(setitimer, do_setitimer), TRACE(getitimer, do_getitimer),
	TRACE(timer_create, do_timer_create), TRACE(timer_settime, do_timer_settime), TRACE(timer_gettime, do_timer_gettime),
	TRACE(timer_getoverrun, do_timer_getoverrun), TRACE(timer_delete, do_timer_delete),
	TRACE(getrandom, do_getrandom),
	{-1, C_PASS, NULL, 0},
};
