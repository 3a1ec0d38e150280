/* random.c: all randomness of a run, from its seed. Each purpose has a ChaCha20 stream of its own (RFC 8439), so that
 * what one asks for does not move what another gets: a read of /dev/urandom more in a library changes no rdrand. */
#include "tracer.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define PURPOSES 8
#define MOST 33554431u /* bytes a call gives, as Linux documents it */
#define PAGE 4096

static uint32_t rotate(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void quarter(uint32_t *s, int a, int b, int c, int d)
{
	s[a] += s[b]; s[d] = rotate(s[d] ^ s[a], 16);
	s[c] += s[d]; s[b] = rotate(s[b] ^ s[c], 12);
	s[a] += s[b]; s[d] = rotate(s[d] ^ s[a], 8);
	s[c] += s[d]; s[b] = rotate(s[b] ^ s[c], 7);
}

/* chacha20_block: RFC 8439, section 2.3. Words are little-endian, as this machine's. */
static void chacha20_block(const uint8_t key[32], const uint8_t nonce[12], uint32_t counter, uint8_t out[64])
{
	uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, s[16];
	memcpy(start + 4, key, 32);
	start[12] = counter;
	memcpy(start + 13, nonce, 12);
	memcpy(s, start, sizeof s);
	for (int i = 0; i < 10; i++) {
		quarter(s, 0, 4, 8, 12);
		quarter(s, 1, 5, 9, 13);
		quarter(s, 2, 6, 10, 14);
		quarter(s, 3, 7, 11, 15);
		quarter(s, 0, 5, 10, 15);
		quarter(s, 1, 6, 11, 12);
		quarter(s, 2, 7, 8, 13);
		quarter(s, 3, 4, 9, 14);
	}
	for (int i = 0; i < 16; i++)
		s[i] += start[i];
	memcpy(out, s, 64);
}

static struct stream {
	uint64_t blocks; /* made so far */
	unsigned left;   /* bytes of block not yet given */
	uint8_t block[64];
} streams[PURPOSES];

void random_fill(enum purpose p, void *to, size_t n)
{
	struct stream *s = &streams[p];
	uint8_t *at = to;
	while (n) {
		if (s->left == 0) {
			/* The nonce is the purpose, and what the block's number has above 32 bits: no block comes twice. */
			uint32_t nonce[3] = {(uint32_t)p, (uint32_t)(s->blocks >> 32), 0};
			chacha20_block(job->seed, (const uint8_t *)nonce, (uint32_t)s->blocks, s->block);
			s->blocks++;
			s->left = 64;
		}
		size_t some = n < s->left ? n : s->left;
		memcpy(at, s->block + 64 - s->left, some);
		s->left -= (unsigned)some;
		at += some;
		n -= some;
	}
}

int do_getrandom(struct thread *t)
{
	uint8_t page[PAGE];
	uint64_t flags = t->a[2] & 0xffffffffu, asked = t->a[1], to = t->a[0], given = 0, payload[2] = {asked, R_GETRANDOM};
	long r = 0;
	if (flags & ~(uint64_t)(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) || (flags & (GRND_RANDOM | GRND_INSECURE)) == (GRND_RANDOM | GRND_INSECURE)) {
		answer(t, -EINVAL);
		return V_DONE;
	}
	if (asked > MOST)
		asked = MOST;
	/* Page by page: what lies before one that cannot be written is given. */
	while (given < asked) {
		size_t some = PAGE - (to + given) % PAGE;
		if (some > asked - given)
			some = asked - given;
		random_fill(R_GETRANDOM, page, some);
		if (!poke(t, to + given, page, some)) {
			r = -EFAULT;
			break;
		}
		given += some;
	}
	event(t, TJ_RANDOM, payload, sizeof payload);
	answer(t, given ? (long)given : r);
	return V_DONE;
}
