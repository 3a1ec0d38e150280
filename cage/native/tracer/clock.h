/* clock.h: what the files that reckon with the program's clocks share. */
#ifndef DOCKLOCK_TRACER_CLOCK_H
#define DOCKLOCK_TRACER_CLOCK_H

#include "tracer.h"

#include <errno.h>
#include <time.h>

/* A clock as the program knows it. It shows vnow() - zero, or the processor time of a process or thread. */
struct clock {
	int64_t zero;     /* virtual ns at which it shows 0; may lie before 1970. Of processor time: if it ran on from now on */
	uint64_t step;    /* resolution in ns, to which what it shows is rounded down */
	long no_sleep;    /* 0, or what a sleep by it is answered */
	long no_timer;    /* 0, or what a timer by it is answered */
	struct process *of; /* of processor time: whose */
	uint32_t vtid;      /* and of which thread; 0: of all */
};

int clock_of(struct thread *t, int id, struct clock *c); /* 0 or -EINVAL */
uint64_t clock_now(const struct clock *c);               /* what it shows, in ns */
uint64_t clock_when(int64_t zero, uint64_t ns);          /* the deadline at which a clock of that zero shows ns; never 0 */
uint64_t clock_soon(uint64_t ns);                        /* the deadline ns from now */
void clock_reach(uint64_t at);                           /* it is that late, if it was not yet */

/* read_span reads a timespec as ns, at most INT64_MAX: 0, -EFAULT or -EINVAL. */
long read_span(struct thread *t, uint64_t addr, uint64_t *ns);
long span_of(int64_t sec, int64_t nsec, uint64_t *ns);   /* 0 or -EINVAL */
struct timespec timespec_of(uint64_t ns);

/* timers.c, in the table of time.c */
int do_alarm(struct thread *t), do_setitimer(struct thread *t), do_getitimer(struct thread *t);
int do_timer_create(struct thread *t), do_timer_settime(struct thread *t), do_timer_gettime(struct thread *t);
int do_timer_getoverrun(struct thread *t), do_timer_delete(struct thread *t);
#endif
