/* filter.c: which calls stop for the tracer, as a seccomp filter made from the tables of calls.
 *
 * Two filters: the first lets through what cannot block while a process has nothing to block on; the second, put on top
 * by tighten() before it has, stops at those too. The kernel takes the stricter of the two answers. All threads of the
 * process get it, and what it forks has it already. */
#include "core.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALLS 512
#define X32 0x40000000u

static const struct call *const tables[] = {life_calls, time_calls, futex_calls, file_calls, fd_calls, process_calls, signal_calls, kill_calls, info_calls, limit_calls, memory_calls};
static const struct call *by_number[CALLS];

static void index_calls(void)
{
	if (by_number[SYS_exit_group])
		return;
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		for (const struct call *c = tables[i]; c->nr >= 0; c++)
			if (c->nr < CALLS && !by_number[c->nr])
				by_number[c->nr] = c;
}

const struct call *call_of(long nr)
{
	index_calls();
	return nr >= 0 && nr < CALLS ? by_number[nr] : NULL;
}

static struct sock_filter program[BPF_MAXINSNS];
static unsigned length;

static void emit(uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
	if (length < BPF_MAXINSNS)
		program[length++] = (struct sock_filter){code, jt, jf, k};
}

static void give(uint32_t action) { emit(BPF_RET | BPF_K, 0, 0, action); }

/* In relaxed mode threads block where they block: only what is virtual stops. */
static bool relaxed_passes(const struct call *c)
{
	return c->how == C_BLOCKING || c->how == C_STDOUT;
}

static uint32_t plain(const struct call *c, bool second)
{
	if (!c)
		return SECCOMP_RET_TRACE; /* named in the witness, answered with ENOSYS */
	switch (c->how) {
	case C_PASS: return SECCOMP_RET_ALLOW;
	case C_TRACE: return second ? SECCOMP_RET_ALLOW : SECCOMP_RET_TRACE;
	case C_ERRNO: return SECCOMP_RET_ERRNO | (uint32_t)c->err;
	case C_BLOCKING: case C_STDOUT:
		return second && !(job->flags & TJ_RELAXED && relaxed_passes(c)) ? SECCOMP_RET_TRACE : SECCOMP_RET_ALLOW;
	case C_EXEC_PROT: return SECCOMP_RET_ALLOW;
	}
	return SECCOMP_RET_TRACE;
}

/* one ends with the answer for call nr. */
static void one(long nr, bool second)
{
	const struct call *c = call_of(nr);
	if (c && !second && (c->how == C_EXEC_PROT || (c->how == C_STDOUT && !(job->flags & TJ_RELAXED)))) {
		uint32_t arg = c->how == C_EXEC_PROT ? 2 : 0;
		emit(BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offsetof(struct seccomp_data, args) + 8 * arg);
		if (nr == SYS_lseek) {
			emit(BPF_JMP | BPF_JGT | BPF_K, 1, 0, 2 /* SEEK_DATA, SEEK_HOLE */);
		} else if (c->how == C_EXEC_PROT) {
			emit(BPF_JMP | BPF_JSET | BPF_K, 1, 0, 4 /* PROT_EXEC */);
		} else {
			emit(BPF_JMP | BPF_JEQ | BPF_K, 2, 0, 1);
			emit(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 2);
		}
		give(SECCOMP_RET_ALLOW);
		give(SECCOMP_RET_TRACE);
		return;
	}
	give(plain(c, second));
}

static bool alike(long from, long to, bool second)
{
	for (long nr = from; nr < to; nr++) {
		const struct call *c = call_of(nr);
		if (c && !second && (c->how == C_EXEC_PROT || c->how == C_STDOUT))
			return to - from == 1;
		if (plain(c, second) != plain(call_of(from), second))
			return false;
	}
	return true;
}

/* search emits a binary search over the numbers from..to-1. */
static void search(long from, long to, bool second)
{
	if (alike(from, to, second)) {
		one(from, second);
		return;
	}
	long middle = (from + to) / 2;
	emit(BPF_JMP | BPF_JGE | BPF_K, 0, 1, (uint32_t)middle);
	unsigned jump = length;
	emit(BPF_JMP | BPF_JA, 0, 0, 0);
	search(from, middle, second);
	program[jump].k = length - jump - 1;
	search(middle, to, second);
}

static void build(bool second)
{
	length = 0;
	emit(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, arch));
	emit(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
	give(SECCOMP_RET_KILL_PROCESS);
	emit(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
	emit(BPF_JMP | BPF_JGE | BPF_K, 0, 1, X32);
	give(SECCOMP_RET_KILL_PROCESS);
	/* Numbers beyond the table are traced as unknown ones, or were so by the first filter already. */
	emit(BPF_JMP | BPF_JGE | BPF_K, 0, 1, CALLS);
	give(second ? SECCOMP_RET_ALLOW : SECCOMP_RET_TRACE);
	search(0, CALLS, second);
}

const char *install_filter(void)
{
	if (job->filter_len) {
		struct sock_fprog p = {(unsigned short)job->filter_len, (struct sock_filter *)(uintptr_t)(job + 1)};
		if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &p) < 0)
			return "install the policy's filter";
	}
	build(false);
	struct sock_fprog p = {(unsigned short)length, program};
	errno = E2BIG;
	if (length >= BPF_MAXINSNS || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &p) < 0)
		return "install the filter";
	return NULL;
}

void tighten(struct thread *t)
{
	if (t->p->tight || job->flags & TJ_RELAXED)
		return;
	t->p->tight = true;
	build(true);
	size_t n = length * sizeof *program;
	uint64_t at = scratch(t, n + sizeof(struct sock_fprog)), head = at + n;
	struct sock_fprog p = {(unsigned short)length, (struct sock_filter *)at};
	if (!poke(t, at, program, n) || !poke(t, head, &p, sizeof p) || inject(t, SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, head, 0, 0, 0) != 0)
		finish_killed(TJ_KILLED_SECCOMP); /* its stack has no room: the same everywhere */
}

/* trace_reads has what tighten leaves to the kernel stop too, in this process and in those that it makes from now on, so
 * that reads of a random device get the run's randomness: those with a position, and all in a relaxed cage. All its
 * threads share its descriptors, and get the filter too. */
void trace_reads(struct thread *t)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_readv, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pread64, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_preadv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	if (t->p->reads_traced)
		return;
	uint64_t at = scratch(t, sizeof f + sizeof(struct sock_fprog)), head = at + sizeof f;
	struct sock_fprog p = {sizeof f / sizeof *f, (struct sock_filter *)at};
	if (!poke(t, at, f, sizeof f) || !poke(t, head, &p, sizeof p) ||
	    inject(t, SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, head, 0, 0, 0) != 0)
		finish_killed(TJ_KILLED_SECCOMP);
	t->p->reads_traced = true;
}
