/* change.c: calls that change names, modes, sizes and times of files. The kernel makes the change; the tracer keeps the
 * virtual times and tells of it. Owners and explicit times are answered here: nobody would see the kernel's. */
#include "files.h"

#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <utime.h>
#include <unistd.h>

/* The change under way; the entry and the exit stop of one follow each other. */
static struct thread *changing;
static char paths[2][PATH_CAP];
static struct where places[2];
static struct stat folders[2];       /* where its names stand; st_ino 0: nowhere */

void change_event(struct thread *t, long result, const char *path, const char *second)
{
	static char buf[16 + 2 * PATH_CAP + 2];
	uint64_t head[2] = {(uint64_t)t->nr, (uint64_t)result};
	size_t n = sizeof head, l = strlen(path) + 1;
	memcpy(buf, head, sizeof head);
	memcpy(buf + n, path, l);
	n += l;
	if (second) {
		l = strlen(second);
		memcpy(buf + n, second, l);
		n += l;
	}
	event(t, TJ_CHANGE, buf, n);
}

/* The arguments of the calls that take one or two paths: where the folders and the paths stand, -1 if there is none. */
static const struct shape { short nr, dir1, path1, dir2, path2; bool names, size; } shapes[] = {
	{SYS_mkdir, -1, 0, -1, -1, true, false}, {SYS_mkdirat, 0, 1, -1, -1, true, false},
	{SYS_rmdir, -1, 0, -1, -1, true, false}, {SYS_unlink, -1, 0, -1, -1, true, false},
	{SYS_unlinkat, 0, 1, -1, -1, true, false}, {SYS_rename, -1, 0, -1, 1, true, false},
	{SYS_renameat, 0, 1, 2, 3, true, false}, {SYS_renameat2, 0, 1, 2, 3, true, false},
	{SYS_link, -1, 0, -1, 1, true, false}, {SYS_linkat, 0, 1, 2, 3, true, false},
	{SYS_symlink, -1, -1, -1, 1, true, false}, {SYS_symlinkat, -1, -1, 1, 2, true, false},
	{SYS_chmod, -1, 0, -1, -1, false, false}, {SYS_fchmodat, 0, 1, -1, -1, false, false},
	{452 /* fchmodat2 */, 0, 1, -1, -1, false, false},
	{SYS_truncate, -1, 0, -1, -1, false, true},
	{SYS_mknod, -1, 0, -1, -1, true, false}, {SYS_mknodat, 0, 1, -1, -1, true, false},
};

/* now sets what has changed of the file at a path itself: its content too if written, else only what is told of it. */
static void now(const struct where *w, bool follow, bool written)
{
	struct stat st;
	if (stat_where(w, follow, &st) < 0)
		return;
	if (written)
		note_written(st.st_dev, st.st_ino);
	else
		set_times(&st, NULL, NULL);
}

static int changed(struct thread *t, long result)
{
	if (changing != t)
		return V_DONE;
	changing = NULL;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		if (shapes[i].nr == t->nr && result == 0) {
			const struct shape *s = &shapes[i];
			int made = s->path2 >= 0;
			if (s->names)
				for (int k = 0; k < 2; k++)
					if (folders[k].st_ino)
						note_folder(&folders[k]);
			switch (t->nr) {
			case SYS_unlink: case SYS_unlinkat: case SYS_rmdir:
				break;
			case SYS_mkdir: case SYS_mkdirat: case SYS_mknod: case SYS_mknodat: case SYS_symlink: case SYS_symlinkat:
				now(&places[made], false, true);
				break;
			default:
				now(&places[made], s->size || !s->names, s->size);
			}
		}
	end_where(&places[0]);
	end_where(&places[1]);
	change_event(t, result, paths[0], paths[1][0] ? paths[1] : NULL);
	return V_DONE;
}

int do_change(struct thread *t)
{
	const struct shape *s = shapes;
	while (s->nr != t->nr)
		s++;
	const short dirs[2] = {s->dir1, s->dir2}, at[2] = {s->path1, s->path2};
	for (int i = 0; i < 2; i++) {
		end_where(&places[i]); /* relaxed: of a change that another's has overtaken */
		paths[i][0] = 0;
		folders[i].st_ino = 0;
		if (at[i] < 0)
			continue;
		bool empty_ok = (t->nr == SYS_linkat && i == 0) || t->nr == 452, link = t->nr == SYS_link || t->nr == SYS_linkat;
		long r = read_where(t, dirs[i] < 0 ? AT_FDCWD : (int)t->a[dirs[i]], t->a[at[i]], empty_ok, &places[i]);
		if (r < 0) {
			end_where(&places[0]);
			change_event(t, r, i ? paths[0] : "", NULL);
			answer(t, r);
			return V_DONE;
		}
		/* A link to a file changes nothing where the file stands. */
		if (s->names && !(link && i == 0) && !parent_of(places[i].base, places[i].text, &folders[i]))
			folders[i].st_ino = 0;
		strcpy(paths[i], places[i].absolute);
	}
	if (s->path1 < 0 && peek_string(t, t->a[0], paths[0], PATH_CAP) < 0)
		paths[0][0] = 0;
	changing = t;
	t->after = changed;
	return V_AFTER;
}

/* Only FIFOs and plain files: the rest needs rights that nobody in the cage has. */
int do_mknod(struct thread *t)
{
	mode_t type = (mode_t)(t->nr == SYS_mknod ? t->a[1] : t->a[2]) & S_IFMT;
	if (type == S_IFIFO)
		tighten(t);
	else if (type != 0 && type != S_IFREG) {
		answer(t, -EPERM);
		return V_DONE;
	}
	return do_change(t);
}

