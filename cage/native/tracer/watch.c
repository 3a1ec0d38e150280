/* watch.c: the limits that nobody can attest: wall clock, processor time, memory of the whole cage. A timer interrupts
 * the loop's wait every few hundredths of a second; what it finds ends the cage without a result. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define TICK_US 25000
#define SPIN_CALLS 1 /* of so few calls since the last tick we say that it only spins */

static uint64_t given; /* of files, when the program began */
static uint64_t started_ms, dead_us, calls_before, quiet_ticks;

/* By the call itself: what libc would rather use reads the counter that start_watch gives up. */
void machine_clock(int id, struct timespec *ts)
{
	syscall(SYS_clock_gettime, id, ts);
}

static uint64_t now_ms(void)
{
	struct timespec ts;
	machine_clock(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void account(const struct process *p, const struct rusage *used)
{
	uint64_t us = (uint64_t)(used->ru_utime.tv_sec + used->ru_stime.tv_sec) * 1000000u + (uint64_t)(used->ru_utime.tv_usec + used->ru_stime.tv_usec);
	uint64_t own = us > p->reaped_us ? us - p->reaped_us : 0; /* what its own children used was counted when they ended */
	dead_us += own;
	if (p->parent)
		p->parent->reaped_us += us;
}

static bool read_file(const struct process *p, const char *what, char *to, size_t cap)
{
	char name[32];
	snprintf(name, sizeof name, "%d/%s", p->pid, what);
	int fd = openat(host_proc, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, to, cap - 1);
	if (fd >= 0)
		close(fd);
	to[n < 0 ? 0 : n] = 0;
	return n > 0;
}

static uint64_t live_us(void)
{
	char text[1024];
	uint64_t ticks = 0;
	for (struct process *p = processes; p; p = p->next) {
		unsigned long long user, system;
		const char *rest;
		if (!p->zombie && read_file(p, "stat", text, sizeof text) && (rest = strrchr(text, ')')) &&
		    sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) == 2)
			ticks += user + system;
	}
	return ticks * (1000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

uint64_t cpu_us(void) { return dead_us + live_us(); }

/* files is what the writable places hold, in bytes. */
static uint64_t files(void)
{
	static const char *const places[] = {"/tmp", "/work", "/out", "/root", "/run", "/var/tmp", "/dev/shm"};
	uint64_t bytes = 0;
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		struct statfs f;
		if (statfs(places[i], &f) == 0 && f.f_type == 0x01021994 /* tmpfs */)
			bytes += (uint64_t)(f.f_blocks - f.f_bfree) * (uint64_t)f.f_bsize;
	}
	return bytes;
}

static void nothing(int sig) { (void)sig; }

void start_watch(void)
{
	struct sigaction a;
	struct itimerval every = {{0, TICK_US}, {0, TICK_US}};
	memset(&a, 0, sizeof a);
	a.sa_handler = nothing; /* no SA_RESTART: it is there to interrupt */
	/* The program may not read the processor's counter; if we may, each switch between the two changes a control register,
	 * which on a virtual machine costs more than all else of a stop. */
	if (prctl(PR_SET_TSC, PR_TSC_SIGSEGV) < 0)
		trouble("give up the processor's counter");
	started_ms = now_ms();
	given = files();
	if (sigaction(SIGALRM, &a, NULL) < 0 || setitimer(ITIMER_REAL, &every, NULL) < 0)
		trouble("start the watch");
}

/* memory is what the program has made its own since it began: the copies that it was given do not count. */
static uint64_t memory(void)
{
	char text[4096];
	uint64_t held = files(), bytes = held > given ? held - given : 0;
	for (struct process *p = processes; p; p = p->next) {
		unsigned long long kb = 0;
		const char *line;
		if (!p->zombie && read_file(p, "status", text, sizeof text) && (line = strstr(text, "\nRssAnon:")) && sscanf(line, "\nRssAnon: %llu", &kb) == 1)
			bytes += kb * 1024;
	}
	return bytes;
}

bool files_too_large(void)
{
	uint64_t held = files();
	return held > given && held - given > job->memory_bytes;
}

void tick(void)
{
	static unsigned n;
	if (node_gone())
		finish_unheard();
	if (now_ms() - started_ms > job->wall_ms)
		finish_none(TJ_NONE_WALL);
	quiet_ticks = calls_made - calls_before <= SPIN_CALLS ? quiet_ticks + 1 : 0;
	calls_before = calls_made;
	if (++n % 2)
		return;
	if (cpu_us() / 1000 > job->cpu_ms)
		finish_none(quiet_ticks * TICK_US / 1000 * 2 > job->cpu_ms ? TJ_NONE_SPIN : TJ_NONE_CPU);
	if (memory() > job->memory_bytes)
		finish_none(TJ_NONE_OOM);
}
