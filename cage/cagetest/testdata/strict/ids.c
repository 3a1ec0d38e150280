/* ids: numbers of processes and threads, and who one is. */
#include "strict.h"
#include <grp.h>

static int tids[6];
static void *thread(void *arg)
{
	tids[(intptr_t)arg] = gettid();
	return NULL;
}

int main(void)
{
	printf("pid %d tid %d parent %d group %d session %d\n", getpid(), gettid(), getppid(), getpgrp(), getsid(0));
	WANT(getpid() == gettid() && getpid() > 1, "pid %d, tid %d", getpid(), gettid());
	gid_t groups[64];
	int n = getgroups(64, groups);
	printf("uid %d %d gid %d %d groups", getuid(), geteuid(), getgid(), getegid());
	for (int i = 0; i < n; i++)
		printf(" %d", groups[i]);
	printf("\n");
	pthread_t t[6];
	for (intptr_t i = 0; i < 6; i++)
		MUST(pthread_create(&t[i], NULL, thread, (void *)i) == 0, "pthread_create");
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < 6; i++) {
		printf("thread %d\n", tids[i]);
		WANT(tids[i] > getpid() && (i == 0 || tids[i] != tids[i - 1]), "thread's number %d", tids[i]);
	}
	int me = getpid();
	for (int i = 0; i < 6; i++) {
		fflush(stdout);
		int p[2];
		MUST(pipe(p) == 0, "pipe");
		pid_t child = fork();
		MUST(child >= 0, "fork");
		if (child == 0) {
			int seen[4] = {getpid(), getppid(), gettid(), getpgrp()};
			_exit(write(p[1], seen, sizeof seen) == sizeof seen ? 10 + i : 99);
		}
		int seen[4], status;
		MUST(read(p[0], seen, sizeof seen) == sizeof seen, "read");
		MUST(waitpid(child, &status, 0) == child, "waitpid");
		printf("child %d: %d %d %d %d, status %x\n", child, seen[0], seen[1], seen[2], seen[3], status);
		WANT(seen[0] == child && seen[1] == me && seen[2] == child && status == (10 + i) << 8, "child %d saw something else", child);
		close(p[0]);
		close(p[1]);
	}
	/* The orphan's new parent is the first process of its world. */
	int p[2], seen[2];
	MUST(pipe(p) == 0, "pipe");
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		if (fork() == 0) {
			int parent = getppid();
			while (getppid() == parent && parent != 1)
				rest(1);
			int mine[2] = {getpid(), getppid()};
			_exit(write(p[1], mine, sizeof mine) != sizeof mine);
		}
		_exit(0);
	}
	waitpid(child, NULL, 0);
	MUST(read(p[0], seen, sizeof seen) == sizeof seen, "read");
	printf("orphan %d: %d\n", seen[0], seen[1]);
	printf("setsid: %d %d\n", setsid() >= 0 ? 0 : errno, setpgid(0, 0) == 0 ? 0 : errno);
	return SENSIBLE();
}
