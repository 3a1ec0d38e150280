/* waits.c: checks clocks, timers and futexes of the tracer by themselves. This program is its own cage: the threads are
 * made up, their memory is the program's own. What a call answers at once is compared with what the kernel here says to
 * the same call; what waits is checked by whom it wakes. */
#include "../clock.h"
#include "../core.h"
#include "../futex.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND 1000000000ull
#define EPOCH (744847200ull * SECOND)

static struct tj_job run_of = {.magic = TJ_MAGIC, .epoch_ns = EPOCH, .virtual_ns = 1000000 * SECOND};
const struct tj_job *job = &run_of;
int host_proc;
struct thread *threads;
struct process *processes;
struct thread *running;

static int wrong;
static void check(bool ok, const char *format, long a, long b, long c)
{
	if (ok)
		return;
	fprintf(stderr, "wrong: ");
	fprintf(stderr, format, a, b, c);
	fprintf(stderr, "\n");
	wrong = 1;
}

/* --- what the loop gives its handlers */
static struct { struct thread *t; long result; } answers[64];
static int answered;
void answer(struct thread *t, long result)
{
	if (answered < 64)
		answers[answered++] = (__typeof__(answers[0])){t, result};
	t->answered = true;
}
bool peek(struct thread *t, uint64_t addr, void *to, size_t n)
{
	(void)t;
	struct iovec l = {to, n}, r = {(void *)addr, n};
	return process_vm_readv(getpid(), &l, 1, &r, 1, 0) == (ssize_t)n;
}
bool poke(struct thread *t, uint64_t addr, const void *from, size_t n)
{
	(void)t;
	struct iovec l = {(void *)(uintptr_t)from, n}, r = {(void *)addr, n};
	return process_vm_writev(getpid(), &l, 1, &r, 1, 0) == (ssize_t)n;
}
uint64_t scratch(struct thread *t, size_t n) { (void)t, (void)n; abort(); }
void set_args(struct thread *t) { (void)t; abort(); }
int do_getrandom(struct thread *t) { (void)t; abort(); }
void trouble(const char *what) { perror(what); exit(3); }
static bool may_end;
void finish_killed(enum tj_reason reason) { exit(may_end && reason == TJ_KILLED_TIME && vnow() == EPOCH + job->virtual_ns ? wrong : 4); }
uint32_t alive = 1;
void clock_asked(struct thread *t) { (void)t; }
void machine_clock(int id, struct timespec *ts) { clock_gettime(id, ts); }

static struct { struct process *p; struct thread *to; int sig, code, timer; uint64_t value; } sent;
static int sends;
static uint64_t pending;
void send_signal(struct process *p, struct thread *to, int sig, int code, int timer_id, uint64_t value)
{
	sent = (__typeof__(sent)){p, to, sig, code, timer_id, value};
	sends++;
}
uint64_t pending_signals(struct thread *t) { (void)t; return pending; }

static struct process one = {.vpid = 2, .mm = 1, .started_ns = EPOCH}, two = {.vpid = 9, .mm = 2, .started_ns = EPOCH, .used_ns = 2 * SECOND};
static struct thread pool[8];

static const struct call *call_in(const struct call *c, long nr)
{
	while (c->nr >= 0 && c->nr != nr)
		c++;
	return c->nr < 0 ? NULL : c;
}

/* ask has t make a call: its answer, or BLOCKED. */
#define BLOCKED 100000
static long ask(struct thread *t, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	const struct call *how = call_in(time_calls, nr);
	if (!how)
		how = call_in(futex_calls, nr);
	if (how->how == C_ERRNO)
		return -how->err;
	t->nr = nr;
	t->a[0] = a, t->a[1] = b, t->a[2] = c, t->a[3] = d, t->a[4] = e, t->a[5] = f;
	t->deadline = 0;
	t->answered = false;
	answered = 0;
	int v = how->entry(t);
	if (v == V_BLOCK)
		return BLOCKED;
	for (int i = 0; i < answered; i++)
		if (answers[i].t == t)
			return answers[i].result;
	return BLOCKED + 1;
}

static void come_back(struct thread *t)
{
	t->state = READY;
	t->deadline = 0;
}

/* --- clocks */
static int64_t read_clock(int id)
{
	struct timespec ts = {0};
	return ask(&pool[0], SYS_clock_gettime, (uint64_t)id, (uint64_t)&ts, 0, 0, 0, 0) < 0 ? -1 : (int64_t)ts.tv_sec * (int64_t)SECOND + ts.tv_nsec;
}

