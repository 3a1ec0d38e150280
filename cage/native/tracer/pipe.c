/* pipe.c: makes what can block: pipes, eventfds, signalfds, epoll sets. The kernel makes them; from then on reads, writes
 * and waits are traced. */
#include "fd.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PIPE_BYTES 65536

/* How much a pipe holds decides when its writer waits. The kernel gives less to a user who has many, all over the host. */
static int piped(struct thread *t, long result)
{
	int fds[2];
	if (result != 0 || !peek(t, t->a[0], fds, sizeof fds))
		return V_DONE;
	int fd = file_of(t, fds[0]);
	if (fd >= 0) {
		if (fcntl(fd, F_GETPIPE_SZ) != PIPE_BYTES && fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES) != PIPE_BYTES)
			trouble("give a pipe its size; other processes of this user hold too many: raise fs.pipe-user-pages-soft");
		close(fd);
	}
	return V_DONE;
}

int do_pipe(struct thread *t)
{
	if (t->nr == SYS_pipe2 && (uint32_t)t->a[1] & ~(uint32_t)(O_CLOEXEC | O_NONBLOCK | O_DIRECT)) {
		answer(t, -EINVAL);
		return V_DONE;
	}
	tighten(t);
	t->after = piped;
	return V_AFTER;
}

int do_eventfd(struct thread *t)
{
	tighten(t);
	return V_PASS;
}

int do_epoll_create(struct thread *t)
{
	tighten(t);
	return V_PASS;
}

int do_signalfd(struct thread *t)
{
	tighten(t);
	signalfds = true;
	return V_PASS;
}
