/* placecache.c: the places of a file's instructions, looked for once.
 *
 * A file that nobody in the cage may write is known by device, inode, size and times for the length of the run; if its
 * code is large, also to later runs through a file in TJ_CACHE. That one is the engine's own, and still only a hint: its
 * sum must be right and each place must hold the bytes it should, else the file is looked through again. What the cage
 * can write is looked through each time. */
#include "code.h"
#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILE_MAX (1u << 30)     /* larger ones are looked through by mapping */
#define WRITABLE_MAX (64u << 20)
#define WORTH (256u << 10)      /* bytes of code from which on reading a cached list beats looking */
#define PLACES_MAX 65536u
#define BUCKETS 256

/* An entry in TJ_CACHE: this, then the places, each at << 8 | was. The magic changes with the way of looking. */
struct head {
	char magic[8];
	uint64_t dev, ino, size, mtime_ns, ctime_ns;
	uint64_t segments, segment[SEGMENTS][2];
	uint64_t n, sum; /* sum: FNV-1a of all but itself */
};
static const char magic[8] = "DLPLACE1";

static struct known {
	struct head key;
	struct file_places found;
	struct known *next;
} *known[BUCKETS];

/* Whether the node gave a cache is seen before anything else can be opened under its number. */
static int cache = -1;

__attribute__((constructor)) static void find_cache(void)
{
	struct stat st;
	if (fstat(TJ_CACHE, &st) == 0 && S_ISDIR(st.st_mode) && fcntl(TJ_CACHE, F_SETFD, FD_CLOEXEC) == 0)
		cache = TJ_CACHE;
}

static uint64_t nanoseconds(struct timespec t) { return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec; }

static struct head key_of(const struct stat *st)
{
	struct head h = {.dev = st->st_dev, .ino = st->st_ino, .size = (uint64_t)st->st_size};
	memcpy(h.magic, magic, sizeof magic);
	h.mtime_ns = nanoseconds(st->st_mtim);
	h.ctime_ns = nanoseconds(st->st_ctim);
	return h;
}

static bool same(const struct head *a, const struct head *b)
{
	return memcmp(a, b, offsetof(struct head, segments)) == 0;
}

static uint64_t sum_of(const struct head *h, const uint64_t *list)
{
	uint64_t s = 0xcbf29ce484222325u;
	const uint8_t *b = (const uint8_t *)h;
	for (size_t i = 0; i < offsetof(struct head, sum); i++)
		s = (s ^ b[i]) * 0x100000001b3u;
	b = (const uint8_t *)list;
	for (size_t i = 0; i < h->n * 8; i++)
		s = (s ^ b[i]) * 0x100000001b3u;
	return s;
}

static void name_of(const struct head *h, char *to, size_t cap)
{
	snprintf(to, cap, "%llx-%llx.places", (unsigned long long)h->dev, (unsigned long long)h->ino);
}

static bool believe(int fd, const struct head *h, const uint64_t *list, struct file_places *to)
{
	if (h->segments > SEGMENTS || h->sum != sum_of(h, list))
		return false;
	to->places.n = 0;
	for (uint64_t i = 0; i < h->n; i++) {
		uint8_t b[3];
		uint64_t at = list[i] >> 8;
		ssize_t got = pread(fd, b, sizeof b, (off_t)at);
		if (got < 2 || !is_place(b, (size_t)got, 0) || b[1] != (uint8_t)list[i])
			return false;
		add_place(&to->places, at, b[1]);
	}
	to->segments = (unsigned)h->segments;
	for (unsigned i = 0; i < to->segments; i++) {
		to->segment[i].offset = h->segment[i][0];
		to->segment[i].length = h->segment[i][1];
	}
	return true;
}

static bool load(int fd, const struct head *key, struct file_places *to)
{
	struct head h;
	char name[64];
	bool good = false;
	name_of(key, name, sizeof name);
	int c = openat(cache, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (c < 0)
		return false;
	if (read(c, &h, sizeof h) == (ssize_t)sizeof h && same(&h, key) && h.n <= PLACES_MAX) {
		uint64_t *list = malloc(h.n * 8 + 8);
		good = list && read(c, list, h.n * 8 + 8) == (ssize_t)(h.n * 8) && believe(fd, &h, list, to);
		free(list);
	}
	close(c);
	return good;
}

/* save leaves the new file where it is complete or not at all. That it can't is no reason to stop. */
static void save(const struct head *key, const struct file_places *from)
{
	struct head h = *key;
	char name[64], fresh[64];
	uint64_t *list = from->places.n <= PLACES_MAX ? malloc(from->places.n * 8 + 8) : NULL;
	if (!list)
		return;
	for (size_t i = 0; i < from->places.n; i++)
		list[i] = from->places.p[i].at << 8 | from->places.p[i].was;
	h.n = from->places.n;
	h.segments = from->segments;
	for (unsigned i = 0; i < from->segments; i++) {
		h.segment[i][0] = from->segment[i].offset;
		h.segment[i][1] = from->segment[i].length;
	}
	h.sum = sum_of(&h, list);
	snprintf(fresh, sizeof fresh, "new-%d", (int)getpid());
	name_of(key, name, sizeof name);
	int c = openat(cache, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (c >= 0) {
		bool whole = write(c, &h, sizeof h) == (ssize_t)sizeof h && write(c, list, h.n * 8) == (ssize_t)(h.n * 8);
		if (close(c) < 0 || !whole || renameat(cache, fresh, cache, name) < 0)
			unlinkat(cache, fresh, 0);
	}
	free(list);
}

/* look reads the file: mapped if nobody can cut it short meanwhile, else copied. */
static bool look(int fd, size_t n, bool writable, struct file_places *to)
{
	uint8_t *b;
	bool good = false;
	if (writable) {
		b = malloc(n);
		if (!b)
			trouble("memory to read a program");
		size_t have = 0;
		for (ssize_t got; have < n && (got = pread(fd, b + have, n - have, (off_t)have)) > 0;)
			have += (size_t)got;
		good = find_in_file(b, have, to);
		free(b);
		return good;
	}
	b = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
	if (b == MAP_FAILED)
		return false;
	good = find_in_file(b, n, to);
	munmap(b, n);
	return good;
}

const struct file_places *places_of(int fd, const struct stat *st)
{
	static struct file_places once;
	bool writable = writable_dev(st->st_dev);
	size_t n = (size_t)st->st_size;
	if (!S_ISREG(st->st_mode) || st->st_size <= 0 || n > (writable ? WRITABLE_MAX : FILE_MAX))
		return NULL;
	if (writable)
		return look(fd, n, true, &once) ? &once : NULL;
	struct head key = key_of(st);
	struct known **at = &known[(st->st_ino ^ st->st_dev) % BUCKETS];
	for (struct known *k = *at; k; k = k->next)
		if (same(&k->key, &key))
			return &k->found;
	struct known *k = calloc(1, sizeof *k);
	if (!k)
		trouble("memory for the places of instructions");
	k->key = key;
	if (cache < 0 || !load(fd, &key, &k->found)) {
		uint64_t code = 0;
		k->found.places.n = 0;
		if (!look(fd, n, false, &k->found)) {
			free(k->found.places.p);
			free(k);
			return NULL;
		}
		for (unsigned i = 0; i < k->found.segments; i++)
			code += k->found.segment[i].length;
		if (cache >= 0 && code >= WORTH)
			save(&key, &k->found);
	}
	k->next = *at;
	*at = k;
	return &k->found;
}
