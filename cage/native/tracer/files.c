/* files.c: how the tracer names the program's files: bases of relative paths, virtual inodes, virtual times.
 *
 * The tracer stands in the cage's mount namespace with the same root and the same user, so the kernel resolves a path
 * for it exactly as for the program. What is missing is the program's working directory and its descriptors: the first
 * comes from the host's /proc and is kept until somebody changes directory, the others through pidfd_getfd. */
#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Working directories and pidfds by process. A hash of the pid picks the slot; a collision only costs a new open. */
#define SLOTS 256
static struct slot {
	pid_t pid;
	int cwd, pidfd; /* -1: not open */
	char text[PATH_CAP];
} *slots[SLOTS];

static struct slot *slot_of(pid_t pid)
{
	struct slot **s = &slots[(unsigned)pid % SLOTS];
	if (!*s) {
		*s = calloc(1, sizeof **s);
		if (!*s)
			trouble("memory for a process's files");
		(*s)->cwd = (*s)->pidfd = -1;
	}
	if ((*s)->pid != pid) {
		if ((*s)->cwd >= 0)
			close((*s)->cwd);
		if ((*s)->pidfd >= 0)
			close((*s)->pidfd);
		(*s)->cwd = (*s)->pidfd = -1;
		(*s)->pid = pid;
	}
	return *s;
}

void forget_cwd(void)
{
	/* Of all: who shares a working directory (CLONE_FS) is not recorded. */
	for (int i = 0; i < SLOTS; i++)
		if (slots[i] && slots[i]->cwd >= 0) {
			close(slots[i]->cwd);
			slots[i]->cwd = -1;
		}
}

void forget_process(pid_t pid)
{
	struct slot *s = slots[(unsigned)pid % SLOTS];
	if (s && s->pid == pid) {
		if (s->cwd >= 0)
			close(s->cwd);
		if (s->pidfd >= 0)
			close(s->pidfd);
		s->cwd = s->pidfd = -1;
		s->pid = 0;
	}
}

static struct slot *with_cwd(struct thread *t)
{
	struct slot *s = slot_of(t->p->pid);
	if (s->cwd >= 0)
		return s;
	char name[32];
	snprintf(name, sizeof name, "%d/cwd", t->p->pid);
	s->cwd = openat(host_proc, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->cwd < 0)
		return NULL;
	ssize_t n = readlinkat(host_proc, name, s->text, sizeof s->text - 1);
	s->text[n < 0 ? 0 : n] = 0;
	return s;
}

int file_of(struct thread *t, int fd)
{
	struct slot *s = slot_of(t->p->pid);
	if (fd < 0)
		return -EBADF;
	if (s->pidfd < 0) {
		s->pidfd = (int)syscall(SYS_pidfd_open, t->p->pid, 0);
		if (s->pidfd < 0)
			return -errno;
	}
	int got = (int)syscall(SYS_pidfd_getfd, s->pidfd, fd, 0);
	if (got < 0 && (errno == EBADF || errno == ESRCH) && t->tid != t->p->pid) {
		/* A first thread that has ended has no table any more; the others of its process do. */
		int own = (int)syscall(SYS_pidfd_open, t->tid, O_EXCL /* PIDFD_THREAD, Linux 6.9 */);
		if (own >= 0) {
			got = (int)syscall(SYS_pidfd_getfd, own, fd, 0);
			int e = errno;
			close(own);
			errno = e;
		}
	}
	return got < 0 ? -errno : got;
}

