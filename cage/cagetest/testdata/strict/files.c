/* files: what stat, lstat, fstat, statx, statfs and access say of new, linked, renamed, rewritten and given files. Takes
 * folders to look at as arguments beside the one it works in. */
#include "strict.h"
#include <dirent.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/file.h>

static int64_t ns(struct timespec t) { return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec; }

static struct stat see(const char *path)
{
	struct stat a = {0}, b = {0};
	if (lstat(path, &a) != 0) {
		printf("%s: errno %d\n", path, errno);
		return a;
	}
	printf("%s: dev %x:%x ino %llu mode %o links %llu owner %u:%u rdev %x size %lld block %ld blocks %lld atime %lld mtime %lld ctime %lld\n", path,
	       major(a.st_dev), minor(a.st_dev), (unsigned long long)a.st_ino, a.st_mode, (unsigned long long)a.st_nlink, a.st_uid, a.st_gid, (unsigned)a.st_rdev,
	       S_ISDIR(a.st_mode) ? 0LL : (long long)a.st_size, (long)a.st_blksize, (long long)a.st_blocks, (long long)ns(a.st_atim), (long long)ns(a.st_mtim),
	       (long long)ns(a.st_ctim));
	if (S_ISDIR(a.st_mode))
		printf("%s: size %lld\n", path, (long long)a.st_size);
	WANT(syscall(SYS_newfstatat, AT_FDCWD, path, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev && ns(a.st_mtim) == ns(b.st_mtim), "fstatat says something else of %s", path);
	struct statx x = {0};
	int r = statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_ALL, &x);
	if (r == 0) {
		printf("statx %s: mask %x attributes %llx of %llx btime %lld.%09u dev %x:%x\n", path, x.stx_mask & 0xfff, (unsigned long long)x.stx_attributes,
		       (unsigned long long)x.stx_attributes_mask, (long long)x.stx_btime.tv_sec, x.stx_btime.tv_nsec, x.stx_dev_major, x.stx_dev_minor);
		WANT(x.stx_ino == a.st_ino && x.stx_size == (uint64_t)a.st_size && x.stx_mtime.tv_sec == a.st_mtim.tv_sec && x.stx_mode == a.st_mode && x.stx_nlink == a.st_nlink, "statx says something else of %s", path);
	} else
		printf("statx %s: errno %d\n", path, errno);
	if (!S_ISLNK(a.st_mode)) {
		int fd = open(path, O_PATH);
		WANT(fd >= 0 && fstat(fd, &b) == 0 && b.st_ino == a.st_ino && b.st_size == a.st_size, "fstat says something else of %s", path);
		close(fd);
		printf("access %d %d %d\n", access(path, R_OK), access(path, W_OK), access(path, X_OK));
	}
	return a;
}

