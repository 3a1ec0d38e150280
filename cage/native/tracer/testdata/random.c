/* random.c: checks the tracer's randomness, its blocks against the vectors of RFC 8439. It holds nothing of the tracer
 * but random.c itself. */
#include "../random.c"

#include <stdio.h>
#include <stdlib.h>

static struct tj_job run = {.magic = TJ_MAGIC};
const struct tj_job *job = &run;

/* Memory of the program: two pages, of which the second cannot be written. */
static uint8_t memory[PAGE];
static long answered;
static uint64_t told[2];
void answer(struct thread *t, long result) { (void)t; answered = result; }
bool poke(struct thread *t, uint64_t addr, const void *from, size_t n)
{
	(void)t;
	if (addr < PAGE || addr + n > 2 * PAGE)
		return false;
	memcpy(memory + addr - PAGE, from, n);
	return true;
}
void event(struct thread *t, enum tj_event_kind kind, const void *payload, size_t n)
{
	(void)t;
	if (kind == TJ_RANDOM && n == sizeof told)
		memcpy(told, payload, n);
}

static int wrong;
static void check(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "wrong: %s\n", what);
		wrong = 1;
	}
}

static void bytes(const char *hex, uint8_t *to, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned b = 0;
		if (sscanf(hex + 2 * i, "%2x", &b) != 1)
			exit(3);
		to[i] = (uint8_t)b;
	}
}

static const struct vector { const char *name, *key, *nonce; uint32_t counter; const char *block; } vectors[] = {
	{"section 2.3.2", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "000000090000004a00000000", 1,
	 "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4ed2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"},
	{"A.1, 1", "0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", 0,
	 "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"},
	{"A.1, 2", "0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", 1,
	 "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"},
	{"A.1, 3", "0000000000000000000000000000000000000000000000000000000000000001", "000000000000000000000000", 1,
	 "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0"},
	{"A.1, 4", "00ff000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", 2,
	 "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096"},
	{"A.1, 5", "0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000002", 0,
	 "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c78a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d"},
};

static void ask(struct thread *t, uint64_t to, uint64_t n, uint64_t flags)
{
	t->a[0] = to;
	t->a[1] = n;
	t->a[2] = flags;
	told[0] = told[1] = 0;
	do_getrandom(t);
}

int main(void)
{
	uint8_t key[32], nonce[12], want[64], got[64], whole[300], parts[300];
	struct thread t;
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
		bytes(vectors[i].key, key, 32);
		bytes(vectors[i].nonce, nonce, 12);
		bytes(vectors[i].block, want, 64);
		chacha20_block(key, nonce, vectors[i].counter, got);
		check(!memcmp(want, got, 64), vectors[i].name);
	}

	/* A stream is the same however it is cut, and the others don't move it. */
	for (int i = 0; i < 32; i++)
		run.seed[i] = (uint8_t)(i * 7);
	random_fill(R_UUID, whole, sizeof whole);
	streams[R_UUID] = (struct stream){0, 0, {0}};
	for (size_t at = 0, n = 1; at < sizeof parts; at += n, n = n * 2 < sizeof parts - at ? n * 2 : sizeof parts - at) {
		random_fill(R_UUID, parts + at, n);
		random_fill(R_RDRAND, got, 5);
	}
	check(!memcmp(whole, parts, sizeof whole), "a stream read in parts");

	/* Past 2^32 blocks the nonce changes and the blocks go on being new. */
	streams[R_UUID].blocks = 1ull << 32;
	streams[R_UUID].left = 0;
	random_fill(R_UUID, parts, 64);
	check(memcmp(whole, parts, 64) != 0, "block 2^32 is block 0 again");

	memset(&t, 0, sizeof t);
	ask(&t, PAGE + 10, 100, 0);
	check(answered == 100 && told[0] == 100 && told[1] == R_GETRANDOM, "100 bytes");
	ask(&t, PAGE + 4000, 200, GRND_NONBLOCK);
	check(answered == 96 && told[0] == 200, "what lies before a page that cannot be written");
	ask(&t, 3 * PAGE, 1, 0);
	check(answered == -EFAULT, "no memory");
	ask(&t, 0, 0, GRND_RANDOM);
	check(answered == 0, "nothing asked for");
	ask(&t, PAGE, 1, 8);
	check(answered == -EINVAL && told[1] == 0, "an unknown flag");
	ask(&t, PAGE, 1, GRND_RANDOM | GRND_INSECURE);
	check(answered == -EINVAL, "flags that contradict each other");
	ask(&t, PAGE, 1, GRND_INSECURE | 1ull << 32);
	check(answered == 1, "flags are 32 bits");

	/* Each stream is the blocks of its purpose from block 0 on. */
	memset(streams, 0, sizeof streams);
	for (int p = R_GETRANDOM; p <= R_TMPNAME; p++) {
		memset(nonce, 0, sizeof nonce);
		nonce[0] = (uint8_t)p;
		random_fill((enum purpose)p, whole, 192);
		for (uint32_t b = 0; b < 3; b++) {
			chacha20_block(run.seed, nonce, b, got);
			check(!memcmp(whole + 64 * b, got, 64), "a stream is not the blocks of its purpose");
		}
	}
	return wrong;
}