int dir_of(struct thread *t, int dirfd)
{
	if (dirfd != AT_FDCWD)
		return file_of(t, dirfd);
	struct slot *s = with_cwd(t);
	if (!s)
		return -errno;
	int fd = fcntl(s->cwd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

/* clean appends path to the clean absolute text in to. */
static void clean(char *to, size_t cap, const char *path)
{
	size_t n = strlen(to);
	if (n == 1)
		n = 0;
	while (*path) {
		while (*path == '/')
			path++;
		size_t l = strcspn(path, "/");
		if (l == 0)
			break;
		if (l == 2 && path[0] == '.' && path[1] == '.') {
			while (n > 0 && to[--n] != '/')
				;
		} else if (!(l == 1 && path[0] == '.') && n + l + 2 < cap) {
			to[n++] = '/';
			memcpy(to + n, path, l);
			n += l;
		}
		path += l;
	}
	if (n == 0)
		to[n++] = '/';
	to[n] = 0;
}

void absolute_path(struct thread *t, int dirfd, const char *path, char *to, size_t cap)
{
	strcpy(to, "/");
	if (path[0] != '/') {
		if (dirfd == AT_FDCWD) {
			struct slot *s = with_cwd(t);
			if (s && s->text[0] == '/')
				snprintf(to, cap, "%s", s->text);
		} else {
			char name[48];
			snprintf(name, sizeof name, "%d/fd/%d", t->p->pid, dirfd);
			ssize_t n = readlinkat(host_proc, name, to, cap - 1);
			to[n < 0 ? 0 : n] = 0;
			if (to[0] != '/')
				strcpy(to, "/");
		}
	}
	clean(to, cap, path);
}

int read_where(struct thread *t, int dirfd, uint64_t addr, bool empty_ok, struct where *w)
{
	long n = peek_string(t, addr, w->text, sizeof w->text);
	w->close_base = false;
	w->base = AT_FDCWD;
	if (n < 0)
		return (int)n;
	if (n == 0 && !empty_ok)
		return -ENOENT;
	if (w->text[0] != '/') {
		if (dirfd == AT_FDCWD) {
			struct slot *s = with_cwd(t);
			if (!s)
				return -ENOENT;
			w->base = s->cwd;
		} else {
			w->base = file_of(t, dirfd);
			if (w->base < 0)
				return w->base;
			w->close_base = true;
		}
	}
	absolute_path(t, dirfd, w->text, w->absolute, sizeof w->absolute);
	w->proc = proc_touch(t, w->absolute);
	return 0;
}

void end_where(struct where *w)
{
	if (w->close_base)
		close(w->base);
	w->close_base = false;
}

long stat_where(const struct where *w, bool follow, struct stat *st)
{
	return fstatat(w->base, w->text, st, (follow ? 0 : AT_SYMLINK_NOFOLLOW) | (w->text[0] ? 0 : AT_EMPTY_PATH)) < 0 ? -errno : 0;
}

long stat_fd(struct thread *t, int fd, struct stat *st)
{
	int f = file_of(t, fd);
	if (f < 0)
		return f;
	long r = fstat(f, st) < 0 ? -errno : 0;
	close(f);
	return r;
}

/* In /proc a descriptor is a link with the name of what it leads to. Of a pipe, or a file without a name, that leads nowhere. */
long stat_path(struct thread *t, const struct where *w, bool follow, struct stat *st)
{
	int fd = w->proc && follow ? fd_by_name(t, w->absolute) : -1;
	if (fd < 0)
		return stat_where(w, follow, st);
	long r = stat_fd(t, fd, st);
	return r == -EBADF ? -ENOENT : r;
}

/* --- virtual inodes and times: one open-addressed table by (device, inode) */
struct node {
	uint64_t dev, ino; /* ino 0 with dev 0: free */
	uint64_t number;
	struct times at;
	bool timed;        /* at is set; else the epoch */
};
static struct node *nodes;
static size_t nodes_cap, nodes_used;
uint64_t names_generation = 1;

static size_t spread(uint64_t dev, uint64_t ino)
{
	uint64_t h = (ino ^ dev << 40) * 0x9e3779b97f4a7c15u;
	return (size_t)(h ^ h >> 32);
}

static struct node *node_of(uint64_t dev, uint64_t ino)
{
	if (nodes_used * 2 >= nodes_cap) {
		size_t cap = nodes_cap ? nodes_cap * 2 : 4096;
		struct node *bigger = calloc(cap, sizeof *bigger);
		if (!bigger)
			trouble("memory for the numbers of files");
		for (size_t i = 0; i < nodes_cap; i++)
			if (nodes[i].number) {
				size_t k = spread(nodes[i].dev, nodes[i].ino) & (cap - 1);
				while (bigger[k].number)
					k = (k + 1) & (cap - 1);
				bigger[k] = nodes[i];
			}
		free(nodes);
		nodes = bigger;
		nodes_cap = cap;
	}
	size_t k = spread(dev, ino) & (nodes_cap - 1);
	while (nodes[k].number && (nodes[k].dev != dev || nodes[k].ino != ino))
		k = (k + 1) & (nodes_cap - 1);
	if (!nodes[k].number) {
		nodes[k].dev = dev;
		nodes[k].ino = ino;
		nodes[k].number = ++nodes_used;
	}
	return &nodes[k];
}

uint64_t virtual_inode(uint64_t dev, uint64_t ino)
{
	return node_of(dev, ino)->number;
}

void note_written(uint64_t dev, uint64_t ino)
{
	struct node *n = node_of(dev, ino);
	n->at.a = n->at.m = n->at.c = vnow();
	n->timed = true;
}

bool parent_of(int base, const char *text, struct stat *st)
{
	char folder[PATH_CAP];
	size_t n = strlen(text);
	while (n > 1 && text[n - 1] == '/')
		n--;
	while (n > 0 && text[n - 1] != '/')
		n--;
	memcpy(folder, text, n);
	folder[n] = 0;
	return fstatat(base, folder, st, n ? 0 : AT_EMPTY_PATH) == 0;
}

void note_folder(const struct stat *st)
{
	struct node *n = node_of(st->st_dev, st->st_ino);
	if (!n->timed)
		n->at.a = job->epoch_ns;
	n->at.m = n->at.c = vnow();
	n->timed = true;
	names_generation++;
}

void times_of(const struct stat *st, struct times *out)
{
	struct node *n = node_of(st->st_dev, st->st_ino);
	out->a = out->m = out->c = job->epoch_ns;
	if (n->timed)
		*out = n->at;
}

void set_times(const struct stat *st, const uint64_t *a, const uint64_t *m)
{
	struct times now;
	times_of(st, &now);
	struct node *n = node_of(st->st_dev, st->st_ino);
	n->at.a = a ? *a : now.a;
	n->at.m = m ? *m : now.m;
	n->at.c = vnow();
	n->timed = true;
}

/* writable_dev says whether the program may write somewhere on the file system dev. The mounts of a cage don't change
 * once the program runs. */
bool writable_dev(uint64_t dev)
{
	static uint64_t devs[64];
	static int n = -1;
	if (n < 0) {
		n = 0;
		int fd = openat(host_proc, "thread-self/mountinfo", O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			fd = openat(host_proc, "self/mountinfo", O_RDONLY | O_CLOEXEC);
		FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
		if (!f)
			trouble("read the cage's mounts");
		char *line = NULL;
		size_t cap = 0;
		while (getline(&line, &cap, f) > 0) {
			unsigned major, minor;
			char options[8];
			if (sscanf(line, "%*d %*d %u:%u %*s %*s %7s", &major, &minor, options) == 3 && !strncmp(options, "rw", 2) && n < 64)
				devs[n++] = makedev(major, minor);
		}
		free(line);
		fclose(f);
	}
	for (int i = 0; i < n; i++)
		if (devs[i] == dev)
			return true;
	return false;
}