static void clocks(void)
{
	struct timespec ts;
	for (int id = -80; id < 20; id++) {
		/* Clocks behind descriptors and the alarm clocks hang on the machine; a pid means another process there. */
		if (id == CLOCK_REALTIME_ALARM || id == CLOCK_BOOTTIME_ALARM || (id < 0 && (id & 7) == 3) || (id < -8 && (id & 7) != 7))
			continue;
		long here = syscall(SYS_clock_gettime, id, &ts) < 0 ? -errno : 0, res = syscall(SYS_clock_getres, id, &ts) < 0 ? -errno : 0;
		check((ask(&pool[0], SYS_clock_gettime, (uint64_t)id, (uint64_t)&ts, 0, 0, 0, 0)) == here, "clock_gettime(%ld): not %ld%.0ld", id, here, 0);
		check((ask(&pool[0], SYS_clock_getres, (uint64_t)id, (uint64_t)&ts, 0, 0, 0, 0)) == res, "clock_getres(%ld): not %ld%.0ld", id, res, 0);
		struct timespec bad = {0, 1000000000};
		long sleep = syscall(SYS_clock_nanosleep, id, 0, &bad, NULL) < 0 ? -errno : 0;
		check(ask(&pool[0], SYS_clock_nanosleep, (uint64_t)id, 0, (uint64_t)&bad, 0, 0, 0) == sleep, "clock_nanosleep(%ld, bad): not %ld%.0ld", id, sleep, 0);
	}
	check(ask(&pool[0], SYS_clock_gettime, 0, 8, 0, 0, 0, 0) == -EFAULT, "a clock into no memory%.0ld%.0ld%.0ld", 0, 0, 0);
	int64_t real = read_clock(CLOCK_REALTIME), mono = read_clock(CLOCK_MONOTONIC), coarse = read_clock(CLOCK_MONOTONIC_COARSE), cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
	check(real >= (int64_t)EPOCH && mono - (real - (int64_t)EPOCH) == (int64_t)SECOND + 1000, "monotonic %ld at %ld%.0ld", mono, real, 0);
	check(coarse <= mono + 1000 && coarse > mono - 4000000 && coarse % 4000000 == 0, "coarse %ld at %ld%.0ld", coarse, mono, 0);
	check(cpu == (int64_t)(vnow() - EPOCH), "processor time %ld%.0ld%.0ld", cpu, 0, 0);
	running = NULL; /* all wait */
	vtick(7 * SECOND);
	running = &pool[1];
	vtick(SECOND);
	running = &pool[0];
	int64_t own = read_clock(CLOCK_THREAD_CPUTIME_ID), all = read_clock(CLOCK_PROCESS_CPUTIME_ID), another = read_clock((int)(~pool[1].vtid << 3 | 6));
	check(own == cpu + 1000 && all == cpu + 2000 + (int64_t)SECOND && another == (int64_t)SECOND, "processor time of threads: %ld %ld %ld", own, all, another);
	int64_t other = read_clock((int)(~two.vpid << 3 | 2));
	check(other == 2 * (int64_t)SECOND, "another's processor time %ld%.0ld%.0ld", other, 0, 0);
	int64_t tid = 0;
	check(ask(&pool[0], SYS_time, (uint64_t)&tid, 0, 0, 0, 0, 0) == tid && tid == (int64_t)(vnow() / SECOND), "time %ld%.0ld%.0ld", tid, 0, 0);

	/* Who polls lets the others run now and then. */
	int yields = 0;
	for (int i = 0; i < 80; i++) {
		const struct call *c = call_in(time_calls, SYS_clock_gettime);
		pool[1].a[0] = 1;
		pool[1].a[1] = (uint64_t)&ts;
		yields += c->entry(&pool[1]) == V_YIELD;
	}
	check(yields == 10, "%ld yields in 80 reads%.0ld%.0ld", yields, 0, 0);

	struct timespec half = {0, 500000000}, left = {9, 9};
	uint64_t at = vnow();
	check(ask(&pool[0], SYS_nanosleep, (uint64_t)&half, (uint64_t)&left, 0, 0, 0, 0) == BLOCKED && pool[0].state == SLEEP && pool[0].deadline == at + SECOND / 2, "a sleep%.0ld%.0ld%.0ld", 0, 0, 0);
	vtick(SECOND / 5);
	check(cut_sleep(&pool[0]) == -EINTR && left.tv_sec == 0 && left.tv_nsec == 300000000, "left %ld.%09ld%.0ld", left.tv_sec, left.tv_nsec, 0);
	come_back(&pool[0]);
	ts = timespec_of(vnow() - EPOCH + SECOND + 3 * SECOND); /* by the monotonic clock, in 3 s */
	at = vnow();
	left = (struct timespec){9, 9};
	check(ask(&pool[0], SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, (uint64_t)&ts, (uint64_t)&left, 0, 0) == BLOCKED && pool[0].deadline == at + 3 * SECOND, "an absolute sleep%.0ld%.0ld%.0ld", 0, 0, 0);
	check(cut_sleep(&pool[0]) == -EINTR && left.tv_sec == 9, "an absolute sleep told what is left%.0ld%.0ld%.0ld", 0, 0, 0);
	come_back(&pool[0]);
	ts = (struct timespec){0, 0};
	check(ask(&pool[0], SYS_clock_nanosleep, CLOCK_REALTIME, TIMER_ABSTIME, (uint64_t)&ts, 0, 0, 0) == 0, "a sleep until 1970%.0ld%.0ld%.0ld", 0, 0, 0);
	ts = (struct timespec){INT64_MAX, 999999999};
	check(ask(&pool[0], SYS_nanosleep, (uint64_t)&ts, 0, 0, 0, 0, 0) == BLOCKED && pool[0].deadline == INT64_MAX, "a sleep for ever%.0ld%.0ld%.0ld", 0, 0, 0);
	come_back(&pool[0]);
}

