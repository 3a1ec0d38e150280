/* open.c: open and its family. The tracer looks first: what is not there is answered at once; what would block (a FIFO
 * without a peer) is parked until the peer comes; all else the kernel opens, and the event follows with its result. */
#include "files.h"

#include <linux/openat2.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Opens under way: one a thread, found again at the exit stop by its thread. */
#define OPENS 64
static struct opening {
	struct thread *t;
	uint64_t flags;
	bool created;
	struct stat folder;               /* where a new name comes to stand; st_ino 0: nowhere */
	bool fifo_writer, fifo, released; /* waits for a peer; the peer has come */
	uint64_t dev, ino;
	int held;                         /* an end that the tracer holds until the peer's own is there; -1 */
	char path[PATH_CAP];
} openings[OPENS];

static struct opening *opening_of(struct thread *t)
{
	for (int i = 0; i < OPENS; i++)
		if (openings[i].t == t)
			return &openings[i];
	return NULL;
}

static struct opening *new_opening(struct thread *t)
{
	struct opening *o = opening_of(t);
	for (int i = 0; i < OPENS && !o; i++)
		if (!openings[i].t || openings[i].t->state == DEAD)
			o = &openings[i];
	if (!o)
		return NULL;
	o->t = t;
	o->held = -1;
	o->created = o->fifo = o->fifo_writer = o->released = false;
	return o;
}

void forget_opening(struct thread *t)
{
	struct opening *o = opening_of(t);
	if (o) {
		if (o->held >= 0)
			close(o->held);
		o->held = -1;
		o->t = NULL;
	}
}

static int refuse(struct thread *t, uint64_t flags, long r, const char *path)
{
	event_call(t, TJ_OPEN, flags, (uint64_t)r, path);
	answer(t, r);
	return V_DONE;
}

static int opened(struct thread *t, long result)
{
	struct opening *o = opening_of(t);
	struct stat st;
	if (!o)
		return V_DONE;
	if (result >= 0 && ((o->flags & O_ACCMODE) != O_RDONLY || o->flags & O_TRUNC || o->created) && !(o->flags & O_PATH)) {
		if (o->created && o->folder.st_ino)
			note_folder(&o->folder);
		if (stat_fd(t, (int)result, &st) == 0 && S_ISREG(st.st_mode))
			note_written(st.st_dev, st.st_ino);
	}
	event_call(t, TJ_OPEN, o->flags, (uint64_t)result, o->path);
	forget_opening(t);
	return V_DONE;
}

/* fifo_ready says whether a blocking open of a FIFO has its peer: an end that is open, or another thread at its own
 * open. The tracer then holds both ends until the open is through, so that it cannot block and neither sees the other
 * gone. */
