/* clockpage.c: clocks that a program reads without a stop, through the image in vdso/ that takes the place of the
 * kernel's. The time in the program's page and ours are made equal whenever one of its threads stops and goes on; only
 * one runs at a time, so nobody ever sees them apart. */
#include "core.h"
#include "code.h"
#include "vdso/page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>

#define READS_BEFORE 4 /* reads of a process that stop, until it is given a page */
#define TURN 8         /* reads after which other threads have their turn, as time.c has it */

extern const char vdso_image[], vdso_image_end[];

static uint64_t switch_at(void)
{
	static const uint64_t marks[2] = {CLOCK_MARK_1, CLOCK_MARK_2};
	static const char *found;
	if (!found)
		found = memmem(vdso_image, (size_t)(vdso_image_end - vdso_image), marks, sizeof marks);
	return found ? (uint64_t)(found - vdso_image) + sizeof marks : 0;
}

void lay_vdso(struct thread *t, int mem, uint64_t from, uint64_t to)
{
	size_t n = (size_t)(vdso_image_end - vdso_image);
	if (job->flags & TJ_RELAXED || to - from < n || to - from > 1 << 20)
		return;
	char *all = calloc(1, to - from); /* nothing of the kernel's is left behind it */
	if (!all)
		trouble("memory for the program's clocks");
	memcpy(all, vdso_image, n);
	if (pwrite(mem, all, to - from, (off_t)from) == (ssize_t)(to - from))
		t->p->vdso = from;
	free(all);
}

static bool set_switch(struct thread *t, uint64_t page)
{
	int mem = memory_of(t, O_RDWR);
	bool done = mem >= 0 && switch_at() && pwrite(mem, &page, sizeof page, (off_t)(t->p->vdso + switch_at())) == sizeof page;
	if (mem >= 0)
		close(mem);
	return done;
}

void clock_asked(struct thread *t)
{
	struct process *p = t->p;
	if (!p->vdso || p->clock_at || ++p->clock_reads != READS_BEFORE)
		return;
	uint64_t page = scratch_page(t);
	if (page && set_switch(t, page))
		p->clock_at = page;
}

static void stop_clock(struct thread *t)
{
	set_switch(t, 0);
	t->p->clock_at = 0;
}

void clock_out(struct thread *t)
{
	struct clock_page c = {.passed = vnow() - job->epoch_ns, .due = job->virtual_ns, .epoch_ns = job->epoch_ns, .turn = alive > 1 ? TURN : ~0u};
	uint64_t timers[2] = {next_timer(), fd_next_timer()};
	for (int i = 0; i < 2; i++)
		if (timers[i] && timers[i] - job->epoch_ns < c.due)
			c.due = timers[i] - job->epoch_ns;
	if (!poke(t, t->p->clock_at, &c, sizeof c))
		stop_clock(t); /* the program has taken its page away */
}

void clock_in(struct thread *t)
{
	struct clock_page c;
	uint64_t now = vnow() - job->epoch_ns;
	if (!peek(t, t->p->clock_at, &c, sizeof c))
		stop_clock(t);
	else if (c.passed > now)
		time_ran(t, c.passed - now < job->virtual_ns - now ? c.passed - now : job->virtual_ns - now);
}
