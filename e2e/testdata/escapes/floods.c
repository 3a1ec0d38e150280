/* floods: attempts to use up the machine. Each goes on until it is stopped; what has been taken is the cage's, and is
 * bounded by the run's limits, which the test sets low. */
#include "escape.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>

#define MIB (1l << 20)

static long limit(const char *name) { return atol(canary(name)); }

static void fork_bomb(void)
{
	/* Those that cannot fork any more wait for those that can. */
	int n = 0;
	for (;;) {
		pid_t p = fork();
		if (p < 0)
			break;
		if (p == 0) {
			n = 0;
			continue;
		}
		n++;
	}
	while (n-- > 0)
		wait(NULL);
	held("fork: %s", strerrorname_np(errno == ECHILD ? EAGAIN : errno));
}
static void fork_for_ever(void)
{
	/* One after the other: never many at once, and no end. */
	for (;;) {
		pid_t p = fork();
		if (p == 0)
			_exit(0);
		if (p < 0)
			held("fork: %s", strerrorname_np(errno));
		waitpid(p, NULL, 0);
	}
}
static void zombies(void)
{
	for (int n = 0;; n++) {
		pid_t p = fork();
		if (p == 0)
			_exit(0);
		if (p < 0 || n > 100000)
			held("after %s zombies: %s", n < 1000 ? "some" : "many", strerrorname_np(errno));
	}
}
static void *idle(void *arg)
{
	pause();
	return arg;
}
static void threads(void)
{
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 16384);
	for (int n = 0;; n++) {
		pthread_t t;
		int e = pthread_create(&t, &a, idle, NULL);
		if (e != 0)
			held("after %d threads: %s", n, strerrorname_np(e));
		if (n >= limit("PROCESSES"))
			escaped("%d threads", n);
	}
}
static void memory(void)
{
	long got_mib = 0;
	for (void *p; (p = malloc(MIB)) != NULL; got_mib++) {
		memset(p, 1, MIB);
		if (got_mib * MIB > limit("MEMORY"))
			escaped("%ld MiB", got_mib);
	}
	held("malloc: %s", strerrorname_np(ENOMEM));
}
static void maps(void)
{
	long pages = 0;
	for (;; pages++) {
		/* Every other page another protection, so that none are merged. */
		if (mmap(NULL, 4096, pages & 1 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
			held("after many maps: %s", strerrorname_np(errno));
		if (pages * 4096 > limit("MEMORY"))
			escaped("%ld pages", pages);
	}
}
static void memory_by_forks(void)
{
	/* A limit of a process is not one of the cage: eight take as much as one may each. */
	int n = 0, failed = 0;
	for (; n < 8; n++) {
		pid_t p = fork();
		if (p < 0)
			break;
		if (p == 0) {
			long size = limit("MEMORY") / 2;
			char *m = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (m == MAP_FAILED)
				_exit(1);
			memset(m, 1, (size_t)size);
			_exit(0);
		}
	}
	for (int status; wait(&status) > 0;)
		failed += status != 0;
	held("%d processes, %d failed", n, failed);
}
static long fill(const char *dir, size_t block)
{
	char name[100];
	static char b[65536];
	long total = 0;
	for (int f = 0; f < 100000; f++) {
		snprintf(name, sizeof name, "%s/fill%d", dir, f);
		int fd = open(name, O_CREAT | O_WRONLY, 0644);
		if (fd < 0)
			return total;
		ssize_t n = 0;
		long in_file = 0;
		while ((n = write(fd, b, block)) > 0 && in_file < 4 * MIB)
			in_file += n;
		total += in_file;
		close(fd);
		if (n <= 0 && in_file == 0)
			return total;
	}
	return total;
}
static void disk(void)
{
	static const char *const places[] = {"/tmp", "/work", "/out", "/root", "/run", "/var/tmp", "/dev/shm"};
	long total = 0;
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		long n = fill(places[i], 65536);
		total += n;
		note("%s: %s", places[i], strerrorname_np(errno));
	}
	if (total > 8 * (limit("MEMORY") + limit("OUTPUT") + 8 * MIB))
		escaped("%ld MiB", total / MIB);
}
static void inodes(void)
{
	char name[100];
	int n = 0;
	for (; n < 200000; n++) {
		snprintf(name, sizeof name, "/tmp/i%d", n);
		if (mknod(name, S_IFREG | 0644, 0) != 0)
			held("after many files: %s", strerrorname_np(errno));
	}
	escaped("%d files in one place", n);
}
static void memfds(void)
{
	/* Memory behind descriptors is no process's. */
	static char b[65536];
	long total = 0;
	for (int n = 0; n < 10000; n++) {
		int fd = (int)syscall(SYS_memfd_create, "m", 0);
		if (fd < 0)
			held("after %ld MiB: %s", total / MIB, strerrorname_np(errno));
		long in_file = 0;
		ssize_t w;
		while ((w = write(fd, b, sizeof b)) > 0 && in_file < 8 * MIB) {
			in_file += w;
			total += w;
			if (total > 2 * limit("MEMORY") + limit("OUTPUT"))
				escaped("%ld MiB in %d files of memory", total / MIB, n + 1);
		}
	}
	held("no more than %ld MiB", total / MIB);
}
static void shared_memory(void)
{
	long total = 0;
	for (int n = 0; n < 1000; n++) {
		int id = shmget(IPC_PRIVATE, (size_t)(64 * MIB), IPC_CREAT | 0600);
		if (id < 0)
			held("after %ld MiB: %s", total / MIB, strerrorname_np(errno));
		char *p = shmat(id, NULL, 0);
		if (p == (void *)-1)
			held("attach after %ld MiB: %s", total / MIB, strerrorname_np(errno));
		memset(p, 1, 64 * MIB);
		shmdt(p);
		total += 64 * MIB;
		if (total > 2 * limit("MEMORY"))
			escaped("%ld MiB in segments that nobody has attached", total / MIB);
	}
	held("no segments");
}
static void descriptors(void)
{
	int n = 0;
	for (;; n++) {
		int fd = n % 3 == 0 ? open("/dev/null", O_RDONLY) : n % 3 == 1 ? dup(0) : eventfd(0, 0);
		if (fd < 0)
			break;
		if (n > limit("FILES"))
			escaped("%d descriptors", n);
	}
	held("after %d: %s", n, strerrorname_np(errno));
}
static void descriptors_in_flight(void)
{
	/* Those that travel in a socket are in nobody's table. */
	int p[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, p) != 0)
		held("socketpair: %s", strerrorname_np(errno));
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	long sent = 0;
	for (; sent < 100000; sent++) {
		union { char b[CMSG_SPACE(sizeof(int))]; struct cmsghdr h; } u;
		memset(&u, 0, sizeof u);
		char c = 'x';
		struct iovec v = {&c, 1};
		struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = u.b, .msg_controllen = sizeof u.b};
		u.h = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(&u.h), &p[1], sizeof(int));
		if (sendmsg(p[0], &m, 0) < 0)
			break;
	}
	if (sent == 100000)
		escaped("%ld descriptors in flight", sent);
	held("%s", strerrorname_np(errno));
}
static void pipes(void)
{
	static char b[65536];
	long total = 0;
	int n = 0;
	for (;; n++) {
		int p[2];
		if (pipe2(p, O_NONBLOCK) != 0)
			break;
		if (fcntl(p[1], F_SETPIPE_SZ, 1 << 30) > 0)
			got("a pipe of 1 GiB");
		fcntl(p[1], F_SETPIPE_SZ, 1 << 20);
		for (ssize_t w; (w = write(p[1], b, sizeof b)) > 0;)
			total += w;
	}
	note("%d pipes: %s", n, strerrorname_np(errno));
	if (total > 64 * limit("FILES") * 16384)
		got("%ld MiB in pipes", total / MIB);
}
static void output(void)
{
	static char line[4096];
	memset(line, 'x', sizeof line);
	for (;;)
		if (write(1, line, sizeof line) < 0)
			_exit(0);
}
static void errors(void)
{
	static char line[4096];
	memset(line, 'e', sizeof line);
	for (;;)
		if (write(2, line, sizeof line) < 0)
			_exit(0);
}
static void output_by_vector(void)
{
	static char b[1 << 20];
	struct iovec v[1024];
	for (int i = 0; i < 1024; i++)
		v[i] = (struct iovec){b, sizeof b};
	long n = syscall(SYS_writev, 1, v, 1024);
	_exit(n > 0 ? 3 : 0);
}
static void calls(void)
{
	for (;;)
		syscall(SYS_getppid), syscall(SYS_clock_gettime, CLOCK_MONOTONIC, NULL);
}
static void events(void)
{
	/* Each opening is recorded, with its path. */
	static char path[4000];
	memset(path, 'p', sizeof path - 1);
	for (int i = 0; i < 5000; i++) {
		snprintf(path, 12, "/nothing%d", i % 1000);
		path[strlen(path)] = 'p';
		open(path, O_RDONLY);
	}
	held("5000 openings of long paths");
}
static void sleeps(void)
{
	struct timespec long_time = {1l << 40, 0};
	nanosleep(&long_time, NULL);
	escaped("slept for 30,000 years");
}
static void deadlock(void)
{
	int p[2];
	char c;
	if (pipe(p) != 0)
		escaped("pipe");
	read(p[0], &c, 1);
	escaped("a read that nobody could end has ended");
}
static void spins(void)
{
	for (;;)
		__asm__ volatile("pause");
}
static void timers(void)
{
	struct sigevent ev = {.sigev_notify = SIGEV_NONE};
	struct itimerspec fast = {{0, 1}, {0, 1}};
	long n = 0;
	for (; n < 200000; n++) {
		timer_t id;
		if (timer_create(CLOCK_MONOTONIC, &ev, &id) != 0)
			break;
		timer_settime(id, 0, &fast, NULL);
	}
	note("%s", n == 200000 ? "200,000 timers" : strerrorname_np(errno));
	signal(SIGALRM, SIG_IGN);
	struct itimerval v = {{0, 1}, {0, 1}};
	setitimer(ITIMER_REAL, &v, NULL);
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	timerfd_settime(fd, 0, &fast, NULL);
	struct timespec t = {0, 50000000};
	nanosleep(&t, NULL);
	note("slept amid them");
}
static void queued_signals(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	union sigval v = {0};
	long n = 0;
	while (n < 200000 && sigqueue(getpid(), SIGRTMIN, v) == 0)
		n++;
	if (n == 200000)
		escaped("%ld signals wait", n);
	held("%s", strerrorname_np(errno));
}
static void big_arguments(void)
{
	static char *args[300000];
	static char word[131072];
	memset(word, 'a', sizeof word - 1);
	for (int i = 0; i < 299999; i++)
		args[i] = word;
	REFUSED(execv("/proc/self/exe", args));
	REFUSED(execve("/proc/self/exe", (char *[]){"escape", NULL}, args));
	args[0] = "escape";
	args[1] = "list";
	for (int i = 2; i < 299999; i++)
		args[i] = "";
	REFUSED(execv("/proc/self/exe", args));
	static char longer[1 << 18];
	memset(longer, 'b', sizeof longer - 1);
	REFUSED(execv("/proc/self/exe", (char *[]){longer, NULL}));
	pid_t p = fork();
	if (p == 0) {
		execve("/proc/self/exe", (char *[]){NULL}, (char *[]){NULL});
		_exit(0);
	}
	int status = 0;
	waitpid(p, &status, 0);
	note("without arguments: %x", status);
}
static __attribute__((noinline)) long deeper(long n)
{
	volatile char b[4096];
	b[0] = (char)n;
	return n < 0 ? 0 : deeper(n + 1) + b[0];
}
static void stack(void)
{
	struct rlimit big = {RLIM_INFINITY, RLIM_INFINITY};
	setrlimit(RLIMIT_STACK, &big);
	pid_t p = fork();
	if (p == 0)
		_exit((int)deeper(0));
	int status = 0;
	waitpid(p, &status, 0);
	if (!WIFSIGNALED(status))
		escaped("a stack without end: %x", status);
	held("signal %d", WTERMSIG(status));
}
static void exec_for_ever(void)
{
	execl("/proc/self/exe", "escape", "exec-for-ever", (char *)NULL);
	held("%s", strerrorname_np(errno));
}
static void epolls(void)
{
	int fds[60], n = 0;
	while (n < 60 && (fds[n] = epoll_create1(0)) >= 0)
		n++;
	struct epoll_event e = {.events = EPOLLIN};
	int made = 0;
	for (int i = 0; i < n; i++)
		for (int k = 0; k < n; k++)
			made += epoll_ctl(fds[i], EPOLL_CTL_ADD, fds[k], &e) == 0;
	note("%d sets of sets", n > 0 && made >= 0);
	epoll_wait(fds[0], &e, 1, 5);
	note("waited");
}

const struct attempt flood_attempts[] = {
	{"fork-bomb", fork_bomb}, {"fork-for-ever", fork_for_ever}, {"zombies", zombies}, {"thread-bomb", threads}, {"memory-bomb", memory}, {"map-bomb", maps},
	{"memory-by-forks", memory_by_forks}, {"disk-fill", disk}, {"inode-fill", inodes}, {"memfd-fill", memfds}, {"shm-fill", shared_memory},
	{"descriptor-bomb", descriptors}, {"descriptors-in-flight", descriptors_in_flight}, {"pipe-fill", pipes}, {"output-flood", output}, {"error-flood", errors},
	{"output-by-vector", output_by_vector}, {"call-flood", calls}, {"event-flood", events}, {"sleep", sleeps}, {"deadlock", deadlock}, {"spin", spins},
	{"timer-flood", timers}, {"signal-flood", queued_signals}, {"argument-flood", big_arguments}, {"stack-flood", stack}, {"exec-for-ever", exec_for_ever},
	{"epoll-flood", epolls}, {NULL, NULL},
};
