/* races: a second thread, or another process with the same memory, changes what a call's arguments point to between the
 * look of the cage and the kernel's. In strict mode one runs at a time; in relaxed mode they really do. */
#include "escape.h"
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#define TURNS 300

static char *volatile shared;
static const char *good, *bad;
static volatile int over;

static void *flip(void *arg)
{
	while (!over) {
		strcpy(shared, bad);
		strcpy(shared, good);
		sched_yield();
	}
	return arg;
}
static pthread_t start(const char *a, const char *b)
{
	static char buffer[4096];
	pthread_t t;
	shared = buffer;
	good = a;
	bad = b;
	over = 0;
	strcpy(shared, good);
	if (pthread_create(&t, NULL, flip, NULL) != 0)
		held("no thread: %s", strerrorname_np(errno));
	return t;
}
static void stop(pthread_t t)
{
	over = 1;
	pthread_join(t, NULL);
}

static void open_path(void)
{
	int opens = 0;
	pthread_t t = start("/work/given", canary("FILE"));
	for (int i = 0; i < TURNS; i++) {
		int fd = open(shared, O_RDWR);
		if (fd >= 0) {
			opens++;
			if (holds_canary(fd))
				got("the canary was opened");
			close(fd);
		}
	}
	stop(t);
	note("%s", opens > 0 ? "opened its own file" : "opened nothing");
}
static void open_proc(void)
{
	pthread_t t = start("/proc/self/status", "/proc/1/environ");
	for (int i = 0; i < TURNS; i++) {
		char b[4096] = "";
		int fd = open(shared, O_RDONLY);
		if (fd >= 0 && read(fd, b, sizeof b - 1) > 0 && (strstr(b, "BPI_") || strstr(b, "docklock")))
			got("%s", b);
		close(fd);
	}
	stop(t);
	note("/proc gave nothing of others");
}
static void open_input(void)
{
	unlink("/work/given"); /* it holds the same */
	pthread_t t = start("/work/given", "/in/data/hello.txt");
	for (int i = 0; i < TURNS; i++) {
		int fd = open(shared, O_RDWR | O_CREAT, 0644);
		char b[8] = "";
		if (fd >= 0 && pread(fd, b, 5, 0) == 5 && strcmp(b, "hello") == 0 && write(fd, "HELLO", 5) > 0)
			got("an input was written");
		close(fd);
		truncate(shared, 0);
		unlink(shared);
	}
	stop(t);
	int fd = open("/in/data/hello.txt", O_RDONLY);
	char b[8] = "";
	if (read(fd, b, 7) != 5 || strcmp(b, "hello") != 0)
		escaped("the input holds %s", b);
	note("the input is what it was");
}
static void exec_path(void)
{
	pthread_t t = start("/nothing/here", "/opt/escape");
	for (int i = 0; i < TURNS / 10; i++) {
		pid_t p = vfork();
		if (p == 0) {
			execl(shared, shared, "list", (char *)NULL);
			_exit(0);
		}
		int status = 0;
		waitpid(p, &status, 0);
	}
	stop(t);
	held("programs were started or not");
}
static void socket_address(void)
{
	static struct sockaddr_un a;
	a.sun_family = AF_UNIX;
	good = "/work/none", bad = canary("SOCKET");
	over = 0;
	shared = a.sun_path;
	pthread_t t;
	if (strlen(bad) >= sizeof a.sun_path || pthread_create(&t, NULL, flip, NULL) != 0)
		held("no thread");
	for (int i = 0; i < TURNS; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (fd >= 0 && connect(fd, (void *)&a, sizeof a) == 0)
			got("connected to %s", a.sun_path);
		close(fd);
	}
	stop(t);
	note("nobody answered");
}
static void *free_memory(void *arg)
{
	while (!over) {
		mprotect(arg, 4096, PROT_NONE);
		sched_yield();
		mprotect(arg, 4096, PROT_READ | PROT_WRITE);
		munmap((char *)arg + 4096, 4096);
		sched_yield();
		mmap((char *)arg + 4096, 4096, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	}
	return NULL;
}
static void memory_goes(void)
{
	/* What a call points to goes away while it is answered. */
	char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t t;
	over = 0;
	if (pthread_create(&t, NULL, free_memory, m) != 0)
		held("no thread");
	int fd = open("/", O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < TURNS; i++) {
		struct stat st;
		syscall(SYS_clock_gettime, CLOCK_REALTIME, m + 4088);
		syscall(SYS_getrandom, m, 8192, 0);
		syscall(SYS_newfstatat, AT_FDCWD, m, m + 4000, 0);
		syscall(SYS_getdents64, fd, m, 8192);
		lseek(fd, 0, SEEK_SET);
		syscall(SYS_uname, m + 4000);
		syscall(SYS_readlink, "/proc/self/exe", m, 8192);
		syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, m + 4092, 8);
		syscall(SYS_futex, m + 4092, 1, 1, 0, 0, 0);
		stat("/", &st);
	}
	stop(t);
	note("every call was answered");
}
static int other_process(void *arg)
{
	(void)arg;
	flip(NULL);
	_exit(0);
}
static void shared_process(void)
{
	/* Not a thread: a process of its own that shares the memory, as after vfork, but both run. */
	static char buffer[4096], stack_of_other[65536];
	shared = buffer;
	good = "/work/given";
	bad = canary("FILE");
	strcpy(shared, good);
	over = 0;
	pid_t p = clone(other_process, stack_of_other + sizeof stack_of_other, CLONE_VM | SIGCHLD, NULL);
	if (p < 0)
		held("clone: %s", strerrorname_np(errno));
	for (int i = 0; i < TURNS; i++) {
		int fd = open(shared, O_RDONLY);
		if (fd >= 0 && holds_canary(fd))
			got("the canary was opened");
		close(fd);
		sched_yield();
	}
	over = 1;
	waitpid(p, NULL, 0);
	note("only its own");
}
static void *swap_folder(void *arg)
{
	while (!over) {
		rename("/work/sub", "/tmp/none");
		rename("/work/sub", "/work/sub2");
		symlink("/proc/1/root", "/work/sub");
		sched_yield();
		unlink("/work/sub");
		rename("/work/sub2", "/work/sub");
		sched_yield();
	}
	return arg;
}
static void folder_swapped(void)
{
	mkdir("/work/sub", 0755);
	pthread_t t;
	over = 0;
	if (pthread_create(&t, NULL, swap_folder, NULL) != 0)
		held("no thread");
	char path[1024];
	snprintf(path, sizeof path, "/work/sub%s", canary("FILE"));
	for (int i = 0; i < TURNS; i++) {
		int fd = open(path, O_RDONLY);
		if (fd >= 0 && holds_canary(fd))
			got("the canary was opened");
		close(fd);
		struct stat st;
		stat(path, &st);
		chmod("/work/sub", 0755);
	}
	stop(t);
	note("no way led out");
}
static void *calls_then_stands(void *arg)
{
	for (int i = 0; i < 100; i++) /* so many that all together stay below the limit on calls, however long they live */
		sched_yield();
	pause();
	return arg;
}
static void *exits(void *arg)
{
	(void)arg;
	_exit(7);
}
static void die_amid(void)
{
	/* Threads that end, execute and are killed while others stand in calls. */
	for (int i = 0; i < 30; i++) {
		pid_t p = fork();
		if (p == 0) {
			pthread_t t[4];
			for (int k = 0; k < 4; k++)
				pthread_create(&t[k], NULL, k == 3 ? exits : calls_then_stands, NULL);
			if (i % 3 == 0)
				execl("/opt/escape", "escape", "nothing", (char *)NULL);
			if (i % 3 == 1)
				kill(getpid(), SIGKILL);
			pause();
		}
		int status = 0;
		if (i % 2)
			kill(p, SIGKILL);
		waitpid(p, &status, 0);
	}
	note("all are gone");
}

const struct attempt race_attempts[] = {
	{"race-open", open_path}, {"race-proc", open_proc}, {"race-input", open_input}, {"race-exec", exec_path}, {"race-socket", socket_address},
	{"race-memory", memory_goes}, {"race-process", shared_process}, {"race-folder", folder_swapped}, {"race-death", die_amid}, {NULL, NULL},
};
