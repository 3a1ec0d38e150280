/* docklock.h: how an engine image becomes a DockLock zygote.
 *
 * An engine image is one static x86-64 Linux program. It may be any; one that starts slowly links docklock.c into
 * itself, and is then started once and forked for each job:
 *
 *     #include "docklock.h"
 *     static int warm_up(void) { ...open the engine... return 0; }
 *     static int run(int argc, char **argv) { ...an ordinary main... }
 *     int main(int argc, char **argv) { return docklock_main(argc, argv, warm_up, run); }
 *
 *     gcc -O2 -static -o engine engine.c docklock.c          (C; the file also compiles as C++)
 *
 * Keep the section .note.docklock (strip keeps it): by it the node knows that the image can be a zygote.
 *
 * Started by hand, the program calls warm_up and run once, with no walls, on its own argv, environment and files.
 * Started by the cage, it calls warm_up once, with no files, no network and no arguments, and then serves jobs: each
 * in a fork with its own namespaces, root, limits and system call filter, in which run finds
 *   argv, environ   those of the spec, and besides DOCKLOCK_SEED (64 hexadecimal digits), DOCKLOCK_EPOCH_NS
 *                   (decimal), TZ=UTC, LANG=C.UTF-8, GLIBC_TUNABLES: read them in run, not in warm_up
 *   fd 0, 1, 2      request; result; error text
 *   /in/PATH        inputs, read-only
 *   /tmp, /out      private and empty; files in /out are outputs
 *   cwd             /
 * run's value is the exit code. exit(), and flushing stdio by it, work as usual. Signal handlers and threads must not
 * be made in warm_up; file descriptors opened there are closed before run.
 *
 * In a job the vDSO is gone, rdtsc faults, and system calls that tell time or give randomness kill: the engine brings
 * its own clock and randomness (by -Wl,--wrap), drawn from the seed and the epoch.
 */
#ifndef DOCKLOCK_H
#define DOCKLOCK_H

#ifdef __cplusplus
extern "C" {
#endif

/* docklock_main runs the engine: see above. warm_up may be NULL; a value other than 0 ends the program with it. */
int docklock_main(int argc, char **argv, int (*warm_up)(void), int (*run)(int argc, char **argv));

/* docklock_in_cage is 1 in a job's run under the cage, else 0. */
int docklock_in_cage(void);

#ifdef __cplusplus
}
#endif
#endif
