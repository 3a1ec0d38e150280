/* limits.c: limits of a process. They begin as the job's; a program may lower its own, its children have them too, and
 * what it says is what it reads. What the kernel enforces alike everywhere it is told; how many processes there may be
 * is counted here, since the kernel counts those outside of the cage too; processor time, which no two machines
 * measure alike, is not limited by them. */
#include "tracer.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

static void begin(struct process *p)
{
	const struct rlimit free = {RLIM_INFINITY, RLIM_INFINITY};
	const struct { int which; uint64_t most; } job_has[] = {
		{RLIMIT_STACK, 8u << 20}, {RLIMIT_CORE, 0}, {RLIMIT_NOFILE, job->files}, {RLIMIT_NPROC, job->processes}, {RLIMIT_AS, job->memory_bytes},
		{RLIMIT_FSIZE, job->file_bytes}, {RLIMIT_MEMLOCK, 65536}, {RLIMIT_MSGQUEUE, 819200}, {RLIMIT_SIGPENDING, 1024}, {RLIMIT_NICE, 0}, {RLIMIT_RTPRIO, 0},
	};
	if (p->limited)
		return;
	p->limited = true;
	for (int i = 0; i < LIMITS; i++)
		p->limits[i] = free;
	for (size_t i = 0; i < sizeof job_has / sizeof *job_has; i++)
		p->limits[job_has[i].which] = (struct rlimit){job_has[i].most, job_has[i].most};
}

struct rlimit limit_of(struct process *p, unsigned resource)
{
	begin(p);
	return p->limits[resource];
}

bool may_begin(struct process *p, uint32_t alive)
{
	return alive < job->processes && alive < limit_of(p, RLIMIT_NPROC).rlim_cur;
}

static bool the_kernels(uint64_t resource)
{
	switch (resource) {
	case RLIMIT_FSIZE: case RLIMIT_DATA: case RLIMIT_STACK: case RLIMIT_CORE: case RLIMIT_NOFILE: case RLIMIT_MEMLOCK: case RLIMIT_AS:
		return true;
	}
	return false;
}

static int limit(struct thread *t, uint64_t resource, uint64_t new, uint64_t old)
{
	struct rlimit now, want;
	if (resource >= LIMITS)
		return give(t, -EINVAL);
	now = limit_of(t->p, (unsigned)resource);
	if (new && !peek(t, new, &want, sizeof want))
		return give(t, -EFAULT);
	if (new && want.rlim_cur > want.rlim_max)
		return give(t, -EINVAL);
	if (new && want.rlim_max > now.rlim_max)
		return give(t, -EPERM);
	if (new)
		t->p->limits[resource] = want;
	if (old && !poke(t, old, &now, sizeof now))
		return give(t, -EFAULT);
	if (new && the_kernels(resource)) {
		uint64_t at = scratch(t, sizeof want);
		if (poke(t, at, &want, sizeof want))
			inject(t, SYS_prlimit64, 0, resource, at, 0, 0, 0);
	}
	return give(t, 0);
}

static int do_prlimit(struct thread *t)
{
	if (!in_cage(t, t->a[0]))
		return give(t, -ESRCH);
	if (t->a[0] && (uint32_t)t->a[0] != t->p->vpid)
		return give(t, -EPERM);
	return limit(t, t->a[1], t->a[2], t->a[3]);
}
static int do_getrlimit(struct thread *t) { return limit(t, t->a[0], 0, t->a[1]); }
static int do_setrlimit(struct thread *t) { return limit(t, t->a[0], t->a[1], 0); }

#define TRACE(n, f) {SYS_##n, C_TRACE, f, 0}

const struct call limit_calls[] = {
	TRACE(prlimit64, do_prlimit), TRACE(getrlimit, do_getrlimit), TRACE(setrlimit, do_setrlimit),
	{-1, C_PASS, NULL, 0},
};
