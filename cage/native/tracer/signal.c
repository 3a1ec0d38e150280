/* signal.c: signals. The kernel keeps and delivers them; the tracer knows who handles what, ends the waits of those that
 * are to take one, and gives virtual timers' signals the sender that they would have. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(sig) (1ull << ((sig) - 1))

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

void signals_fork(struct process *child, struct process *parent)
{
	memcpy(child->sig, parent->sig, sizeof child->sig);
}

void signals_exec(struct process *p)
{
	for (int i = 1; i < 65; i++)
		if (p->sig[i].handler != (uint64_t)SIG_IGN)
			p->sig[i] = (struct sigact){0, 0};
}

static bool ignored(const struct process *p, int sig)
{
	if (p->sig[sig].handler == (uint64_t)SIG_DFL)
		return sig == SIGCHLD || sig == SIGCONT || sig == SIGURG || sig == SIGWINCH;
	return p->sig[sig].handler == (uint64_t)SIG_IGN;
}

static bool stops(int sig)
{
	return sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
}

static bool ends(const struct process *p, int sig)
{
	return sig == SIGKILL || (p->sig[sig].handler == (uint64_t)SIG_DFL && !ignored(p, sig) && !stops(sig));
}

/* --- what the tracer itself has sent, until it is delivered */
#define SENT 256
static struct sent { pid_t pid; int sig, code; } sent[SENT];

void signals_exit(struct process *p)
{
	for (int i = 0; i < SENT; i++)
		if (sent[i].pid == p->pid)
			sent[i].sig = 0;
}

void send_signal(struct process *p, struct thread *to, int sig, int code, int timer_id, uint64_t value)
{
	if (p->zombie || p->exiting)
		return;
	if (code == SI_TIMER) { /* of its kind the kernel lets us send them ourselves */
		siginfo_t info;
		memset(&info, 0, sizeof info);
		info.si_signo = sig;
		info.si_code = code;
		info.si_timerid = timer_id;
		info.si_value.sival_ptr = (void *)value;
		if (to)
			syscall(SYS_rt_tgsigqueueinfo, p->pid, to->tid, sig, &info);
		else
			syscall(SYS_rt_sigqueueinfo, p->pid, sig, &info);
		signal_sent(p, to, sig);
		return;
	}
	struct sent *free = NULL;
	for (int i = 0; i < SENT; i++) {
		if (sent[i].sig == sig && sent[i].pid == p->pid) { /* one more of a pending signal is none */
			free = NULL;
			break;
		}
		if (!sent[i].sig && !free)
			free = &sent[i];
	}
	if (free)
		*free = (struct sent){p->pid, sig, code};
	if (to)
		syscall(SYS_tgkill, p->pid, to->tid, sig);
	else
		kill(p->pid, sig);
	signal_sent(p, to, sig);
}

static void correct(struct thread *t, siginfo_t *info)
{
	bool changed = false;
	if (info->si_signo == SIGCHLD && info->si_code >= CLD_EXITED && info->si_code <= CLD_CONTINUED) {
		info->si_utime = info->si_stime = 0;
		changed = true;
	} else if ((info->si_code == SI_USER || info->si_code == SI_TKILL) && info->si_pid == 0) {
		for (int i = 0; i < SENT; i++)
			if (sent[i].sig == info->si_signo && sent[i].pid == t->p->pid) {
				int sig = info->si_signo;
				memset(info, 0, sizeof *info);
				info->si_signo = sig;
				info->si_code = sent[i].code;
				sent[i].sig = 0;
				changed = true;
				break;
			}
	}
	if (changed)
		ptrace(PTRACE_SETSIGINFO, t->tid, 0, info);
}

void signal_stop(struct thread *t, int sig)
{
	siginfo_t info;
	if (ptrace(PTRACE_GETSIGINFO, t->tid, 0, &info) == 0)
		correct(t, &info);
	t->deliver = sig;
	if (ignored(t->p, sig))
		return;
	uint64_t told = (uint64_t)sig;
	event(t, TJ_SIGNAL, &told, sizeof told);
	if (ends(t->p, sig))
		t->p->exiting = true;
}

