/* tracer.h: what the files of the tracer share. One process, one thread of its own; all state is global to a run. */
#ifndef DOCKLOCK_TRACER_H
#define DOCKLOCK_TRACER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/user.h>

#include "wire.h"

/* How it runs. One thread of the cage runs at a time, in the order of the queue; the others stand at ptrace stops. The
 * running one goes on until a handler blocks or yields, or it ends; then pick() takes the first in the queue that can:
 * READY; RETRY whose t->retry says yes; or any whose deadline is not after vnow(). If none can, the clock moves to the
 * earliest deadline or timer; if there is none either, the cage ends with TJ_KILLED_DEADLOCK. Who was parked goes to the
 * queue's tail first. When a deadline comes, timed_out is set and: SLEEP is answered 0, FUTEX -ETIMEDOUT, RETRY is asked
 * once more and must then answer (or let the call be made) and say yes. After a retry that said yes: if it answered, the
 * thread goes on; else if t->after is set the kernel makes the call and after() follows; else the kernel makes the call.
 * A signal ends a wait: interrupt() in signal.c answers -EINTR or has the call made again, by t->restart.
 *
 * What a handler tells the loop to do with the thread that stands at its system call: */
enum verdict {
	V_DONE,  /* the result is set with answer(): skip the call, go on at once */
	V_PASS,  /* let the kernel do it, go on */
	V_AFTER, /* let the kernel do it and call t->after(t) when it has */
	V_BLOCK, /* parked: t->state says what it waits for */
	V_YIELD, /* as V_DONE, but others run first */
};

enum state { READY, FUTEX, SLEEP, RETRY /* t->retry says whether it may go on */, IN_KERNEL /* vfork's parent */, STOPPED /* by job control */, NEW, DEAD };

struct process {
	pid_t pid;          /* host's number */
	uint32_t vpid;      /* as the program sees it */
	struct process *parent;
	uint64_t mm;        /* number of the address space: shared by threads and after vfork */
	int threads;
	bool exiting, zombie;
	bool killed;        /* owned by kill.c */
	bool adopts;        /* prctl(PR_SET_CHILD_SUBREAPER) */
	int parent_end;     /* signal that it wants at its parent's end; 0: none */
	int status;         /* wait status, once zombie */
	bool stop_news, continue_news; /* it was stopped, or has gone on, and its parent has not been told */
	char *exe;          /* path of the program, as /proc/PID/exe shows it; argv and env for /proc, \0-separated */
	char *argv; size_t argv_len;
	char *env; size_t env_len;
	char comm[16];
	uint64_t started_ns; /* virtual */
	uint64_t used_ns;   /* virtual time that passed while it ran; owned by time.c */
	struct sigact { uint64_t handler, flags; } sig[65];
	uint32_t pgid, sid; /* as the program sees them */
	struct thread *vforker; /* waits in the kernel for this process's exec or end */
	uint64_t reaped_us; /* processor time of the children that it has waited for */
	struct fdinfo *fds; /* descriptor table: shared with CLONE_FILES; owned by fd.c */
	uint64_t scratch;   /* owned by ptrace.c, inherited */
	uint64_t vdso, clock_at; /* owned by clockpage.c, inherited: the image, 0 if there is none, and the page of the clocks */
	unsigned clock_reads;
	bool tight;         /* owned by filter.c, inherited */
	bool reads_traced;  /* owned by filter.c, inherited */
	struct process *next;
	struct patches *patches; /* owned by patch.c */
	uint64_t entry;     /* where its program began to run: code that is executable */
	struct written *written; /* owned by written.c */
	bool limited;       /* owned by limits.c, inherited: limits are set */
#define LIMITS 16
	struct rlimit limits[LIMITS];
};

