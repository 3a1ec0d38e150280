/* random: every source of randomness, rdrand and rdseed with them. Equal in every run of one seed, and still random. */
#include "strict.h"
#include <sys/random.h>

static int rdrand(uint64_t *v)
{
	unsigned char ok;
	__asm__ volatile("rdrand %0; setc %1" : "=r"(*v), "=qm"(ok));
	return ok;
}
static int rdseed(uint32_t *v)
{
	unsigned char ok;
	__asm__ volatile("rdseed %0; setc %1" : "=r"(*v), "=qm"(ok));
	return ok;
}
static void show(const char *name, const unsigned char *b, size_t n)
{
	printf("%s: %zu ", name, n);
	for (size_t i = 0; i < n && i < 16; i++)
		printf("%02x", b[i]);
	printf(" %016llx\n", (unsigned long long)mix(MIX0, b, n));
	long bits = 0;
	for (size_t i = 0; i < n; i++)
		bits += __builtin_popcount(b[i]);
	WANT(n < 1000 || (bits > (long)n * 4 - (long)n / 8 && bits < (long)n * 4 + (long)n / 8), "%s: %ld bits of %zu are set", name, bits, n * 8);
}
static void device(const char *path)
{
	static unsigned char b[65536];
	int fd = open(path, O_RDONLY);
	MUST(fd >= 0, path);
	size_t n = 0;
	while (n < sizeof b) {
		ssize_t r = read(fd, b + n, sizeof b - n > 10000 ? 10000 : sizeof b - n);
		MUST(r > 0, path);
		n += r;
	}
	struct stat st;
	MUST(fstat(fd, &st) == 0, "fstat");
	WANT(S_ISCHR(st.st_mode), "%s is no device: mode %o", path, st.st_mode);
	close(fd);
	show(path, b, n);
	fd = open(path, O_RDONLY);
	unsigned char again[16];
	MUST(read(fd, again, 16) == 16, path);
	WANT(memcmp(again, b, 16) != 0, "%s gives the same again after it was opened again", path);
	MUST(pread(fd, b, 16, 0) == 16 && pread(fd, b + 16, 16, 0) == 16, "pread");
	WANT(memcmp(b, b + 16, 16) != 0, "%s gives the same again at the same position", path);
	show("at a position", b, 32);
	close(fd);
}

int main(void)
{
	static unsigned char b[70000], c[32], d[32];
	static const size_t sizes[] = {0, 1, 7, 32, 256, 257, 5000, 65537};
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		ssize_t n = getrandom(b, sizes[i], i & 1 ? GRND_NONBLOCK : 0);
		WANT(n == (ssize_t)sizes[i], "getrandom gave %zd of %zu", n, sizes[i]);
		show("getrandom", b, n < 0 ? 0 : n);
	}
	MUST(getrandom(c, 32, GRND_RANDOM) == 32 && getentropy(d, 32) == 0, "getrandom");
	WANT(memcmp(c, d, 32) != 0, "two calls give the same");
	show("entropy", d, 32);
	printf("flags: %ld %d\n", syscall(SYS_getrandom, b, 8, 0x80), errno);
	printf("fault: %ld %d\n", syscall(SYS_getrandom, (void *)8, 8, 0), errno);
	printf("arc4random: %08x %08x\n", arc4random(), arc4random());
	device("/dev/urandom");
	device("/dev/random");
	uint64_t v = 0, w = 0;
	uint32_t s = 0;
	int ok = rdrand(&v) + rdrand(&w) * 2 + rdseed(&s) * 4;
	printf("rdrand: %d %016llx %016llx %08x\n", ok, (unsigned long long)v, (unsigned long long)w, s);
	WANT((ok & 3) != 3 || v != w, "rdrand gives the same twice");
	for (int i = 0; i < 3; i++) {
		char name[] = "/tmp/strict-XXXXXX";
		int fd = mkstemp(name);
		MUST(fd >= 0, "mkstemp");
		printf("mkstemp: %s\n", name);
		close(fd);
		unlink(name);
	}
	for (int i = 0; i < 3; i++) {
		char text[64] = "";
		int fd = open(i < 2 ? "/proc/sys/kernel/random/uuid" : "/proc/sys/kernel/random/boot_id", O_RDONLY);
		if (fd < 0 || read(fd, text, 63) < 0)
			printf("uuid: errno %d\n", errno);
		else
			printf("uuid: %s", text);
		WANT(fd < 0 || strlen(text) == 37, "a UUID of %zu bytes", strlen(text));
		close(fd);
	}
	return SENSIBLE();
}
