/* filecalls.c: which calls on files there are, and locks. */
#include "files.h"

#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A lock belongs to the open file, which the tracer shares through a duplicate: so it can try for the program. Files
 * that nobody here may write are the host's: a lock there says nothing and must not meet the host's own. */
static bool flock_retry(struct thread *t)
{
	struct stat st;
	int fd = file_of(t, (int)t->a[0]);
	long r = fd;
	if (fd >= 0) {
		if (fstat(fd, &st) == 0 && !writable_dev(st.st_dev))
			r = 0;
		else
			r = flock(fd, (int)t->a[1] | LOCK_NB) < 0 ? -errno : 0;
		close(fd);
	}
	if (r == -EWOULDBLOCK && !(t->a[1] & LOCK_NB))
		return false;
	answer(t, r);
	return true;
}

int do_flock(struct thread *t)
{
	if (flock_retry(t))
		return V_DONE;
	t->state = RETRY;
	t->retry = flock_retry;
	return V_BLOCK;
}

/* Record locks belong to the process: it must call itself. Waiting kinds are tried without waiting, again and again. */
static bool record_retry(struct thread *t)
{
	int cmd = (int)t->a[1];
	long r = inject(t, SYS_fcntl, t->a[0], (uint64_t)(cmd == F_SETLKW ? F_SETLK : cmd == F_OFD_SETLKW ? F_OFD_SETLK : cmd), t->a[2], 0, 0, 0);
	if (r == -EAGAIN && (cmd == F_SETLKW || cmd == F_OFD_SETLKW))
		return false;
	answer(t, r);
	return true;
}

int lock_fcntl(struct thread *t)
{
	struct stat st;
	if (stat_fd(t, (int)t->a[0], &st) == 0 && !writable_dev(st.st_dev)) {
		int cmd = (int)t->a[1];
		short type = F_UNLCK;
		long r = 0;
		if ((cmd == F_GETLK || cmd == F_OFD_GETLK) && !poke(t, t->a[2], &type, sizeof type))
			r = -EFAULT;
		answer(t, r);
		return V_DONE;
	}
	if (record_retry(t))
		return V_DONE;
	t->state = RETRY;
	t->retry = record_retry;
	return V_BLOCK;
}

/* A file in memory is one of /dev/shm that has no name: the kernel's own would count in no file system and in no process,
 * and so be without a bound. It cannot be sealed, and not be executed. */
static int do_memfd_create(struct thread *t)
{
	static const char place[] = "/dev/shm";
	char name[256];
	uint64_t flags = (uint32_t)t->a[1];
	long r = peek_string(t, t->a[0], name, sizeof name);
	if (r == -ENAMETOOLONG || r > 249 || flags & ~(uint64_t)(MFD_CLOEXEC | MFD_ALLOW_SEALING | 8 /* NOEXEC_SEAL */ | 16 /* EXEC */))
		r = -EINVAL;
	if (r >= 0) {
		uint64_t at = scratch(t, sizeof place);
		r = poke(t, at, place, sizeof place) ? inject(t, SYS_open, at, O_TMPFILE | O_RDWR | O_LARGEFILE | (flags & MFD_CLOEXEC ? O_CLOEXEC : 0), 0600, 0, 0, 0) : -EFAULT;
	}
	answer(t, r);
	return V_DONE;
}

#define TRACE(n, f) {SYS_##n, C_TRACE, f, 0}
#define PASS(n) {SYS_##n, C_PASS, NULL, 0}
#define ERRNO(n, e) {SYS_##n, C_ERRNO, NULL, e}

const struct call file_calls[] = {
	TRACE(stat, do_stat), TRACE(lstat, do_lstat), TRACE(fstat, do_fstat), TRACE(newfstatat, do_newfstatat), TRACE(statx, do_statx),
	TRACE(statfs, do_statfs), TRACE(fstatfs, do_fstatfs), TRACE(access, do_access), TRACE(faccessat, do_faccessat),
	TRACE(faccessat2, do_faccessat), TRACE(readlink, do_readlink), TRACE(readlinkat, do_readlinkat),
	TRACE(getdents64, do_getdents64), ERRNO(getdents, ENOSYS),
	TRACE(open, do_open), TRACE(openat, do_openat), TRACE(openat2, do_openat2), TRACE(creat, do_creat),
	TRACE(mkdir, do_change), TRACE(mkdirat, do_change), TRACE(rmdir, do_change), TRACE(unlink, do_change),
	TRACE(unlinkat, do_change), TRACE(rename, do_change), TRACE(renameat, do_change), TRACE(renameat2, do_change),
	TRACE(link, do_change), TRACE(linkat, do_change), TRACE(symlink, do_change), TRACE(symlinkat, do_change),
	TRACE(chmod, do_change), TRACE(fchmodat, do_change), {452, C_ERRNO, NULL, ENOSYS}, TRACE(fchmod, do_fchmod),
	TRACE(truncate, do_change), TRACE(ftruncate, do_ftruncate), TRACE(mknod, do_mknod), TRACE(mknodat, do_mknod),
	TRACE(chown, do_chown), TRACE(lchown, do_chown), TRACE(fchown, do_chown), TRACE(fchownat, do_chown),
	TRACE(utime, do_utimes), TRACE(utimes, do_utimes), TRACE(utimensat, do_utimes), TRACE(futimesat, do_utimes),
	TRACE(chdir, do_chdir), TRACE(fchdir, do_chdir), PASS(getcwd), PASS(umask), TRACE(flock, do_flock),
	PASS(fallocate), PASS(fsync), PASS(fdatasync), PASS(sync_file_range), ERRNO(sync, 0), PASS(syncfs), PASS(fadvise64), PASS(readahead),
	TRACE(memfd_create, do_memfd_create), {447 /* memfd_secret */, C_ERRNO, NULL, ENOSYS},
	ERRNO(setxattr, ENOTSUP), ERRNO(lsetxattr, ENOTSUP), ERRNO(fsetxattr, ENOTSUP), ERRNO(getxattr, ENOTSUP), ERRNO(lgetxattr, ENOTSUP),
	ERRNO(fgetxattr, ENOTSUP), ERRNO(listxattr, ENOTSUP), ERRNO(llistxattr, ENOTSUP), ERRNO(flistxattr, ENOTSUP),
	ERRNO(removexattr, ENOTSUP), ERRNO(lremovexattr, ENOTSUP), ERRNO(fremovexattr, ENOTSUP),
	ERRNO(copy_file_range, EXDEV), ERRNO(splice, EINVAL), ERRNO(tee, EINVAL), ERRNO(vmsplice, EINVAL),
	ERRNO(inotify_init, ENOSYS), ERRNO(inotify_init1, ENOSYS), ERRNO(inotify_add_watch, ENOSYS), ERRNO(inotify_rm_watch, ENOSYS),
	ERRNO(fanotify_init, ENOSYS), ERRNO(fanotify_mark, ENOSYS), ERRNO(name_to_handle_at, EOPNOTSUPP), ERRNO(open_by_handle_at, EPERM),
	ERRNO(quotactl, ENOSYS), ERRNO(lookup_dcookie, ENOSYS), ERRNO(chroot, EPERM), {451 /* cachestat */, C_ERRNO, NULL, ENOSYS},
	{-1, C_PASS, NULL, 0},
};
