/* write.c: write and its family. What goes to the run's stdout and stderr the tracer writes itself and tells of. Into a
 * pipe it writes what fits, piece by piece, where the kernel would block in the middle; all else the kernel writes. */
#include "fd.h"

#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PIPE_BYTES 65536

static long load(struct thread *t, struct bytes *b)
{
	if (t->nr != SYS_write && t->nr != SYS_pwrite64)
		return load_bytes(t, t->a[1], t->a[2], b);
	one_buffer(t->a[1], t->a[2], b);
	return 0;
}

static bool positioned(const struct thread *t)
{
	return t->nr == SYS_pwrite64 || t->nr == SYS_pwritev || (t->nr == SYS_pwritev2 && (int64_t)t->a[3] != -1);
}

static uint64_t descriptor_of(const struct file *f)
{
	struct stat st;
	return fstat(TJ_STDERR, &st) == 0 && st.st_dev == f->st.st_dev && st.st_ino == f->st.st_ino ? 2 : 1;
}

static bool output(struct thread *t, const struct file *f, const struct bytes *b)
{
	static struct { uint64_t descriptor; char bytes[TJ_EVENT_MAX - 8]; } e;
	static uint64_t written; /* of both */
	uint64_t moved = 0;
	long r = 0;
	if ((int64_t)t->a[3] < 0 && positioned(t))
		return true;
	e.descriptor = descriptor_of(f);
	while (moved < b->total) {
		size_t n = gather(t, b, moved, e.bytes, sizeof e.bytes);
		bool over = n > job->output_bytes - written;
		if (over)
			n = job->output_bytes - written;
		r = n == 0 ? -EFAULT : positioned(t) ? pwrite(f->fd, e.bytes, n, (off_t)(t->a[3] + moved)) : write(f->fd, e.bytes, n);
		if (r == -1)
			r = -errno;
		if (r > 0) {
			event(t, TJ_WRITE, &e, sizeof e.descriptor + (size_t)r);
			moved += (uint64_t)r;
			written += (uint64_t)r;
		}
		if (over)
			finish_killed(TJ_KILLED_OUTPUT);
		if (r <= 0)
			break;
	}
	return done(t, moved ? (long)moved : r);
}

/* broken: nobody will read. The kernel says so with SIGPIPE, also if some was written before. */
static bool broken(struct thread *t)
{
	if (t->keep[0]) {
		t->state = READY; /* the wait is over: the signal does not end it */
		answer(t, (long)t->keep[0]);
		send_signal(t->p, t, SIGPIPE, SI_KERNEL, 0, 0);
	}
	return true;
}

/* push writes what fits without waiting: 0, or a negative errno of the write that took nothing. The description is the
 * program's too, but it does not run meanwhile. */
static long push(struct thread *t, const struct file *f, const struct bytes *b)
{
	static char piece[PIPE_BYTES];
	long r = 0;
	if (!f->nonblock && fcntl(f->fd, F_SETFL, f->flags | O_NONBLOCK) < 0)
		return -errno;
	while (t->keep[0] < b->total && r >= 0) {
		size_t n = gather(t, b, t->keep[0], piece, sizeof piece);
		r = n == 0 ? -EFAULT : write(f->fd, piece, n);
		if (r == -1)
			r = -errno;
		if (r > 0)
			t->keep[0] += (uint64_t)r;
	}
	if (!f->nonblock)
		fcntl(f->fd, F_SETFL, f->flags);
	return r < 0 ? r : 0;
}

static bool pipe_write(struct thread *t, const struct file *f, const struct bytes *b)
{
	struct pollfd p = {f->fd, POLLOUT, 0};
	int waiting = 0;
	poll(&p, 1, 0);
	if (p.revents & POLLERR)
		return broken(t);
	/* Ready means that a page is free: enough for what is atomic. An empty pipe takes all that it can hold. */
	if (!t->keep[0] && p.revents & POLLOUT) {
		if (f->nonblock || b->total <= PIPE_BUF)
			return true;
		if (b->total <= PIPE_BYTES && ioctl(f->fd, FIONREAD, &waiting) == 0 && waiting == 0)
			return true;
	}
	long r = push(t, f, b);
	if (r == 0)
		return done(t, (long)b->total);
	if (r == -EPIPE)
		return broken(t);
	if (r != -EAGAIN)
		return done(t, t->keep[0] ? (long)t->keep[0] : r);
	if (f->nonblock)
		return t->keep[0] ? done(t, (long)t->keep[0]) : idle(t, r);
	return false;
}

/* An eventfd is ready if it can take 1; more than that may have to wait. */
static bool event_add(struct thread *t, const struct file *f, const struct bytes *b)
{
	uint64_t n;
	if (is_timer(f->fd))
		return done(t, -EINVAL);
	if (b->n != 1 || b->total < sizeof n || gather(t, b, 0, &n, sizeof n) != sizeof n || n == UINT64_MAX)
		return true;
	if (n <= 1 && poll(&(struct pollfd){f->fd, POLLOUT, 0}, 1, 0) > 0)
		return true;
	static struct bytes one = {.n = 1, .total = sizeof n};
	one.v[0] = (struct iovec){b->v[0].iov_base, sizeof n};
	long r = push(t, f, &one);
	if (r != -EAGAIN)
		return done(t, r ? r : (long)sizeof n);
	return f->nonblock ? idle(t, r) : false;
}

static bool into(struct thread *t, const struct file *f)
{
	static struct bytes b;
	if ((f->kind >= K_PIPE && ((f->flags & O_ACCMODE) == O_RDONLY || f->flags & O_PATH || positioned(t))) || load(t, &b) < 0 || b.total == 0)
		return true;
	switch (f->kind) {
	case K_OUTPUT: return output(t, f, &b);
	case K_PIPE: return pipe_write(t, f, &b);
	case K_EVENT: return event_add(t, f, &b);
	default: return true;
	}
}

bool write_try(struct thread *t)
{
	struct file f;
	if (look(t, (int)t->a[0], &f) < 0) {
		if (t->keep[0])
			answer(t, (long)t->keep[0]);
		return true;
	}
	if (f.kind == K_SOCKET && !positioned(t)) {
		put_back(&f);
		return send_try(t);
	}
	bool r = into(t, &f);
	put_back(&f);
	return r;
}

int do_write(struct thread *t)
{
	if (t->nr == SYS_pwritev2) {
		if ((uint32_t)t->a[5]) {
			answer(t, -EOPNOTSUPP);
			return V_DONE;
		}
		if (job->flags & TJ_RELAXED)
			return V_PASS;
	}
	memset(t->keep, 0, sizeof t->keep);
	return attempt(t, write_try);
}
