/* clock.c: what a caged program has in place of the kernel's vDSO: its clocks, read without a stop.
 *
 * The tracer writes this image over the kernel's at each exec. At first every function makes the call that it stands for.
 * Of a program that reads clocks often the tracer gives it a page, by an address in `docklock_switch`: then a read adds to
 * the virtual time in the page what a trapped one would, and the tracer, which runs whenever nobody does, takes it from
 * there. A read that passes `due` (a timer, the limit), or that has used up its turn, makes the call after all. */
#include "page.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#define SECOND 1000000000u

/* The marks let the tracer find it; the address between them is 0 until it gives one. */
__attribute__((used, visibility("hidden"))) const volatile uint64_t docklock_switch[4] = {CLOCK_MARK_1, CLOCK_MARK_2, 0, CLOCK_MARK_1};

static long call(long nr, long a, long b, long c)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}

/* read_clock lets time pass as a read does and gives it since the epoch of the run; 0: the call must be made. */
static uint64_t read_clock(const struct clock_page **from)
{
	struct clock_page *p = (struct clock_page *)docklock_switch[2];
	if (!p || p->reads >= p->turn)
		return 0;
	uint64_t passed = p->passed + CLOCK_READ_NS;
	if (passed >= p->due)
		return 0;
	p->passed = passed;
	p->reads++;
	*from = p;
	return passed;
}

static void give(struct timespec *to, uint64_t ns)
{
	to->tv_sec = (time_t)(ns / SECOND);
	to->tv_nsec = (long)(ns % SECOND);
}

int __vdso_clock_gettime(clockid_t id, struct timespec *to)
{
	const struct clock_page *p;
	/* By bits, since a table of jumps would have to be relocated: of the clocks of 0 to 11, those that show the run's time. */
	const unsigned realtime = 1u << CLOCK_REALTIME | 1u << CLOCK_REALTIME_COARSE | 1u << CLOCK_TAI;
	const unsigned monotonic = 1u << CLOCK_MONOTONIC | 1u << CLOCK_MONOTONIC_RAW | 1u << CLOCK_MONOTONIC_COARSE | 1u << CLOCK_BOOTTIME;
	const unsigned coarse = 1u << CLOCK_REALTIME_COARSE | 1u << CLOCK_MONOTONIC_COARSE;
	unsigned bit = (unsigned)id < 12 ? 1u << id : 0;
	uint64_t passed;
	if (bit & (realtime | monotonic) && (passed = read_clock(&p))) {
		uint64_t shows = passed + (bit & realtime ? p->epoch_ns : CLOCK_BOOTED_NS);
		give(to, bit & coarse ? shows - shows % CLOCK_COARSE_NS : shows);
		return 0;
	}
	return (int)call(SYS_clock_gettime, id, (long)to, 0);
}

int __vdso_gettimeofday(struct timeval *to, struct timezone *zone)
{
	const struct clock_page *p;
	uint64_t passed;
	if (to && !zone && (passed = read_clock(&p))) {
		uint64_t ns = passed + p->epoch_ns;
		to->tv_sec = (time_t)(ns / SECOND);
		to->tv_usec = (suseconds_t)(ns % SECOND / 1000);
		return 0;
	}
	return (int)call(SYS_gettimeofday, (long)to, (long)zone, 0);
}

time_t __vdso_time(time_t *to)
{
	const struct clock_page *p;
	uint64_t passed = read_clock(&p);
	if (!passed)
		return call(SYS_time, (long)to, 0, 0);
	time_t now = (time_t)((passed + p->epoch_ns) / SECOND);
	if (to)
		*to = now;
	return now;
}

int __vdso_clock_getres(clockid_t id, struct timespec *to)
{
	return (int)call(SYS_clock_getres, id, (long)to, 0);
}

int __vdso_getcpu(unsigned *cpu, unsigned *node, void *unused)
{
	(void)unused;
	if (cpu)
		*cpu = 0;
	if (node)
		*node = 0;
	return 0;
}

int clock_gettime(clockid_t, struct timespec *) __attribute__((weak, alias("__vdso_clock_gettime")));
int gettimeofday(struct timeval *, void *) __attribute__((weak, alias("__vdso_gettimeofday")));
time_t time(time_t *) __attribute__((weak, alias("__vdso_time")));
int clock_getres(clockid_t, struct timespec *) __attribute__((weak, alias("__vdso_clock_getres")));
int getcpu(unsigned *, unsigned *, void *) __attribute__((weak, alias("__vdso_getcpu")));