/* --- timers */
static void timers(void)
{
	struct thread *t = &pool[0];
	struct itimerspec v, old;
	uint64_t at = vnow();
	int id = -1;
	check(next_timer() == 0, "a timer runs%.0ld%.0ld%.0ld", 0, 0, 0);
	check(ask(t, SYS_alarm, 5, 0, 0, 0, 0, 0) == 0 && next_timer() == at + 5 * SECOND, "alarm%.0ld%.0ld%.0ld", 0, 0, 0);
	vtick(SECOND + SECOND / 4);
	check(ask(t, SYS_alarm, 1, 0, 0, 0, 0, 0) == 4, "of 5 s after 1.25 s not 4 are left%.0ld%.0ld%.0ld", 0, 0, 0);
	vtick(SECOND - SECOND / 4);
	check(ask(t, SYS_alarm, 1, 0, 0, 0, 0, 0) == 1, "of an alarm with 0.25 s not 1 is left%.0ld%.0ld%.0ld", 0, 0, 0);
	vtick(SECOND);
	fire_timers();
	check(sends == 1 && sent.sig == SIGALRM && sent.p == &one && sent.code == SI_KERNEL && next_timer() == 0, "%ld alarms, %ld%.0ld", sends, sent.sig, 0);

	struct itimerval iv = {{0, 20000}, {0, 50000}}, was = {{1, 1}, {1, 1}};
	check(ask(t, SYS_setitimer, ITIMER_PROF, (uint64_t)&iv, (uint64_t)&was, 0, 0, 0) == 0 && !was.it_value.tv_sec && !was.it_interval.tv_sec, "setitimer%.0ld%.0ld%.0ld", 0, 0, 0);
	running = NULL;
	vtick(SECOND);
	fire_timers();
	check(sends == 1 && next_timer() == 0, "a timer by processor time ended while all waited%.0ld%.0ld%.0ld", 0, 0, 0);
	running = &pool[1];
	vtick(115000000); /* ends at 50, 70, 90 and 110 ms: one signal */
	running = &pool[0];
	check(next_timer() == vnow(), "a timer by processor time does not end%.0ld%.0ld%.0ld", 0, 0, 0);
	fire_timers();
	check(sends == 2 && sent.sig == SIGPROF, "%ld signals%.0ld%.0ld", sends, 0, 0);
	check(ask(t, SYS_getitimer, ITIMER_PROF, (uint64_t)&was, 0, 0, 0, 0) == 0 && was.it_value.tv_usec == 15000 && was.it_interval.tv_usec == 20000, "left %ld us%.0ld%.0ld", was.it_value.tv_usec, 0, 0);
	pending = 1ull << (SIGPROF - 1);
	vtick(20000000);
	fire_timers();
	check(sends == 2, "a signal that is still pending was sent again%.0ld%.0ld%.0ld", 0, 0, 0);
	pending = 0;
	iv.it_value.tv_usec = 1000000;
	check(ask(t, SYS_setitimer, ITIMER_REAL, (uint64_t)&iv, 0, 0, 0, 0) == -EINVAL && ask(t, SYS_setitimer, 3, 0, 0, 0, 0, 0) == -EINVAL && ask(t, SYS_setitimer, 0, 8, 0, 0, 0, 0) == -EFAULT, "wrong setitimer%.0ld%.0ld%.0ld", 0, 0, 0);
	check(ask(t, SYS_setitimer, ITIMER_PROF, 0, 0, 0, 0, 0) == 0 && next_timer() == 0, "a timer that was stopped%.0ld%.0ld%.0ld", 0, 0, 0);

	/* What timer_create says to each clock and event, as the kernel does. */
	for (int clock = -8; clock < 14; clock++)
		for (int notify = -1; notify < 6; notify++)
			for (int sig = -1; sig < 67; sig += 11) {
				struct sigevent e = {.sigev_notify = notify, .sigev_signo = sig};
				if (clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM || clock == -5)
					continue;
				e._sigev_un._tid = getpid();
				int mine = -1;
				long here = syscall(SYS_timer_create, clock, &e, &id) < 0 ? -errno : 0;
				if (here == 0)
					syscall(SYS_timer_delete, id);
				e._sigev_un._tid = (int)t->vtid;
				long r = ask(t, SYS_timer_create, (uint64_t)clock, (uint64_t)&e, (uint64_t)&mine, 0, 0, 0);
				check(r == here, "timer_create: %ld, not %ld, clock %ld", r, here, clock);
				if (r == 0)
					check(mine == 0 && ask(t, SYS_timer_delete, 0, 0, 0, 0, 0, 0) == 0, "timer %ld%.0ld%.0ld", mine, 0, 0);
			}
	struct sigevent e = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 77};
	e._sigev_un._tid = (int)pool[1].vtid;
	check(ask(t, SYS_timer_create, CLOCK_MONOTONIC, (uint64_t)&e, (uint64_t)&id, 0, 0, 0) == 0 && id == 0, "timer %ld%.0ld%.0ld", id, 0, 0);
	v = (struct itimerspec){{0, 10000000}, timespec_of(vnow() - EPOCH + SECOND + SECOND)};
	at = vnow();
	check(ask(t, SYS_timer_settime, 0, TIMER_ABSTIME, (uint64_t)&v, (uint64_t)&old, 0, 0) == 0 && next_timer() == at + SECOND, "settime%.0ld%.0ld%.0ld", 0, 0, 0);
	vtick(SECOND);
	fire_timers();
	check(sends == 3 && sent.to == &pool[1] && sent.code == SI_TIMER && sent.timer == 0 && (int)sent.value == 77, "%ld signals%.0ld%.0ld", sends, 0, 0);
	pending = 1ull << (SIGRTMIN - 1);
	vtick(35000000);
	fire_timers();
	check(sends == 3 && ask(t, SYS_timer_getoverrun, 0, 0, 0, 0, 0, 0) == 3, "overruns, %ld signals%.0ld%.0ld", sends, 0, 0);
	check(ask(t, SYS_timer_gettime, 0, (uint64_t)&v, 0, 0, 0, 0) == 0 && v.it_value.tv_nsec == 5000000 && v.it_interval.tv_nsec == 10000000, "left %ld%.0ld%.0ld", v.it_value.tv_nsec, 0, 0);
	pending = 0;
	vtick(5000000);
	fire_timers();
	check(sends == 4 && ask(t, SYS_timer_getoverrun, 0, 0, 0, 0, 0, 0) == 0, "overruns begin anew, %ld signals%.0ld%.0ld", sends, 0, 0);
	/* The alarm stays over an exec, the others go; at the end all do. */
	ask(t, SYS_alarm, 9, 0, 0, 0, 0, 0);
	timers_exec(&one);
	check(ask(t, SYS_timer_gettime, 0, (uint64_t)&v, 0, 0, 0, 0) == -EINVAL && next_timer() == vnow() + 9 * SECOND, "after exec%.0ld%.0ld%.0ld", 0, 0, 0);
	timers_exit(&one);
	check(next_timer() == 0, "after the end%.0ld%.0ld%.0ld", 0, 0, 0);
	int made = 0;
	while (made < 5000 && ask(t, SYS_timer_create, CLOCK_MONOTONIC, 0, (uint64_t)&id, 0, 0, 0) == 0)
		made++;
	check(made == 1024, "%ld timers%.0ld%.0ld", made, 0, 0);
	timers_exit(&one);
	/* A timer by the time of another process, which ends. */
	v = (struct itimerspec){{0, 0}, {1, 0}};
	check(ask(t, SYS_timer_create, (uint64_t)(int)(~two.vpid << 3 | 2), 0, (uint64_t)&id, 0, 0, 0) == 0 && ask(t, SYS_timer_settime, 0, 0, (uint64_t)&v, 0, 0, 0) == 0, "a timer by another's time%.0ld%.0ld%.0ld", 0, 0, 0);
	two.used_ns += SECOND;
	check(next_timer() == vnow(), "another's time does not end a timer%.0ld%.0ld%.0ld", 0, 0, 0);
	timers_exit(&two);
	check(next_timer() == 0 && ask(t, SYS_timer_settime, 0, 0, (uint64_t)&v, 0, 0, 0) == 0 && next_timer() == 0, "the time of a process that has ended goes on%.0ld%.0ld%.0ld", 0, 0, 0);
	timers_exit(&one);
}