static bool fifo_ready(struct opening *o, struct where *w)
{
	int fd = openat(w->base, w->text, (o->fifo_writer ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_CLOEXEC), waiting = 0;
	char c;
	if (fd >= 0 && !o->fifo_writer)
		o->released = (ioctl(fd, FIONREAD, &waiting) == 0 && waiting > 0) || (read(fd, &c, 1) < 0 && errno == EAGAIN);
	else if (fd >= 0)
		o->released = true;
	if (fd >= 0)
		close(fd);
	for (int i = 0; i < OPENS && !o->released; i++) {
		struct opening *p = &openings[i];
		if (p->t && p != o && p->fifo && !p->released && p->fifo_writer != o->fifo_writer && p->dev == o->dev && p->ino == o->ino && p->t->state == RETRY) {
			p->held = openat(w->base, w->text, O_RDWR | O_NONBLOCK | O_CLOEXEC);
			p->released = o->released = true;
		}
	}
	if (o->released)
		o->held = openat(w->base, w->text, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return o->released;
}

/* The peer's own open says that the wait is over; the kernel's open then does not block. */
static bool fifo_retry(struct thread *t)
{
	struct opening *o = opening_of(t);
	return !o || o->released;
}

static int park_fifo(struct thread *t, struct opening *o, struct where *w, const struct stat *st)
{
	tighten(t);
	if (job->flags & TJ_RELAXED) /* it waits in the kernel, and others run meanwhile */
		return V_AFTER;
	if (o->flags & O_NONBLOCK || (o->flags & O_ACCMODE) == O_RDWR || o->flags & O_PATH)
		return V_AFTER;
	o->fifo = true;
	o->fifo_writer = (o->flags & O_ACCMODE) == O_WRONLY;
	o->dev = st->st_dev;
	o->ino = st->st_ino;
	if (fifo_ready(o, w))
		return V_AFTER;
	t->state = RETRY;
	t->retry = fifo_retry;
	return V_BLOCK;
}

/* plain says that the kernel will open what st shows, for reading, whoever asks: one stop is enough then. */
static bool plain(const struct where *w, uint64_t flags, const struct stat *st)
{
	const uint64_t harmless = O_CLOEXEC | O_DIRECTORY | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW | O_LARGEFILE | 0100000 /* O_LARGEFILE of the kernel */;
	if (flags & ~harmless || (flags & O_DIRECTORY && !S_ISDIR(st->st_mode)) || is_random(st) || (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode)))
		return false;
	return syscall(SYS_faccessat2, w->base, w->text, R_OK, AT_EACCESS) == 0;
}

static int open_at(struct thread *t, int dirfd, uint64_t path, uint64_t flags)
{
	static struct where w;
	struct stat st;
	enum verdict v = V_AFTER;
	long r = read_where(t, dirfd, path, false, &w);
	if (r < 0)
		return refuse(t, flags, r, "");
	if (w.proc && proc_open(t, w.absolute, flags, &v)) {
		end_where(&w);
		return v;
	}
	bool follow = !(flags & O_NOFOLLOW) && !((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL));
	r = stat_where(&w, follow, &st);
	if (r < 0 && (!(flags & O_CREAT) || r != -ENOENT)) {
		end_where(&w);
		return refuse(t, flags, r, w.absolute);
	}
	if (r == 0 && t->nr != SYS_openat2 && plain(&w, flags, &st)) {
		end_where(&w);
		event_call(t, TJ_OPEN, flags, TJ_OPENED, w.absolute);
		return V_PASS;
	}
	struct opening *o = new_opening(t);
	if (!o) {
		end_where(&w);
		return refuse(t, flags, -ENFILE, w.absolute);
	}
	o->flags = flags;
	o->created = r < 0 || (flags & O_TMPFILE) == O_TMPFILE;
	if (r == 0 || !parent_of(w.base, w.text, &o->folder))
		o->folder.st_ino = 0;
	strcpy(o->path, w.absolute);
	t->after = opened;
	if (r == 0 && is_random(&st)) { /* its reads are answered here */
		tighten(t);
		trace_reads(t);
	}
	if (r == 0 && S_ISFIFO(st.st_mode))
		v = (enum verdict)park_fifo(t, o, &w, &st);
	end_where(&w);
	return v;
}

int do_open(struct thread *t) { return open_at(t, AT_FDCWD, t->a[0], t->a[1]); }
int do_openat(struct thread *t) { return open_at(t, (int)t->a[0], t->a[1], t->a[2]); }
int do_creat(struct thread *t) { return open_at(t, AT_FDCWD, t->a[0], O_CREAT | O_WRONLY | O_TRUNC); }

int do_openat2(struct thread *t)
{
	struct open_how how;
	if (t->a[3] < sizeof how || t->a[3] > 4096) {
		answer(t, -EINVAL);
		return V_DONE;
	}
	if (!peek(t, t->a[2], &how, sizeof how)) {
		answer(t, -EFAULT);
		return V_DONE;
	}
	return open_at(t, (int)t->a[0], t->a[1], how.flags);
}
