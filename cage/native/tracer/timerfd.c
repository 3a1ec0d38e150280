/* timerfd.c: timers behind descriptors, in virtual time. The kernel's object is an eventfd, so that reads, polls and epoll
 * sets work as on a timerfd: a read gives how often the time came. The tracer holds a duplicate and adds to it when virtual
 * time comes; which timer a descriptor is says the number that the kernel gives each eventfd. */
#include "clock.h"
#include "fd.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define TIMERS 256
static struct timer {
	int64_t id;        /* of the eventfd; valid while fd is */
	int fd;            /* the tracer's duplicate; 0: free */
	int clock;
	uint64_t end;      /* virtual time of the next expiry; 0: not set */
	uint64_t interval; /* 0: once */
} timers[TIMERS];
static int used; /* all that are in use stand before it */

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

/* said reads a number from what the kernel says of a descriptor; -1: it does not say it. */
static int64_t said(const char *path, const char *name)
{
	char text[512];
	int fd = openat(host_proc, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	text[n < 0 ? 0 : n] = 0;
	const char *at = strstr(text, name);
	return at ? strtoll(at + strlen(name), NULL, 10) : -1;
}

static int64_t said_here(int fd, const char *name)
{
	char path[48];
	snprintf(path, sizeof path, "self/fdinfo/%d", fd);
	return said(path, name);
}

static const char id_line[] = "\neventfd-id:", clock_line[] = "\nclockid:";

static struct timer *timer_of(int fd)
{
	int64_t id = used ? said_here(fd, id_line) : -1;
	for (int i = 0; i < used && id >= 0; i++)
		if (timers[i].fd && timers[i].id == id)
			return &timers[i];
	return NULL;
}

bool is_timer(int fd) { return timer_of(fd) != NULL; }

/* --- which timers does anybody still hold? */
static void mark_held(pid_t pid, bool held[TIMERS])
{
	char path[64 + 256];
	snprintf(path, sizeof path, "%d/fdinfo", pid);
	int at = openat(host_proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = at < 0 ? NULL : fdopendir(at);
	if (!d) {
		if (at >= 0)
			close(at);
		return;
	}
	for (struct dirent *e; (e = readdir(d));) {
		snprintf(path, sizeof path, "%d/fdinfo/%s", pid, e->d_name);
		int64_t id = e->d_name[0] == '.' ? -1 : said(path, id_line);
		for (int i = 0; i < used && id >= 0; i++)
			if (timers[i].fd && timers[i].id == id)
				held[i] = true;
	}
	closedir(d);
}

/* sweep forgets timers that are in no process's table. One on its way in a message is lost: it never expires. */
static void sweep(void)
{
	bool held[TIMERS] = {false};
	if (!used)
		return;
	for (struct process *p = processes; p; p = p->next)
		if (!p->zombie)
			mark_held(p->pid, held);
	for (int i = 0; i < used; i++)
		if (timers[i].fd && !held[i]) {
			close(timers[i].fd);
			timers[i].fd = 0;
		}
	while (used && !timers[used - 1].fd)
		used--;
}

void fd_exec(struct process *p) { (void)p; sweep(); }
void fd_exit(struct process *p) { (void)p; sweep(); }

static struct timer *free_timer(void)
{
	for (int turn = 0; turn < 2; turn++) {
		for (int i = 0; i < TIMERS; i++)
			if (!timers[i].fd) {
				used = used > i ? used : i + 1;
				return &timers[i];
			}
		sweep();
	}
	return NULL;
}

/* --- time passes. A timer that has expired and was not read does not expire again, and wakes nobody: how often its
 * interval has passed meanwhile is found out at the read. */
static bool unread(const struct timer *m)
{
	return poll(&(struct pollfd){m->fd, POLLIN, 0}, 1, 0) > 0;
}

static struct timer *earliest(void)
{
	struct timer *best = NULL;
	for (int i = 0; i < used; i++) {
		struct timer *m = &timers[i];
		if (!m->fd || !m->end || (best && best->end <= m->end))
			continue;
		if (m->interval && unread(m))
			continue;
		best = m;
	}
	return best;
}

uint64_t fd_next_timer(void)
{
	struct timer *m = used ? earliest() : NULL;
	return m ? m->end : 0;
}

static void expire(struct timer *m)
{
	uint64_t times = 1;
	if (m->interval) {
		times += (vnow() - m->end) / m->interval;
		m->end = times > (INT64_MAX - m->end) / m->interval ? 0 : m->end + times * m->interval;
	} else {
		m->end = 0;
	}
	if (write(m->fd, &times, sizeof times) < 0)
		trouble("let a timer of the program expire");
}

void fd_fire_timers(void)
{
	struct timer *m;
	while (used && (m = earliest()) && m->end <= vnow())
		expire(m);
}

void timer_before_read(int fd)
{
	struct timer *m = timer_of(fd);
	if (m && m->end && m->end <= vnow())
		expire(m);
}

/* --- calls */

/* In relaxed mode a timer is the kernel's, by its own clocks. Only a time that the program has from the virtual one must be
 * told as the time that is left until then. */
static bool kernels_own(void) { return job->flags & TJ_RELAXED; }

static int settime_relaxed(struct thread *t)
{
	struct itimerspec new;
	struct clock c;
	struct file f;
	uint64_t value, at;
	if (!(t->a[1] & TFD_TIMER_ABSTIME) || !peek(t, t->a[2], &new, sizeof new) || look(t, (int)t->a[0], &f) < 0)
		return V_PASS;
	int64_t clock = said_here(f.fd, clock_line);
	put_back(&f);
	if (clock < 0 || clock_of(t, (int)clock, &c) < 0 || span_of(new.it_value.tv_sec, new.it_value.tv_nsec, &value) < 0 || !value)
		return V_PASS;
	value = clock_when(c.zero, value);
	new.it_value = timespec_of(value > vnow() ? value - vnow() : 1);
	at = scratch(t, sizeof new);
	if (!poke(t, at, &new, sizeof new))
		return give(t, -EFAULT);
	return give(t, inject(t, SYS_timerfd_settime, t->a[0], 0, at, t->a[3], 0, 0));
}

int do_timerfd_create(struct thread *t)
{
	int clock = (int)t->a[0], flags = (int)t->a[1];
	if (kernels_own())
		return V_PASS;
	if (flags & ~(TFD_CLOEXEC | TFD_NONBLOCK))
		return give(t, -EINVAL);
	if (clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM)
		return give(t, -EPERM);
	if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME)
		return give(t, -EINVAL);
	struct timer *m = free_timer();
	if (!m)
		return give(t, -EMFILE);
	tighten(t);
	long made = inject(t, SYS_eventfd2, 0, (uint64_t)flags, 0, 0, 0, 0);
	int fd = made < 0 ? (int)made : file_of(t, (int)made);
	if (fd < 0)
		return give(t, fd);
	*m = (struct timer){said_here(fd, id_line), fd, clock, 0, 0};
	errno = ENOSYS;
	if (m->id < 0)
		trouble("tell timers apart: this kernel does not number eventfds");
	return give(t, made);
}

/* find gives the timer of a descriptor, or NULL with the answer. */
static struct timer *find(struct thread *t, int fd, long *r)
{
	struct file f;
	struct timer *m = NULL;
	*r = look(t, fd, &f);
	if (*r == 0) {
		if (f.kind == K_EVENT)
			m = timer_of(f.fd);
		put_back(&f);
		*r = m ? 0 : -EINVAL;
	}
	return m;
}

static void left(const struct timer *m, struct itimerspec *to)
{
	uint64_t end = m->end, now = vnow();
	if (end && end <= now && m->interval)
		end += ((now - end) / m->interval + 1) * m->interval;
	to->it_value = timespec_of(end > now ? end - now : 0);
	to->it_interval = timespec_of(m->interval);
}

int do_timerfd_gettime(struct thread *t)
{
	struct itimerspec now;
	long r;
	if (kernels_own())
		return V_PASS;
	struct timer *m = find(t, (int)t->a[0], &r);
	if (m) {
		left(m, &now);
		if (!poke(t, t->a[1], &now, sizeof now))
			r = -EFAULT;
	}
	return give(t, r);
}

int do_timerfd_settime(struct thread *t)
{
	struct itimerspec old, new;
	struct clock c;
	uint64_t value, interval, count;
	long r;
	if (kernels_own())
		return settime_relaxed(t);
	if (!peek(t, t->a[2], &new, sizeof new))
		return give(t, -EFAULT);
	if ((int)t->a[1] & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) || span_of(new.it_value.tv_sec, new.it_value.tv_nsec, &value) < 0 ||
	    span_of(new.it_interval.tv_sec, new.it_interval.tv_nsec, &interval) < 0)
		return give(t, -EINVAL);
	struct timer *m = find(t, (int)t->a[0], &r);
	if (!m)
		return give(t, r);
	left(m, &old);
	if (unread(m) && read(m->fd, &count, sizeof count) < 0)
		trouble("set a timer of the program anew");
	m->interval = interval;
	m->end = 0;
	if (value && t->a[1] & TFD_TIMER_ABSTIME)
		m->end = clock_of(t, m->clock, &c) == 0 ? clock_when(c.zero, value) : 0;
	else if (value)
		m->end = clock_soon(value);
	fd_fire_timers();
	if (t->a[3] && !poke(t, t->a[3], &old, sizeof old))
		r = -EFAULT;
	return give(t, r);
}