/* --- futexes */
static uint32_t words[64] __attribute__((aligned(4096)));

static long here(uint64_t a, uint64_t op, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	long r = syscall(SYS_futex, a, op, c, d, e, f);
	return r < 0 ? -errno : r;
}

static void answers_at_once(void)
{
	struct timespec zero = {0, 0}, bad = {0, -1}, soon = {0, 1000};
	char *hole = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t addresses[] = {(uint64_t)words, (uint64_t)words + 2, (uint64_t)hole, 0, 8, 0x800000000000, 0xffff800000000000}, times[] = {(uint64_t)&zero, (uint64_t)&bad, (uint64_t)&soon, 8};
	long n = 0;
	for (int op = 0; op < 14; op++)
		for (int flags = 0; flags < 512; flags += 128)
			for (size_t a = 0; a < 7; a++)
				for (size_t time = 0; time < 4; time++)
					for (uint64_t value = 0; value < 2; value++) {
						bool locks = op == FUTEX_LOCK_PI || op == FUTEX_LOCK_PI2 || op == FUTEX_TRYLOCK_PI || op == FUTEX_UNLOCK_PI;
						if (op == FUTEX_WAIT_REQUEUE_PI || op == FUTEX_CMP_REQUEUE_PI || (locks && a == 0))
							continue;
						words[0] = words[1] = 0;
						long want = here(addresses[a], (uint64_t)(op | flags), value, times[time], (uint64_t)(words + 1), value);
						uint32_t then = words[1];
						words[0] = words[1] = 0;
						long r = ask(&pool[0], SYS_futex, addresses[a], (uint64_t)(op | flags), value, times[time], (uint64_t)(words + 1), value);
						if (r == BLOCKED) {
							r = -ETIMEDOUT;
							come_back(&pool[0]);
						}
						n++;
						check(r == want && words[1] == then, "futex op %ld: %ld, the kernel says %ld", op | flags, r, want);
					}
	/* What FUTEX_WAKE_OP does to its word and finds out of it. */
	for (uint32_t packed = 0; packed < 1 << 8; packed++)
		for (uint32_t args = 0; args < 6; args++) {
			static const uint32_t some[] = {0x003005, 0xfff001, 0x001fff, 0x7ff800, 0x800000, 0x020007};
			uint32_t p = packed << 24 | some[args];
			words[1] = 0x80000007;
			long want = here((uint64_t)words, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 1, 1, (uint64_t)(words + 1), p);
			uint32_t then = words[1];
			words[1] = 0x80000007;
			long r = ask(&pool[0], SYS_futex, (uint64_t)words, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 1, 1, (uint64_t)(words + 1), p);
			check(r == want && words[1] == then, "wake op %lx: %ld, the kernel says %ld", p, r, want);
		}
	words[0] = words[1] = 0;
	check(n > 1000, "%ld calls compared%.0ld%.0ld", n, 0, 0);
	munmap(hole, 8192);
}