static int descriptor_changed(struct thread *t, long result)
{
	struct stat st;
	char path[PATH_CAP];
	if (result == 0 && stat_fd(t, (int)t->a[0], &st) == 0) {
		if (t->nr == SYS_fchmod)
			set_times(&st, NULL, NULL);
		else
			note_written(st.st_dev, st.st_ino);
	}
	absolute_path(t, (int)t->a[0], "", path, sizeof path);
	change_event(t, result, path, NULL);
	return V_DONE;
}

int do_ftruncate(struct thread *t)
{
	t->after = descriptor_changed;
	return V_AFTER;
}

int do_fchmod(struct thread *t)
{
	t->after = descriptor_changed;
	return V_AFTER;
}

/* look finds the file of a chown or utimens: by descriptor if there is no path. */
static long look(struct thread *t, int dirfd, uint64_t path, bool by_fd, bool follow, bool empty_ok, struct stat *st, char *absolute)
{
	static struct where w;
	if (by_fd) {
		absolute_path(t, dirfd, "", absolute, PATH_CAP);
		return stat_fd(t, dirfd, st);
	}
	absolute[0] = 0;
	long r = read_where(t, dirfd, path, empty_ok, &w);
	if (r == 0) {
		r = stat_where(&w, follow, st);
		strcpy(absolute, w.absolute);
		end_where(&w);
	}
	if (r == 0 && !writable_dev(st->st_dev))
		r = -EROFS;
	return r;
}

int do_chown(struct thread *t)
{
	struct stat st;
	char path[PATH_CAP];
	long r;
	if (t->nr == SYS_fchown)
		r = look(t, (int)t->a[0], 0, true, true, false, &st, path);
	else if (t->nr == SYS_fchownat)
		r = look(t, (int)t->a[0], t->a[1], false, !(t->a[4] & AT_SYMLINK_NOFOLLOW), t->a[4] & AT_EMPTY_PATH, &st, path);
	else
		r = look(t, AT_FDCWD, t->a[0], false, t->nr == SYS_chown, false, &st, path);
	if (r == 0)
		set_times(&st, NULL, NULL);
	change_event(t, r, path, NULL);
	answer(t, r);
	return V_DONE;
}

/* one reads a time: 0, or -EINVAL. *use says whether it is to be set. */
static long one(long sec, long nsec, uint64_t *ns, bool *use)
{
	*use = nsec != UTIME_OMIT;
	if (nsec == UTIME_NOW)
		*ns = vnow();
	else if (*use && (nsec < 0 || nsec > 999999999))
		return -EINVAL;
	else
		*ns = (uint64_t)sec * 1000000000u + (uint64_t)nsec;
	return 0;
}

int do_utimes(struct thread *t)
{
	struct stat st;
	char path[PATH_CAP];
	struct timespec ts[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
	int dirfd = AT_FDCWD;
	uint64_t where = t->a[0], from = t->a[1], ns[2];
	bool by_fd = false, follow = true, use[2], empty_ok = false, got = true;
	if (t->nr == SYS_utimensat) {
		dirfd = (int)t->a[0];
		where = t->a[1];
		from = t->a[2];
		by_fd = !where;
		follow = !(t->a[3] & AT_SYMLINK_NOFOLLOW);
		empty_ok = t->a[3] & AT_EMPTY_PATH;
		if (from)
			got = peek(t, from, ts, sizeof ts);
	} else if (t->nr == SYS_utime) {
		struct utimbuf u;
		if (from && (got = peek(t, from, &u, sizeof u))) {
			ts[0] = (struct timespec){u.actime, 0};
			ts[1] = (struct timespec){u.modtime, 0};
		}
	} else {
		struct timeval tv[2];
		if (t->nr == SYS_futimesat) {
			dirfd = (int)t->a[0];
			where = t->a[1];
			from = t->a[2];
			by_fd = !where;
		}
		if (from && (got = peek(t, from, tv, sizeof tv)))
			for (int i = 0; i < 2; i++)
				ts[i] = (struct timespec){tv[i].tv_sec, tv[i].tv_usec < 0 || tv[i].tv_usec > 999999 ? -1 : tv[i].tv_usec * 1000};
	}
	long r = got ? 0 : -EFAULT;
	path[0] = 0;
	for (int i = 0; i < 2 && r == 0; i++)
		r = one(ts[i].tv_sec, ts[i].tv_nsec, &ns[i], &use[i]);
	if (r == 0 && by_fd && dirfd == AT_FDCWD)
		r = -EFAULT;
	if (r == 0)
		r = look(t, dirfd, where, by_fd, follow, empty_ok, &st, path);
	if (r == 0)
		set_times(&st, use[0] ? &ns[0] : NULL, use[1] ? &ns[1] : NULL);
	change_event(t, r, path, NULL);
	answer(t, r);
	return V_DONE;
}

static int went(struct thread *t, long result)
{
	(void)t;
	if (result == 0)
		forget_cwd();
	return V_DONE;
}

int do_chdir(struct thread *t)
{
	static struct where w;
	if (t->nr == SYS_chdir && read_where(t, AT_FDCWD, t->a[0], false, &w) == 0)
		end_where(&w); /* a folder of /proc has been made */
	t->after = went;
	return V_AFTER;
}
