/* fd.h: what the files that answer calls on descriptors share.
 *
 * Nothing is remembered of a descriptor: each call asks the kernel what it is, through a duplicate that is closed before
 * the call goes on. So no close, dup, exec or descriptor sent over a socket can make the tracer believe a falsehood, and
 * the calls that only change the table need not stop. */
#ifndef DOCKLOCK_TRACER_FD_H
#define DOCKLOCK_TRACER_FD_H

#include "tracer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum kind {
	K_PLAIN,  /* never blocks: regular files, folders, null, zero, full */
	K_OUTPUT, /* the run's stdout or stderr */
	K_RANDOM,
	K_PIPE,   /* from here on those that can block */
	K_SOCKET,
	K_EVENT,  /* eventfd; a timerfd is one too */
	K_SIGNAL,
	K_EPOLL,
	K_OTHER,  /* what can neither be read nor written */
};

struct file {
	int fd;       /* the tracer's duplicate */
	int flags;    /* of F_GETFL, for kinds that can block */
	bool nonblock;
	enum kind kind;
	struct stat st;
};

int look(struct thread *t, int fd, struct file *f); /* 0 or a negative errno; put_back must follow a success */
void put_back(struct file *f);
short ready(struct thread *t, int fd, short events); /* what poll(2) would say of the caller's descriptor now */
bool listening(int fd);
extern bool signalfds;                              /* there has been one: what is ready may depend on who asks */

/* attempt makes a call that may have to wait. try does what it can: it is true if the call is answered, or can be left
 * to the kernel (t->after set or not) without waiting there; false if it is to be tried again when others have run. It
 * becomes t->retry. idle answers and lets others run first, so that a loop over it does not keep them from it. */
int attempt(struct thread *t, bool (*try)(struct thread *t));
bool done(struct thread *t, long result); /* answers; true */
bool idle(struct thread *t, long result); /* as done */

/* Bytes that a call names: one buffer or many. */
#define SEGMENTS 1024
struct bytes {
	struct iovec v[SEGMENTS];
	int n;
	uint64_t total;
};
long load_bytes(struct thread *t, uint64_t iov, uint64_t count, struct bytes *b); /* 0, -EINVAL, -EFAULT */
void one_buffer(uint64_t at, uint64_t n, struct bytes *b);
size_t gather(struct thread *t, const struct bytes *b, uint64_t skip, void *to, size_t cap); /* what could be read of it */
uint64_t segment(const struct bytes *b, uint64_t skip, uint64_t *at); /* what is contiguous at skip: length, address */

/* What a parked write or receive has moved so far is in keep[0]. */
bool write_try(struct thread *t), read_try(struct thread *t), send_try(struct thread *t), receive_try(struct thread *t);
bool random_read(struct thread *t, const struct bytes *b);

bool is_timer(int fd);                                  /* a duplicate of an eventfd */
void timer_before_read(int fd);                         /* its count is brought up to date */

/* A socket's timeout: try calls it before it gives up for now; true if the time is over, or would be at once. */
bool socket_timed_out(struct thread *t, const struct file *f, bool sending);

int do_read(struct thread *t), do_pread(struct thread *t), do_write(struct thread *t);
int do_poll(struct thread *t), do_select(struct thread *t), do_epoll_wait(struct thread *t);
int do_pipe(struct thread *t), do_eventfd(struct thread *t), do_signalfd(struct thread *t), do_epoll_create(struct thread *t);
int do_timerfd_create(struct thread *t), do_timerfd_settime(struct thread *t), do_timerfd_gettime(struct thread *t);
int do_socket(struct thread *t), do_socketpair(struct thread *t), do_bind(struct thread *t), do_listen(struct thread *t);
int do_connect(struct thread *t), do_accept(struct thread *t);
int do_setsockopt(struct thread *t), do_getsockopt(struct thread *t);
int do_send(struct thread *t), do_receive(struct thread *t);
long peer_address(struct thread *t, uint64_t addr, uint64_t len); /* 0 if the caller may speak to it, or a negative errno */
#endif