static long futex(struct thread *t, uint32_t *at, int op, uint32_t value, uint64_t time, uint32_t *at2, uint32_t value3)
{
	return ask(t, SYS_futex, (uint64_t)at, (uint64_t)op, value, time, (uint64_t)at2, value3);
}

/* woken says who was answered by the last call, in order, as a number with a digit each. */
static long woken(const struct thread *but)
{
	long n = 0;
	for (int i = 0; i < answered; i++)
		if (answers[i].t != but)
			n = n * 10 + (answers[i].t - pool);
	return n;
}

static void waiting(void)
{
	const int W = FUTEX_WAIT | FUTEX_PRIVATE_FLAG, K = FUTEX_WAKE | FUTEX_PRIVATE_FLAG;
	for (int i = 3; i >= 1; i--)
		check(futex(&pool[i], words, W, 0, 0, NULL, 0) == BLOCKED && pool[i].deadline == 0, "wait of %ld%.0ld%.0ld", i, 0, 0);
	check(futex(&pool[6], words, W, 0, 0, NULL, 0) == BLOCKED, "wait of another address space%.0ld%.0ld%.0ld", 0, 0, 0);
	check(futex(&pool[0], words, FUTEX_WAKE, 9, 0, NULL, 0) == 0, "a wake without the flag found waiters with it%.0ld%.0ld%.0ld", 0, 0, 0);
	check(futex(&pool[0], words, K, 1, 0, NULL, 0) == 1 && woken(&pool[0]) == 3 && pool[3].state == READY, "woken: %ld%.0ld%.0ld", woken(&pool[0]), 0, 0);
	check(futex(&pool[3], words, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, 0, NULL, 6) == BLOCKED, "wait with bits%.0ld%.0ld%.0ld", 0, 0, 0);
	check(futex(&pool[0], words, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 9, 0, NULL, 1) == 2 && woken(&pool[0]) == 21, "bit 1 woke %ld%.0ld%.0ld", woken(&pool[0]), 0, 0);
	check(futex(&pool[0], words, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 9, 0, NULL, 2) == 1 && woken(&pool[0]) == 3, "bit 2 woke %ld%.0ld%.0ld", woken(&pool[0]), 0, 0);
	check(futex(&pool[7], words, K, 9, 0, NULL, 0) == 1 && woken(&pool[7]) == 6, "the other space's own wait%.0ld%.0ld%.0ld", 0, 0, 0);

	/* Of four, one is woken and two wait elsewhere: behind who is there already, in their order. */
	futex(&pool[5], words + 8, W, 0, 0, NULL, 0);
	for (int i = 1; i <= 4; i++)
		futex(&pool[i], words, W, 0, 0, NULL, 0);
	words[0] = 5;
	check(futex(&pool[0], words, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1, 2, words + 8, 4) == -EAGAIN, "another value%.0ld%.0ld%.0ld", 0, 0, 0);
	check(futex(&pool[0], words, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1, 2, words + 8, 5) == 3 && woken(&pool[0]) == 1, "requeue woke %ld%.0ld%.0ld", woken(&pool[0]), 0, 0);
	check(futex(&pool[0], words + 8, FUTEX_REQUEUE | FUTEX_PRIVATE_FLAG, 0, 9, words + 8, 0) == 3, "requeue to itself%.0ld%.0ld%.0ld", 0, 0, 0);
	check(futex(&pool[0], words + 8, K, 9, 0, NULL, 0) == 3 && woken(&pool[0]) == 523, "woken elsewhere: %ld%.0ld%.0ld", woken(&pool[0]), 0, 0);
	words[0] = 0;
	check(futex(&pool[0], words, K, 9, 0, NULL, 0) == 1 && woken(&pool[0]) == 4, "left behind: %ld%.0ld%.0ld", woken(&pool[0]), 0, 0);
	futex(&pool[1], words, W, 0, 0, NULL, 0);
	futex(&pool[2], words + 1, W, 0, 0, NULL, 0);
	check(futex(&pool[0], words, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 1, 1, words + 1, FUTEX_OP(FUTEX_OP_SET, 3, FUTEX_OP_CMP_EQ, 0)) == 2 && woken(&pool[0]) == 12 && words[1] == 3, "wake op woke %ld%.0ld%.0ld", woken(&pool[0]), 0, 0);
	for (int compare = FUTEX_OP_CMP_EQ; compare <= FUTEX_OP_CMP_GE; compare++)
		for (int old = -3; old <= -1; old++) {
			const bool holds[] = {old == -2, old != -2, old < -2, old <= -2, old > -2, old >= -2};
			words[1] = (uint32_t)old;
			futex(&pool[2], words + 1, W, words[1], 0, NULL, 0);
			long r = futex(&pool[0], words, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 1, 1, words + 1, FUTEX_OP(FUTEX_OP_ADD, 0, (uint32_t)compare, -2u));
			check(r == holds[compare], "comparison %ld of %ld with -2 woke %ld", compare, old, r);
			come_back(&pool[2]);
		}

	/* Times: relative, and absolute by either clock. */
	struct timespec ts = {2, 0};
	futex(&pool[1], words, W, 0, (uint64_t)&ts, NULL, 0);
	check(pool[1].deadline == vnow() + 2 * SECOND && pool[1].restart == NO_RESTART, "relative%.0ld%.0ld%.0ld", 0, 0, 0);
	ts = timespec_of(vnow() + 3 * SECOND);
	futex(&pool[2], words, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME, 0, (uint64_t)&ts, NULL, ANY);
	check(pool[2].deadline == vnow() + 3 * SECOND, "by the real-time clock%.0ld%.0ld%.0ld", 0, 0, 0);
	ts = timespec_of(vnow() - EPOCH + SECOND + 4 * SECOND);
	futex(&pool[3], words, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, (uint64_t)&ts, NULL, ANY);
	check(pool[3].deadline == vnow() + 4 * SECOND, "by the monotonic clock%.0ld%.0ld%.0ld", 0, 0, 0);
	check(futex(&pool[0], words, K, 9, 0, NULL, 0) == 3 && pool[1].deadline == 0, "woken with deadlines%.0ld%.0ld%.0ld", 0, 0, 0);
}

