/* procfs.h: what the files that make /proc share. */
#ifndef DOCKLOCK_TRACER_PROCFS_H
#define DOCKLOCK_TRACER_PROCFS_H
#include "files.h"

extern int proc_fd; /* the tracer's own, writable view of /proc */

/* A file is made by begin, any number of adds, and finish with its name below /proc. */
void begin(void);
void add(const char *format, ...) __attribute__((format(printf, 1, 2)));
void add_bytes(const char *from, size_t n);
void finish(const char *name);
void make_link(const char *name, const char *to);

void make_process(struct process *p);                         /* its folder, if there is none yet */
void refresh_process(struct process *p, const char *name);    /* one file below it */
void remove_process(struct process *p);
#endif