struct thread {
	pid_t tid;          /* host's */
	uint32_t vtid;      /* as the program sees it */
	struct process *p;
	enum state state;
	struct user_regs_struct r; /* at the entry stop */
	long nr;            /* call number and arguments at the entry stop */
	uint64_t a[6];
	int (*after)(struct thread *t, long result); /* V_AFTER: gives a verdict, V_DONE or V_BLOCK */
	bool (*retry)(struct thread *t);             /* RETRY: true if the call can now be made or answered */
	uint64_t deadline;  /* virtual ns since the epoch of the clock at which a wait ends; 0: never */
	bool timed_out;     /* set by the scheduler when the deadline came */
	bool answered;      /* answer() was called at this stop */
	bool behind;        /* stands behind a call of ours, see ptrace.c */
	bool out;           /* resumed: not at a stop */
	bool in_call;       /* the kernel makes its call: an exit stop will come */
	bool leaving;       /* at its own exit call */
	int deliver;        /* signal to hand over when it goes on */
	uint32_t slice;     /* calls since others had a turn */
	enum { NO_RESTART /* -EINTR always */, RESTART /* made again after a handler with SA_RESTART */, ALWAYS /* after any */ } restart; /* of the wait it is parked for; the loop sets RESTART before each handler */
	uint64_t futex_addr, futex_key; uint32_t futex_bits;
	uint64_t clear_tid; /* CLONE_CHILD_CLEARTID */
	uint64_t used_ns;   /* as its process's */
	uint64_t keep[8];   /* a handler's own, from its entry to its after */
	struct thread *next; /* run queue, FIFO */
	struct thread *same; /* another in the same bucket of tids */
};

/* --- loop.c: registers and memory of a stopped thread */
void answer(struct thread *t, long result);            /* sets the result and skips the call */
void set_args(struct thread *t);                       /* writes t->r back: a handler that changes arguments calls it */
bool peek(struct thread *t, uint64_t addr, void *to, size_t n);
bool poke(struct thread *t, uint64_t addr, const void *from, size_t n);
long peek_string(struct thread *t, uint64_t addr, char *to, size_t cap); /* length, or -EFAULT, -ENAMETOOLONG */
uint64_t scratch(struct thread *t, size_t n);          /* an address for arguments of this call, up to 32 KiB; 0 if its memory is at its limit. It may inject() */
long inject(struct thread *t, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f); /* makes the stopped thread do a call of ours */

/* --- the run */
extern const struct tj_job *job;
extern int host_proc;                                  /* host's /proc, from outside the cage's root */
extern struct thread *threads;                         /* the run queue, first in first */
extern struct process *processes;
void event(struct thread *t, enum tj_event_kind kind, const void *payload, size_t n);
void event_call(struct thread *t, enum tj_event_kind kind, uint64_t a, uint64_t b, const char *path);
void finish_killed(enum tj_reason reason) __attribute__((noreturn)); /* ends the cage; attestable */
void trouble(const char *what) __attribute__((noreturn));            /* this machine; with errno */

struct timespec;
void machine_clock(int id, struct timespec *ts);       /* watch.c: this machine's own, for relaxed cages and limits */

/* --- time.c: the virtual clock, ns since job->epoch_ns */
uint64_t vnow(void);
void time_ran(struct thread *t, uint64_t ns);          /* time passed while t ran, without a stop */
uint64_t vtick(uint64_t ns);                           /* lets time pass and gives the new time; past job->virtual_ns the cage ends */
bool read_enough(struct thread *t);                    /* t has read a clock; true: so often in a row that others have their turn */
long cut_sleep(struct thread *t);                      /* interrupt(): a signal ends the SLEEP of t; writes the time left and gives the answer, mostly -EINTR */

uint64_t next_timer(void);                             /* earliest virtual time at which an alarm, interval timer or POSIX timer of any process ends; 0: none */
void fire_timers(void);                                /* sends the signals of all that have ended by vnow() */
void timers_exec(struct process *p);                   /* POSIX timers go, alarm and ITIMER_REAL stay */
void timers_exit(struct process *p);

/* --- futex.c */
int futex_wake(struct thread *t, uint64_t addr, int n); /* as the kernel does at a thread's end for clear_tid; gives how many woke */
void futex_exit(struct thread *t);                     /* before a thread ends: its robust list (OWNER_DIED) and its clear_tid word are set to 0 and woken */
void futex_exec(struct thread *t);                     /* forgets its lists */
void futex_gone(void);                                 /* after a process has ended, however: wakes who waits for a lock that it held */

/* --- fd.c: descriptors */
uint64_t fd_next_timer(void);                          /* earliest end of a timerfd; 0: none */
void fd_fire_timers(void);
void fd_fork(struct process *child, struct process *parent, bool shared); /* shared: CLONE_FILES */
void fd_exec(struct process *p);
void fd_exit(struct process *p);
bool fd_wait_mask(struct thread *t, uint64_t *mask);   /* the signal mask that the wait t is parked in brings with it (ppoll, pselect6, epoll_pwait): for who
                                                          decides which signals end it. What only this mask lets in, the wait finds by itself: the kernel takes it */
uint64_t fd_moved(const struct thread *t);             /* interrupt(): bytes that a parked write or receive has moved so far; not 0: they are its answer */

