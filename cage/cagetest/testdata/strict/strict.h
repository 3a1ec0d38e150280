/* strict.h: what the suite's programs share. A program prints what it saw, so that any difference between two runs shows
 * in its output, and ends with SENSIBLE(): 0 only if what it saw also made sense. */
#ifndef STRICT_H
#define STRICT_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static atomic_int strict_bad;

/* WANT notes that something made no sense, and goes on, so that one run shows all of it. */
#define WANT(ok, ...) \
	do { \
		if (!(ok)) { \
			printf("NOT SENSIBLE: %s: ", #ok); \
			printf(__VA_ARGS__); \
			printf("\n"); \
			strict_bad = 1; \
		} \
	} while (0)
#define SENSIBLE() (fflush(stdout), strict_bad ? 1 : 0)

/* MUST ends the program: nothing after it would mean anything. */
#define MUST(ok, what) \
	do { \
		if (!(ok)) { \
			printf("FAILED: %s: %s\n", what, strerror(errno)); \
			fflush(stdout); \
			_exit(3); \
		} \
	} while (0)

static inline int64_t now_of(clockid_t id)
{
	struct timespec t = {0};
	if (clock_gettime(id, &t) != 0)
		return -errno;
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static inline int64_t now(void) { return now_of(CLOCK_MONOTONIC); }
static inline struct timespec ms(long n) { return (struct timespec){n / 1000, n % 1000 * 1000000}; }
static inline void rest(long n)
{
	struct timespec t = ms(n);
	while (nanosleep(&t, &t) != 0 && errno == EINTR) {
	}
}

/* FNV-1a, to print much in little. */
static inline uint64_t mix(uint64_t h, const void *p, size_t n)
{
	const unsigned char *b = p;
	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * 0x100000001b3u;
	return h;
}
#define MIX0 0xcbf29ce484222325u

/* work keeps the processor for a while that depends on n, so that threads natively meet in many orders. */
static inline void work(unsigned n)
{
	for (volatile unsigned i = 0; i < n; i++) {
	}
}
static inline unsigned next(unsigned *s) { return *s = *s * 1664525u + 1013904223u, *s >> 16; }
#endif