/* Words that several processes see: the same place by two addresses, and private memory that is not. */
static void sharing(void)
{
	int fd = memfd_create("words", 0);
	if (fd < 0 || ftruncate(fd, 16384) < 0)
		trouble("memfd");
	char *a = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *b = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 8192);
	char *anon = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), *own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	check(futex(&pool[1], (uint32_t *)(a + 8192 + 64), FUTEX_WAIT, 0, 0, NULL, 0) == BLOCKED, "shared wait%.0ld%.0ld%.0ld", 0, 0, 0);
	check(futex(&pool[6], (uint32_t *)(b + 60), FUTEX_WAKE, 9, 0, NULL, 0) == 0 && futex(&pool[6], (uint32_t *)(a + 64), FUTEX_WAKE, 9, 0, NULL, 0) == 0, "a wake beside it%.0ld%.0ld%.0ld", 0, 0, 0);
	check(futex(&pool[6], (uint32_t *)(b + 64), FUTEX_WAKE, 9, 0, NULL, 0) == 1 && woken(&pool[6]) == 1, "a shared wake by another address%.0ld%.0ld%.0ld", 0, 0, 0);
	futex(&pool[1], (uint32_t *)anon, FUTEX_WAIT, 0, 0, NULL, 0);
	check(futex(&pool[6], (uint32_t *)anon, FUTEX_WAKE, 9, 0, NULL, 0) == 1, "shared anonymous memory%.0ld%.0ld%.0ld", 0, 0, 0);
	futex(&pool[1], (uint32_t *)own, FUTEX_WAIT, 0, 0, NULL, 0);
	check(futex(&pool[6], (uint32_t *)own, FUTEX_WAKE, 9, 0, NULL, 0) == 0, "private memory of another process%.0ld%.0ld%.0ld", 0, 0, 0);
	check(futex_wake(&pool[0], (uint64_t)own, 1) == 1 && pool[1].state == READY, "private memory without the flag%.0ld%.0ld%.0ld", 0, 0, 0);
	/* A lock in shared memory whose owner's process has gone: the kernel has marked it. */
	futex(&pool[1], (uint32_t *)anon, FUTEX_WAIT, 0, 0, NULL, 0);
	futex(&pool[2], (uint32_t *)anon, FUTEX_WAIT, 0, 0, NULL, 0);
	answered = 0;
	futex_gone();
	check(answered == 0, "woken without a mark: %ld%.0ld%.0ld", answered, 0, 0);
	*(uint32_t *)anon = FUTEX_OWNER_DIED | FUTEX_WAITERS;
	futex_gone();
	check(woken(NULL) == 1, "woken by the mark: %ld%.0ld%.0ld", woken(NULL), 0, 0);
	check(futex(&pool[0], (uint32_t *)anon, FUTEX_WAKE, 9, 0, NULL, 0) == 1, "the second waiter%.0ld%.0ld%.0ld", 0, 0, 0);
	close(fd);
}

