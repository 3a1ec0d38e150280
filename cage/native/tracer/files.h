/* files.h: what the files that answer path and metadata calls share. */
#ifndef DOCKLOCK_TRACER_FILES_H
#define DOCKLOCK_TRACER_FILES_H

#include "tracer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define PATH_CAP 4096

/* A path argument, read once at the entry stop. base is for the at-family: AT_FDCWD with an absolute text. */
struct where {
	int base;
	bool close_base;
	bool proc;                /* below /proc or /dev by its text */
	char text[PATH_CAP];      /* as the program gave it */
	char absolute[PATH_CAP];  /* cleaned */
};

/* read_where reads the path at addr against dirfd; 0 or a negative errno. With empty_ok an empty text means dirfd itself.
 * It brings files of /proc up to date. end_where must follow a success. */
int read_where(struct thread *t, int dirfd, uint64_t addr, bool empty_ok, struct where *w);
void end_where(struct where *w);
long stat_where(const struct where *w, bool follow, struct stat *st); /* raw: as the kernel has it */
long stat_fd(struct thread *t, int fd, struct stat *st);              /* raw */
long stat_path(struct thread *t, const struct where *w, bool follow, struct stat *st); /* stat_where(), also through the name of a descriptor */

/* Times of files, ns since 1970. */
struct times { uint64_t a, m, c; };
void times_of(const struct stat *st, struct times *out);
void set_times(const struct stat *st, const uint64_t *a, const uint64_t *m); /* NULL: stays */
bool writable_dev(uint64_t dev);
extern uint64_t names_generation;  /* grows with each change of any name */
bool parent_of(int base, const char *text, struct stat *st); /* the folder in which the last name of a path stands, as the kernel has it */
void note_folder(const struct stat *st); /* a name in it came, went or moved: its times are now */
void forget_cwd(void);
void forget_process(pid_t pid);    /* its number may come again */


/* dev.c and procfs.c */
extern uint64_t proc_dev, dev_dev; /* st_dev of the two; 0 while there is none */
int fd_by_name(struct thread *t, const char *absolute); /* the caller's descriptor for which a path below /proc or /dev stands; -1: none */


/* execfile.c: 0, or why the file is no program of this cage; most of what is wrong with it the kernel finds */
int exec_error(struct thread *t, int dirfd, uint64_t path, bool empty_ok);

/* event of a change of the file system: the call's number, its result, one or two paths */
void change_event(struct thread *t, long result, const char *path, const char *second);

int do_stat(struct thread *t), do_lstat(struct thread *t), do_fstat(struct thread *t), do_newfstatat(struct thread *t), do_statx(struct thread *t);
int do_statfs(struct thread *t), do_fstatfs(struct thread *t), do_access(struct thread *t), do_faccessat(struct thread *t);
int do_readlink(struct thread *t), do_readlinkat(struct thread *t);
int do_getdents64(struct thread *t);
int do_open(struct thread *t), do_openat(struct thread *t), do_openat2(struct thread *t), do_creat(struct thread *t);
int do_change(struct thread *t), do_chown(struct thread *t), do_utimes(struct thread *t), do_mknod(struct thread *t), do_ftruncate(struct thread *t);
int do_fchmod(struct thread *t), do_chdir(struct thread *t), do_flock(struct thread *t);

#endif
