/* timers: "chld" SIGCHLD of children that end at their own times, "alarm", "itimer", "timerfd", "posix" the timers that
 * there are, "poll" what a wait with a bound does when nothing, something or a signal comes. */
#include "strict.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/timerfd.h>

static volatile sig_atomic_t hits, last_signal, last_code, last_value;
static volatile int64_t hit_at;
static void handler(int sig, siginfo_t *info, void *context)
{
	(void)context;
	hits++;
	last_signal = sig;
	last_code = info->si_code;
	last_value = info->si_value.sival_int;
	hit_at = now();
}
static void handle(int sig, int flags)
{
	struct sigaction s = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
	MUST(sigaction(sig, &s, NULL) == 0, "sigaction");
}
/* took says how long something took and wants it to be at least as long as asked, and not much longer. */
static void took(const char *what, int64_t from, long least_ms)
{
	int64_t d = now() - from;
	printf("%s: +%lld\n", what, (long long)d);
	WANT(d >= least_ms * 1000000 && d < (least_ms + 10000) * 1000000, "%s: asked for %ld ms, took %lld ns", what, least_ms, (long long)d);
}

static volatile sig_atomic_t ended[8], endings;
static void reap(int sig)
{
	(void)sig;
	int status, keep = errno;
	for (pid_t p; (p = waitpid(-1, &status, WNOHANG)) > 0;)
		if (endings < 8)
			ended[endings++] = WEXITSTATUS(status);
	errno = keep;
}
static void chld(void)
{
	struct sigaction s = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};
	MUST(sigaction(SIGCHLD, &s, NULL) == 0, "sigaction");
	static const int sleeps[] = {40, 10, 60, 20, 50};
	sigset_t block, old;
	sigemptyset(&block);
	sigaddset(&block, SIGCHLD);
	sigprocmask(SIG_BLOCK, &block, &old);
	for (int i = 0; i < 5; i++) {
		pid_t p = fork();
		MUST(p >= 0, "fork");
		if (p == 0) {
			rest(sleeps[i]);
			_exit(sleeps[i]);
		}
	}
	int64_t from = now();
	int waits = 0;
	while (endings < 5) {
		sigsuspend(&old);
		waits++;
	}
	took("five children", from, 50);
	printf("woken %d times; ended:", waits);
	for (int i = 0; i < endings; i++) {
		printf(" %d", ended[i]);
		WANT(i == 0 || ended[i] > ended[i - 1], "a child that slept %d ms ended after one that slept %d", ended[i], ended[i - 1]);
	}
	printf("\n");
	/* One ending is one signal, with the number and the status in it. */
	siginfo_t info;
	memset(&info, 0, sizeof info);
	pid_t one = fork();
	if (one == 0)
		_exit(33);
	int sig = sigwaitinfo(&block, &info);
	printf("waited for: %d code %d status %d child %d\n", sig, info.si_code, info.si_status, info.si_pid == one);
	WANT(sig == SIGCHLD && info.si_code == CLD_EXITED && info.si_status == 33 && info.si_pid == one, "what SIGCHLD says");
	struct timespec none = {0};
	WANT(sigtimedwait(&block, &info, &none) == -1 && errno == EAGAIN, "a second SIGCHLD of one child");
	WANT(waitpid(one, NULL, 0) == one, "the child is gone already");
	/* A handler that was not told to restart ends a sleep, and the rest of it is known. */
	handle(SIGCHLD, 0);
	sigprocmask(SIG_SETMASK, &old, NULL);
	from = now();
	if (fork() == 0) {
		rest(10);
		_exit(0);
	}
	struct timespec long_ms = ms(500), left = {0};
	int r = nanosleep(&long_ms, &left);
	printf("sleep broken: %d, hits %d, left %ld ms\n", r, (int)hits, left.tv_nsec / 1000000);
	WANT(r == -1 && hits == 1 && left.tv_nsec > 300000000, "a sleep of 500 ms beside a child of 10 ms");
	took("broken sleep", from, 9);
	while (wait(NULL) > 0) {
	}
	signal(SIGCHLD, SIG_IGN);
	if (fork() == 0)
		_exit(0);
	WANT(wait(NULL) == -1 && errno == ECHILD, "an ignored child was waited for");
}