static void owners(void)
{
	const int L = FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG, U = FUTEX_UNLOCK_PI | FUTEX_PRIVATE_FLAG;
	uint32_t *w = words + 4;
	*w = 0;
	check(futex(&pool[0], w, L, 0, 0, NULL, 0) == 0 && *w == pool[0].vtid, "a free lock: %lx%.0ld%.0ld", *w, 0, 0);
	check(futex(&pool[0], w, L, 0, 0, NULL, 0) == -EDEADLK, "one's own lock%.0ld%.0ld%.0ld", 0, 0, 0);
	check(futex(&pool[1], w, FUTEX_TRYLOCK_PI | FUTEX_PRIVATE_FLAG, 0, 0, NULL, 0) == -EAGAIN, "a try%.0ld%.0ld%.0ld", 0, 0, 0);
	check(futex(&pool[1], w, L, 0, 0, NULL, 0) == BLOCKED && *w == (pool[0].vtid | FUTEX_WAITERS), "waiters: %lx%.0ld%.0ld", *w, 0, 0);
	check(futex(&pool[2], w, L, 0, 0, NULL, 0) == BLOCKED, "a second waiter%.0ld%.0ld%.0ld", 0, 0, 0);
	check(futex(&pool[3], w, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0, NULL, 0) == -EINVAL, "a wake of a lock%.0ld%.0ld%.0ld", 0, 0, 0);
	check(futex(&pool[1], w, U, 0, 0, NULL, 0) == -EPERM, "another's lock%.0ld%.0ld%.0ld", 0, 0, 0);
	check(futex(&pool[0], w, U, 0, 0, NULL, 0) == 0 && pool[1].state == READY && *w == (pool[1].vtid | FUTEX_WAITERS), "handed over: %lx%.0ld%.0ld", *w, 0, 0);
	/* The owner ends without unlocking. */
	pool[1].clear_tid = 0;
	futex_exit(&pool[1]);
	check(pool[2].state == READY && *w == (pool[2].vtid | FUTEX_OWNER_DIED), "after its owner's end: %lx%.0ld%.0ld", *w, 0, 0);
	check(futex(&pool[2], w, U, 0, 0, NULL, 0) == 0 && *w == 0, "unlocked: %lx%.0ld%.0ld", *w, 0, 0);
	*w = 4000;
	check(futex(&pool[2], w, L, 0, 0, NULL, 0) == -ESRCH, "a lock of nobody's%.0ld%.0ld%.0ld", 0, 0, 0);
}

