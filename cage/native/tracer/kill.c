/* kill.c: kill and its family. SIGKILL ends its processes at once, all of them before anybody else goes on, and in the
 * order of their birth: which of them the machine would finish first is its own affair. */
#include "core.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static unsigned dying; /* processes that SIGKILL was sent to and whose ends were not heard of */

void dies(struct process *p)
{
	p->exiting = true;
	if (p->killed || job->flags & TJ_RELAXED)
		return;
	p->killed = true;
	dying++;
}

static void await_end(struct thread *t)
{
	struct rusage used;
	int status;
	pid_t got;
	while ((got = wait4(t->tid, &status, __WALL, &used)) < 0 ? errno == EINTR : WIFSTOPPED(status)) {
		if (got < 0)
			tick();
		else
			stops_seen++;
	}
	if (got < 0)
		trouble("wait for the end of a killed process");
	stops_seen++;
	ended(t, status, &used);
}

/* The kernel reports the first thread of a process when all others have been. */
static void bury_one(struct process *p)
{
	struct thread *other, *first = thread_of(p->pid);
	do {
		for (other = threads; other && (other->p != p || other == first); other = other->next)
			;
		if (other)
			await_end(other);
	} while (other);
	p->killed = false;
	dying--;
	if (first)
		await_end(first);
}

bool bury(void)
{
	bool any = dying;
	while (dying) {
		struct process *p = processes;
		while (p && !p->killed)
			p = p->next;
		if (!p)
			break;
		bury_one(p);
	}
	dying = 0;
	return any;
}

bool anybody_dies(void) { return dying; }

static bool by_thread(const struct thread *t)
{
	return t->nr == SYS_tgkill || t->nr == SYS_tkill || t->nr == SYS_rt_tgsigqueueinfo;
}

static struct thread *named(const struct thread *t)
{
	struct thread *o = threads;
	while (o && o->vtid != (uint32_t)t->a[t->nr == SYS_tkill ? 0 : 1])
		o = o->next;
	return o;
}

static bool told(struct thread *t, const struct process *p)
{
	int pid = (int)t->a[0];
	if (p->zombie)
		return false;
	if (by_thread(t)) {
		struct thread *o = named(t);
		return o && o->p == p;
	}
	if (pid > 0)
		return p->vpid == (uint32_t)pid;
	if (pid == 0)
		return p->pgid == t->p->pgid;
	return pid == -1 ? p != t->p : p->pgid == (uint32_t)-pid;
}

static int signal_of(const struct thread *t)
{
	return (int)t->a[t->nr == SYS_tgkill || t->nr == SYS_rt_tgsigqueueinfo ? 2 : 1];
}

static int killed(struct thread *t, long result)
{
	int sig = signal_of(t);
	if (result != 0 || sig < 1 || sig > 64)
		return V_DONE;
	if (by_thread(t) && sig != SIGKILL) {
		struct thread *o = named(t);
		if (o)
			signal_sent(o->p, o, sig);
		return V_DONE;
	}
	for (struct process *p = processes; p; p = p->next)
		if (told(t, p))
			signal_sent(p, NULL, sig);
	bury();
	return V_DONE;
}

static int do_kill(struct thread *t)
{
	int sig = signal_of(t);
	bool itself = sig == SIGKILL && told(t, t->p), relaxed = job->flags & TJ_RELAXED;
	t->after = killed;
	if (itself || relaxed) {
		/* Who kills itself does not come back to hear of it; where others run meanwhile, their ends may be heard of first. */
		for (struct process *p = processes; sig == SIGKILL && p; p = p->next)
			if (told(t, p))
				dies(p);
		return V_AFTER;
	}
	if (sig != SIGKILL && sig != SIGCONT)
		return V_AFTER;
	/* These two set others going at once: nobody is heard of but the caller until the call is through. */
	long r = inject(t, t->nr, t->a[0], t->a[1], t->a[2], t->a[3], t->a[4], t->a[5]);
	answer(t, r);
	return killed(t, r);
}

#define TRACE(n, f) {SYS_##n, C_TRACE, f, 0}

const struct call kill_calls[] = {
	TRACE(kill, do_kill), TRACE(tkill, do_kill), TRACE(tgkill, do_kill), TRACE(rt_sigqueueinfo, do_kill), TRACE(rt_tgsigqueueinfo, do_kill),
	{-1, C_PASS, NULL, 0},
};
