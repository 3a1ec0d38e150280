/* memory: what lies in memory that nobody has written: fresh stack, heap and pages, blocks that were freed, padding that
 * the kernel leaves in what it fills. A program that reads it is wrong, and still comes out the same. */
#include "strict.h"
#include <poll.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/utsname.h>

static uint64_t digest(const void *p, size_t n)
{
	const unsigned char *b = p;
	uint64_t h = MIX0;
	for (size_t i = 0; i < n; i++)
		h = (h ^ *(const volatile unsigned char *)(b + i)) * 0x100000001b3u;
	return h;
}

/* below reads what earlier calls left on the stack. */
static __attribute__((noinline)) void below(const char *what)
{
	unsigned char left[8192];
	__asm__ volatile("" : : "r"(left) : "memory");
	long set = 0;
	for (size_t i = 0; i < sizeof left; i++)
		set += *(volatile unsigned char *)(left + i) != 0;
	printf("stack after %s: %ld bytes set, %016llx\n", what, set, (unsigned long long)digest(left, sizeof left));
}

static void *thread(void *arg)
{
	below("a thread's start");
	return arg;
}

static void filled(const char *what, const void *p, size_t n) { printf("%s: %016llx\n", what, (unsigned long long)digest(p, n)); }

int main(void)
{
	below("start");
	printf("%f %s\n", 1 / 3.0, strerror(EPERM));
	below("printf");
	pthread_t t;
	MUST(pthread_create(&t, NULL, thread, NULL) == 0, "pthread_create");
	pthread_join(t, NULL);

	static const size_t sizes[] = {24, 100, 1000, 5000, 70000, 300000};
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		unsigned char *p = malloc(sizes[i]);
		MUST(p != NULL, "malloc");
		uint64_t fresh = digest(p, sizes[i]);
		memset(p, (int)i + 1, sizes[i]);
		memcpy(p + 8, &p, sizeof p);
		free(p);
		unsigned char *again = malloc(sizes[i]);
		printf("heap of %zu: %016llx, then %016llx, %s\n", sizes[i], (unsigned long long)fresh, (unsigned long long)digest(again, sizes[i]),
		       again == p ? "the same place" : "another place");
		unsigned char *grown = realloc(again, sizes[i] * 3);
		printf("grown: %016llx\n", (unsigned long long)digest(grown, sizes[i] * 3));
		free(grown);
	}
	unsigned char *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *b = sbrk(1 << 16);
	MUST(m != MAP_FAILED && b != (void *)-1, "memory");
	for (size_t i = 0; i < 1 << 20; i++)
		WANT(m[i] == 0, "a fresh page holds %d at %zu", m[i], i);
	for (size_t i = 0; i < 1 << 16; i++)
		WANT(b[i] == 0, "a fresh heap holds %d at %zu", b[i], i);
	memset(m, 7, 1 << 20);
	MUST(madvise(m, 1 << 20, MADV_DONTNEED) == 0, "madvise");
	WANT(m[5000] == 0, "a page given back holds %d", m[5000]);
	m = mremap(m, 1 << 20, 1 << 21, MREMAP_MAYMOVE);
	MUST(m != MAP_FAILED, "mremap");
	printf("maps at %p, heap at %p\n", (void *)m, (void *)b);

	/* Whole structures, with the holes between their members. */
	struct stat st;
	struct utsname u;
	struct sysinfo si;
	struct rusage ru;
	memset(&st, 0xa5, sizeof st);
	memset(&u, 0xa5, sizeof u);
	memset(&si, 0xa5, sizeof si);
	memset(&ru, 0xa5, sizeof ru);
	MUST(stat("/", &st) == 0 && uname(&u) == 0 && sysinfo(&si) == 0 && getrusage(RUSAGE_SELF, &ru) == 0, "structures");
	filled("stat", &st, sizeof st);
	filled("utsname", &u, sizeof u);
	filled("sysinfo", &si, sizeof si);
	filled("rusage", &ru, sizeof ru);
	int fd = open("/", O_RDONLY | O_DIRECTORY);
	static char names[4096];
	memset(names, 0xa5, sizeof names);
	MUST(syscall(SYS_getdents64, fd, names, sizeof names) > 0, "getdents64");
	filled("getdents64", names, sizeof names);
	lseek(fd, 0, SEEK_SET);
	memset(names, 0xa5, sizeof names);
	printf("getdents: %ld ", syscall(SYS_getdents, fd, names, sizeof names));
	filled("", names, sizeof names);
	unsigned char core[4096];
	memset(core, 0xa5, sizeof core);
	MUST(mincore(m, 1 << 21, core) == 0 || errno == ENOSYS || errno == EPERM, "mincore");
	filled("mincore", core, sizeof core);
	static char hole[8192];
	int file = open("hole", O_CREAT | O_RDWR | O_TRUNC, 0600);
	MUST(file >= 0 && pwrite(file, "x", 1, 100000) == 1 && pread(file, hole, sizeof hole, 50000) == sizeof hole, "hole");
	for (size_t i = 0; i < sizeof hole; i++)
		WANT(hole[i] == 0, "a hole in a file holds %d", hole[i]);
	char *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 98304);
	MUST(map != MAP_FAILED, "mmap");
	for (int i = 1697; i < 4096; i++)
		WANT(map[i] == 0, "a page past the end of its file holds %d", map[i]);
	unlink("hole");
	return SENSIBLE();
}