/* --- signal.c */
void send_signal(struct process *p, struct thread *to, int sig, int code, int timer_id, uint64_t value); /* to NULL: any of its threads; code: SI_KERNEL, SI_TIMER. Wakes a waiter */
bool interrupt(struct thread *t);                      /* ends the wait of a parked thread for a signal */

/* --- random.c: ChaCha20 (RFC 8439), key = seed, nonce = purpose; each purpose is a stream of its own */
enum purpose { R_GETRANDOM = 1, R_URANDOM, R_AUXV, R_RDRAND, R_UUID, R_TMPNAME };
void random_fill(enum purpose p, void *to, size_t n);
int do_getrandom(struct thread *t);                    /* in the table of time.c */

/* --- info.c and limits.c */
bool in_cage(struct thread *t, uint64_t pid);          /* a pid names a thread or process of the cage; 0 is the caller */
struct rlimit limit_of(struct process *p, unsigned resource);
bool may_begin(struct process *p, uint32_t alive);     /* where alive are, it may have one more */

/* --- files.c */
int dir_of(struct thread *t, int dirfd);               /* an O_PATH descriptor of the caller's dirfd or AT_FDCWD; the file's owner closes it */
int file_of(struct thread *t, int fd);                 /* a duplicate of the caller's descriptor, sharing its position; -errno */
void absolute_path(struct thread *t, int dirfd, const char *path, char *to, size_t cap); /* textual, cleaned, for events and /proc */
uint64_t virtual_inode(uint64_t dev, uint64_t ino);
void note_written(uint64_t dev, uint64_t ino);         /* its mtime is now */

/* --- procfs.c: /proc and /dev as files that the tracer keeps up to date */
const char *compose_proc_and_dev(const char *root, unsigned owner); /* launch.c, while it composes the root at root, with the host's /dev at hand
                                                            and once for all: owner is the user that is 0 in the cage; gives what failed, with errno */
struct stat;
bool is_random(const struct stat *st);                 /* of fstat: /dev/random or urandom, whose reads fd.c answers; opening one tightens */
int lock_fcntl(struct thread *t);                      /* filecalls.c: fd.c's fcntl hands over F_GETLK, F_SETLK, F_SETLKW and F_OFD_* */
void forget_opening(struct thread *t);                 /* open.c: a thread ends, or a signal ended its wait */
void make_proc_and_dev(void);                          /* in the cage's mount namespace, before the program starts */
bool proc_touch(struct thread *t, const char *absolute); /* before a call on a path below /proc or /dev: brings the file up to date;
                                                            false if the path is not below them */
int proc_open(struct thread *t, const char *absolute, uint64_t flags, enum verdict *v); /* open of a special one (fd/N, random): 1 if handled */
void proc_born(struct process *p);
void proc_gone(struct process *p);

/* --- patch.c: cpuid, rdrand, rdseed replaced where they are; rdtsc trapped */
void patch_after_exec(struct thread *t);               /* all executable mappings of a fresh program */
void patch_mapping(struct thread *t, uint64_t from, uint64_t len); /* after mmap or mprotect with PROT_EXEC */
void patch_fork(struct process *child, struct process *parent);
void patch_free(struct process *p);
int emulate_instruction(struct thread *t, int sig);    /* at SIGSEGV, SIGILL: V_DONE or V_YIELD if it was one of ours and is done, else -1 */

/* --- exec.c */
void after_exec(struct thread *t);                     /* auxv, vDSO, comm, argv for /proc; at the exit stop of execve */

/* --- tables: each file that handles calls has one, ended by {-1}; filter.c and loop.c walk `tables` */
typedef int (*handler)(struct thread *t);
struct call {
	long nr;
	enum { C_PASS, C_TRACE, C_BLOCKING /* traced only once something in the cage can block: see tighten() */, C_ERRNO, C_EXEC_PROT /* traced when a[2] has PROT_EXEC; of lseek, when it asks for holes */, C_STDOUT /* traced when a[0] is 1 or 2, always once tightened */ } how;
	handler entry;
	int err;            /* C_ERRNO */
};
extern const struct call time_calls[], futex_calls[], file_calls[], fd_calls[], process_calls[], signal_calls[], info_calls[], limit_calls[], memory_calls[];
void trace_reads(struct thread *t);                    /* filter.c: before the first random device is open in a process */
void tighten(struct thread *t);                        /* filter.c: from now on reads, writes and waits on descriptors are traced in this process and what it
                                                          forks; must be called at a call's entry, before it makes a pipe, socket or anything else that blocks */
#endif
