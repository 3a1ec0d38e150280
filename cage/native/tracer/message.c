/* message.c: what goes over sockets. The kernel sends and receives where it need not wait; else the program is made to try
 * without waiting, piece by piece on a stream, until all is sent. */
#include "fd.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A socket that is ready to send has three quarters of its room, 212992 bytes, to give: so much fits without a wait. */
#define FITS 65536

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

struct message {
	struct bytes b;
	uint32_t flags;
	uint64_t name, name_len;
};

/* load reads what the call is about; below 0 the kernel will say what is wrong with it. */
static long load(struct thread *t, struct message *m)
{
	struct msghdr h;
	m->flags = 0;
	m->name = m->name_len = 0;
	switch (t->nr) {
	case SYS_read: case SYS_write:
		one_buffer(t->a[1], t->a[2], &m->b);
		return 0;
	case SYS_sendto: case SYS_recvfrom:
		one_buffer(t->a[1], t->a[2], &m->b);
		m->flags = (uint32_t)t->a[3];
		m->name = t->a[4];
		m->name_len = t->a[5];
		return 0;
	case SYS_sendmsg: case SYS_recvmsg:
		if (!peek(t, t->a[1], &h, sizeof h))
			return -EFAULT;
		m->flags = (uint32_t)t->a[2];
		m->name = (uint64_t)h.msg_name;
		m->name_len = h.msg_namelen;
		return load_bytes(t, (uint64_t)h.msg_iov, h.msg_iovlen, &m->b);
	}
	return load_bytes(t, t->a[1], t->a[2], &m->b);
}

static bool is_stream(const struct file *f)
{
	int type = 0;
	socklen_t n = sizeof type;
	return getsockopt(f->fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM;
}

static long send_part(struct thread *t, const struct message *m, bool stream)
{
	uint32_t flags = m->flags | MSG_DONTWAIT | MSG_NOSIGNAL;
	uint64_t at = 0, n;
	if (!t->keep[0] && t->nr == SYS_sendmsg)
		return inject(t, SYS_sendmsg, t->a[0], t->a[1], flags, 0, 0, 0);
	if (!t->keep[0] && t->nr == SYS_sendto)
		return inject(t, SYS_sendto, t->a[0], t->a[1], t->a[2], flags, t->a[4], t->a[5]);
	if (stream || t->nr == SYS_write) {
		n = segment(&m->b, t->keep[0], &at);
		return inject(t, SYS_sendto, t->a[0], at, n, flags, 0, 0);
	}
	struct msghdr h = {.msg_iov = (struct iovec *)t->a[1], .msg_iovlen = t->a[2]};
	at = scratch(t, sizeof h);
	return poke(t, at, &h, sizeof h) ? inject(t, SYS_sendmsg, t->a[0], at, flags, 0, 0, 0) : -EFAULT;
}

static bool send_some(struct thread *t, const struct file *f, const struct message *m)
{
	bool nonblock = f->nonblock || m->flags & MSG_DONTWAIT, stream = is_stream(f);
	struct pollfd p = {f->fd, POLLOUT, 0};
	poll(&p, 1, 0);
	if (!t->keep[0] && !m->name && m->b.total <= FITS && p.revents & POLLOUT)
		return true;
	for (;;) {
		long r = send_part(t, m, stream);
		if (r >= 0) {
			t->keep[0] += (uint64_t)r;
			if (!stream || r == 0 || t->keep[0] >= m->b.total)
				return done(t, (long)t->keep[0]);
		} else if (r == -EAGAIN && !nonblock && !socket_timed_out(t, f, true)) {
			return false;
		} else if (t->keep[0]) {
			return done(t, (long)t->keep[0]);
		} else if (r == -EPIPE) {
			return true; /* the kernel says it with SIGPIPE */
		} else {
			return r == -EAGAIN && nonblock ? idle(t, r) : done(t, r);
		}
	}
}

bool send_try(struct thread *t)
{
	static struct message m;
	struct file f;
	if (look(t, (int)t->a[0], &f) < 0) {
		if (t->keep[0])
			answer(t, (long)t->keep[0]);
		return true;
	}
	bool r = true;
	if (f.kind == K_SOCKET && load(t, &m) == 0)
		r = m.flags & MSG_OOB ? done(t, -EOPNOTSUPP) : send_some(t, &f, &m);
	put_back(&f);
	return r;
}

int do_send(struct thread *t)
{
	static struct message m;
	long r = load(t, &m);
	if (r == 0 && m.name && (r = peer_address(t, m.name, m.name_len)) < 0)
		return give(t, r);
	if (job->flags & TJ_RELAXED)
		return V_PASS;
	memset(t->keep, 0, sizeof t->keep);
	return attempt(t, send_try);
}

/* gather_all receives until all that MSG_WAITALL asks for is there: the kernel would wait in the middle. */
static bool gather_all(struct thread *t, const struct file *f, const struct message *m)
{
	uint32_t flags = (m->flags & ~(uint32_t)MSG_WAITALL) | MSG_DONTWAIT;
	for (;;) {
		uint64_t got = t->keep[0];
		long r = inject(t, SYS_recvfrom, t->a[0], t->a[1] + got, m->b.total - got, flags, t->a[4], t->a[5]);
		if (r > 0 && (t->keep[0] += (uint64_t)r) < m->b.total)
			continue;
		if (r == -EAGAIN && !socket_timed_out(t, f, false))
			return false;
		return done(t, t->keep[0] ? (long)t->keep[0] : r);
	}
}

static bool receive_some(struct thread *t, const struct file *f, const struct message *m)
{
	bool nonblock = f->nonblock || m->flags & MSG_DONTWAIT, whole = m->flags & MSG_WAITALL && !nonblock && is_stream(f);
	struct pollfd p = {f->fd, POLLIN | POLLRDHUP, 0};
	int waiting = 0;
	if (listening(f->fd))
		return true; /* it says that nothing is received there */
	poll(&p, 1, 0);
	if (whole && !(p.revents & (POLLHUP | POLLRDHUP)) && (ioctl(f->fd, FIONREAD, &waiting) < 0 || (uint64_t)waiting < m->b.total)) {
		if (t->nr == SYS_recvfrom && !(m->flags & MSG_PEEK))
			return gather_all(t, f, m);
		if (m->b.total > FITS)
			return done(t, -EOPNOTSUPP); /* it might never be there at once */
	} else if (p.revents && t->keep[0]) {
		return gather_all(t, f, m);
	} else if (p.revents) {
		return true;
	}
	if (nonblock)
		return idle(t, -EAGAIN);
	return socket_timed_out(t, f, false) ? done(t, -EAGAIN) : false;
}

bool receive_try(struct thread *t)
{
	static struct message m;
	struct file f;
	if (look(t, (int)t->a[0], &f) < 0) {
		if (t->keep[0])
			answer(t, (long)t->keep[0]);
		return true;
	}
	bool r = true;
	if (f.kind == K_SOCKET && load(t, &m) == 0) {
		bool stream_nothing = m.b.total == 0 && (t->nr == SYS_read || t->nr == SYS_readv || t->nr == SYS_preadv2);
		r = m.flags & MSG_OOB ? done(t, -EOPNOTSUPP) : stream_nothing || receive_some(t, &f, &m);
	}
	put_back(&f);
	return r;
}

int do_receive(struct thread *t)
{
	memset(t->keep, 0, sizeof t->keep);
	return attempt(t, receive_try);
}
