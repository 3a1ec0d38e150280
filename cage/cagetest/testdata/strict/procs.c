/* procs: "race" eight children that write to one file at once, "pipe" four writers of 100,000 bytes each into one pipe,
 * processes and then threads, "sleepsort" processes and threads that say their number after as many milliseconds. */
#include "strict.h"
#include <sys/ioctl.h>
#include <sys/socket.h>

static void put(int fd, const char *b, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, b, n);
		MUST(w > 0, "write");
		b += w;
		n -= w;
	}
}

static void race(void)
{
	int fd = open("race", O_CREAT | O_RDWR | O_APPEND | O_TRUNC, 0600);
	MUST(fd >= 0, "race");
	pid_t pids[8];
	for (int i = 0; i < 8; i++)
		if ((pids[i] = fork()) == 0) {
			unsigned seed = i;
			for (int k = 0; k < 20; k++) {
				char c = 'a' + i;
				put(fd, &c, 1);
				work(next(&seed) % 60000);
			}
			_exit(i);
		}
	int order[8], n = 0, status;
	for (pid_t p; (p = wait(&status)) > 0; n++)
		for (int i = 0; i < 8; i++)
			if (pids[i] == p) {
				order[n] = i;
				WANT(WIFEXITED(status) && WEXITSTATUS(status) == i, "child %d: status %x", i, status);
			}
	WANT(n == 8 && errno == ECHILD, "%d children, errno %d", n, errno);
	char text[200];
	ssize_t len = pread(fd, text, sizeof text, 0);
	printf("wrote %.*s\nended", (int)len, text);
	for (int i = 0; i < n; i++)
		printf(" %d", order[i]);
	printf("\n");
	WANT(len == 160, "%zd letters", len);
}

#define EACH 100000
static int out;
static void *writer(void *arg)
{
	static const int chunks[] = {5000, 333, 4096, 70000};
	int me = (int)(intptr_t)arg;
	char *b = malloc(70000);
	memset(b, 'a' + me, 70000);
	for (int done = 0; done < EACH;) {
		int n = chunks[me] < EACH - done ? chunks[me] : EACH - done;
		put(out, b, n);
		done += n;
	}
	free(b);
	return NULL;
}
static void collect(int fd, const char *what)
{
	static char b[3000];
	long counts[4] = {0}, runs = 0;
	char last = 0;
	uint64_t h = MIX0;
	ssize_t n;
	while ((n = read(fd, b, sizeof b)) > 0) {
		h = mix(h, b, n);
		for (ssize_t i = 0; i < n; i++) {
			MUST(b[i] >= 'a' && b[i] < 'e', "a byte that nobody wrote");
			counts[b[i] - 'a']++;
			runs += b[i] != last;
			last = b[i];
		}
	}
	printf("%s: %ld %ld %ld %ld bytes in %ld runs, %016llx, end %zd\n", what, counts[0], counts[1], counts[2], counts[3], runs, (unsigned long long)h, n);
	for (int i = 0; i < 4; i++)
		WANT(counts[i] == EACH, "writer %d: %ld bytes came", i, counts[i]);
}
static void pipes(void)
{
	for (int kind = 0; kind < 2; kind++) {
		int p[2];
		MUST(kind ? socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0 : pipe(p) == 0, "pipe");
		fflush(stdout);
		for (int i = 0; i < 4; i++)
			if (fork() == 0) {
				close(p[0]);
				out = p[1];
				writer((void *)(intptr_t)i);
				_exit(0);
			}
		close(p[1]);
		collect(p[0], kind ? "sockets" : "processes");
		int status, n = 0;
		while (wait(&status) > 0)
			n += status == 0;
		WANT(n == 4, "%d writers ended well", n);
		close(p[0]);
	}
	int p[2];
	MUST(pipe2(p, O_CLOEXEC) == 0, "pipe2");
	out = p[1];
	fflush(stdout);
	pid_t reader = fork();
	if (reader == 0) {
		close(p[1]);
		collect(p[0], "threads");
		_exit(SENSIBLE());
	}
	close(p[0]);
	pthread_t t[4];
	for (intptr_t i = 0; i < 4; i++)
		MUST(pthread_create(&t[i], NULL, writer, (void *)i) == 0, "pthread_create");
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	close(p[1]);
	int status;
	MUST(waitpid(reader, &status, 0) == reader, "waitpid");
	WANT(status == 0, "the reader's status is %x", status);

	MUST(pipe2(p, O_NONBLOCK) == 0, "pipe2");
	char b[65536] = {0};
	int waiting = 0;
	ssize_t r = read(p[0], b, 10);
	int empty = r < 0 ? errno : 0;
	long total = 0;
	while ((r = write(p[1], b, sizeof b)) > 0)
		total += r;
	int full = errno;
	ioctl(p[0], FIONREAD, &waiting);
	printf("full at %ld, %d to read, size %d, errno %d %d\n", total, waiting, fcntl(p[1], F_GETPIPE_SZ), empty, full);
	WANT(empty == EAGAIN && full == EAGAIN && waiting == total, "a pipe without a wait");
	close(p[0]);
	signal(SIGPIPE, SIG_IGN);
	printf("nobody reads: %zd %d\n", write(p[1], b, 1), errno);
	WANT(errno == EPIPE, "errno %d", errno);
}

static int line;
static void *sleeper(void *arg)
{
	rest((long)(intptr_t)arg);
	char c = (char)(intptr_t)arg;
	put(line, &c, 1);
	return NULL;
}
static void sleepsort(void)
{
	static const int numbers[] = {70, 20, 90, 50, 10, 80, 30, 60, 40, 100};
	for (int kind = 0; kind < 2; kind++) {
		int p[2];
		MUST(pipe(p) == 0, "pipe");
		line = p[1];
		int64_t t0 = now();
		pthread_t t[10];
		fflush(stdout);
		for (int i = 0; i < 10; i++)
			if (kind) {
				MUST(pthread_create(&t[i], NULL, sleeper, (void *)(intptr_t)numbers[i]) == 0, "pthread_create");
			} else if (fork() == 0) {
				sleeper((void *)(intptr_t)numbers[i]);
				_exit(0);
			}
		printf("%s:", kind ? "threads" : "processes");
		for (int i = 0, last = 0; i < 10; i++) {
			char c;
			MUST(read(p[0], &c, 1) == 1, "read");
			printf(" %d", c);
			WANT(c >= last, "%d came after %d", c, last);
			last = c;
		}
		int64_t d = now() - t0;
		printf(" after %lld ns\n", (long long)d);
		WANT(d >= 100000000, "the longest sleeps 100 ms, all took %lld ns", (long long)d);
		for (int i = 0; i < 10; i++)
			kind ? (void)pthread_join(t[i], NULL) : (void)wait(NULL);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (strcmp(what, "race") == 0)
		race();
	else if (strcmp(what, "pipe") == 0)
		pipes();
	else if (strcmp(what, "sleepsort") == 0)
		sleepsort();
	else
		return 9;
	return SENSIBLE();
}
