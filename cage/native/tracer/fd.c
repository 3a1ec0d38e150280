/* fd.c: what a descriptor is and whether it is ready, and the calls that copy and set up descriptors. */
#include "fd.h"

#include <linux/close_range.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

bool signalfds;

static bool is_output(const struct stat *st)
{
	static struct stat out[2];
	if (!out[0].st_ino && (fstat(TJ_STDOUT, &out[0]) < 0 || fstat(TJ_STDERR, &out[1]) < 0))
		trouble("find the program's output");
	return st->st_dev == out[0].st_dev && (st->st_ino == out[0].st_ino || st->st_ino == out[1].st_ino);
}

/* Files of the kernel's own have no type; their names tell what they are. */
static enum kind anonymous(int fd)
{
	static const struct { const char *name; enum kind kind; } names[] = {
		{"anon_inode:[eventfd]", K_EVENT}, {"anon_inode:[signalfd]", K_SIGNAL}, {"anon_inode:[eventpoll]", K_EPOLL},
	};
	char path[32], name[64];
	snprintf(path, sizeof path, "self/fd/%d", fd);
	ssize_t n = readlinkat(host_proc, path, name, sizeof name - 1);
	name[n < 0 ? 0 : n] = 0;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (!strcmp(name, names[i].name))
			return names[i].kind;
	return K_OTHER;
}

static enum kind kind_of(const struct file *f)
{
	switch (f->st.st_mode & S_IFMT) {
	case S_IFIFO: return K_PIPE;
	case S_IFSOCK: return K_SOCKET;
	case S_IFREG: return is_output(&f->st) ? K_OUTPUT : is_random(&f->st) ? K_RANDOM : K_PLAIN;
	case 0: return anonymous(f->fd);
	}
	return K_PLAIN;
}

int look(struct thread *t, int fd, struct file *f)
{
	f->fd = file_of(t, fd);
	if (f->fd < 0)
		return f->fd;
	if (fstat(f->fd, &f->st) < 0) {
		int r = -errno;
		close(f->fd);
		return r;
	}
	f->kind = kind_of(f);
	f->flags = f->kind >= K_PIPE ? fcntl(f->fd, F_GETFL) : 0;
	f->nonblock = f->flags & O_NONBLOCK;
	return 0;
}

void put_back(struct file *f)
{
	close(f->fd);
}

/* Whether a signalfd is ready depends on whose signals are asked for, and asking an epoll set forgets what is not: the
 * program must ask itself. */
static short ask_itself(struct thread *t, int fd, short events)
{
	struct pollfd p = {fd, events, 0};
	uint64_t at = scratch(t, sizeof p);
	if (!poke(t, at, &p, sizeof p) || inject(t, SYS_poll, at, 1, 0, 0, 0, 0) < 0 || !peek(t, at, &p, sizeof p))
		return 0;
	return p.revents;
}

short ready(struct thread *t, int fd, short events)
{
	struct pollfd p = {file_of(t, fd), events, 0};
	struct stat st;
	if (p.fd < 0)
		return POLLNVAL;
	if (signalfds && fstat(p.fd, &st) == 0 && (st.st_mode & S_IFMT) == 0)
		p.revents = ask_itself(t, fd, events);
	else
		poll(&p, 1, 0);
	close(p.fd);
	return p.revents;
}

bool listening(int fd)
{
	int yes = 0;
	socklen_t n = sizeof yes;
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &n) == 0 && yes;
}

static bool others_first; /* idle() was the answer of the call under way */

bool done(struct thread *t, long result)
{
	answer(t, result);
	return true;
}

bool idle(struct thread *t, long result)
{
	others_first = true;
	return done(t, result);
}

int attempt(struct thread *t, bool (*try)(struct thread *t))
{
	others_first = false;
	t->retry = try;
	if (!try(t)) {
		t->state = RETRY;
		return V_BLOCK;
	}
	if (t->answered)
		return others_first ? V_YIELD : V_DONE;
	return t->after ? V_AFTER : V_PASS;
}

