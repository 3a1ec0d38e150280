/* stops: job control: a child that stops and goes on, what its parent is told by waits and signals, and groups of them. */
#include "strict.h"

static volatile sig_atomic_t chld, codes[16], cont;
static void on_child(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	if (chld < 16)
		codes[chld] = info->si_code;
	chld++;
}
static void on_cont(int sig)
{
	(void)sig;
	cont++;
}

int main(void)
{
	struct sigaction s = {.sa_sigaction = on_child, .sa_flags = SA_SIGINFO | SA_RESTART};
	MUST(sigaction(SIGCHLD, &s, NULL) == 0, "sigaction");
	int status = 0;
	pid_t p = fork();
	MUST(p >= 0, "fork");
	if (p == 0) {
		signal(SIGCONT, on_cont);
		raise(SIGSTOP);
		_exit(20 + cont);
	}
	MUST(waitpid(p, &status, WUNTRACED) == p, "waitpid");
	printf("stopped %x\n", status);
	WANT(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "status %x", status);
	WANT(waitpid(p, &status, WUNTRACED | WNOHANG) == 0, "one stop was told twice");
	int64_t from = now();
	rest(50);
	WANT(waitpid(p, &status, WNOHANG) == 0, "a stopped child has ended");
	MUST(kill(p, SIGCONT) == 0, "kill");
	MUST(waitpid(p, &status, WCONTINUED) == p, "waitpid");
	printf("went on %x\n", status);
	WANT(WIFCONTINUED(status), "status %x", status);
	MUST(waitpid(p, &status, 0) == p, "waitpid");
	WANT(WIFEXITED(status) && WEXITSTATUS(status) == 21, "status %x: its handler did not run", status);
	int64_t d = now() - from;
	printf("ended %x after %lld, %d signals:", status, (long long)d, (int)chld);
	for (int i = 0; i < chld && i < 16; i++)
		printf(" %d", (int)codes[i]);
	printf("\n");
	WANT(chld == 3 && codes[0] == CLD_STOPPED && codes[1] == CLD_CONTINUED && codes[2] == CLD_EXITED, "%d signals", (int)chld);

	/* A group of three that work and sleep, stopped and sent on together. */
	pid_t kids[3];
	fflush(stdout);
	for (int i = 0; i < 3; i++)
		if ((kids[i] = fork()) == 0) {
			setpgid(0, i ? kids[0] : 0);
			for (int k = 0; k < 20; k++) {
				work(1000);
				rest(10);
			}
			_exit(i);
		} else {
			setpgid(kids[i], kids[0]);
		}
	rest(35);
	MUST(kill(-kids[0], SIGTSTP) == 0, "kill");
	for (int i = 0; i < 3; i++) {
		pid_t w = waitpid(-kids[0], &status, WUNTRACED);
		printf("group: %d %x\n", w - kids[0], status);
		WANT(w > 0 && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP, "child %d, status %x", w, status);
	}
	rest(1000);
	WANT(waitpid(-1, &status, WNOHANG) == 0, "a stopped group went on");
	MUST(kill(-kids[0], SIGCONT) == 0, "kill");
	for (int n = 0; n < 3; n++) {
		pid_t w = wait(&status);
		printf("group: %d ended %x\n", w - kids[0], status);
	}
	/* What is stopped can still be killed. */
	if ((p = fork()) == 0) {
		kill(getpid(), SIGSTOP);
		_exit(1);
	}
	MUST(p > 0, "fork");
	siginfo_t info;
	memset(&info, 0, sizeof info);
	MUST(waitid(P_PID, p, &info, WSTOPPED) == 0, "waitid");
	printf("waitid: code %d status %d\n", info.si_code, info.si_status);
	WANT(info.si_code == CLD_STOPPED && info.si_status == SIGSTOP && info.si_pid == p, "code %d status %d", info.si_code, info.si_status);
	MUST(kill(p, SIGKILL) == 0 && waitpid(p, &status, 0) == p, "kill");
	WANT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %x", status);
	return SENSIBLE();
}
