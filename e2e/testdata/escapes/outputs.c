/* outputs: attempts by what is left in /out, which the node reads when the program has ended. */
#include "escape.h"
#include <sys/socket.h>
#include <sys/un.h>

static void make(const char *path, const char *text)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		note("%s: %s", path, strerrorname_np(errno));
	close(fd);
}
static void links_left(void)
{
	/* Were they followed by the node, its files would become outputs, or be overwritten. */
	symlink(canary("FILE"), "/out/canary");
	symlink("/etc/passwd", "/out/passwd");
	symlink("/proc/self/environ", "/out/environ");
	symlink("..", "/out/up");
	symlink(canary("DIR"), "/out/dir");
	held("links left");
}
static void hard_links_left(void)
{
	make("/out/a", "once");
	note("link: %d", link("/out/a", "/out/b"));
	REFUSED(link("/in/data/hello.txt", "/out/hello"));
	REFUSED(link("/proc/self/exe", "/out/exe"));
	REFUSED(linkat(AT_FDCWD, "/proc/self/fd/0", AT_FDCWD, "/out/stdin", AT_SYMLINK_FOLLOW));
}
static void pipes_left(void)
{
	/* A node that opened them would wait for a writer for ever. */
	mkfifo("/out/fifo", 0666);
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/out/socket"};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	note("bind: %d", fd < 0 ? -1 : bind(fd, (void *)&a, sizeof a));
	held("a FIFO left");
}
static void names_left(void)
{
	make("/out/new\nline", "x");
	make("/out/\xff", "x");
	held("odd names left");
}
static void reserved_names(void)
{
	/* Names that the node's own files have. */
	make("/out/stdout", "false");
	make("/out/stderr", "false");
	mkdir("/out/out", 0755);
	make("/out/out/stdout", "false");
	held("names of the streams left");
}
static void modes_left(void)
{
	make("/out/none", "secret");
	chmod("/out/none", 0);
	make("/out/suid", "program");
	chmod("/out/suid", 06777);
	mkdir("/out/closed", 0755);
	make("/out/closed/file", "in it");
	chmod("/out/closed", 0);
	held("modes left");
}
static void many_left(void)
{
	char name[64];
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof name, "/out/f%d", i);
		make(name, "");
	}
	held("many left");
}
static void deep_left(void)
{
	if (chdir("/out") != 0)
		escaped("no /out");
	int depth = 0;
	for (; depth < 2000; depth++)
		if (mkdir("d", 0755) != 0 || chdir("d") != 0)
			break;
	make("file", "deep");
	held("%d deep", depth);
}
static void holes_left(void)
{
	int fd = open("/out/holes", O_CREAT | O_RDWR, 0644);
	if (ftruncate(fd, 1l << 42) == 0)
		escaped("a file of 4 TiB");
	note("4 TiB: %s", strerrorname_np(errno));
	int r = ftruncate(fd, 16 << 20);
	held("16 MiB of nothing: %d", r);
}
static void *swap_names(void *arg)
{
	for (;;) {
		rename("/out/a", "/out/b");
		unlink("/out/a");
		symlink(canary("FILE"), "/out/a");
		unlink("/out/a");
		rename("/out/b", "/out/a");
	}
	return arg;
}
static void race_at_end(void)
{
	/* Who still writes when the program ends must be dead before the node reads. */
	make("/out/a", "a plain file");
	pid_t p = fork();
	if (p == 0)
		swap_names(NULL);
	for (int i = 0; i < 20; i++)
		sched_yield();
	held("a child still swaps names");
}
static void unlinked_place(void)
{
	make("/out/result/file", "x");
	unlink("/out/result/file");
	note("rmdir: %d", rmdir("/out/result"));
	symlink("/in", "/out/result");
	REFUSED(rmdir("/out"));
	REFUSED(rename("/out", "/work/out"));
}

const struct attempt output_attempts[] = {
	{"output-links", links_left}, {"output-hard-links", hard_links_left}, {"output-fifos", pipes_left}, {"output-names", names_left},
	{"output-stream-names", reserved_names}, {"output-modes", modes_left}, {"output-many", many_left}, {"output-deep", deep_left}, {"output-holes", holes_left},
	{"output-race", race_at_end}, {"output-place", unlinked_place}, {NULL, NULL},
};