uint64_t fd_moved(const struct thread *t)
{
	bool moves = t->retry == write_try || t->retry == send_try || t->retry == read_try || t->retry == receive_try;
	return t->state == RETRY && moves ? t->keep[0] : 0;
}

/* A new process has a table of its own or shares one; nothing is remembered of either. */
void fd_fork(struct process *child, struct process *parent, bool shared)
{
	(void)child, (void)parent, (void)shared;
}

/* --- copies and settings */
static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

/* Until reads and writes are traced, output is known by its number alone: no other number may lead to it before. */
static void copied(struct thread *t, int from, int to)
{
	struct file f;
	if (to == 1 || to == 2 || look(t, from, &f) < 0)
		return;
	if (f.kind == K_OUTPUT)
		tighten(t);
	put_back(&f);
}

static int do_dup(struct thread *t)
{
	copied(t, (int)t->a[0], t->nr == SYS_dup ? -1 : (int)t->a[1]);
	return V_PASS;
}

/* A thread with a table of its own would have other descriptors than its process is asked for. */
static int do_close_range(struct thread *t)
{
	return t->a[2] & CLOSE_RANGE_UNSHARE ? give(t, -EINVAL) : V_PASS;
}

static int set_flags(struct thread *t)
{
	struct file f;
	if (!(t->a[2] & (O_ASYNC | O_DIRECT)))
		return V_PASS;
	int r = look(t, (int)t->a[0], &f);
	if (r < 0)
		return give(t, r);
	bool packets = f.kind == K_PIPE && !(t->a[2] & O_ASYNC);
	put_back(&f);
	return packets ? V_PASS : give(t, -EINVAL); /* signals at the kernel's pleasure; what a file system allows */
}

static int do_fcntl(struct thread *t)
{
	const struct f_owner_ex nobody = {F_OWNER_TID, 0};
	struct file f;
	switch ((int)t->a[1]) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		copied(t, (int)t->a[0], -1);
		return V_PASS;
	case F_GETFD: case F_SETFD: case F_GETFL: case F_GETPIPE_SZ: case F_ADD_SEALS: case F_GET_SEALS:
		return V_PASS;
	case F_SETFL:
		return set_flags(t);
	case F_GETLK: case F_SETLK: case F_SETLKW: case F_OFD_GETLK: case F_OFD_SETLK: case F_OFD_SETLKW:
		return lock_fcntl(t);
	}
	int r = look(t, (int)t->a[0], &f);
	if (r < 0)
		return give(t, r);
	put_back(&f);
	switch ((int)t->a[1]) {
	case F_GETOWN: case F_GETSIG:
		return give(t, 0);
	case F_GETOWN_EX:
		return give(t, poke(t, t->a[2], &nobody, sizeof nobody) ? 0 : -EFAULT);
	case F_SETPIPE_SZ: /* how large one may be is the host's affair */
		return give(t, f.kind == K_PIPE ? -EPERM : -EBADF);
	}
	return give(t, -EINVAL);
}

static int do_ioctl(struct thread *t)
{
	struct file f;
	switch ((uint32_t)t->a[1]) {
	case FIONREAD: case FIONBIO: case FIOCLEX: case FIONCLEX:
		return V_PASS;
	}
	int r = look(t, (int)t->a[0], &f);
	if (r < 0)
		return give(t, r);
	put_back(&f);
	switch ((uint32_t)t->a[1]) {
	case FICLONE: case FICLONERANGE: case FIDEDUPERANGE:
		return give(t, -EOPNOTSUPP); /* who copies files knows this one */
	}
	return give(t, -ENOTTY);
}

/* Where a file has holes is its file system's affair: there are none. Asked for data, the kernel may still tell. */
static int do_lseek(struct thread *t)
{
	struct file f;
	if (t->a[2] != SEEK_DATA && t->a[2] != SEEK_HOLE)
		return V_PASS;
	int r = look(t, (int)t->a[0], &f);
	if (r < 0)
		return give(t, r);
	int64_t at = (int64_t)t->a[1];
	if (f.kind != K_PLAIN || !S_ISREG(f.st.st_mode)) {
		put_back(&f);
		return f.kind == K_PLAIN ? give(t, -EINVAL) : V_PASS;
	}
	if (at < 0 || at >= f.st.st_size)
		at = -ENXIO;
	else
		at = lseek(f.fd, t->a[2] == SEEK_HOLE ? f.st.st_size : at, SEEK_SET);
	put_back(&f);
	return give(t, at == -1 ? -EINVAL : at);
}