static void alarms(void)
{
	handle(SIGALRM, 0);
	int64_t from = now();
	printf("alarm %u %u\n", alarm(7), alarm(1));
	int r = pause();
	printf("pause %d %d hits %d code %d\n", r, errno, (int)hits, (int)last_code);
	WANT(hits == 1 && last_signal == SIGALRM, "%d alarms", (int)hits);
	took("alarm", from, 1000);
	alarm(5);
	rest(1500);
	unsigned left = alarm(0);
	printf("left %u\n", left);
	WANT(left == 3 || left == 4, "of 5 s after 1.5 s %u are left", left);
	rest(6000);
	WANT(hits == 1, "an alarm that was taken back came");
	/* An alarm goes with its process, not with the program: a child has none, exec keeps it. */
	alarm(1);
	pid_t p = fork();
	if (p == 0) {
		unsigned mine = alarm(0);
		_exit(mine != 0);
	}
	int status = 0;
	waitpid(p, &status, 0);
	WANT(status == 0, "a child inherited an alarm");
	pause();
	WANT(hits == 2, "%d alarms", (int)hits);
	p = fork();
	if (p == 0) {
		alarm(2);
		execl("/proc/self/exe", "timers", "sleepy", (char *)NULL);
		_exit(99);
	}
	from = now();
	waitpid(p, &status, 0);
	printf("alarmed across exec: status %x\n", status);
	WANT(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM, "status %x", status);
	took("exec", from, 2000);
}

static void itimer(void)
{
	handle(SIGALRM, SA_RESTART);
	struct itimerval v = {.it_interval = {0, 20000}, .it_value = {0, 50000}}, old;
	int64_t from = now(), first = 0;
	MUST(setitimer(ITIMER_REAL, &v, NULL) == 0, "setitimer");
	while (hits < 5) {
		pause();
		if (first == 0)
			first = hit_at - from;
		printf("tick %d: +%lld\n", (int)hits, (long long)(hit_at - from));
	}
	WANT(first >= 50000000, "the first tick after %lld ns", (long long)first);
	took("five ticks", from, 130);
	MUST(getitimer(ITIMER_REAL, &old) == 0, "getitimer");
	printf("left %ld.%06ld every %ld.%06ld\n", (long)old.it_value.tv_sec, (long)old.it_value.tv_usec, (long)old.it_interval.tv_sec, (long)old.it_interval.tv_usec);
	WANT(old.it_interval.tv_usec == 20000 && old.it_value.tv_sec == 0 && old.it_value.tv_usec <= 20000, "what is left of a tick");
	/* A read is made again after a handler with SA_RESTART. */
	int p[2];
	char c = 0;
	MUST(pipe(p) == 0, "pipe");
	int before = hits;
	if (fork() == 0) {
		rest(100);
		_exit(write(p[1], "z", 1) != 1);
	}
	ssize_t n = read(p[0], &c, 1);
	printf("read %zd %c amid %d ticks\n", n, c, (int)hits - before);
	WANT(n == 1 && c == 'z' && hits - before >= 3, "a read amid ticks");
	memset(&v, 0, sizeof v);
	MUST(setitimer(ITIMER_REAL, &v, NULL) == 0, "setitimer");
	before = hits;
	rest(100);
	WANT(hits == before, "a timer that was stopped ticked");
	v.it_value.tv_usec = 1000000;
	WANT(setitimer(ITIMER_REAL, &v, NULL) == -1 && errno == EINVAL, "a timer of 10^6 us past the second was taken");
	for (int which = ITIMER_VIRTUAL; which <= ITIMER_PROF; which++) {
		int r = getitimer(which, &old);
		printf("timer %d: %d %d\n", which, r, r ? errno : 0);
	}
}