static void fill(const char *path, const char *text, int flags)
{
	int fd = open(path, O_WRONLY | flags, 0640);
	MUST(fd >= 0, path);
	MUST(write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
	close(fd);
}

int main(int argc, char **argv)
{
	char dir[] = "work-of-files";
	MUST(mkdir(dir, 0755) == 0 && chdir(dir) == 0, "mkdir");
	int64_t t0 = now_of(CLOCK_REALTIME_COARSE);
	fill("a", "ay", O_CREAT);
	fill("b", "bee", O_CREAT | O_EXCL);
	rest(20);
	MUST(link("a", "hard") == 0 && symlink("b", "soft") == 0 && mkdir("d", 0700) == 0 && mkfifo("fifo", 0600) == 0, "names");
	struct stat a = see("a"), b = see("b"), hard = see("hard"), soft = see("soft"), d = see("d");
	see("fifo");
	see(".");
	see("absent");
	WANT(ns(a.st_mtim) >= t0 - 20000000 && ns(a.st_mtim) <= now_of(CLOCK_REALTIME), "a is from another time: %lld, began %lld", (long long)ns(a.st_mtim), (long long)t0);
	WANT(ns(d.st_mtim) > ns(a.st_mtim), "a folder made 20 ms later is not later");
	WANT(a.st_ino == hard.st_ino && hard.st_nlink == 2 && a.st_ino != b.st_ino && b.st_ino != soft.st_ino, "numbers of files");
	WANT(a.st_size == 2 && b.st_size == 3 && soft.st_size == 1, "sizes");
	WANT(a.st_uid == geteuid() && a.st_gid == getegid(), "a new file is %u:%u's", a.st_uid, a.st_gid);
	WANT((a.st_mode & 07777) == 0640, "mode %o", a.st_mode);

	rest(20);
	fill("a", "more", O_APPEND);
	struct stat a2 = see("a");
	WANT(a2.st_size == 6 && ns(a2.st_mtim) > ns(a.st_mtim) && a2.st_ino == a.st_ino, "appending is not seen");
	rest(20);
	MUST(rename("b", "d/c") == 0, "rename");
	struct stat c = see("d/c"), d2 = see("d");
	WANT(c.st_ino == b.st_ino && ns(c.st_mtim) == ns(b.st_mtim), "a renamed file became another");
	WANT(ns(d2.st_mtim) > ns(d.st_mtim), "a folder's time stood still as a name came");
	struct timespec old[2] = {{1000000000, 5}, {1100000000, 7}};
	MUST(utimensat(AT_FDCWD, "a", old, 0) == 0, "utimensat");
	struct stat a3 = see("a");
	WANT(ns(a3.st_mtim) == 1100000000000000007, "mtime %lld", (long long)ns(a3.st_mtim));
	MUST(utimensat(AT_FDCWD, "a", NULL, 0) == 0, "utimensat now");
	struct stat a4 = see("a");
	WANT(ns(a4.st_mtim) >= ns(a2.st_mtim) && ns(a4.st_mtim) <= now_of(CLOCK_REALTIME), "touched at %lld", (long long)ns(a4.st_mtim));
	MUST(truncate("a", 100000) == 0 && chmod("a", 0755) == 0, "truncate");
	struct stat a5 = see("a");
	WANT(a5.st_size == 100000 && (a5.st_mode & 07777) == 0755, "size %lld mode %o", (long long)a5.st_size, a5.st_mode);
	printf("chown %d %d\n", chown("a", getuid(), getgid()), chown("a", 1, 1) == 0 ? 0 : errno);
	printf("removed: %d %d %d\n", unlink("hard"), unlink("d") ? errno : 0, rmdir("d") ? errno : 0);
	fill("new", "", O_CREAT);
	see("new");
	int tmp = open(".", O_TMPFILE | O_RDWR, 0600);
	struct stat st;
	if (tmp >= 0 && fstat(tmp, &st) == 0)
		printf("tmpfile: links %lu mode %o\n", (unsigned long)st.st_nlink, st.st_mode);
	else
		printf("tmpfile: errno %d\n", errno);
	char link[100] = "";
	ssize_t n = readlink("soft", link, sizeof link - 1);
	printf("readlink %zd %s; errors %d", n, link, readlink("a", link, 10) < 0 ? errno : 0);
	printf(" %d", open("soft/x", O_RDONLY) < 0 ? errno : 0);
	printf(" %d\n", open("a", O_RDONLY | O_DIRECTORY) < 0 ? errno : 0);

	for (int i = -1; i < argc; i++) {
		const char *path = i < 0 ? "." : i == 0 ? "/tmp" : argv[i];
		struct statfs f;
		struct statvfs v;
		if (statfs(path, &f) != 0 || statvfs(path, &v) != 0) {
			printf("%s: errno %d\n", path, errno);
			continue;
		}
		printf("statfs %s: type %lx block %ld total %llu free %llu %llu files %llu %llu id %x %x name %ld frag %ld flags %lx\n", path, (long)f.f_type, (long)f.f_bsize,
		       (unsigned long long)f.f_blocks, (unsigned long long)f.f_bfree, (unsigned long long)f.f_bavail, (unsigned long long)f.f_files, (unsigned long long)f.f_ffree,
		       f.f_fsid.__val[0], f.f_fsid.__val[1], (long)f.f_namelen, (long)f.f_frsize, (long)f.f_flags);
		WANT(f.f_bfree <= f.f_blocks && v.f_bsize == (unsigned long)f.f_bsize && f.f_namelen >= 100, "statfs of %s", path);
		if (i > 0)
			see(path);
	}
	return SENSIBLE();
}
