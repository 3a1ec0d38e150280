/* The job's clock and randomness, put in place of the system's at link time (-Wl,--wrap). Randomness is the ChaCha20
 * key stream (RFC 8439 section 2.3) of the job's seed. The calendar clock stands still at the job's epoch, so that
 * now() is the same wherever it is asked; the monotonic clocks move one microsecond a reading, so that nothing that
 * waits for time to pass waits for ever. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include "worker.h"

static uint32_t state[16];
static unsigned char block[64];
static size_t used = sizeof block;
static int64_t epoch_ns = 1735689600000000000LL; /* 2025-01-01, until the job's is known */
static int64_t monotonic_ns = 1000000000LL;

static uint32_t rotl(uint32_t v, int n) { return v << n | v >> (32 - n); }

#define QUARTER(a, b, c, d) \
	a += b, d = rotl(d ^ a, 16), c += d, b = rotl(b ^ c, 12), a += b, d = rotl(d ^ a, 8), c += d, b = rotl(b ^ c, 7)

static void next_block(void) {
	uint32_t x[16];
	if (state[0] == 0)
		det_reset(NULL, NULL);
	memcpy(x, state, sizeof x);
	for (int i = 0; i < 10; i++) {
		QUARTER(x[0], x[4], x[8], x[12]);
		QUARTER(x[1], x[5], x[9], x[13]);
		QUARTER(x[2], x[6], x[10], x[14]);
		QUARTER(x[3], x[7], x[11], x[15]);
		QUARTER(x[0], x[5], x[10], x[15]);
		QUARTER(x[1], x[6], x[11], x[12]);
		QUARTER(x[2], x[7], x[8], x[13]);
		QUARTER(x[3], x[4], x[9], x[14]);
	}
	for (int i = 0; i < 16; i++) {
		uint32_t v = x[i] + state[i];
		memcpy(block + 4 * i, &v, 4);
	}
	if (++state[12] == 0)
		state[13]++;
	used = 0;
}

static int hex(char c) {
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* det_reset starts both anew: seed_hex is 64 hexadecimal digits and epoch_ns Unix nanoseconds; NULL means zero seed
 * and the built-in epoch. Malformed values end the process: a job must not run with a seed that nobody named. */
void det_reset(const char *seed_hex, const char *epoch) {
	unsigned char key[32] = {0};
	if (seed_hex != NULL) {
		if (strlen(seed_hex) != 64)
			fail(EXIT_REQUEST, "request", -1, "DOCKLOCK_SEED: want 64 hexadecimal digits");
		for (int i = 0; i < 32; i++) {
			int h = hex(seed_hex[2 * i]), l = hex(seed_hex[2 * i + 1]);
			if (h < 0 || l < 0)
				fail(EXIT_REQUEST, "request", -1, "DOCKLOCK_SEED: want 64 hexadecimal digits");
			key[i] = (unsigned char)(h << 4 | l);
		}
	}
	static const uint32_t sigma[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
	memset(state, 0, sizeof state);
	memcpy(state, sigma, sizeof sigma);
	memcpy(state + 4, key, sizeof key);
	used = sizeof block;
	epoch_ns = 1735689600000000000LL;
	if (epoch != NULL) {
		char *end;
		errno = 0;
		epoch_ns = strtoll(epoch, &end, 10);
		if (errno != 0 || *end != 0 || end == epoch || epoch_ns < 0)
			fail(EXIT_REQUEST, "request", -1, "DOCKLOCK_EPOCH_NS: want Unix nanoseconds");
	}
	monotonic_ns = 1000000000LL;
}

ssize_t __wrap_getrandom(void *buffer, size_t len, unsigned flags) {
	unsigned char *p = buffer;
	(void)flags;
	for (size_t i = 0; i < len; i++) {
		if (used == sizeof block)
			next_block();
		p[i] = block[used++];
	}
	return (ssize_t)len;
}

int __wrap_getentropy(void *buffer, size_t len) {
	__wrap_getrandom(buffer, len, 0);
	return 0;
}

unsigned __wrap__ZNSt13random_device9_M_getvalEv(void *self) {
	unsigned v;
	(void)self;
	__wrap_getrandom(&v, sizeof v, 0);
	return v;
}

int __wrap_clock_gettime(clockid_t id, struct timespec *ts) {
	int64_t ns = epoch_ns;
	if (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE && id != CLOCK_TAI)
		ns = monotonic_ns += 1000;
	ts->tv_sec = ns / 1000000000;
	ts->tv_nsec = ns % 1000000000;
	return 0;
}

int __wrap_gettimeofday(struct timeval *tv, void *zone) {
	(void)zone;
	tv->tv_sec = epoch_ns / 1000000000;
	tv->tv_usec = epoch_ns % 1000000000 / 1000;
	return 0;
}

time_t __wrap_time(time_t *out) {
	time_t v = epoch_ns / 1000000000;
	if (out != NULL)
		*out = v;
	return v;
}

int __wrap_sched_getcpu(void) { return 0; }

/* Sleeping is time passing: the clock moves and the call returns. */
int __wrap_nanosleep(const struct timespec *want, struct timespec *left) {
	monotonic_ns += want->tv_sec * 1000000000LL + want->tv_nsec;
	if (left != NULL)
		left->tv_sec = left->tv_nsec = 0;
	return 0;
}

int __wrap_clock_nanosleep(clockid_t id, int flags, const struct timespec *want, struct timespec *left) {
	(void)id;
	(void)flags;
	return __wrap_nanosleep(want, left);
}

long __real_syscall(long number, ...);

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
	switch (number) {
	case SYS_getrandom:
		return __wrap_getrandom((void *)a, (size_t)b, (unsigned)c);
	case SYS_clock_gettime:
		return __wrap_clock_gettime((clockid_t)a, (struct timespec *)b);
	case SYS_getcpu:
		if (a != 0)
			*(unsigned *)a = 0;
		if (b != 0)
			*(unsigned *)b = 0;
		return 0;
	case SYS_gettid:
		return 1;
	}
	return __real_syscall(number, a, b, c, d, e, f);
}
