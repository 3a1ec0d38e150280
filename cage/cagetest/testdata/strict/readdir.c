/* readdir: folders of 2,000 entries on the file systems named as arguments; those that can be written it fills itself,
 * with entries that come and go. The order printed is the order given. */
#include "strict.h"
#include <dirent.h>

#define N 2000

static void walk(const char *path, int made)
{
	DIR *d = opendir(path);
	MUST(d != NULL, path);
	static char seen[N];
	static char order[N + 10][16];
	memset(seen, 0, sizeof seen);
	uint64_t h = MIX0;
	int n = 0, dots = 0;
	long middle = 0;
	for (struct dirent *e; (e = readdir(d));) {
		h = mix(mix(h, e->d_name, strlen(e->d_name) + 1), &e->d_ino, sizeof e->d_ino);
		h = mix(h, &e->d_type, 1);
		if (e->d_name[0] == '.') {
			dots++;
			continue;
		}
		int k = atoi(e->d_name + 1);
		WANT(e->d_name[0] == 'e' && k >= 0 && k < N && !seen[k], "%s in %s: never made, or twice", e->d_name, path);
		if (k >= 0 && k < N)
			seen[k] = 1;
		if (n < 8 || n == N - 1)
			printf("%d: %s ino %llu type %d off %lld\n", n, e->d_name, (unsigned long long)e->d_ino, e->d_type, (long long)e->d_off);
		if (n % 250 == 0) {
			struct stat st;
			MUST(fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0, e->d_name);
			WANT(st.st_ino == e->d_ino, "%s: listed as %llu, is %llu", e->d_name, (unsigned long long)e->d_ino, (unsigned long long)st.st_ino);
		}
		if (n < N + 10)
			snprintf(order[n], sizeof order[n], "%.15s", e->d_name);
		if (++n == 1000)
			middle = telldir(d);
	}
	printf("%s: %d entries, %d dots, %016llx\n", path, n, dots, (unsigned long long)h);
	WANT(n == N && dots == 2, "%d entries and %d dots, made %d", n, dots, made);
	seekdir(d, middle);
	struct dirent *e = readdir(d);
	WANT(e && strcmp(e->d_name, order[1000]) == 0, "after seekdir comes %s, not %s", e ? e->d_name : "the end", order[1000]);
	rewinddir(d);
	int again = 0;
	while ((e = readdir(d)))
		again++;
	WANT(again == N + 2, "rewound: %d entries", again);
	closedir(d);

	/* The call itself, with a buffer that holds few. */
	int fd = open(path, O_RDONLY | O_DIRECTORY), calls = 0, total = 0;
	char buf[200];
	long got;
	while ((got = syscall(SYS_getdents64, fd, buf, sizeof buf)) > 0) {
		calls++;
		for (long at = 0; at < got; total++) {
			unsigned short len;
			memcpy(&len, buf + at + 16, 2);
			MUST(len >= 19 && at + len <= got, "entry's length");
			at += len;
		}
	}
	printf("by 200 bytes: %d calls, %d entries, end %ld\n", calls, total, got);
	WANT(total == N + 2 && got == 0, "%d entries by small buffers", total);
	long small = syscall(SYS_getdents64, fd, buf, 10);
	lseek(fd, 0, SEEK_SET);
	int e1 = syscall(SYS_getdents64, fd, buf, 10) < 0 ? errno : 0;
	printf("too small: %ld %d\n", small, e1);
	WANT(e1 == EINVAL, "a buffer of 10 bytes: %d", e1);
	close(fd);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char path[300], name[400];
		snprintf(path, sizeof path, "%s/many", argv[i]);
		int made = mkdir(path, 0755) == 0;
		printf("%s: made %d\n", path, made);
		unsigned seed = 7 + getpid() * made;
		for (int k = 0; made && k < N + 500; k++) {
			/* 2,500 entries in an odd order, of which 500 go again. */
			int id = k * 1237 % (N + 500);
			snprintf(name, sizeof name, "%s/e%d", path, id);
			int fd = next(&seed) % 5 ? open(name, O_CREAT | O_WRONLY, 0644) : -1;
			if (fd >= 0)
				close(fd);
			else
				MUST(mkdir(name, 0755) == 0, name);
		}
		for (int id = N; made && id < N + 500; id++) {
			snprintf(name, sizeof name, "%s/e%d", path, id);
			MUST(unlink(name) == 0 || rmdir(name) == 0, name);
		}
		walk(path, made);
	}
	return SENSIBLE();
}