/* The end of a thread, here of this program's own first one, whose list of robust locks the kernel has. */
static void ends(void)
{
	static struct { struct robust_list l; uint32_t word; uint32_t pad; } held[3];
	static struct robust_list_head head;
	struct thread *t = &pool[0];
	uint32_t joined = 7;
	head.list.next = &held[0].l;
	head.futex_offset = 8;
	held[0].l.next = &held[1].l;
	held[1].l.next = &head.list;
	head.list_op_pending = &held[2].l;
	held[0].word = t->vtid | FUTEX_WAITERS;
	held[1].word = 4711;
	held[2].word = 0; /* let go, and nobody woken yet */
	if (syscall(SYS_set_robust_list, &head, sizeof head) < 0)
		trouble("set_robust_list");
	futex(&pool[1], &held[0].word, FUTEX_WAIT, held[0].word, 0, NULL, 0);
	futex(&pool[2], &held[0].word, FUTEX_WAIT, held[0].word, 0, NULL, 0);
	futex(&pool[3], &held[2].word, FUTEX_WAIT, 0, 0, NULL, 0);
	futex(&pool[4], &joined, FUTEX_WAIT, 7, 0, NULL, 0);
	t->clear_tid = (uint64_t)&joined;
	answered = 0;
	futex_exit(t);
	check(woken(NULL) == 134, "woken by an end: %ld%.0ld%.0ld", woken(NULL), 0, 0);
	check(held[0].word == (FUTEX_OWNER_DIED | FUTEX_WAITERS) && held[1].word == 4711 && joined == 0, "words after an end: %lx %lx %lx", held[0].word, held[1].word, joined);
	head.list.next = &head.list;
	head.list_op_pending = NULL;
	futex(&pool[0], &held[0].word, FUTEX_WAKE, 9, 0, NULL, 0);
}

int main(void)
{
	host_proc = open("/proc", O_PATH | O_DIRECTORY);
	if (host_proc < 0)
		trouble("open /proc");
	processes = &one;
	running = &pool[0];
	one.next = &two;
	for (int i = 7; i >= 0; i--) {
		pool[i].tid = getpid();
		pool[i].vtid = 2 + (uint32_t)i;
		pool[i].p = i < 6 ? &one : &two;
		pool[i].state = READY;
		pool[i].next = threads;
		threads = &pool[i];
	}
	clocks();
	timers();
	answers_at_once();
	waiting();
	sharing();
	owners();
	ends();
	may_end = true;
	vtick(INT64_MAX);
	return 5; /* the clock's limit ended it before */
}
