/* poll.c: waits for descriptors to be ready. When one is, the kernel makes the call and finds it so; until then the thread
 * is parked, and the time that passes is virtual. */
#include "clock.h"
#include "core.h"
#include "fd.h"

#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

/* A call's own use of keep. */
enum { AT_ONCE, END /* 0: never */, MASKED, MASK };

static bool poll_try(struct thread *t), select_try(struct thread *t), epoll_try(struct thread *t);

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

static bool timespec_nr(long nr)
{
	return nr == SYS_ppoll || nr == SYS_pselect6 || nr == SYS_epoll_pwait2;
}

/* The argument that holds the timeout's address, which poll and select have brought up to date; 0: none. */
static uint64_t timeout_at(const struct thread *t)
{
	switch (t->nr) {
	case SYS_ppoll: return t->a[2];
	case SYS_select: case SYS_pselect6: return t->a[4];
	}
	return 0;
}

/* What the kernel writes of the time that is left is the host's time. */
static int give_left(struct thread *t, long result)
{
	uint64_t end = t->keep[END], left = end > vnow() ? end - vnow() : 0;
	struct timespec ts = timespec_of(left);
	struct timeval tv = {ts.tv_sec, ts.tv_nsec / 1000};
	(void)result;
	if (t->nr == SYS_select)
		poke(t, timeout_at(t), &tv, sizeof tv);
	else
		poke(t, timeout_at(t), &ts, sizeof ts);
	return V_DONE;
}

static bool let_kernel(struct thread *t)
{
	t->after = timeout_at(t) && !t->keep[AT_ONCE] ? give_left : NULL;
	return true;
}

/* over says whether the time is up. */
static bool over(const struct thread *t) { return t->timed_out || t->keep[AT_ONCE]; }

/* nothing: what a wait says when its time is up. */
static bool nothing(struct thread *t)
{
	if (timeout_at(t) && !t->keep[AT_ONCE])
		give_left(t, 0);
	return t->keep[AT_ONCE] ? idle(t, 0) : done(t, 0);
}

/* A signal that only the call's own mask lets in: the kernel takes it at once. */
static bool signalled(struct thread *t)
{
	return t->keep[MASKED] && pending_signals(t) & ~t->keep[MASK];
}

static long set_end(struct thread *t, int64_t ms_or_at, bool by_address)
{
	uint64_t ns = 0;
	long r = 0;
	if (!by_address) {
		if (ms_or_at < 0)
			return 0;
		ns = (uint64_t)ms_or_at * 1000000u;
	} else if (!ms_or_at) {
		return 0;
	} else if (t->nr == SYS_select) {
		struct timeval tv;
		if (!peek(t, (uint64_t)ms_or_at, &tv, sizeof tv))
			return -EFAULT;
		/* As the kernel has it: more than a second of microseconds is taken. */
		r = tv.tv_sec < 0 || tv.tv_usec < 0 ? -EINVAL : span_of(tv.tv_sec + tv.tv_usec / 1000000, tv.tv_usec % 1000000 * 1000, &ns);
	} else {
		r = read_span(t, (uint64_t)ms_or_at, &ns);
	}
	if (r < 0)
		return r;
	t->keep[AT_ONCE] = ns == 0;
	if (ns)
		t->deadline = t->keep[END] = clock_soon(ns);
	return 0;
}

/* own_mask reads the call's mask: 1, or 0 if it brings none, or below 0 if the kernel will say what is wrong with it. */
static int own_mask(struct thread *t, uint64_t *mask)
{
	uint64_t pair[2] = {0, 0}; /* where it is, its size */
	switch (t->nr) {
	case SYS_ppoll:
		pair[0] = t->a[3];
		pair[1] = t->a[4];
		break;
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
		pair[0] = t->a[4];
		pair[1] = t->a[5];
		break;
	case SYS_pselect6:
		if (t->a[5] && !peek(t, t->a[5], pair, sizeof pair))
			return -EFAULT;
		break;
	}
	if (!pair[0])
		return 0;
	return pair[1] != sizeof *mask ? -EINVAL : peek(t, pair[0], mask, sizeof *mask) ? 1 : -EFAULT;
}

bool fd_wait_mask(struct thread *t, uint64_t *mask)
{
	bool waits = t->retry == poll_try || t->retry == select_try || t->retry == epoll_try;
	*mask = t->keep[MASK];
	return t->state == RETRY && waits && t->keep[MASKED];
}

