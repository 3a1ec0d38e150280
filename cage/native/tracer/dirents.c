/* dirents.c: folders are read by the tracer, sorted by name and served by index; the index is the kernel's own file
 * position, so that duplicates, forks and seekdir keep their meaning without a table of ours.
 *
 * A snapshot is made when a reader stands at the beginning, and kept for its following calls even if names change
 * meanwhile: so a program that removes what it reads misses nothing. */
#include "files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEPT 16
#define NAMES_MAX (1u << 22) /* bytes of names and entries of one folder */

struct entry { uint64_t ino; uint32_t name; uint8_t type; };
static struct folder {
	uint64_t dev, ino, generation, used;
	struct entry *e;
	char *names;
	uint32_t n;
} kept[KEPT];
static uint64_t turn;
static const char *sorting;

static int by_name(const void *a, const void *b)
{
	return strcmp(sorting + ((const struct entry *)a)->name, sorting + ((const struct entry *)b)->name);
}

/* As the kernel lists /proc and the folders of descriptors and threads: numbers by their value. */
static int by_number(const void *a, const void *b)
{
	const char *x = sorting + ((const struct entry *)a)->name, *y = sorting + ((const struct entry *)b)->name;
	size_t m = strspn(x, "0123456789"), n = strspn(y, "0123456789");
	return m && n && m != n ? (m < n ? -1 : 1) : strcmp(x, y);
}

static long fill(struct folder *f, int fd, const struct stat *st)
{
	static char buf[1 << 16];
	size_t names = 0, names_cap = 0, cap = 0;
	long got;
	free(f->e);
	free(f->names);
	f->e = NULL;
	f->names = NULL;
	f->n = 0;
	f->dev = 0;
	while ((got = syscall(SYS_getdents64, fd, buf, sizeof buf)) > 0) {
		for (long o = 0; o < got;) {
			struct dirent64 *d = (struct dirent64 *)(buf + o);
			size_t l = strlen(d->d_name) + 1;
			o += d->d_reclen;
			if (names + l > NAMES_MAX * 16ul)
				return -EOVERFLOW;
			if (names + l > names_cap) {
				names_cap = (names + l) * 2 + 4096;
				char *p = realloc(f->names, names_cap);
				if (!p)
					return -ENOMEM;
				f->names = p;
			}
			if (f->n == cap) {
				cap = cap * 2 + 64;
				struct entry *p = realloc(f->e, cap * sizeof *p);
				if (!p)
					return -ENOMEM;
				f->e = p;
			}
			struct entry *e = &f->e[f->n++];
			struct stat s;
			memcpy(f->names + names, d->d_name, l);
			*e = (struct entry){d->d_ino, (uint32_t)names, d->d_type};
			names += l;
			if (d->d_type == DT_UNKNOWN && fstatat(fd, d->d_name, &s, AT_SYMLINK_NOFOLLOW) == 0)
				e->type = (uint8_t)IFTODT(s.st_mode);
			struct stat as = {.st_dev = st->st_dev, .st_ino = d->d_ino};
			if (is_random(&as))
				e->type = DT_CHR;
		}
	}
	if (got < 0)
		return -errno;
	sorting = f->names;
	if (f->n)
		qsort(f->e, f->n, sizeof *f->e, proc_dev && st->st_dev == proc_dev ? by_number : by_name);
	f->dev = st->st_dev;
	f->ino = st->st_ino;
	f->generation = names_generation;
	return 0;
}

static struct folder *folder_of(struct thread *t, int fd, const struct stat *st, bool start, long *r)
{
	struct folder *f = NULL, *oldest = &kept[0];
	*r = 0;
	for (int i = 0; i < KEPT; i++) {
		if (kept[i].dev == st->st_dev && kept[i].ino == st->st_ino)
			f = &kept[i];
		if (kept[i].used < oldest->used)
			oldest = &kept[i];
	}
	if (!f || (start && f->generation != names_generation)) {
		char name[48];
		snprintf(name, sizeof name, "%d/fd/%d", t->p->pid, fd);
		int again = openat(host_proc, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (again < 0) {
			*r = -errno;
			return NULL;
		}
		if (!f)
			f = oldest;
		*r = fill(f, again, st);
		close(again);
	}
	f->used = ++turn;
	return f;
}

int do_getdents64(struct thread *t)
{
	static char out[1 << 16];
	struct stat st, up;
	size_t cap = t->a[2] < sizeof out ? t->a[2] : sizeof out, n = 0;
	int fd = file_of(t, (int)t->a[0]);
	long r = fd;
	if (fd < 0)
		goto end;
	if (fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode)) {
		r = -ENOTDIR;
		goto end;
	}
	off_t at = lseek(fd, 0, SEEK_CUR);
	if (at < 0) {
		r = -errno; /* an O_PATH descriptor: EBADF */
		goto end;
	}
	struct folder *f = folder_of(t, (int)t->a[0], &st, at == 0, &r);
	if (r < 0)
		goto end;
	uint64_t i = (uint64_t)at;
	for (; i < f->n; i++) {
		const char *name = f->names + f->e[i].name;
		size_t l = strlen(name) + 1, len = (offsetof(struct dirent64, d_name) + l + 7) & ~7ul;
		if (n + len > cap)
			break;
		struct dirent64 *d = (struct dirent64 *)(out + n);
		memset(d, 0, len);
		d->d_ino = virtual_inode(st.st_dev, f->e[i].ino);
		/* Above a mount point the parent is the cage's folder, not the host's. */
		if (!strcmp(name, ".."))
			d->d_ino = fstatat(fd, "..", &up, 0) == 0 ? virtual_inode(up.st_dev, up.st_ino) : virtual_inode(st.st_dev, st.st_ino);
		d->d_off = (off_t)i + 1;
		d->d_reclen = (unsigned short)len;
		d->d_type = f->e[i].type;
		memcpy(d->d_name, name, l);
		n += len;
	}
	r = (long)n;
	if (n == 0 && i < f->n)
		r = -EINVAL;
	else if (n && !poke(t, t->a[1], out, n))
		r = -EFAULT;
	else if (n && lseek(fd, (off_t)i, SEEK_SET) < 0)
		r = -errno;
end:
	if (fd >= 0)
		close(fd);
	answer(t, r);
	return V_DONE;
}
