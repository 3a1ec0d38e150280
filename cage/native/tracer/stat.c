/* stat.c: metadata calls, answered at the entry stop: owner 0:0, virtual inode, device 1, virtual times. */
#include "files.h"

#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* canonical makes of what the kernel has what the program sees, times apart. */
static void canonical(struct stat *st)
{
	uint64_t number = virtual_inode(st->st_dev, st->st_ino);
	if (S_ISDIR(st->st_mode)) {
		st->st_size = 4096;
		st->st_nlink = 1;
	} else if (!writable_dev(st->st_dev) && S_ISREG(st->st_mode)) {
		st->st_nlink = 1; /* how often the store links a file is the machine's affair */
	}
	if (is_random(st)) {
		st->st_mode = S_IFCHR | 0666;
		st->st_rdev = makedev(1, 9);
		st->st_size = 0;
	} else if (proc_dev && st->st_dev == proc_dev && S_ISREG(st->st_mode)) {
		st->st_size = 0;
	}
	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode) && !S_ISLNK(st->st_mode))
		st->st_size = 0;
	st->st_dev = 1;
	st->st_ino = number;
	st->st_uid = st->st_gid = 0;
	st->st_blksize = 4096;
	st->st_blocks = (st->st_size + 4095) / 4096 * 8;
}

static struct timespec spec(uint64_t ns)
{
	return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

static int give(struct thread *t, long r, struct stat *st, uint64_t to)
{
	if (r == 0) {
		struct times at;
		times_of(st, &at);
		canonical(st);
		st->st_atim = spec(at.a);
		st->st_mtim = spec(at.m);
		st->st_ctim = spec(at.c);
		if (!poke(t, to, st, sizeof *st))
			r = -EFAULT;
	}
	answer(t, r);
	return V_DONE;
}

static int at(struct thread *t, int dirfd, uint64_t path, uint64_t to, bool follow, bool empty_ok)
{
	static struct where w;
	struct stat st;
	long r = read_where(t, dirfd, path, empty_ok, &w);
	if (r == 0) {
		if (!w.text[0] && dirfd == AT_FDCWD)
			r = fstat(w.base, &st) < 0 ? -errno : 0;
		else
			r = stat_path(t, &w, follow, &st);
		end_where(&w);
	}
	return give(t, r, &st, to);
}

int do_stat(struct thread *t) { return at(t, AT_FDCWD, t->a[0], t->a[1], true, false); }
int do_lstat(struct thread *t) { return at(t, AT_FDCWD, t->a[0], t->a[1], false, false); }

int do_fstat(struct thread *t)
{
	struct stat st;
	return give(t, stat_fd(t, (int)t->a[0], &st), &st, t->a[1]);
}

/* empty says whether the path is "" or absent, which stands for the descriptor itself: libc's fstat. */
static bool empty(struct thread *t, uint64_t path)
{
	char c;
	return !path || (peek(t, path, &c, 1) && c == 0);
}

int do_newfstatat(struct thread *t)
{
	int flags = (int)t->a[3];
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH)) {
		answer(t, -EINVAL);
		return V_DONE;
	}
	if (flags & AT_EMPTY_PATH && (int)t->a[0] >= 0 && empty(t, t->a[1])) {
		struct stat st;
		return give(t, stat_fd(t, (int)t->a[0], &st), &st, t->a[2]);
	}
	return at(t, (int)t->a[0], t->a[1], t->a[2], !(flags & AT_SYMLINK_NOFOLLOW), flags & AT_EMPTY_PATH);
}

static void stamp(struct statx_timestamp *to, uint64_t ns)
{
	to->tv_sec = (int64_t)(ns / 1000000000u);
	to->tv_nsec = (uint32_t)(ns % 1000000000u);
}

int do_statx(struct thread *t)
{
	static struct where w;
	struct stat st;
	int flags = (int)t->a[2];
	long r;
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | 0x6000 /* AT_STATX_SYNC_TYPE */) || t->a[3] & 0x80000000u) {
		answer(t, -EINVAL);
		return V_DONE;
	}
	if (flags & AT_EMPTY_PATH && (int)t->a[0] >= 0 && empty(t, t->a[1])) {
		r = stat_fd(t, (int)t->a[0], &st);
	} else {
		r = read_where(t, (int)t->a[0], t->a[1], flags & AT_EMPTY_PATH, &w);
		if (r == 0) {
			r = stat_path(t, &w, !(flags & AT_SYMLINK_NOFOLLOW), &st);
			end_where(&w);
		}
	}
	if (r == 0) {
		struct times at;
		struct statx x;
		times_of(&st, &at);
		canonical(&st);
		memset(&x, 0, sizeof x);
		x.stx_mask = STATX_BASIC_STATS | STATX_BTIME;
		x.stx_blksize = (uint32_t)st.st_blksize;
		x.stx_nlink = (uint32_t)st.st_nlink;
		x.stx_mode = (uint16_t)st.st_mode;
		x.stx_ino = st.st_ino;
		x.stx_size = (uint64_t)st.st_size;
		x.stx_blocks = (uint64_t)st.st_blocks;
		x.stx_rdev_major = major(st.st_rdev);
		x.stx_rdev_minor = minor(st.st_rdev);
		x.stx_dev_minor = 1;
		stamp(&x.stx_atime, at.a);
		stamp(&x.stx_mtime, at.m);
		stamp(&x.stx_ctime, at.c);
		stamp(&x.stx_btime, job->epoch_ns);
		if (!poke(t, t->a[4], &x, sizeof x))
			r = -EFAULT;
	}
	answer(t, r);
	return V_DONE;
}

