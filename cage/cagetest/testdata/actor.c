/* actor.c plays the programs of the conformance suite: argv[1] says which. With ZYGOTE it is one. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/platform/x86.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int is(const char *a, const char *b) { return !strcmp(a, b); }

static int run(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (is(what, "exit"))
		return atoi(argv[2]);
	if (is(what, "streams")) {
		char b[4096];
		size_t n = fread(b, 1, sizeof b, stdin);
		printf("read %zu: %.*s\n", n, (int)n, b);
		fprintf(stderr, "complaint\n");
		return 7;
	}
	if (is(what, "env")) {
		for (int i = 0; i < argc; i++)
			printf("arg %s\n", argv[i]);
		for (char **e = environ; *e; e++)
			printf("env %s\n", *e);
		return 0;
	}
	if (is(what, "cat")) {
		char b[256];
		int fd = open(argv[2], O_RDONLY);
		ssize_t n = fd < 0 ? -1 : read(fd, b, sizeof b);
		if (n < 0) {
			printf("%s\n", strerrorname_np(errno));
			return 1;
		}
		return write(1, b, (size_t)n) != n;
	}
	if (is(what, "spoil")) { /* every way of writing to an input or the root must fail */
		int a = open(argv[2], O_WRONLY);
		int ea = errno, b = open("/in/new", O_CREAT | O_WRONLY, 0644);
		int eb = errno, c = unlink(argv[2]);
		int ec = errno, d = mkdir("/x", 0755);
		printf("%s %s %s %s\n", a < 0 ? strerrorname_np(ea) : "open", b < 0 ? strerrorname_np(eb) : "made",
		       c < 0 ? (ec == EBUSY || ec == EROFS ? "kept" : "?") : "gone", d < 0 ? strerrorname_np(errno) : "made");
		return 0;
	}
	if (is(what, "ls")) {
		DIR *d = opendir(argv[2]);
		char names[64][64];
		int n = 0;
		for (struct dirent *e; d && n < 64 && (e = readdir(d));)
			snprintf(names[n++], 64, "%.60s", e->d_name);
		qsort(names, (size_t)n, 64, (int (*)(const void *, const void *))strcmp);
		for (int i = 0; i < n; i++)
			printf("%s\n", names[i]);
		return 0;
	}
	if (is(what, "fds")) {
		for (int fd = 0; fd < 1024; fd++)
			if (fcntl(fd, F_GETFD) >= 0)
				printf("%d\n", fd);
		return 0;
	}
	if (is(what, "ids")) {
		printf("%d %d %d\n", (int)getpid(), (int)getuid(), (int)getgid());
		return 0;
	}
	if (is(what, "out")) {
		mkdir("/out/d", 0755);
		FILE *f = fopen("/out/d/b", "w");
		fputs("bee", f);
		fclose(f);
		f = fopen("/out/a", "w");
		fputs("ay", f);
		fclose(f);
		f = fopen("/tmp/scratch", "w");
		fputs("not an output", f);
		return fclose(f);
	}
	if (is(what, "badname"))
		return open("/out/\xff\xfe", O_CREAT | O_WRONLY, 0644) < 0;
	if (is(what, "flood")) {
		char b[1000];
		memset(b, 'x', sizeof b);
		for (;;)
			if (write(1, b, sizeof b) < 0)
				return 99;
	}
	if (is(what, "memory")) {
		size_t n = 0;
		for (;;) {
			char *p = malloc(1 << 20);
			if (!p)
				break;
			memset(p, 1, 1 << 20);
			if (++n > 4096)
				break;
		}
		printf("%s\n", n > 4096 ? "unbounded" : "malloc failed");
		return 5;
	}
	if (is(what, "spin"))
		for (volatile long i = 0;; i++)
			;
	if (is(what, "abort"))
		abort();
	if (is(what, "segv"))
		*(volatile int *)8 = 1;
	if (is(what, "class")) { /* what glibc may choose from, and that arithmetic goes on */
		volatile double x = 0.7;
		printf("%d %d %d %.17g\n", !!CPU_FEATURE_ACTIVE(AVX2), !!CPU_FEATURE_ACTIVE(FMA), !!CPU_FEATURE_ACTIVE(ERMS), exp(x) * sin(x));
		return 0;
	}
	if (is(what, "call")) {
		const char *c = argv[2];
		struct timespec t;
		char b[64];
		if (is(c, "socket")) socket(AF_INET, SOCK_STREAM, 0);
		if (is(c, "fork")) syscall(SYS_fork);
		if (is(c, "clone")) syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
		if (is(c, "ptrace")) ptrace(PTRACE_TRACEME, 0, 0, 0);
		if (is(c, "mount")) mount("none", "/tmp", "tmpfs", 0, 0);
		if (is(c, "unshare")) syscall(SYS_unshare, 0x10000000);
		if (is(c, "setns")) syscall(SYS_setns, 0, 0);
		if (is(c, "keyctl")) syscall(SYS_keyctl, 0, 0, 0, 0, 0);
		if (is(c, "bpf")) syscall(SYS_bpf, 0, 0, 0);
		if (is(c, "io_uring")) syscall(SYS_io_uring_setup, 1, 0);
		if (is(c, "kill")) kill(1, SIGKILL);
		if (is(c, "chroot")) syscall(SYS_chroot, "/tmp");
		if (is(c, "clock")) syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
		if (is(c, "random")) syscall(SYS_getrandom, b, 32, 0);
		if (is(c, "sleep")) syscall(SYS_nanosleep, &(struct timespec){1, 0}, 0);
		if (is(c, "memfd")) syscall(SYS_memfd_create, "x", 0);
		if (is(c, "exec")) syscall(SYS_execve, "/in/x", argv, environ);
		if (is(c, "x32")) syscall(0x40000000 + SYS_getpid);
		if (is(c, "i386")) __asm__ volatile("int $0x80" : : "a"(20) : "memory");
		if (is(c, "jit")) syscall(SYS_mmap, 0, 4096, 7, 0x22, -1, 0);
		if (is(c, "tsc")) __builtin_ia32_rdtsc();
		if (is(c, "vdso")) clock_gettime(CLOCK_MONOTONIC, &t);
		printf("survived\n");
		return 0;
	}
	return 98;
}

#ifdef ZYGOTE
#include "docklock.h"
static int warm_up(void) { return 0; }
int main(int argc, char **argv) { return docklock_main(argc, argv, warm_up, run); }
#else
int main(int argc, char **argv) { return run(argc, argv); }
#endif