static void timerfd(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	MUST(fd >= 0, "timerfd_create");
	uint64_t n = 0;
	WANT(read(fd, &n, 8) == -1 && errno == EAGAIN, "an unset timer can be read");
	struct itimerspec v = {.it_interval = {0, 10000000}, .it_value = {0, 30000000}}, cur;
	int64_t from = now();
	MUST(timerfd_settime(fd, 0, &v, NULL) == 0, "timerfd_settime");
	WANT(read(fd, &n, 8) == -1 && errno == EAGAIN, "a timer of 30 ms is over at once");
	struct pollfd pf = {fd, POLLIN, 0};
	int r = poll(&pf, 1, 5000);
	WANT(r == 1 && pf.revents == POLLIN && read(fd, &n, 8) == 8 && n >= 1, "poll gave %d, %x, %llu", r, pf.revents, (unsigned long long)n);
	took("first", from, 30);
	rest(55);
	WANT(read(fd, &n, 8) == 8 && n >= 5, "after 55 ms of ticks of 10 ms: %llu", (unsigned long long)n);
	printf("ticks %llu\n", (unsigned long long)n);
	MUST(timerfd_gettime(fd, &cur) == 0, "timerfd_gettime");
	printf("left %lld.%09ld every %ld\n", (long long)cur.it_value.tv_sec, cur.it_value.tv_nsec, cur.it_interval.tv_nsec);
	WANT(cur.it_interval.tv_nsec == 10000000 && cur.it_value.tv_nsec > 0 && cur.it_value.tv_nsec <= 10000000, "what is left");
	close(fd);
	/* A read that waits, an absolute time, another clock, and epoll over two of them. */
	fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC);
	int64_t until = now_of(CLOCK_REALTIME) + 40000000;
	v = (struct itimerspec){.it_value = {until / 1000000000, until % 1000000000}};
	from = now();
	MUST(timerfd_settime(fd, TFD_TIMER_ABSTIME, &v, NULL) == 0 && read(fd, &n, 8) == 8, "absolute timer");
	took("absolute", from, 39);
	WANT(n == 1, "a timer of one end ended %llu times", (unsigned long long)n);
	int other = timerfd_create(CLOCK_BOOTTIME, 0), ep = epoll_create1(0);
	MUST(other >= 0 && ep >= 0, "epoll");
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = 1};
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0, "epoll_ctl");
	e.data.u32 = 2;
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, other, &e) == 0, "epoll_ctl");
	v = (struct itimerspec){.it_value = {0, 60000000}};
	MUST(timerfd_settime(fd, 0, &v, NULL) == 0, "timerfd_settime");
	v.it_value.tv_nsec = 20000000;
	MUST(timerfd_settime(other, 0, &v, NULL) == 0, "timerfd_settime");
	from = now();
	for (unsigned want = 2; want >= 1; want--) {
		r = epoll_wait(ep, &e, 1, -1);
		printf("epoll %d: %u after %lld\n", r, r == 1 ? e.data.u32 : 0, (long long)(now() - from));
		WANT(r == 1 && e.data.u32 == want && read(want == 1 ? fd : other, &n, 8) == 8, "timer %u came, not %u", e.data.u32, want);
	}
	took("both", from, 60);
	printf("wrong: %d", timerfd_create(99, 0) < 0 ? errno : 0);
	printf(" %d\n", read(fd, &n, 4) < 0 ? errno : 0);
}

static void posix(void)
{
	handle(SIGRTMIN, 0);
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 77};
	timer_t id;
	MUST(timer_create(CLOCK_MONOTONIC, &ev, &id) == 0, "timer_create");
	struct itimerspec v = {.it_interval = {0, 15000000}, .it_value = {0, 25000000}};
	int64_t from = now();
	MUST(timer_settime(id, 0, &v, NULL) == 0, "timer_settime");
	while (hits < 4)
		pause();
	printf("signal %d code %d value %d, %d times\n", (int)last_signal, (int)last_code, (int)last_value, (int)hits);
	WANT(last_signal == SIGRTMIN && last_code == SI_TIMER && last_value == 77, "what the timer's signal says");
	took("four", from, 70);
	sigset_t block;
	sigemptyset(&block);
	sigaddset(&block, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &block, NULL);
	rest(100);
	siginfo_t info;
	int sig = sigwaitinfo(&block, &info);
	printf("blocked: %d overrun %d %d\n", sig, info.si_overrun, timer_getoverrun(id));
	WANT(sig == SIGRTMIN, "%d", sig);
	MUST(timer_gettime(id, &v) == 0, "timer_gettime");
	printf("left %lld.%09ld every %ld\n", (long long)v.it_value.tv_sec, v.it_value.tv_nsec, v.it_interval.tv_nsec);
	WANT(v.it_interval.tv_nsec == 15000000, "every %ld ns", v.it_interval.tv_nsec);
	MUST(timer_delete(id) == 0, "timer_delete");
	printf("deleted twice: %d\n", syscall(SYS_timer_delete, id) ? errno : 0);
	struct timespec w = ms(50);
	from = now();
	WANT(sigtimedwait(&block, &info, &w) == -1 && errno == EAGAIN, "a deleted timer ended");
	took("sigtimedwait", from, 50);
}

