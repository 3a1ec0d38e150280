/* procdump: all of /proc, /dev and /sys that can be reached, names and contents, by path and by "self"; and that what is
 * said there of this process is so. */
#include "strict.h"
#include <dirent.h>
#include <limits.h>

static int files, refused;

static void content(const char *path)
{
	static char b[1 << 16];
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		printf("%s: errno %d\n", path, errno);
		refused++;
		return;
	}
	size_t n = 0;
	ssize_t r = 0;
	while (n < sizeof b && (r = read(fd, b + n, sizeof b - n)) > 0)
		n += r;
	printf("%s: %zu bytes%s %016llx: ", path, n, r < 0 ? " and an error" : "", (unsigned long long)mix(MIX0, b, n));
	for (size_t i = 0; i < n && i < 400; i++)
		putchar(b[i] == '\n' ? '|' : b[i] < 32 || b[i] > 126 ? '.' : b[i]);
	printf("\n");
	files++;
	close(fd);
}

static int order(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void walk(const char *path, int depth)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, order);
	printf("%s: %d entries\n", path, n < 0 ? -errno : n);
	for (int i = 0; i < n; i++) {
		char below[PATH_MAX], to[PATH_MAX] = "";
		const char *name = names[i]->d_name;
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		snprintf(below, sizeof below, "%s/%s", path, name);
		struct stat st;
		if (lstat(below, &st) != 0) {
			printf("%s: listed, and errno %d\n", below, errno);
			continue;
		}
		printf("%s: mode %o owner %u:%u size %lld\n", below, st.st_mode, st.st_uid, st.st_gid, S_ISDIR(st.st_mode) ? 0LL : (long long)st.st_size);
		if (S_ISLNK(st.st_mode)) {
			ssize_t len = readlink(below, to, sizeof to - 1);
			printf("%s -> %.*s\n", below, (int)(len < 0 ? 0 : len), to);
		} else if (S_ISDIR(st.st_mode)) {
			if (depth < 6 && strcmp(below, "/dev/shm") != 0)
				walk(below, depth + 1);
		} else if (S_ISREG(st.st_mode)) {
			content(below);
		}
	}
	for (int i = 0; i < n; i++)
		free(names[i]);
	if (n >= 0)
		free(names);
}

/* text gives what path holds, as one string. */
static const char *text(const char *path)
{
	static char b[1 << 16];
	int fd = open(path, O_RDONLY);
	MUST(fd >= 0, path);
	ssize_t n, at = 0;
	while (at < (ssize_t)sizeof b - 1 && (n = read(fd, b + at, sizeof b - 1 - at)) > 0)
		at += n;
	close(fd);
	b[at] = 0;
	return b;
}

int main(void)
{
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	for (int i = 0; i < 3; i++) {
		static const char *const roots[] = {"/proc", "/dev", "/sys"};
		walk(roots[i], 0);
	}
	char path[100], link[PATH_MAX] = "";
	MUST(readlink("/proc/self", link, sizeof link - 1) > 0, "/proc/self");
	WANT(atoi(link) == getpid(), "/proc/self is %s, this is %d", link, getpid());
	snprintf(path, sizeof path, "/proc/%d/stat", getpid());
	int pid = 0, parent = 0;
	char comm[64] = "";
	MUST(sscanf(text(path), "%d (%60[^)]) %*c %d", &pid, comm, &parent) == 3, path);
	printf("stat: %d %s %d\n", pid, comm, parent);
	WANT(pid == getpid() && parent == getppid() && strcmp(comm, "procdump") == 0, "stat says %d %s %d", pid, comm, parent);
	const char *at = strstr(text("/proc/self/status"), "\nPid:\t");
	WANT(at && atoi(at + 6) == getpid(), "status has another pid");
	WANT(strcmp(text("/proc/self/comm"), "procdump\n") == 0, "comm is %s", text("/proc/self/comm"));
	const char *maps = text("/proc/self/maps");
	printf("maps: %016llx\n", (unsigned long long)mix(MIX0, maps, strlen(maps)));
	/* The range that holds main is among the maps, and can be executed. */
	int found = 0;
	for (const char *l = maps; *l; l = strchr(l, '\n') ? strchr(l, '\n') + 1 : l + strlen(l)) {
		unsigned long from, to;
		char mode[5];
		if (sscanf(l, "%lx-%lx %4s", &from, &to, mode) == 3 && from <= (uintptr_t)main && (uintptr_t)main < to)
			found = mode[2] == 'x';
	}
	WANT(found, "maps do not hold this program");
	int fd = open("/proc/self/exe", O_RDONLY);
	char magic[4] = "";
	WANT(fd >= 0 && read(fd, magic, 4) == 4 && memcmp(magic, "\177ELF", 4) == 0, "/proc/self/exe is no program");
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	memset(link, 0, sizeof link);
	WANT(readlink(path, link, sizeof link - 1) > 0 && strstr(link, "procdump"), "%s is %s", path, link);
	printf("%s -> %s\n", path, link);
	close(fd);
	/* A child is there while it lives, as a zombie until it is waited for, and then no more. */
	fflush(stdout);
	int p[2];
	MUST(pipe(p) == 0, "pipe");
	pid_t child = fork();
	if (child == 0) {
		char c;
		close(p[1]);
		_exit(read(p[0], &c, 1) != 0);
	}
	close(p[0]);
	snprintf(path, sizeof path, "/proc/%d/status", child);
	at = strstr(text(path), "PPid:\t");
	WANT(at && atoi(at + 6) == getpid(), "the child's status names another parent");
	close(p[1]);
	siginfo_t info;
	MUST(waitid(P_PID, child, &info, WEXITED | WNOWAIT) == 0, "waitid");
	at = strstr(text(path), "State:\t");
	WANT(at && at[7] == 'Z', "the child that has ended is in state %c", at ? at[7] : '?');
	MUST(waitpid(child, NULL, 0) == child, "waitpid");
	WANT(open(path, O_RDONLY) < 0 && errno == ENOENT, "%s is still there", path);
	for (int other = 1; other < 500; other++) {
		snprintf(path, sizeof path, "/proc/%d", other);
		if (access(path, F_OK) == 0)
			printf("process %d\n", other);
	}
	printf("%d files, %d refused\n", files, refused);
	WANT(files > 20, "%d files in /proc", files);
	return SENSIBLE();
}
