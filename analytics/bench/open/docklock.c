/* Stands in for the cage's docklock.c when the worker is built for comparison: the engine is opened once and forked for
 * each job as in the cage, but with no walls: no namespaces, no root of its own, no limits, no filter.
 *
 * With DOCKLOCK_CONTROL the number of a SOCK_SEQPACKET socket, each packet is a job: its environment, strings NAME=value
 * each ended by a zero byte, and beside it three descriptors, its standard streams. The answer is its wait status. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "docklock.h"

static int job(char *env, char *end, const int *fds, int (*run)(int, char **), char **argv) {
	static char *list[64];
	size_t n = 0;
	for (; env < end && n < sizeof list / sizeof *list - 1; env += strlen(env) + 1)
		list[n++] = env;
	environ = list;
	for (int i = 0; i < 3; i++)
		if (dup2(fds[i], i) < 0)
			return 125;
	closefrom(3);
	return run(1, argv);
}

int docklock_main(int argc, char **argv, int (*warm_up)(void), int (*run)(int, char **)) {
	const char *control = getenv("DOCKLOCK_CONTROL");
	int code = warm_up(), at = control != NULL ? atoi(control) : 0;
	if (code != 0 || at < 3)
		return code != 0 ? code : run(argc, argv);
	for (;;) {
		static char env[16 << 10];
		union {
			char bytes[CMSG_SPACE(3 * sizeof(int))];
			struct cmsghdr align;
		} rights;
		struct iovec iov = {env, sizeof env - 1};
		struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = rights.bytes, .msg_controllen = sizeof rights};
		ssize_t n = recvmsg(at, &m, 0);
		if (n <= 0)
			return 0;
		int fds[3], status;
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		if (h == NULL || h->cmsg_len != CMSG_LEN(sizeof fds))
			return 124;
		memcpy(fds, CMSG_DATA(h), sizeof fds);
		env[n] = 0;
		pid_t child = fork();
		if (child == 0)
			exit(job(env, env + n, fds, run, argv));
		if (child < 0 || waitpid(child, &status, 0) < 0)
			return 123;
		for (int i = 0; i < 3; i++)
			close(fds[i]);
		if (send(at, &status, sizeof status, MSG_NOSIGNAL) < 0)
			return 0;
	}
}
