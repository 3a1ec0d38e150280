/* ptrace.c: registers and memory of a stopped thread, and calls that we have it make.
 *
 * A thread stands either at the entry stop of its call (the kernel has not begun it) or, after an inject(), behind a
 * call of ours. answer() is right at both; stand_at_entry() goes back from the second to the first. */
#include "core.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fcntl.h>
#include <stdio.h>

#define PAGE 4096ul

bool fetch(struct thread *t)
{
	return ptrace(PTRACE_GETREGS, t->tid, 0, &t->r) == 0;
}

void store(struct thread *t)
{
	ptrace(PTRACE_SETREGS, t->tid, 0, &t->r);
}

void set_args(struct thread *t)
{
	store(t);
}

void answer(struct thread *t, long result)
{
	t->r.rax = (unsigned long long)result;
	t->r.orig_rax = ~0ull; /* no call: neither made now nor begun again after a signal */
	store(t);
	t->answered = true;
}

long resume(struct thread *t, int request, int sig)
{
	if (t->p->clock_at)
		clock_out(t);
	t->out = true;
	return ptrace((enum __ptrace_request)request, t->tid, 0, (long)sig);
}

bool peek(struct thread *t, uint64_t addr, void *to, size_t n)
{
	struct iovec local = {to, n}, remote = {(void *)addr, n};
	return n == 0 || process_vm_readv(t->tid, &local, 1, &remote, 1, 0) == (ssize_t)n;
}

bool poke(struct thread *t, uint64_t addr, const void *from, size_t n)
{
	struct iovec local = {(void *)(uintptr_t)from, n}, remote = {(void *)addr, n};
	return n == 0 || process_vm_writev(t->tid, &local, 1, &remote, 1, 0) == (ssize_t)n;
}

long peek_string(struct thread *t, uint64_t addr, char *to, size_t cap)
{
	size_t n = 0;
	while (n < cap) {
		size_t room = PAGE - ((addr + n) & (PAGE - 1));
		if (room > cap - n)
			room = cap - n;
		if (room > 256)
			room = 256; /* most paths are short, and the rest of the page costs */
		if (!peek(t, addr + n, to + n, room))
			return -EFAULT;
		char *end = memchr(to + n, 0, room);
		if (end)
			return end - to;
		n += room;
	}
	return -ENAMETOOLONG;
}

uint64_t signal_mask(struct thread *t)
{
	uint64_t mask = 0;
	ptrace((enum __ptrace_request)PTRACE_GETSIGMASK, t->tid, sizeof mask, &mask);
	return mask;
}

void set_signal_mask(struct thread *t, uint64_t mask)
{
	ptrace((enum __ptrace_request)PTRACE_SETSIGMASK, t->tid, sizeof mask, &mask);
}

/* step resumes t and waits for its next stop; false: it has ended, and the loop hears of that on its own. */
static bool step(struct thread *t, int request, int *status)
{
	if (ptrace((enum __ptrace_request)request, t->tid, 0, 0) < 0)
		return false;
	stops_seen++;
	siginfo_t info;
	for (;;) {
		/* A look first: an end is left for the loop, which does what follows from it. */
		memset(&info, 0, sizeof info);
		if (waitid(P_PID, (id_t)t->tid, &info, WEXITED | WSTOPPED | WNOWAIT | __WALL) < 0) {
			if (errno == EINTR)
				continue;
			return false;
		}
		if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED)
			return false;
		return waitpid(t->tid, status, __WALL) == t->tid;
	}
}

static bool at_exit_stop(struct thread *t)
{
	struct __ptrace_syscall_info info;
	return ptrace((enum __ptrace_request)PTRACE_GET_SYSCALL_INFO, t->tid, sizeof info, &info) > 0 && info.op == PTRACE_SYSCALL_INFO_EXIT;
}

static long call_with(struct thread *t, struct user_regs_struct r)
{
	int status;
	if (ptrace(PTRACE_SETREGS, t->tid, 0, &r) < 0)
		return -ESRCH;
	do {
		if (!step(t, PTRACE_SYSCALL, &status))
			return -ESRCH;
	} while (!at_exit_stop(t));
	if (ptrace(PTRACE_GETREGS, t->tid, 0, &r) < 0)
		return -ESRCH;
	return (long)r.rax;
}

static void set_call(struct user_regs_struct *r, long nr, const uint64_t a[6])
{
	r->rax = (unsigned long long)nr;
	r->rdi = a[0], r->rsi = a[1], r->rdx = a[2], r->r10 = a[3], r->r8 = a[4], r->r9 = a[5];
}

