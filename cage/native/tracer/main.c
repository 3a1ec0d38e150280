/* main.c: the strict cage's tracer.
 *
 *   docklock-tracer run STAGE      one run, with the descriptors that wire.h names; STAGE is an empty folder
 *   docklock-tracer probe STAGE    prints a line a wall: name, tab, "ok" or why not
 *
 * It ends when the first program has, or a limit is reached, or the node closes its end of TJ_CONTROL; nothing of the
 * cage outlives it: the traced processes are bound to it (PTRACE_O_EXITKILL), and so is the init of their pid namespace. */
#include "core.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOB_MAX (64u << 20)

const struct tj_job *job;
int host_proc = -1;
uint64_t calls_made, stops_seen;
uint32_t spawned, alive;

static void say(struct tj_done *d)
{
	d->magic = TJ_MAGIC;
	d->spawned = spawned;
	d->calls = calls_made;
	d->stops = stops_seen;
	d->events = events_made;
	while (send(TJ_CONTROL, d, sizeof *d, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/* end_cage kills what is left and waits until all of it is gone, so that who hears of the end finds nothing. */
static void end_cage(void)
{
	if (init_pid > 0)
		kill(init_pid, SIGKILL);
	while (waitpid(-1, NULL, __WALL) >= 0 || errno == EINTR)
		;
}

void finish_unheard(void)
{
	end_cage();
	_exit(1);
}

static void finish(struct tj_done *d)
{
	d->cpu_us = cpu_us();
	d->virtual_ns = job ? vnow() - job->epoch_ns : 0;
	end_cage();
	flush_events();
	say(d);
	exit(0);
}

/* What a program has left in files is there until the cage ends. Were it judged by the watch alone, a program that wrote
 * too much would have a result or none, by how soon the watch looked. */
static void judge_files(void)
{
	if (files_too_large())
		finish_none(TJ_NONE_OOM);
}

void finish_done(int status)
{
	judge_files();
	struct tj_done d = {.kind = TJ_DONE, .status = status};
	finish(&d);
	abort();
}

void finish_killed(enum tj_reason reason)
{
	judge_files();
	struct tj_done d = {.kind = TJ_DONE, .reason = reason, .status = SIGKILL};
	uint64_t r = reason;
	event(NULL, TJ_LIMIT, &r, sizeof r);
	finish(&d);
	abort();
}

void finish_none(enum tj_reason reason)
{
	struct tj_done d = {.kind = TJ_NONE, .reason = reason};
	finish(&d);
	abort();
}

static void finish_text(enum tj_kind kind, const char *what, int error)
{
	struct tj_done d = {.kind = kind, .error = error};
	snprintf(d.text, sizeof d.text, "%s", what);
	end_cage();
	flush_events();
	say(&d);
	exit(kind == TJ_TROUBLE);
}

void trouble(const char *what)
{
	finish_text(TJ_TROUBLE, what, errno);
	abort();
}

void bad_job(const char *what, int error)
{
	finish_text(TJ_BAD_JOB, what, error);
	abort();
}

void give_out(int fd)
{
	struct tj_done d = {.magic = TJ_MAGIC, .kind = TJ_STARTED};
	union {
		char b[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} c;
	struct iovec iov = {&d, sizeof d};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	memset(&c, 0, sizeof c);
	if (fd >= 0) {
		m.msg_control = c.b;
		m.msg_controllen = sizeof c.b;
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(h), &fd, sizeof fd);
	}
	if (sendmsg(TJ_CONTROL, &m, MSG_NOSIGNAL) < 0)
		trouble("tell the node that the cage stands");
	if (fd >= 0)
		close(fd);
}

bool node_gone(void)
{
	struct pollfd p = {TJ_CONTROL, POLLIN, 0};
	return poll(&p, 1, 0) > 0; /* it never says anything: what can be read is its end */
}

const char *job_string(uint32_t index)
{
	const char *s = (const char *)(job + 1) + job->filter_len * 8ul, *end = s + job->strings_len;
	for (uint32_t i = 0; i < index && s < end; i++)
		s += strlen(s) + 1;
	return s < end ? s : NULL;
}

static void load_job(void)
{
	struct stat st;
	if (fstat(TJ_JOB, &st) < 0 || st.st_size < (off_t)sizeof *job || st.st_size > JOB_MAX)
		trouble("size of the job");
	void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, TJ_JOB, 0);
	if (at == MAP_FAILED)
		trouble("read the job");
	job = at;
	errno = EINVAL;
	uint32_t strings = 1 + job->argc + job->envc + 3 * job->mounts;
	if (job->magic != TJ_MAGIC || job->argc < 1 || job->argc > 1 << 16 || job->envc > 1 << 16 || job->mounts > 1 << 16 || job->filter_len > 4096 ||
	    sizeof *job + 8ull * job->filter_len + job->strings_len != (uint64_t)st.st_size || !job->strings_len || ((char *)at)[st.st_size - 1] != 0 ||
	    !job_string(strings - 1) || job_string(strings))
		trouble("form of the job");
	close(TJ_JOB);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "probe"))
		return probe(argv[2]);
	if (argc != 3 || strcmp(argv[1], "run")) {
		fprintf(stderr, "usage: docklock-tracer run STAGE; docklock-tracer probe STAGE\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	/* Stops are waited for; a signal at each would only cost. */
	struct sigaction quiet = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP};
	sigaction(SIGCHLD, &quiet, NULL);
	load_job();
	struct thread *first = launch(argv[2]);
	add_thread(first);
	spawned = alive = 1;
	start_watch();
	run();
}
