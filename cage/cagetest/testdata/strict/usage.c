/* usage: what a program is told that it has used: getrusage, times, wait4, clock, before and after it worked and slept. */
#include "strict.h"
#include <malloc.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>

static int64_t us(struct timeval t) { return (int64_t)t.tv_sec * 1000000 + t.tv_usec; }
static struct rusage see(const char *what, int who)
{
	struct rusage u;
	memset(&u, 0, sizeof u);
	MUST(getrusage(who, &u) == 0, "getrusage");
	printf("%s %d: user %lld system %lld max %ld %ld %ld %ld faults %ld %ld swaps %ld blocks %ld %ld messages %ld %ld signals %ld switches %ld %ld\n", what, who,
	       (long long)us(u.ru_utime), (long long)us(u.ru_stime), u.ru_maxrss, u.ru_ixrss, u.ru_idrss, u.ru_isrss, u.ru_minflt, u.ru_majflt, u.ru_nswap,
	       u.ru_inblock, u.ru_oublock, u.ru_msgsnd, u.ru_msgrcv, u.ru_nsignals, u.ru_nvcsw, u.ru_nivcsw);
	return u;
}

int main(void)
{
	struct rusage a = see("start", RUSAGE_SELF);
	see("start", RUSAGE_CHILDREN);
	see("start", RUSAGE_THREAD);
	char *b = malloc(8 << 20);
	MUST(b != NULL, "malloc");
	memset(b, 1, 8 << 20);
	work(3000000);
	struct rusage w = see("worked", RUSAGE_SELF);
	WANT(us(w.ru_utime) >= us(a.ru_utime) && us(w.ru_stime) >= us(a.ru_stime), "used time went back");
	WANT(w.ru_maxrss >= a.ru_maxrss && w.ru_maxrss >= 1024, "%ld KiB at most", w.ru_maxrss);
	rest(2000);
	struct rusage s = see("slept", RUSAGE_SELF);
	int64_t used = us(s.ru_utime) + us(s.ru_stime) - us(w.ru_utime) - us(w.ru_stime);
	WANT(used >= 0 && used < 1000000, "a sleep of 2 s used %lld us of processor", (long long)used);
	for (int i = 0; i < 3; i++) {
		pid_t p = fork();
		if (p == 0) {
			work(500000 * (unsigned)(i + 1));
			_exit(i);
		}
		struct rusage c;
		memset(&c, 0, sizeof c);
		int status;
		MUST(wait4(p, &status, 0, &c) == p, "wait4");
		printf("child %d: status %x user %lld system %lld max %ld switches %ld %ld faults %ld %ld\n", i, status, (long long)us(c.ru_utime), (long long)us(c.ru_stime),
		       c.ru_maxrss, c.ru_nvcsw, c.ru_nivcsw, c.ru_minflt, c.ru_majflt);
		WANT(status == i << 8, "status %x", status);
	}
	siginfo_t info;
	struct rusage c;
	memset(&c, 0, sizeof c);
	if (fork() == 0)
		_exit(0);
	printf("waitid: %ld", syscall(SYS_waitid, P_ALL, 0, &info, WEXITED, &c));
	printf(" %lld %lld %ld\n", (long long)us(c.ru_utime), (long long)us(c.ru_stime), c.ru_maxrss);
	see("children", RUSAGE_CHILDREN);
	struct tms t;
	printf("times %ld: %ld %ld %ld %ld\n", (long)times(&t), (long)t.tms_utime, (long)t.tms_stime, (long)t.tms_cutime, (long)t.tms_cstime);
	printf("clock %ld\n", (long)clock());
	struct mallinfo2 m = mallinfo2();
	printf("heap %zu %zu %zu\n", m.arena, m.hblkhd, m.uordblks);
	int wrong = getrusage(9, &c);
	printf("wrong: %d %d\n", wrong, errno);
	WANT(wrong == -1 && errno == EINVAL, "getrusage of 9");
	return SENSIBLE();
}