long inject(struct thread *t, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	const uint64_t args[6] = {a, b, c, d, e, f};
	struct user_regs_struct r = t->r;
	uint64_t mask = 0;
	bool behind = t->behind;
	set_call(&r, nr, args);
	if (!behind) {
		r.orig_rax = (unsigned long long)nr; /* in place of the call that it stands at */
	} else {
		r.rip -= 2; /* the call instruction once more; no signal may come between */
		r.orig_rax = ~0ull;
		mask = signal_mask(t);
		set_signal_mask(t, ~0ull);
	}
	long result = call_with(t, r);
	t->behind = true;
	if (behind)
		set_signal_mask(t, mask);
	ptrace(PTRACE_SETREGS, t->tid, 0, &t->r);
	return result;
}

void stand_at_entry(struct thread *t)
{
	struct user_regs_struct r = t->r;
	int status;
	if (!t->behind)
		return;
	r.rip -= 2;
	r.rax = (unsigned long long)t->nr;
	r.orig_rax = ~0ull;
	uint64_t mask = signal_mask(t);
	set_signal_mask(t, ~0ull);
	ptrace(PTRACE_SETREGS, t->tid, 0, &r);
	do {
		if (!step(t, PTRACE_CONT, &status))
			return;
	} while (status >> 16 != PTRACE_EVENT_SECCOMP);
	set_signal_mask(t, mask);
	t->behind = false;
	ptrace(PTRACE_SETREGS, t->tid, 0, &t->r);
}

/* After an exec no call instruction stands before the program counter: one is written where it is for the moment, or
 * somewhere else. */
long inject_fresh(struct thread *t, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	struct user_regs_struct now;
	return ptrace(PTRACE_GETREGS, t->tid, 0, &now) < 0 ? -EFAULT : inject_at(t, now.rip, nr, a, b, c, d, e, f);
}

long inject_at(struct thread *t, uint64_t where, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	const uint64_t args[6] = {a, b, c, d, e, f};
	const unsigned char call[2] = {0x0f, 0x05};
	unsigned char kept[2];
	struct user_regs_struct now, r;
	char name[32];
	snprintf(name, sizeof name, "%d/mem", t->tid);
	int mem = openat(host_proc, name, O_RDWR | O_CLOEXEC);
	if (mem < 0 || ptrace(PTRACE_GETREGS, t->tid, 0, &now) < 0 || pread(mem, kept, 2, (off_t)where) != 2 || pwrite(mem, call, 2, (off_t)where) != 2) {
		if (mem >= 0)
			close(mem);
		return -EFAULT;
	}
	r = now;
	r.rip = where;
	set_call(&r, nr, args);
	r.orig_rax = ~0ull;
	uint64_t mask = signal_mask(t);
	set_signal_mask(t, ~0ull);
	long result = call_with(t, r);
	set_signal_mask(t, mask);
	if (pwrite(mem, kept, 2, (off_t)where) != 2)
		result = -EFAULT;
	close(mem);
	now.orig_rax = ~0ull;
	ptrace(PTRACE_SETREGS, t->tid, 0, &now);
	return result;
}

/* Not on the program's stack: that of a goroutine has no room to spare. One mapping an address space, a slot a thread
 * (in relaxed cages several are under way), and a large one behind the slots. */
#define SLOT 256ul
#define SLOTS 64ul
#define LARGE (32ul << 10)
#define CLOCK_PAGE (SLOT * SLOTS + LARGE)
static uint64_t place(struct thread *t, size_t n, long (*by)(struct thread *, long, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t))
{
	if (!t->p->scratch) {
		long at = by(t, SYS_mmap, 0, CLOCK_PAGE + PAGE, 3 /* read, write */, 0x22 /* private, anonymous */, ~0ull, 0);
		t->p->scratch = at < 0 && at > -4096 ? 0 : (uint64_t)at;
	}
	if (!t->p->scratch || n > LARGE)
		return 0; /* nothing can be put there, and the caller's poke says so */
	return n <= SLOT ? t->p->scratch + t->vtid % SLOTS * SLOT : t->p->scratch + SLOT * SLOTS;
}

uint64_t scratch(struct thread *t, size_t n) { return place(t, n, inject); }

uint64_t scratch_page(struct thread *t) { return place(t, 1, inject) ? t->p->scratch + CLOCK_PAGE : 0; }

uint64_t scratch_fresh(struct thread *t, size_t n) { return place(t, n, inject_fresh); }
