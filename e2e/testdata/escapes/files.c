/* files: attempts on files: to reach those outside, and to change those that are only lent. */
#include "escape.h"
#include <dirent.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/xattr.h>
#include <termios.h>

static void dots(void)
{
	char path[8192];
	const char *file = canary("FILE");
	opened("the canary by its own path", open(file, O_RDONLY));
	strcpy(path, "");
	for (int i = 0; i < 60; i++)
		strcat(path, "../");
	strcat(path, file + 1);
	opened("up from the working folder", open(path, O_RDONLY));
	snprintf(path, sizeof path, "/in/data/../../../../../..%s", file);
	opened("up from an input", open(path, O_RDONLY));
	snprintf(path, sizeof path, "/out/result/../../..%s", file);
	opened("up from an output", open(path, O_RDONLY));
	int dir = open("/in/data", O_RDONLY | O_DIRECTORY);
	snprintf(path, sizeof path, "../../../..%s", file);
	opened("up from a descriptor", openat(dir, path, O_RDONLY));
	for (int i = 0; i < 100; i++)
		if (chdir("..") != 0)
			break;
	opened("after walking up", open(file + 1, O_RDONLY));
	struct { uint64_t flags, mode, resolve; } how = {O_RDONLY, 0, 0};
	opened("by openat2", (int)syscall(SYS_openat2, dir, path, &how, sizeof how));
}
static void magic_links(void)
{
	char path[1024];
	static const char *const ways[] = {"/proc/1/root", "/proc/self/root", "/proc/self/root/..", "/proc/1/cwd", "/proc/2/root", "/proc/self/task/1/root", "/proc/self/cwd/..",
					   "/proc/thread-self/root", "/dev/fd/../../1/root", "/proc/self/fd/0/..", "/proc/self/fd/3", "/proc/self/fd/4/..", "/proc/1/fd/3",
					   "/proc/1/fd/4", "/proc/1/map_files", "/proc/self/exe/.."};
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		snprintf(path, sizeof path, "%s%s", ways[i], canary("FILE"));
		opened(path, open(path, O_RDONLY));
		int dir = open(ways[i], O_PATH);
		opened("beneath it", openat(dir, canary("FILE") + 1, O_RDONLY));
		close(dir);
	}
}
static void symlinks_out(void)
{
	REFUSED(symlink(canary("FILE"), "/in/data/link"));
	unlink("/work/link");
	symlink(canary("FILE"), "/work/link");
	opened("through a link", open("/work/link", O_RDONLY));
	symlink("/proc/1/root", "/work/root");
	char path[1024];
	snprintf(path, sizeof path, "/work/root%s", canary("FILE"));
	opened("through a link to the first process's root", open(path, O_RDONLY));
	symlink("loop", "/work/loop");
	REFUSED(open("/work/loop", O_RDONLY));
	REFUSED(truncate("/work/link", 0));
	REFUSED(open("/work/link", O_WRONLY | O_TRUNC));
}
static void inputs(void)
{
	static const char *const file = "/in/data/hello.txt";
	REFUSED(open(file, O_WRONLY));
	REFUSED(open(file, O_RDWR | O_APPEND));
	REFUSED(open(file, O_RDONLY | O_TRUNC));
	REFUSED(truncate(file, 0));
	REFUSED(unlink(file));
	REFUSED(rename(file, "/in/data/other.txt"));
	REFUSED(rename("/work/given", file));
	REFUSED(link(file, "/in/data/linked"));
	REFUSED(link(file, "/work/linked"));
	REFUSED(chmod(file, 0777));
	REFUSED(chown(file, 0, 0));
	REFUSED(utimensat(AT_FDCWD, file, NULL, 0));
	REFUSED(mkdir("/in/new", 0755));
	REFUSED(open("/in/new", O_CREAT | O_WRONLY, 0644));
	REFUSED(open("/in", O_TMPFILE | O_RDWR, 0644));
	REFUSED(setxattr(file, "user.x", "y", 1, 0));
	REFUSED(setxattr(file, "security.capability", "\1\0\0\2\377\377\377\377\0\0\0\0\0\0\0\0\0\0\0\0", 20, 0));
	int fd = open(file, O_RDONLY);
	REFUSED(write(fd, "x", 1));
	REFUSED(ftruncate(fd, 0));
	REFUSED(fchmod(fd, 0777));
	REFUSED(fallocate(fd, 0, 0, 1 << 20));
	REFUSED(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
	void *m = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (m != MAP_FAILED)
		REFUSED(mprotect(m, 4096, PROT_READ | PROT_WRITE));
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	REFUSED(open(path, O_RDWR));
	int flags = 0;
	REFUSED(ioctl(fd, 0x40086602 /* FS_IOC_SETFLAGS */, &flags));
	long r = syscall(SYS_splice, 0, NULL, fd, NULL, 10, 0);
	refused("splice into an input", r);
	m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (m != MAP_FAILED) {
		/* A private copy is the program's own: the file must not follow. */
		memcpy(m, "EVIL", 4);
		char b[6] = "";
		if (pread(fd, b, 5, 0) != 5 || strcmp(b, "hello") != 0)
			got("the input is now %s", b);
	}
}
static void root_files(void)
{
	REFUSED(open("/opt/escape", O_WRONLY));
	REFUSED(open("/proc/self/exe", O_RDWR));
	REFUSED(unlink("/opt/escape"));
	REFUSED(rename("/work/given", "/opt/escape"));
	REFUSED(mkdir("/etc2", 0755));
	REFUSED(mkdir("/opt/new", 0755));
	REFUSED(open("/etc/passwd", O_CREAT | O_WRONLY, 0644));
	REFUSED(chmod("/opt/escape", 04755));
	REFUSED(chmod("/", 0777));
	REFUSED(rmdir("/in"));
	REFUSED(rename("/tmp", "/tmp2"));
	REFUSED(unlink("/dev/null"));
	REFUSED(open("/new", O_CREAT | O_WRONLY, 0644));
	REFUSED(open("/dev/new", O_CREAT | O_WRONLY, 0644));
	int fd = open("/dev/null", O_RDWR);
	REFUSED(fchmod(fd, 0));
	fchown(fd, 12, 12);
	struct stat st;
	if (fstat(fd, &st) == 0 && st.st_uid == 12)
		got("the device is %u's", st.st_uid);
}
static void setuid_files(void)
{
	/* A copy of oneself that belongs to somebody and runs as that one. */
	int from = open("/proc/self/exe", O_RDONLY), to = open("/work/suid", O_CREAT | O_WRONLY, 0755);
	char b[65536];
	for (ssize_t n; (n = read(from, b, sizeof b)) > 0;)
		if (write(to, b, (size_t)n) != n)
			break;
	fchmod(to, 06755);
	close(to);
	struct stat st;
	if (stat("/work/suid", &st) == 0)
		note("mode %o owner %u", st.st_mode, st.st_uid);
	REFUSED(setxattr("/work/suid", "security.capability", "\1\0\0\2\377\377\377\377\0\0\0\0\0\0\0\0\0\0\0\0", 20, 0));
	pid_t p = fork();
	if (p == 0) {
		execl("/work/suid", "suid", "capabilities", (char *)NULL);
		_exit(0);
	}
	int status = 0;
	waitpid(p, &status, 0);
	if (status != 0)
		got("with the bit set it has more: %x", status);
}
static void descriptors(void)
{
	/* Nothing is open but the three streams, and those lead nowhere. */
	for (int fd = 3; fd < 4096; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			got("descriptor %d is open", fd);
	for (int fd = 0; fd < 3; fd++) {
		char path[64], to[300] = "";
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		readlink(path, to, sizeof to - 1);
		struct stat st;
		fstat(fd, &st);
		note("%d: mode %o, %s", fd, st.st_mode, to);
		REFUSED(openat(fd, "..", O_RDONLY));
		REFUSED(ioctl(fd, TIOCSTI, "x"));
		struct termios t;
		REFUSED(ioctl(fd, TCGETS, &t));
		REFUSED(fcntl(fd, F_SETOWN, 1) == 0 && fcntl(fd, F_SETSIG, SIGKILL) == 0 && fcntl(fd, F_SETFL, O_ASYNC) == 0 && fcntl(fd, F_GETFL) & O_ASYNC ? 0 : (errno = EPERM, -1));
	}
	REFUSED(write(0, "x", 1));
	REFUSED(ftruncate(0, 0));
	int again = open("/proc/self/fd/1", O_RDONLY);
	note("the output as a file: %s", again < 0 ? strerrorname_np(errno) : "opened");
	int seals = fcntl(1, F_ADD_SEALS, 0xf);
	refused("sealing the output", seals);
}
static void huge_paths(void)
{
	static char path[1 << 20];
	memset(path, 'a', sizeof path - 1);
	REFUSED(open(path, O_RDONLY));
	for (size_t i = 0; i < sizeof path - 1; i += 2)
		path[i] = '/';
	REFUSED(open(path, O_CREAT | O_WRONLY, 0644));
	path[4095] = 0;
	REFUSED(open(path, O_RDONLY));
	REFUSED(symlink(path, "/in/x"));
	/* A folder so deep that its path is longer than any. */
	chdir("/tmp");
	int depth = 0;
	for (; depth < 400; depth++)
		if (mkdir("ddddddddddddddddddddddddddddddddddddddddddddddddd", 0755) != 0 || chdir("ddddddddddddddddddddddddddddddddddddddddddddddddd") != 0)
			break;
	char cwd[65536];
	note("%d deep, getcwd %s", depth, getcwd(cwd, sizeof cwd) ? "works" : strerrorname_np(errno));
	int fd = open("file", O_CREAT | O_RDWR, 0644);
	struct stat st;
	int r = stat("file", &st);
	note("a file there: %s, stat %d", fd < 0 ? strerrorname_np(errno) : "made", r);
	static const char *const odd[] = {"/work/new\nline", "/work/\xff\xfe", "/work/\x1b[31m", "/work/a\tb", "/work/-rf", "/work/ "};
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
		note("odd name %zu: %s", i, open(odd[i], O_CREAT | O_WRONLY, 0644) < 0 ? strerrorname_np(errno) : "made");
}
static void watches(void)
{
	int fd = inotify_init1(IN_NONBLOCK);
	if (fd < 0) {
		refused("inotify", fd);
		return;
	}
	note("inotify is given");
	for (int i = 0; i < 10000; i++)
		inotify_add_watch(fd, i & 1 ? "/in" : "/work", IN_ALL_EVENTS);
	REFUSED(inotify_add_watch(fd, canary("FILE"), IN_ALL_EVENTS));
}

const struct attempt file_attempts[] = {
	{"dots", dots}, {"magic-links", magic_links}, {"symlinks", symlinks_out}, {"inputs-read-only", inputs}, {"root-read-only", root_files},
	{"setuid-files", setuid_files}, {"descriptors", descriptors}, {"huge-paths", huge_paths}, {"watches", watches}, {NULL, NULL},
};