/* Free space is always half of the job's memory: what is really free depends on pages, and on the machine. */
static int give_statfs(struct thread *t, long r, const struct stat *st, uint64_t to)
{
	if (r == 0) {
		struct statfs f;
		memset(&f, 0, sizeof f);
		bool proc = proc_dev && st->st_dev == proc_dev;
		f.f_type = proc ? 0x9fa0 : 0x01021994;
		f.f_bsize = f.f_frsize = 4096;
		if (!proc) {
			f.f_blocks = job->memory_bytes / 4096;
			f.f_bfree = f.f_bavail = f.f_blocks / 2;
			f.f_files = 1 << 20;
			f.f_ffree = 1 << 19;
		}
		f.f_namelen = 255;
		f.f_flags = 0x20 | 2 | 4 | (writable_dev(st->st_dev) ? 0 : 1); /* ST_VALID, nosuid, nodev, rdonly */
		if (!poke(t, to, &f, sizeof f))
			r = -EFAULT;
	}
	answer(t, r);
	return V_DONE;
}

int do_statfs(struct thread *t)
{
	static struct where w;
	struct stat st;
	long r = read_where(t, AT_FDCWD, t->a[0], false, &w);
	if (r == 0) {
		r = stat_path(t, &w, true, &st);
		end_where(&w);
	}
	return give_statfs(t, r, &st, t->a[1]);
}

int do_fstatfs(struct thread *t)
{
	struct stat st;
	return give_statfs(t, stat_fd(t, (int)t->a[0], &st), &st, t->a[1]);
}

static int accessible(struct thread *t, int dirfd, uint64_t path, int mode, int flags)
{
	static struct where w;
	long r = flags & ~(AT_SYMLINK_NOFOLLOW | AT_EACCESS | AT_EMPTY_PATH) ? -EINVAL : read_where(t, dirfd, path, flags & AT_EMPTY_PATH, &w);
	if (r == 0) {
		int fd = w.proc && !(flags & AT_SYMLINK_NOFOLLOW) ? fd_by_name(t, w.absolute) : -1, own = fd < 0 ? -1 : file_of(t, fd);
		if (fd >= 0) {
			r = own < 0 ? -ENOENT : syscall(SYS_faccessat2, own, "", mode, AT_EMPTY_PATH) < 0 ? -errno : 0;
			if (own >= 0)
				close(own);
		} else if (w.text[0]) {
			r = syscall(SYS_faccessat2, w.base, w.text, mode, flags & AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
		} else {
			r = syscall(SYS_faccessat2, w.base, "", mode, AT_EMPTY_PATH) < 0 ? -errno : 0;
		}
		end_where(&w);
	}
	answer(t, r);
	return V_DONE;
}

int do_access(struct thread *t) { return accessible(t, AT_FDCWD, t->a[0], (int)t->a[1], 0); }
int do_faccessat(struct thread *t)
{
	return accessible(t, (int)t->a[0], t->a[1], (int)t->a[2], t->nr == SYS_faccessat2 ? (int)t->a[3] : 0);
}

static int link_text(struct thread *t, int dirfd, uint64_t path, uint64_t to, int cap)
{
	static struct where w;
	char text[PATH_CAP];
	long r = cap <= 0 ? -EINVAL : read_where(t, dirfd, path, true, &w);
	if (r == 0) {
		r = !w.text[0] && dirfd == AT_FDCWD ? -ENOENT : readlinkat(w.base, w.text, text, sizeof text);
		if (r == -1)
			r = -errno;
		end_where(&w);
		if (r > cap)
			r = cap;
		if (r > 0 && !poke(t, to, text, (size_t)r))
			r = -EFAULT;
	}
	answer(t, r);
	return V_DONE;
}

int do_readlink(struct thread *t) { return link_text(t, AT_FDCWD, t->a[0], t->a[1], (int)t->a[2]); }
int do_readlinkat(struct thread *t) { return link_text(t, (int)t->a[0], t->a[1], t->a[2], (int)t->a[3]); }
