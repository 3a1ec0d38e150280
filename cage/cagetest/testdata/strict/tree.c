/* tree: processes that make processes: vfork, posix_spawn, popen, exec by path, by descriptor and from a thread that is
 * not the first, and a tree of forks each of which runs this program anew. */
#include "strict.h"
#include <spawn.h>
#include <sys/prctl.h>

extern char **environ;
static char *self;
static int shared_with_child;

static int ended(pid_t p, const char *what)
{
	int status = 0;
	MUST(p > 0 && waitpid(p, &status, 0) == p, what);
	printf("%s: status %x\n", what, status);
	fflush(stdout);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}
static void *execs(void *arg)
{
	(void)arg;
	execl(self, "tree", "say", "from a thread", (char *)NULL);
	_exit(98);
}
static void *idles(void *arg)
{
	rest(100000);
	return arg;
}
static void *forks(void *arg)
{
	pid_t p = fork();
	if (p == 0)
		_exit(40 + (int)(intptr_t)arg);
	int status;
	waitpid(p, &status, 0);
	return (void *)(intptr_t)WEXITSTATUS(status);
}

static int node(int depth, int width)
{
	char d[16], w[16];
	snprintf(d, sizeof d, "%d", depth - 1);
	snprintf(w, sizeof w, "%d", width);
	int total = 1;
	pid_t kids[4];
	for (int i = 0; i < width && depth > 0; i++)
		if ((kids[i] = fork()) == 0) {
			execl(self, "tree", "node", d, w, (char *)NULL);
			_exit(97);
		}
	printf("node %d: pid %d parent %d\n", depth, getpid(), getppid());
	for (int i = 0; i < width && depth > 0; i++) {
		int status;
		pid_t p = wait(&status);
		printf("node %d: child %d, %d\n", depth, p, WEXITSTATUS(status));
		fflush(stdout);
		total += WEXITSTATUS(status);
	}
	fflush(stdout);
	return total;
}

int main(int argc, char **argv)
{
	self = "/proc/self/exe";
	if (argc > 2 && strcmp(argv[1], "say") == 0) {
		int fds = 0;
		for (int i = 3; i < 100; i++)
			fds += fcntl(i, F_GETFD) >= 0;
		char name[20] = "";
		prctl(PR_GET_NAME, name);
		printf("%s: pid %d tid %d parent %d, %d descriptors, name %s, EXTRA=%s\n", argv[2], getpid(), gettid(), getppid(), fds, name, getenv("EXTRA"));
		return SENSIBLE() || getpid() != gettid() ? 55 : 21;
	}
	if (argc > 3 && strcmp(argv[1], "node") == 0)
		return node(atoi(argv[2]), atoi(argv[3]));

	volatile int seen = 0;
	int64_t from = now();
	pid_t p = vfork();
	if (p == 0) {
		shared_with_child = 5;
		seen = getppid();
		execl(self, "tree", "say", "vfork", (char *)NULL);
		_exit(99);
	}
	WANT(shared_with_child == 5 && seen == getpid(), "vfork's child has memory of its own");
	WANT(ended(p, "vfork and exec") == 21, "vfork and exec");
	p = vfork();
	if (p == 0)
		_exit(17);
	WANT(ended(p, "vfork and exit") == 17, "vfork and exit");
	p = vfork();
	if (p == 0) {
		execl("/nothing/here", "x", (char *)NULL);
		shared_with_child = errno;
		_exit(127);
	}
	WANT(ended(p, "nothing") == 127 && shared_with_child == ENOENT, "exec of nothing: %d", shared_with_child);

	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	MUST(posix_spawn_file_actions_init(&fa) == 0 && posix_spawnattr_init(&at) == 0, "posix_spawn");
	MUST(posix_spawn_file_actions_addopen(&fa, 7, "/", O_RDONLY, 0) == 0, "addopen");
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
	char *args[] = {"tree", "say", "spawned", NULL}, *env[] = {"EXTRA=yes", NULL};
	MUST(posix_spawn(&p, self, &fa, &at, args, env) == 0, "posix_spawn");
	WANT(ended(p, "posix_spawn") == 21, "posix_spawn");
	printf("spawn of nothing: %d\n", posix_spawn(&p, "/nothing/here", NULL, NULL, args, environ));

	int fd = open(self, O_RDONLY | O_CLOEXEC);
	fflush(stdout);
	if ((p = fork()) == 0) {
		args[2] = "fexecve";
		fexecve(fd, args, env);
		_exit(96);
	}
	WANT(ended(p, "fexecve") == 21, "fexecve");
	/* A thread that executes becomes the process, and the others are gone. */
	fflush(stdout);
	if ((p = fork()) == 0) {
		pthread_t t[3];
		for (int i = 0; i < 3; i++)
			pthread_create(&t[i], NULL, i == 1 ? execs : idles, NULL);
		pthread_join(t[0], NULL);
		_exit(95);
	}
	WANT(ended(p, "exec of a thread") == 21, "exec of a thread");
	pthread_t t[4];
	for (intptr_t i = 0; i < 4; i++)
		MUST(pthread_create(&t[i], NULL, forks, (void *)i) == 0, "pthread_create");
	for (intptr_t i = 0; i < 4; i++) {
		void *r;
		pthread_join(t[i], &r);
		WANT((intptr_t)r == 40 + i, "thread %ld's child ended with %ld", (long)i, (long)(intptr_t)r);
	}
	/* A group that ends while its threads sleep, a child that is killed, and one that kills itself. */
	if ((p = fork()) == 0) {
		for (int i = 0; i < 3; i++)
			pthread_create(&t[i], NULL, idles, NULL);
		rest(5);
		_exit(12);
	}
	WANT(ended(p, "exit amid threads") == 12, "exit amid threads");
	if ((p = fork()) == 0)
		idles(NULL);
	MUST(p > 0, "fork");
	rest(5);
	WANT(kill(p, SIGKILL) == 0 && ended(p, "killed") == 1000, "kill");
	if ((p = fork()) == 0)
		abort();
	WANT(ended(p, "aborted") == 1000, "abort");
	int64_t d = now() - from;
	WANT(d < 50000000000, "somebody waited for the sleepers: %lld ns", (long long)d);
	if ((p = fork()) == 0)
		_exit(node(2, 3));
	WANT(ended(p, "tree") == 13, "a tree of 13");
	FILE *f = popen("exit 3", "r");
	if (f)
		printf("popen: %x\n", pclose(f));
	printf("system: %x\n", system("echo from the shell; exit 4"));
	return SENSIBLE();
}
