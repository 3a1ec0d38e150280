/* socket.c: sockets of one family, AF_UNIX, between programs of the cage. The kernel makes and connects them; the tracer
 * refuses names that lead out of the cage or that the kernel would make up, and parks who would wait. */
#include "fd.h"
#include "files.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define SEND_BYTES 212992 /* room of a socket: half of it asked for, as the kernel doubles it */
#define BACKLOG 128

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

/* How much a socket holds decides when its writer waits; the host's default is the host's affair. */
static void fix_room(struct thread *t, int fd)
{
	int d = file_of(t, fd), room = SEND_BYTES / 2;
	socklen_t n = sizeof room;
	if (d < 0)
		return;
	if (setsockopt(d, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) < 0 || getsockopt(d, SOL_SOCKET, SO_SNDBUF, &room, &n) < 0)
		trouble("give a socket its size");
	errno = ENOBUFS;
	if (room != SEND_BYTES)
		trouble("give a socket its size: raise net.core.wmem_max to 212992");
	close(d);
}

static int made(struct thread *t, long result)
{
	if (result >= 0)
		fix_room(t, (int)result);
	return V_DONE;
}

int do_socket(struct thread *t)
{
	if ((int)t->a[0] != AF_UNIX)
		return give(t, -EAFNOSUPPORT);
	if (((int)t->a[1] & 0xf) == SOCK_DGRAM) /* the others wait for nothing before they are connected */
		tighten(t);
	t->after = made;
	return V_AFTER;
}

static int paired(struct thread *t, long result)
{
	int fds[2];
	if (result == 0 && peek(t, t->a[3], fds, sizeof fds)) {
		fix_room(t, fds[0]);
		fix_room(t, fds[1]);
	}
	return V_DONE;
}

int do_socketpair(struct thread *t)
{
	if ((int)t->a[0] != AF_UNIX)
		return give(t, -EAFNOSUPPORT);
	tighten(t);
	t->after = paired;
	return V_AFTER;
}

/* read_name reads a name of the family; false if it is none, of which the kernel says so itself. */
static bool read_name(struct thread *t, uint64_t addr, uint64_t len, struct sockaddr_un *name, char path[sizeof name->sun_path + 1])
{
	memset(name, 0, sizeof *name);
	if (len < sizeof name->sun_family || len > sizeof *name || !peek(t, addr, name, len) || name->sun_family != AF_UNIX)
		return false;
	memcpy(path, name->sun_path, sizeof name->sun_path);
	path[sizeof name->sun_path] = 0;
	return true;
}

/* Names without a path reach beyond the cage where it has no network of its own; a path on a file system that the program
 * may not write may lead to a socket of the host. */
long peer_address(struct thread *t, uint64_t addr, uint64_t len)
{
	struct sockaddr_un name;
	char path[sizeof name.sun_path + 1];
	struct stat st;
	if (!read_name(t, addr, (uint32_t)len, &name, path) || len == sizeof name.sun_family)
		return 0;
	if (!path[0])
		return -ECONNREFUSED;
	int base = dir_of(t, AT_FDCWD);
	bool outside = base >= 0 && fstatat(base, path, &st, 0) == 0 && !writable_dev(st.st_dev);
	if (base >= 0)
		close(base);
	return outside ? -ECONNREFUSED : 0;
}

static char bound_to[PATH_CAP]; /* of the bind under way; its entry and its exit stop follow each other */

static int bound(struct thread *t, long result)
{
	struct stat st;
	if (result == 0 && parent_of(AT_FDCWD, bound_to, &st))
		note_folder(&st);
	change_event(t, result, bound_to, NULL);
	return V_DONE;
}

int do_bind(struct thread *t)
{
	struct sockaddr_un name;
	char path[sizeof name.sun_path + 1];
	if (!read_name(t, t->a[1], (uint32_t)t->a[2], &name, path))
		return V_PASS;
	if (!path[0])
		return give(t, -EADDRNOTAVAIL);
	absolute_path(t, AT_FDCWD, path, bound_to, sizeof bound_to);
	t->after = bound;
	return V_AFTER;
}

int do_listen(struct thread *t)
{
	tighten(t);
	uint32_t backlog = (uint32_t)t->a[1];
	return give(t, inject(t, SYS_listen, t->a[0], backlog > BACKLOG ? BACKLOG : backlog, 0, 0, 0, 0));
}

/* A connection waits while the listener's queue is full; tried without waiting, it says so. */
static bool connect_try(struct thread *t)
{
	struct file f;
	if (look(t, (int)t->a[0], &f) < 0)
		return true;
	bool r = true;
	if (f.kind == K_SOCKET && !f.nonblock) {
		fcntl(f.fd, F_SETFL, f.flags | O_NONBLOCK);
		long c = inject(t, SYS_connect, t->a[0], t->a[1], t->a[2], 0, 0, 0);
		fcntl(f.fd, F_SETFL, f.flags);
		r = c != -EAGAIN || socket_timed_out(t, &f, true) ? done(t, c) : false;
	}
	put_back(&f);
	return r;
}

/* somewhere says whether a name leads to anything. Programs often ask a service that is not there first of all. */
static bool somewhere(struct thread *t, uint64_t addr, uint64_t len)
{
	struct sockaddr_un name;
	char path[sizeof name.sun_path + 1];
	struct stat st;
	if (!read_name(t, addr, (uint32_t)len, &name, path))
		return true;
	int base = dir_of(t, AT_FDCWD);
	bool there = base >= 0 && fstatat(base, path, &st, 0) == 0;
	if (base >= 0)
		close(base);
	return there;
}

int do_connect(struct thread *t)
{
	long r = peer_address(t, t->a[1], t->a[2]);
	if (r < 0)
		return give(t, r);
	if (!somewhere(t, t->a[1], t->a[2]))
		return V_PASS;
	tighten(t);
	return job->flags & TJ_RELAXED ? V_PASS : attempt(t, connect_try);
}

static bool accept_try(struct thread *t)
{
	struct file f;
	if (look(t, (int)t->a[0], &f) < 0)
		return true;
	bool r = true;
	t->after = NULL;
	if (f.kind == K_SOCKET && listening(f.fd)) {
		if (poll(&(struct pollfd){f.fd, POLLIN, 0}, 1, 0) > 0)
			t->after = made;
		else if (f.nonblock)
			r = idle(t, -EAGAIN);
		else
			r = socket_timed_out(t, &f, false) ? done(t, -EAGAIN) : false;
	}
	put_back(&f);
	return r;
}

int do_accept(struct thread *t)
{
	if (!(job->flags & TJ_RELAXED))
		return attempt(t, accept_try);
	t->after = made;
	return V_AFTER;
}
