/* core.h: what the loop, its processes and its signals share; handlers of calls need tracer.h alone. */
#ifndef DOCKLOCK_TRACER_CORE_H
#define DOCKLOCK_TRACER_CORE_H

#include "tracer.h"

#include <sys/resource.h>

/* --- main.c and events.c */
extern uint64_t calls_made, stops_seen, events_made;
extern uint32_t spawned, alive;            /* threads and processes ever, and now */
void finish_done(int status) __attribute__((noreturn));
void finish_none(enum tj_reason reason) __attribute__((noreturn));
void bad_job(const char *what, int error) __attribute__((noreturn));
void finish_unheard(void) __attribute__((noreturn)); /* the node is gone: ends the cage and says nothing */
void give_out(int fd);                     /* TJ_STARTED with the descriptor of /out; -1: there is none */
void flush_events(void);
bool node_gone(void);                      /* the node has closed its end */

/* --- launch.c and compose.c */
extern pid_t init_pid;                     /* the cage's pid 1, which only reaps; not traced */
extern int input_marks;                    /* number of inputs whose mode is fixed; see compose.c */
struct thread *launch(const char *stage);  /* the first thread, seized, before it has installed its filter */
const char *compose(const char *root, unsigned owner, int userns); /* the root at `root`; gives what failed, with errno */
const char *job_string(uint32_t index);    /* of the job's strings; NULL past the end */
void drop_rights(bool keep_ptrace);
int probe(const char *stage);

/* --- filter.c */
const struct call *call_of(long nr);       /* NULL: the cage does not know it */
const char *install_filter(void);          /* in the process that is to be traced; gives what failed */

/* --- ptrace.c */
bool fetch(struct thread *t);              /* registers into t->r; false: the thread is gone */
void store(struct thread *t);              /* t->r into the registers */
long resume(struct thread *t, int request, int sig);
void stand_at_entry(struct thread *t);     /* again at the entry stop of its call, after inject() */
long inject_fresh(struct thread *t, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f); /* where no call stands: after an exec */
uint64_t scratch_page(struct thread *t);   /* one of its address space, for the clocks */
long inject_at(struct thread *t, uint64_t where, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f); /* as the last, by way of executable code at where */
uint64_t scratch_fresh(struct thread *t, size_t n); /* scratch() where no call stands */
uint64_t signal_mask(struct thread *t);
void set_signal_mask(struct thread *t, uint64_t mask);

/* --- clockpage.c, for strict mode */
#define CALL_NS 100                        /* a trapped call lets so much virtual time pass */
void lay_vdso(struct thread *t, int mem, uint64_t from, uint64_t to); /* our image over the kernel's, which is there; sets t->p->vdso */
void clock_asked(struct thread *t);        /* a read of a clock has stopped: some more, and the next do not */
void clock_in(struct thread *t);           /* takes over the time that passed while it ran */
void clock_out(struct thread *t);          /* tells it the time, before it goes on */

/* --- loop.c */
extern struct thread *running;
struct thread *thread_of(pid_t tid);
void add_thread(struct thread *t);         /* at the queue's tail */
void drop_thread(struct thread *t);        /* out of the queue; freed */
void to_tail(struct thread *t);
bool wait_one(void);                       /* takes one report of the kernel and does what follows from it; false: a tick passed */
void await_going_on(struct process *p);          /* after a SIGCONT: until the kernel has said so of all that were stopped */
void run(void) __attribute__((noreturn));

/* --- process.c */
struct process *process_of(uint32_t vpid);
void born(struct thread *parent, int event);             /* at PTRACE_EVENT_CLONE, FORK or VFORK */
void executed(struct thread *t);                         /* at PTRACE_EVENT_EXEC */
void ended(struct thread *t, int status, const struct rusage *used);
void forget_child(struct process *p);                    /* its parent has taken its end, or has gone */
void vfork_done(struct thread *t);
void await_vforker(struct process *p);                   /* who waits in the kernel for p goes on */
extern uint64_t address_spaces;                          /* so many there were: the next one has the next number */
int do_exec(struct thread *t);                           /* execcall.c */
void orphans(struct process *p);                         /* wait.c: p has ended, and its children are another's */
bool early_stop(pid_t tid);                              /* a child's first stop that came before its parent's event */
extern const struct call life_calls[];                   /* clone, exec, exit, wait: beside process_calls */

/* --- signal.c */
void signal_stop(struct thread *t, int sig);             /* at a signal's delivery; the loop resumes with what it gives in t->deliver */
void signal_sent(struct process *p, struct thread *to, int sig); /* the kernel has taken it; who waits is woken */
void signals_fork(struct process *child, struct process *parent);
void signals_exec(struct process *p);
void signals_exit(struct process *p);
uint64_t pending_signals(struct thread *t);              /* its own and its process's */

/* --- kill.c */
void dies(struct process *p);                            /* SIGKILL was sent to it */
bool bury(void);                                         /* waits for the ends of those, and does what follows; false: there are none */
bool anybody_dies(void);
extern const struct call kill_calls[];

/* --- watch.c */
void start_watch(void);
void tick(void);                                         /* wall clock, processor time, memory: ends the cage without a result past a limit */
bool files_too_large(void);                              /* what the program has left in files is more than its memory */
uint64_t cpu_us(void);
void account(const struct process *p, const struct rusage *used); /* of a process that ended */

#endif