static void *poke_later(void *arg)
{
	rest(30);
	return write(*(int *)arg, "p", 1) == 1 ? NULL : arg;
}
static void polls(void)
{
	int64_t from = now();
	WANT(poll(NULL, 0, 40) == 0, "poll of nothing");
	took("poll", from, 40);
	struct timespec w = ms(30);
	from = now();
	WANT(ppoll(NULL, 0, &w, NULL) == 0, "ppoll of nothing");
	took("ppoll", from, 30);
	struct timeval tv = {0, 30000};
	from = now();
	WANT(select(0, NULL, NULL, NULL, &tv) == 0, "select of nothing");
	printf("select leaves %ld.%06ld\n", (long)tv.tv_sec, (long)tv.tv_usec);
	WANT(tv.tv_sec == 0 && tv.tv_usec == 0, "select left %ld us", (long)tv.tv_usec);
	took("select", from, 30);
	w = ms(25);
	from = now();
	WANT(pselect(0, NULL, NULL, NULL, &w, NULL) == 0, "pselect of nothing");
	took("pselect", from, 25);

	int p[2], ep = epoll_create1(0);
	MUST(pipe(p) == 0 && ep >= 0, "pipe");
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = 5}, got[4];
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e) == 0, "epoll_ctl");
	from = now();
	WANT(epoll_wait(ep, got, 4, 35) == 0, "epoll of an empty pipe");
	took("epoll", from, 35);
	for (int way = 0; way < 4; way++) {
		pthread_t t;
		char c = 0;
		from = now();
		MUST(pthread_create(&t, NULL, poke_later, &p[1]) == 0, "pthread_create");
		struct pollfd pf = {p[0], POLLIN, 0};
		fd_set set;
		FD_ZERO(&set);
		FD_SET(p[0], &set);
		tv = (struct timeval){5, 0};
		int r = way == 0 ? poll(&pf, 1, 5000) : way == 1 ? select(p[0] + 1, &set, NULL, NULL, &tv) : way == 2 ? epoll_wait(ep, got, 4, 5000) : 1;
		WANT(r == 1 && (way != 0 || pf.revents == POLLIN) && (way != 1 || FD_ISSET(p[0], &set)) && (way != 2 || got[0].data.u64 == 5), "way %d gave %d", way, r);
		WANT(read(p[0], &c, 1) == 1 && c == 'p', "read");
		took("woken", from, 29);
		int64_t d = now() - from;
		WANT(d < 3000000000, "woken at the end of the wait, not by the byte: %lld ns", (long long)d);
		if (way == 1)
			printf("select leaves %ld.%06ld\n", (long)tv.tv_sec, (long)tv.tv_usec);
		pthread_join(t, NULL);
	}
	/* What is ready at once does not wait; a hung-up end is told. */
	struct pollfd both[3] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}, {99, POLLIN, 0}};
	int r = poll(both, 3, 1000);
	printf("ready %d: %x %x %x\n", r, both[0].revents, both[1].revents, both[2].revents);
	WANT(r == 2 && both[0].revents == 0 && both[1].revents == POLLOUT && both[2].revents == POLLNVAL, "of an empty pipe");
	close(p[1]);
	r = poll(both, 1, -1);
	WANT(r == 1 && (both[0].revents & POLLHUP), "a pipe that nobody writes: %d %x", r, both[0].revents);
	r = epoll_wait(ep, got, 4, -1);
	printf("hung up: %d %x\n", r, r == 1 ? got[0].events : 0);
	/* A signal ends a wait, SA_RESTART or not; ppoll's mask holds for the wait alone. */
	handle(SIGALRM, SA_RESTART);
	struct itimerval v = {.it_value = {0, 20000}};
	setitimer(ITIMER_REAL, &v, NULL);
	from = now();
	r = poll(NULL, 0, 5000);
	printf("broken: %d %d hits %d\n", r, errno, (int)hits);
	WANT(r == -1 && errno == EINTR && hits == 1, "a signal amid a poll");
	took("broken", from, 20);
	sigset_t all, none;
	sigfillset(&all);
	sigemptyset(&none);
	sigprocmask(SIG_BLOCK, &all, NULL);
	setitimer(ITIMER_REAL, &v, NULL);
	from = now();
	WANT(poll(NULL, 0, 50) == 0 && hits == 1, "a blocked signal came");
	w = ms(5000);
	WANT(ppoll(NULL, 0, &w, &none) == -1 && errno == EINTR && hits == 2, "a signal that ppoll lets through: hits %d", (int)hits);
	took("ppoll's mask", from, 50);
	int sfd = signalfd(-1, &all, SFD_NONBLOCK);
	if (sfd < 0) {
		printf("signalfd: errno %d\n", errno);
	} else {
		raise(SIGUSR1);
		struct signalfd_siginfo si;
		memset(&si, 0, sizeof si);
		ssize_t n = read(sfd, &si, sizeof si);
		printf("signalfd: %zd %u\n", n, si.ssi_signo);
		WANT(n == sizeof si && si.ssi_signo == SIGUSR1, "signalfd gave %zd", n);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (strcmp(what, "sleepy") == 0) {
		rest(10000);
		return 7;
	}
	static const struct { const char *name; void (*run)(void); } all[] = {
		{"chld", chld}, {"alarm", alarms}, {"itimer", itimer}, {"timerfd", timerfd}, {"posix", posix}, {"poll", polls},
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (strcmp(what, all[i].name) == 0) {
			all[i].run();
			return SENSIBLE();
		}
	return 9;
}