/* --- who is woken */
uint64_t pending_signals(struct thread *t)
{
	char name[32], text[4096];
	unsigned long long own = 0, shared = 0;
	snprintf(name, sizeof name, "%d/status", t->tid);
	int fd = openat(host_proc, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	text[n < 0 ? 0 : n] = 0;
	const char *a = strstr(text, "\nSigPnd:"), *b = strstr(text, "\nShdPnd:");
	if (a)
		sscanf(a, "\nSigPnd: %llx", &own);
	if (b)
		sscanf(b, "\nShdPnd: %llx", &shared);
	return own | shared;
}

static bool waits(const struct thread *t)
{
	return !t->out && (t->state == FUTEX || t->state == SLEEP || t->state == RETRY);
}

bool interrupt(struct thread *t)
{
	if (!waits(t))
		return false;
	uint64_t moved = fd_moved(t);
	long r = moved ? (long)moved : t->state == SLEEP ? cut_sleep(t) : -EINTR;
	t->deadline = 0;
	t->in_call = false;
	t->after = NULL;
	forget_opening(t);
	answer(t, r);
	t->state = READY;
	return true;
}

/* begin_again has the interrupted call made once more after the handler. */
static void begin_again(struct thread *t)
{
	t->r.rip -= 2;
	t->r.rax = (unsigned long long)t->nr;
	store(t);
}

static void wake(struct thread *t, int sig)
{
	/* What has moved some bytes answers how many; once more, it would move them twice. */
	bool again = t->state != SLEEP && !fd_moved(t) && t->p->sig[sig].handler > 1 && (t->restart == ALWAYS || (t->restart == RESTART && t->p->sig[sig].flags & SA_RESTART));
	if (interrupt(t) && again)
		begin_again(t);
}

static bool suspend_retry(struct thread *t);

void signal_sent(struct process *p, struct thread *to, int sig)
{
	if (p->zombie)
		return;
	if (sig == SIGKILL) {
		dies(p);
		return;
	}
	if (job->flags & TJ_RELAXED)
		return;
	if (sig == SIGCONT)
		await_going_on(p);
	if (ignored(p, sig))
		return;
	struct thread *best = NULL;
	for (struct thread *t = threads; t; t = t->next) {
		if (t->p != p || t->state == DEAD || (to && t != to))
			continue;
		if (t->out || signal_mask(t) & BIT(sig))
			continue;
		uint64_t mask;
		if (t->state == RETRY && (t->retry == suspend_retry || fd_wait_mask(t, &mask)))
			continue; /* waits under another mask, and looks for itself */
		if (t->state == READY)
			return; /* it takes it on its way */
		if (waits(t) && (!best || t->tid == p->pid))
			best = t;
	}
	if (best)
		wake(best, sig);
}

/* --- handlers and waiting for signals */
struct kernel_sigaction { uint64_t handler, flags, restorer, mask; };

/* What the kernel will take is noted before it has: no second stop. */
static int do_sigaction(struct thread *t)
{
	struct kernel_sigaction a;
	uint64_t sig = t->a[0];
	if (t->a[1] && sig >= 1 && sig < 65 && sig != SIGKILL && sig != SIGSTOP && t->a[3] == 8 && peek(t, t->a[1], &a, sizeof a))
		t->p->sig[sig] = (struct sigact){a.handler, a.flags};
	return V_PASS;
}

static bool never(struct thread *t)
{
	(void)t;
	return false;
}

static int do_pause(struct thread *t)
{
	if (job->flags & TJ_RELAXED)
		return V_PASS;
	t->restart = NO_RESTART;
	t->state = RETRY;
	t->retry = never;
	return V_BLOCK;
}

/* With the new mask, is there one to take? Then the kernel takes it at once. */
static bool suspend_retry(struct thread *t)
{
	uint64_t now = pending_signals(t) & ~t->keep[0];
	for (int s = 1; s < 65; s++)
		if (now & BIT(s) && !ignored(t->p, s))
			return true;
	return false;
}

static int do_sigsuspend(struct thread *t)
{
	if (t->a[1] != 8)
		return give(t, -EINVAL);
	if (!peek(t, t->a[0], &t->keep[0], 8))
		return give(t, -EFAULT);
	if (job->flags & TJ_RELAXED || suspend_retry(t))
		return V_PASS;
	t->state = RETRY;
	t->retry = suspend_retry;
	return V_BLOCK;
}

static bool sigwait_retry(struct thread *t)
{
	if (pending_signals(t) & t->keep[0])
		return true;
	if (!t->timed_out)
		return false;
	answer(t, -EAGAIN);
	return true;
}

static int do_sigtimedwait(struct thread *t)
{
	struct { int64_t sec, nsec; } ts;
	if (t->a[3] != 8)
		return give(t, -EINVAL);
	if (!peek(t, t->a[0], &t->keep[0], 8) || (t->a[2] && !peek(t, t->a[2], &ts, sizeof ts)))
		return give(t, -EFAULT);
	if (job->flags & TJ_RELAXED || pending_signals(t) & t->keep[0])
		return V_PASS;
	if (t->a[2]) {
		if (ts.sec < 0 || ts.nsec < 0 || ts.nsec > 999999999)
			return give(t, -EINVAL);
		if (!ts.sec && !ts.nsec)
			return give(t, -EAGAIN);
		t->deadline = vnow() + (ts.sec > 1 << 30 ? 1ull << 60 : (uint64_t)ts.sec * 1000000000u) + (uint64_t)ts.nsec;
	}
	t->restart = NO_RESTART;
	t->state = RETRY;
	t->retry = sigwait_retry;
	return V_BLOCK;
}

#define TRACE(n, f) {SYS_##n, C_TRACE, f, 0}
#define PASS(n) {SYS_##n, C_PASS, NULL, 0}

const struct call signal_calls[] = {
	TRACE(rt_sigaction, do_sigaction), TRACE(pause, do_pause), TRACE(rt_sigsuspend, do_sigsuspend), TRACE(rt_sigtimedwait, do_sigtimedwait),
	PASS(rt_sigprocmask), PASS(rt_sigreturn), PASS(rt_sigpending), PASS(sigaltstack), PASS(restart_syscall),
	{-1, C_PASS, NULL, 0},
};