/* In relaxed mode a wait lasts by the kernel's clock, and the virtual one shows afterwards that its time is up. */
static int waited_relaxed(struct thread *t, long result)
{
	if (result == 0 && t->keep[END])
		clock_reach(t->keep[END]);
	return V_DONE;
}

static int wait_for(struct thread *t, bool (*try)(struct thread *), int64_t timeout)
{
	memset(t->keep, 0, sizeof t->keep);
	long r = set_end(t, timeout, t->nr == SYS_select || timespec_nr(t->nr));
	if (r < 0)
		return give(t, r);
	if (job->flags & TJ_RELAXED) {
		t->deadline = 0;
		t->after = waited_relaxed;
		return t->keep[END] ? V_AFTER : V_PASS;
	}
	int masked = own_mask(t, &t->keep[MASK]);
	if (masked < 0)
		return V_PASS;
	t->keep[MASKED] = masked;
	t->restart = NO_RESTART;
	return attempt(t, try);
}

/* room gives n bytes that last until the next call of it. */
static void *room(size_t n)
{
	static void *at;
	static size_t cap;
	if (n > cap) {
		free(at);
		at = malloc(n);
		cap = at ? n : 0;
		if (!at)
			trouble("memory for a poll");
	}
	return at;
}

static bool poll_try(struct thread *t)
{
	uint64_t n = (uint32_t)t->a[1];
	if (n > job->files || signalled(t))
		return let_kernel(t); /* too many: it says so */
	struct pollfd *p = room((n + 1) * sizeof *p);
	if (!peek(t, t->a[0], p, n * sizeof *p))
		return done(t, -EFAULT);
	for (uint64_t i = 0; i < n; i++)
		if (p[i].fd >= 0 && ready(t, p[i].fd, p[i].events))
			return let_kernel(t);
	if (!over(t))
		return false;
	for (uint64_t i = 0; i < n; i++)
		p[i].revents = 0;
	if (!poke(t, t->a[0], p, n * sizeof *p))
		return done(t, -EFAULT);
	return nothing(t);
}

int do_poll(struct thread *t)
{
	return wait_for(t, poll_try, t->nr == SYS_poll ? (int)t->a[2] : (int64_t)t->a[2]);
}

#define WORD 64
#define SELECT_MOST 65536 /* descriptors: more than a job can have */

static bool select_try(struct thread *t)
{
	static uint64_t sets[3][SELECT_MOST / WORD];
	static const short ask[3] = {POLLIN | POLLRDNORM | POLLRDBAND, POLLOUT | POLLWRNORM | POLLWRBAND, POLLPRI};
	static const short counts[3] = {POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR, POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR, POLLPRI};
	int n = (int)t->a[0];
	if (n < 0 || signalled(t))
		return let_kernel(t);
	if (n > SELECT_MOST)
		n = SELECT_MOST;
	size_t bytes = (size_t)(n + WORD - 1) / WORD * 8;
	memset(sets, 0, sizeof sets);
	for (int s = 0; s < 3; s++)
		if (t->a[1 + s] && !peek(t, t->a[1 + s], sets[s], bytes))
			return done(t, -EFAULT);
	for (int fd = 0; fd < n; fd++) {
		short events = 0, count = 0;
		for (int s = 0; s < 3; s++)
			if (sets[s][fd / WORD] >> fd % WORD & 1) {
				events |= ask[s];
				count |= counts[s];
			}
		if (!events)
			continue;
		short r = ready(t, fd, events);
		if (r & (count | POLLNVAL))
			return let_kernel(t);
	}
	if (!over(t))
		return false;
	memset(sets[0], 0, bytes);
	for (int s = 0; s < 3; s++)
		if (t->a[1 + s] && !poke(t, t->a[1 + s], sets[0], bytes))
			return done(t, -EFAULT);
	return nothing(t);
}

int do_select(struct thread *t)
{
	return wait_for(t, select_try, (int64_t)t->a[4]);
}

static bool epoll_try(struct thread *t)
{
	struct file f;
	if ((int)t->a[2] <= 0 || signalled(t) || ready(t, (int)t->a[0], POLLIN))
		return let_kernel(t);
	if (look(t, (int)t->a[0], &f) < 0)
		return let_kernel(t);
	put_back(&f);
	if (f.kind != K_EPOLL)
		return let_kernel(t);
	return over(t) ? nothing(t) : false;
}

int do_epoll_wait(struct thread *t)
{
	return wait_for(t, epoll_try, t->nr == SYS_epoll_pwait2 ? (int64_t)t->a[3] : (int)t->a[3]);
}
