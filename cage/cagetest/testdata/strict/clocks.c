/* clocks: every clock id, by the library and by the call itself, its resolution, and what a second's sleep does to it. */
#include "strict.h"
#include <sys/time.h>
#include <sys/times.h>

static const struct { clockid_t id; const char *name; int sleeps; } ids[] = {
	{CLOCK_REALTIME, "realtime", 1}, {CLOCK_MONOTONIC, "monotonic", 1}, {CLOCK_PROCESS_CPUTIME_ID, "process", 0},
	{CLOCK_THREAD_CPUTIME_ID, "thread", 0}, {CLOCK_MONOTONIC_RAW, "raw", 1}, {CLOCK_REALTIME_COARSE, "realtime coarse", 1},
	{CLOCK_MONOTONIC_COARSE, "monotonic coarse", 1}, {CLOCK_BOOTTIME, "boottime", 1}, {CLOCK_REALTIME_ALARM, "realtime alarm", 1},
	{CLOCK_BOOTTIME_ALARM, "boottime alarm", 1}, {10, "sgi", 1}, {CLOCK_TAI, "tai", 1}, {12, "none", 1}, {-1, "minus one", 1},
};
#define N (sizeof ids / sizeof *ids)

static int64_t raw(clockid_t id)
{
	struct timespec t = {0};
	if (syscall(SYS_clock_gettime, id, &t) != 0)
		return -errno;
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int main(void)
{
	int64_t before[N], after[N];
	for (size_t i = 0; i < N; i++) {
		struct timespec res = {0};
		int r = clock_getres(ids[i].id, &res) ? -errno : 0;
		int64_t a = now_of(ids[i].id), b = raw(ids[i].id), c = now_of(ids[i].id);
		printf("%s: res %d %ld.%09ld, %lld %lld %lld\n", ids[i].name, r, (long)res.tv_sec, res.tv_nsec, (long long)a, (long long)b, (long long)c);
		WANT(a <= b && b <= c, "%s went backwards", ids[i].name);
		WANT((a < 0) == (b < 0), "%s: library and kernel differ", ids[i].name);
		before[i] = c;
	}
	WANT(now_of(CLOCK_REALTIME) > 1000000000000000000, "realtime is before 2001");
	int64_t first = now(), last = first;
	for (int i = 0; i < 2000; i++) {
		int64_t t = i & 1 ? now() : raw(CLOCK_MONOTONIC);
		WANT(t >= last, "monotonic went back by %lld", (long long)(last - t));
		last = t;
	}
	printf("2000 readings: %lld to %lld\n", (long long)first, (long long)last);

	struct timespec second = {1, 0}, left = {7, 7};
	WANT(nanosleep(&second, &left) == 0, "nanosleep: %s", strerror(errno));
	for (size_t i = 0; i < N; i++) {
		after[i] = now_of(ids[i].id);
		int64_t d = after[i] - before[i];
		printf("%s: +%lld\n", ids[i].name, (long long)d);
		if (after[i] < 0)
			continue;
		if (ids[i].sleeps)
			WANT(d >= (ids[i].id == CLOCK_REALTIME_COARSE || ids[i].id == CLOCK_MONOTONIC_COARSE ? 980000000 : 1000000000) && d < 20000000000,
			     "%s: a second's sleep took %lld ns", ids[i].name, (long long)d);
		else
			WANT(d >= 0 && d < 500000000, "%s: a second's sleep used %lld ns of processor", ids[i].name, (long long)d);
	}
	for (int i = 0; i < 2; i++) {
		clockid_t id = i ? CLOCK_MONOTONIC : CLOCK_REALTIME;
		int64_t t0 = now_of(id), until = t0 + 30000000;
		struct timespec at = {until / 1000000000, until % 1000000000};
		int r = clock_nanosleep(id, TIMER_ABSTIME, &at, NULL);
		int64_t t1 = now_of(id);
		printf("until: %d +%lld\n", r, (long long)(t1 - t0));
		WANT(r == 0 && t1 >= until, "slept until %lld, wanted %lld", (long long)t1, (long long)until);
		r = clock_nanosleep(id, TIMER_ABSTIME, &at, NULL);
		WANT(r == 0, "sleep until the past: %d", r);
	}
	struct timespec wrong = {0, 1000000000};
	printf("wrong: %d %d\n", nanosleep(&wrong, NULL), errno);
	WANT(errno == EINVAL, "a sleep of 10^9 ns past the second was taken");
	struct timeval tv;
	struct timezone tz = {1, 1};
	time_t s = time(NULL), raw_s = syscall(SYS_time, NULL);
	WANT(gettimeofday(&tv, &tz) == 0, "gettimeofday");
	int64_t r = now_of(CLOCK_REALTIME);
	printf("time %lld %lld %lld.%06ld zone %d %d\n", (long long)s, (long long)raw_s, (long long)tv.tv_sec, (long)tv.tv_usec, tz.tz_minuteswest, tz.tz_dsttime);
	WANT(tv.tv_sec - s <= 1 && raw_s >= s && r / 1000000000 - tv.tv_sec <= 1 && tv.tv_sec >= s, "time, gettimeofday and realtime disagree");
	struct tms tms;
	clock_t ticks = times(&tms);
	rest(50);
	clock_t later = times(&tms);
	printf("times %ld %ld: %ld %ld %ld %ld, clock %ld, per second %ld\n", (long)ticks, (long)later, (long)tms.tms_utime, (long)tms.tms_stime,
	       (long)tms.tms_cutime, (long)tms.tms_cstime, (long)clock(), sysconf(_SC_CLK_TCK));
	WANT(later - ticks >= 4, "50 ms are %ld ticks", (long)(later - ticks));
	clockid_t cpu, mine;
	WANT(clock_getcpuclockid(0, &cpu) == 0 && pthread_getcpuclockid(pthread_self(), &mine) == 0, "no processor clock ids");
	printf("cpu clocks %d %d: %lld %lld\n", cpu, mine, (long long)now_of(cpu), (long long)now_of(mine));
	return SENSIBLE();
}
