/* sockopt.c: options of sockets: those that say the same everywhere pass, timeouts are kept here, in virtual time, and sizes
 * cannot be changed. */
#include "clock.h"
#include "fd.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

#define ROOM 212992
#define REMEMBERED 65536 /* sockets with a timeout; more cannot set one */

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

/* By inode, which for a socket does not come again. */
static struct timeout { uint64_t ino, receive, send; /* ns; 0: none */ } *timeouts;
static size_t n_timeouts, cap_timeouts;

static struct timeout *timeout_of(uint64_t ino)
{
	for (size_t i = 0; i < n_timeouts; i++)
		if (timeouts[i].ino == ino)
			return &timeouts[i];
	return NULL;
}

static struct timeout *new_timeout(uint64_t ino)
{
	struct timeout *o = timeout_of(ino);
	if (o || n_timeouts == REMEMBERED)
		return o;
	if (n_timeouts == cap_timeouts) {
		size_t cap = cap_timeouts ? cap_timeouts * 2 : 64;
		struct timeout *more = realloc(timeouts, cap * sizeof *more);
		if (!more)
			trouble("memory for the timeouts of sockets");
		timeouts = more;
		cap_timeouts = cap;
	}
	o = &timeouts[n_timeouts++];
	*o = (struct timeout){ino, 0, 0};
	return o;
}

bool socket_timed_out(struct thread *t, const struct file *f, bool sending)
{
	if (t->timed_out)
		return true;
	struct timeout *o = t->deadline ? NULL : timeout_of(f->st.st_ino);
	uint64_t ns = o ? (sending ? o->send : o->receive) : 0;
	if (ns) {
		t->deadline = clock_soon(ns);
		t->restart = NO_RESTART;
	}
	return false;
}

static int set_timeout(struct thread *t, const struct file *f, bool sending)
{
	struct timeval tv;
	uint64_t ns = 0;
	if (job->flags & TJ_RELAXED)
		return V_PASS;
	if ((uint32_t)t->a[4] < sizeof tv)
		return give(t, -EINVAL);
	if (!peek(t, t->a[3], &tv, sizeof tv))
		return give(t, -EFAULT);
	if (tv.tv_usec < 0 || tv.tv_usec >= 1000000)
		return give(t, -EDOM);
	/* Less than nothing means at once: the shortest that there is. */
	if (tv.tv_sec < 0)
		ns = 1;
	else
		span_of(tv.tv_sec, tv.tv_usec * 1000, &ns);
	struct timeout *o = new_timeout(f->st.st_ino);
	if (!o)
		return give(t, -ENOMEM);
	*(sending ? &o->send : &o->receive) = ns;
	return give(t, 0);
}

/* value gives an option's value, cut to the room that the program has for it. */
static int value(struct thread *t, const void *v, uint32_t n)
{
	uint32_t room;
	if (!peek(t, t->a[4], &room, sizeof room))
		return give(t, -EFAULT);
	if ((int)room < 0)
		return give(t, -EINVAL);
	if (room < n)
		n = room;
	return give(t, poke(t, t->a[3], v, n) && poke(t, t->a[4], &n, sizeof n) ? 0 : -EFAULT);
}

/* is_socket: of what is none the kernel says so. */
static bool is_socket(struct thread *t, struct file *f)
{
	if (look(t, (int)t->a[0], f) < 0)
		return false;
	put_back(f);
	return f->kind == K_SOCKET;
}

int do_setsockopt(struct thread *t)
{
	struct file f;
	int on;
	if (!is_socket(t, &f))
		return V_PASS;
	if ((int)t->a[1] != SOL_SOCKET)
		return give(t, -EOPNOTSUPP);
	switch ((int)t->a[2]) {
	case SO_REUSEADDR: case SO_KEEPALIVE: case SO_BROADCAST: case SO_LINGER:
		return V_PASS;
	case SO_SNDBUF: case SO_RCVBUF:
		return give(t, (uint32_t)t->a[4] < sizeof on ? -EINVAL : peek(t, t->a[3], &on, sizeof on) ? 0 : -EFAULT);
	case SO_PASSCRED: /* with it the kernel names sockets by chance */
		return give(t, (uint32_t)t->a[4] < sizeof on ? -EINVAL : !peek(t, t->a[3], &on, sizeof on) ? -EFAULT : on ? -ENOPROTOOPT : 0);
	case SO_RCVTIMEO: case 66 /* SO_RCVTIMEO_NEW */:
		return set_timeout(t, &f, false);
	case SO_SNDTIMEO: case 67 /* SO_SNDTIMEO_NEW */:
		return set_timeout(t, &f, true);
	}
	return give(t, -ENOPROTOOPT);
}

int do_getsockopt(struct thread *t)
{
	struct file f;
	struct timeout *o;
	struct timeval tv;
	uint64_t ns;
	const int room = ROOM;
	if (!is_socket(t, &f))
		return V_PASS;
	if ((int)t->a[1] != SOL_SOCKET)
		return give(t, -EOPNOTSUPP);
	switch ((int)t->a[2]) {
	case SO_TYPE: case SO_ERROR: case SO_DOMAIN: case SO_PROTOCOL: case SO_ACCEPTCONN: case SO_PEERCRED: case SO_PASSCRED:
	case SO_REUSEADDR: case SO_KEEPALIVE: case SO_BROADCAST: case SO_LINGER:
		return V_PASS;
	case SO_SNDBUF: case SO_RCVBUF:
		return value(t, &room, sizeof room);
	case SO_RCVTIMEO: case SO_SNDTIMEO: case 66: case 67:
		if (job->flags & TJ_RELAXED)
			return V_PASS;
		o = timeout_of(f.st.st_ino);
		ns = !o ? 0 : (int)t->a[2] == SO_SNDTIMEO || (int)t->a[2] == 67 ? o->send : o->receive;
		tv = (struct timeval){(time_t)(ns / 1000000000u), (suseconds_t)(ns % 1000000000u / 1000)};
		return value(t, &tv, sizeof tv);
	}
	return give(t, -ENOPROTOOPT);
}
