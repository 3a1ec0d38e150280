/* kills: SIGKILL ends all that it is sent to before the sender goes on; who is left behind has the parent that it asked
 * for, and hears of its parent's end. */
#include "strict.h"
#include <sys/prctl.h>

static pid_t sleeper(pid_t group)
{
	pid_t p = fork();
	MUST(p >= 0, "fork");
	if (p == 0) {
		rest(3600 * 1000L);
		_exit(1);
	}
	setpgid(p, group);
	return p;
}

static void *rests(void *unused)
{
	rest(3600 * 1000L);
	return unused;
}

/* A group of four, one of them with threads. */
static void group(void)
{
	pid_t kids[4];
	int status;
	for (int i = 0; i < 3; i++)
		kids[i] = sleeper(i ? kids[0] : 0);
	if ((kids[3] = fork()) == 0) {
		pthread_t t;
		setpgid(0, kids[0]);
		for (int i = 0; i < 3; i++)
			pthread_create(&t, NULL, rests, NULL);
		rests(NULL);
	}
	rest(1);
	MUST(kill(-kids[0], SIGKILL) == 0, "kill");
	for (int i = 0; i < 4; i++) {
		pid_t got = waitpid(-1, &status, WNOHANG);
		WANT(got == kids[i] && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "child %d: %d, status %x", i, got == kids[i], status);
	}
}

/* Who kills its own group ends with it, and the first of it is the first that its parent hears of. */
static void itself(void)
{
	int status;
	pid_t p = fork();
	MUST(p >= 0, "fork");
	if (p == 0) {
		setpgid(0, 0);
		sleeper(getpid());
		if (fork() == 0) {
			kill(0, SIGKILL);
			_exit(2);
		}
		rests(NULL);
	}
	MUST(waitpid(p, &status, 0) == p, "waitpid");
	WANT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %x", status);
}

static void family(void)
{
	int status, pipes[2], word = 0;
	char c;
	MUST(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && pipe(pipes) == 0, "subreaper");
	pid_t me = getpid(), p = fork();
	if (p == 0) {
		pid_t q = fork();
		if (q == 0) {
			rest(10);
			WANT(getppid() == me, "its parent is %d", (int)getppid());
			_exit(strict_bad ? 8 : 7);
		}
		_exit(3);
	}
	MUST(waitpid(p, &status, 0) == p && WEXITSTATUS(status) == 3, "waitpid");
	MUST(wait(&status) > 0, "wait for a grandchild");
	WANT(WEXITSTATUS(status) == 7, "status %x", status);
	MUST(prctl(PR_SET_CHILD_SUBREAPER, 0) == 0, "no subreaper");
	if ((p = fork()) == 0) {
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			prctl(PR_GET_PDEATHSIG, &word);
			WANT(word == SIGKILL, "the signal is %d", word);
			rests(NULL);
		}
		rest(10);
		_exit(0);
	}
	close(pipes[1]);
	int64_t from = now();
	WANT(read(pipes[0], &c, 1) == 0, "something came"); /* all that could write have ended */
	WANT(now() - from < 1000000000, "it took %lld ns", (long long)(now() - from));
	MUST(waitpid(p, &status, 0) == p, "waitpid");
}

int main(void)
{
	for (int i = 0; i < 25; i++)
		group();
	for (int i = 0; i < 5; i++)
		itself();
	family();
	printf("at %lld\n", (long long)now());
	return SENSIBLE();
}