/* Among regular files the kernel copies; to and from others a program must read and write. */
static int do_sendfile(struct thread *t)
{
	struct file to, from;
	if (look(t, (int)t->a[0], &to) < 0)
		return V_PASS;
	bool plain = to.kind == K_PLAIN && S_ISREG(to.st.st_mode);
	put_back(&to);
	if (look(t, (int)t->a[1], &from) < 0)
		return V_PASS;
	plain = plain && from.kind == K_PLAIN && S_ISREG(from.st.st_mode);
	put_back(&from);
	return plain ? V_PASS : give(t, -EINVAL);
}

#define TRACE(n, f) {SYS_##n, C_TRACE, f, 0}
#define BLOCKING(n, f) {SYS_##n, C_BLOCKING, f, 0}
#define STDOUT(n, f) {SYS_##n, C_STDOUT, f, 0}
#define PASS(n) {SYS_##n, C_PASS, NULL, 0}
#define ERRNO(n, e) {SYS_##n, C_ERRNO, NULL, e}

/* pread64 and preadv pass until a random device is open: what has positions does not block. Those with flags do not: one
 * flag asks what the host has in its cache. */
const struct call fd_calls[] = {
	BLOCKING(read, do_read), BLOCKING(readv, do_read), {SYS_pread64, C_PASS, do_pread, 0}, {SYS_preadv, C_PASS, do_pread, 0}, TRACE(preadv2, do_read),
	STDOUT(write, do_write), STDOUT(writev, do_write), STDOUT(pwrite64, do_write), STDOUT(pwritev, do_write), TRACE(pwritev2, do_write),
	TRACE(poll, do_poll), TRACE(ppoll, do_poll), TRACE(select, do_select), TRACE(pselect6, do_select),
	TRACE(epoll_wait, do_epoll_wait), TRACE(epoll_pwait, do_epoll_wait), TRACE(epoll_pwait2, do_epoll_wait),
	TRACE(epoll_create, do_epoll_create), TRACE(epoll_create1, do_epoll_create), PASS(epoll_ctl),
	TRACE(pipe, do_pipe), TRACE(pipe2, do_pipe), TRACE(eventfd, do_eventfd), TRACE(eventfd2, do_eventfd),
	TRACE(signalfd, do_signalfd), TRACE(signalfd4, do_signalfd),
	TRACE(timerfd_create, do_timerfd_create), TRACE(timerfd_settime, do_timerfd_settime), TRACE(timerfd_gettime, do_timerfd_gettime),
	TRACE(socket, do_socket), TRACE(socketpair, do_socketpair), TRACE(bind, do_bind), TRACE(listen, do_listen),
	TRACE(connect, do_connect), TRACE(accept, do_accept), TRACE(accept4, do_accept),
	TRACE(sendto, do_send), TRACE(sendmsg, do_send), BLOCKING(recvfrom, do_receive), BLOCKING(recvmsg, do_receive),
	ERRNO(sendmmsg, ENOSYS), ERRNO(recvmmsg, ENOSYS), PASS(shutdown), PASS(getsockname), PASS(getpeername),
	TRACE(setsockopt, do_setsockopt), TRACE(getsockopt, do_getsockopt),
	TRACE(dup, do_dup), TRACE(dup2, do_dup), TRACE(dup3, do_dup), TRACE(fcntl, do_fcntl), TRACE(ioctl, do_ioctl),
	PASS(close), TRACE(close_range, do_close_range), {SYS_lseek, C_EXEC_PROT, do_lseek, 0}, TRACE(sendfile, do_sendfile),
	{-1, C_PASS, NULL, 0},
};
