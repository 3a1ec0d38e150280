/* read.c: read and its family. The kernel reads; the tracer only sees to it that there is something to read, and makes
 * what random devices give. */
#include "fd.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RANDOM_MOST 33554431u /* bytes a read gives, as Linux documents it */

static long load(struct thread *t, struct bytes *b)
{
	if (t->nr != SYS_read && t->nr != SYS_pread64)
		return load_bytes(t, t->a[1], t->a[2], b);
	one_buffer(t->a[1], t->a[2], b);
	return 0;
}

bool random_read(struct thread *t, const struct bytes *b)
{
	unsigned char page[4096];
	uint64_t asked = b->total < RANDOM_MOST ? b->total : RANDOM_MOST, given = 0, at, n;
	while (given < asked && (n = segment(b, given, &at)) > 0) {
		/* Page by page: what lies before one that cannot be written is given. */
		if (n > sizeof page - at % sizeof page)
			n = sizeof page - at % sizeof page;
		if (n > asked - given)
			n = asked - given;
		random_fill(R_URANDOM, page, n);
		if (!poke(t, at, page, n))
			break;
		given += n;
	}
	uint64_t told[2] = {asked, R_URANDOM};
	event(t, TJ_RANDOM, told, sizeof told);
	return done(t, given || !asked ? (long)given : -EFAULT);
}

/* A FIFO that never had a writer reads as ended, but poll does not say so. It is empty: a read takes nothing from it. */
static bool pipe_read(struct thread *t, const struct file *f)
{
	char c;
	if (poll(&(struct pollfd){f->fd, POLLIN, 0}, 1, 0) > 0)
		return true;
	if (f->nonblock)
		return read(f->fd, &c, 1) == 0 ? done(t, 0) : idle(t, -EAGAIN);
	return false;
}

static bool from(struct thread *t, const struct file *f)
{
	static struct bytes b;
	if ((f->flags & O_ACCMODE) == O_WRONLY || f->flags & O_PATH || load(t, &b) < 0)
		return true;
	switch (f->kind) {
	case K_RANDOM:
		return random_read(t, &b);
	case K_PIPE:
		return b.total == 0 || pipe_read(t, f);
	case K_EVENT:
		timer_before_read(f->fd);
		/* fall through */
	case K_SIGNAL:
		if (b.total < 8 || ready(t, (int)t->a[0], POLLIN))
			return true;
		return f->nonblock ? idle(t, -EAGAIN) : false;
	default:
		return true;
	}
}

bool read_try(struct thread *t)
{
	struct file f;
	if (look(t, (int)t->a[0], &f) < 0)
		return true;
	bool r;
	if (f.kind == K_SOCKET) {
		put_back(&f);
		return receive_try(t);
	}
	r = from(t, &f);
	put_back(&f);
	return r;
}

/* What has positions does not block, and in a relaxed cage who blocks is the kernel's affair: only random devices are
 * read here. */
static int read_random(struct thread *t)
{
	struct file f;
	if (look(t, (int)t->a[0], &f) < 0)
		return V_PASS;
	if (f.kind == K_RANDOM)
		from(t, &f);
	put_back(&f);
	return t->answered ? V_DONE : V_PASS;
}

int do_pread(struct thread *t)
{
	return (int64_t)t->a[3] < 0 ? V_PASS : read_random(t);
}

int do_read(struct thread *t)
{
	if (t->nr == SYS_preadv2) {
		if ((uint32_t)t->a[5]) {
			answer(t, -EOPNOTSUPP);
			return V_DONE;
		}
		if ((int64_t)t->a[3] != -1)
			return do_pread(t);
	}
	if (job->flags & TJ_RELAXED)
		return read_random(t);
	memset(t->keep, 0, sizeof t->keep);
	return attempt(t, read_try);
}
