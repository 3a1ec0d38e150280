/* patch.c: cpuid, rdrand, rdseed and rdpid are replaced where they stand, by ud2, which traps; rdtsc traps by itself
 * since exec.c asked for that (PR_SET_TSC).
 *
 * Of an instruction only one byte is replaced, the A2 or C7 after the 0F: prefixes and operands stay to be read when it
 * traps. A ud2 of the program's own is in no list of ours and stays what it is, and so does a fault at an instruction
 * that merely looks like one of these.
 *
 * Out of reach: code written where it runs, after it first ran (see written.c), instructions inside others that only a
 * jump into the middle meets, and instructions that nothing stops, such as xgetbv and lsl, in code that uses them
 * without asking cpuid. */
#include "code.h"
#include "core.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UD2 0x0b
#define TIME_NS 1000 /* virtual time that an instruction which asks for the time takes: as reading a clock */
#define ASK_NS 100   /* and any other */
#define CHUNK (1u << 20)
#define OVERLAP 128  /* of chunks: room to fall into step, and for an instruction across their border */

/* What is replaced in an address space; threads and vfork's children share it. */
struct patches {
	int users;
	struct places at; /* in no order */
};

static struct patches *patches_of(struct process *p)
{
	if (!p->patches) {
		p->patches = calloc(1, sizeof *p->patches);
		if (!p->patches)
			trouble("memory for the places of instructions");
		p->patches->users = 1;
	}
	return p->patches;
}

void patch_fork(struct process *child, struct process *parent)
{
	struct patches *from = patches_of(parent);
	written_fork(child, parent);
	if (child->mm == parent->mm) {
		from->users++;
		child->patches = from;
		return;
	}
	struct places *to = &patches_of(child)->at;
	for (size_t i = 0; i < from->at.n; i++)
		add_place(to, from->at.p[i].at, from->at.p[i].was);
}

void patch_free(struct process *p)
{
	written_free(p);
	if (p->patches && --p->patches->users == 0) {
		free(p->patches->at.p);
		free(p->patches);
	}
	p->patches = NULL;
}

int memory_of(struct thread *t, int flags)
{
	char name[32];
	snprintf(name, sizeof name, "%d/mem", t->tid);
	int fd = openat(host_proc, name, flags | O_CLOEXEC);
	if (fd < 0)
		trouble("open a program's memory");
	return fd;
}

/* forget drops what is listed from..from+len; with mem, only what is not there any more. */
static void forget(struct process *p, uint64_t from, uint64_t len, int mem)
{
	struct places *at = &patches_of(p)->at;
	for (size_t i = 0; i < at->n;) {
		uint8_t b[2];
		bool here = at->p[i].at - from < len;
		if (here && mem >= 0 && pread(mem, b, 2, (off_t)at->p[i].at) == 2 && b[0] == 0x0f && b[1] == UD2)
			here = false;
		if (here)
			at->p[i] = at->p[--at->n];
		else
			i++;
	}
}

static void replace(struct thread *t, int mem, uint64_t at, uint8_t was)
{
	const uint8_t ud2 = UD2;
	uint8_t b[3];
	ssize_t got = pread(mem, b, sizeof b, (off_t)at);
	if (got < 2 || !is_place(b, (size_t)got, 0) || b[1] != was)
		return; /* the mapping does not hold what the file does */
	if (pwrite(mem, &ud2, 1, (off_t)at + 1) != 1)
		trouble("replace an instruction of the program");
	add_place(&patches_of(t->p)->at, at, was);
}

/* from_memory looks through what is in memory, in chunks; what can't be read is not there. */
static void from_memory(struct thread *t, int mem, uint64_t from, uint64_t len)
{
	static uint8_t chunk[CHUNK + 2 * OVERLAP];
	struct places found = {0};
	for (uint64_t at = 0; at < len; at += CHUNK) {
		uint64_t before = at < OVERLAP ? at : OVERLAP, n = len - at < CHUNK + OVERLAP ? len - at : CHUNK + OVERLAP;
		ssize_t got = pread(mem, chunk, before + n, (off_t)(from + at - before));
		found.n = 0;
		if (got > 0)
			find_places(chunk, (size_t)got, from + at - before, &found);
		/* In an overlap the other chunk sees better. */
		for (size_t i = 0; i < found.n; i++)
			if (found.p[i].at - from - at < CHUNK)
				replace(t, mem, found.p[i].at, found.p[i].was);
	}
	free(found.p);
}

/* by_file is true if all of the file from offset on that is mapped lies in segments that were looked through. */
static bool by_file(struct thread *t, int mem, uint64_t from, uint64_t len, int fd, uint64_t offset)
{
	struct stat st;
	const struct file_places *f = fstat(fd, &st) == 0 ? places_of(fd, &st) : NULL;
	if (!f)
		return false;
	for (unsigned i = 0; i < f->segments; i++) {
		uint64_t start = f->segment[i].offset & ~4095ull, end = (f->segment[i].offset + f->segment[i].length + 4095) & ~4095ull;
		if (offset < start || offset + len > end)
			continue;
		for (size_t k = 0; k < f->places.n; k++)
			if (f->places.p[k].at - offset < len)
				replace(t, mem, from + (f->places.p[k].at - offset), f->places.p[k].was);
		return true;
	}
	return false;
}

void patch_none(struct thread *t, uint64_t from, uint64_t len)
{
	forget(t->p, from, len, -1);
}

void patch_file(struct thread *t, uint64_t from, uint64_t len, int fd, uint64_t offset)
{
	int mem = memory_of(t, O_RDWR);
	forget(t->p, from, len, -1);
	if (!by_file(t, mem, from, len, fd, offset))
		from_memory(t, mem, from, len);
	close(mem);
}

void patch_mapping(struct thread *t, uint64_t from, uint64_t len)
{
	int mem = memory_of(t, O_RDWR);
	forget(t->p, from, len, mem);
	from_memory(t, mem, from, len);
	close(mem);
}

void patch_page(struct thread *t, uint64_t page, uint64_t from)
{
	int mem = memory_of(t, O_RDWR);
	forget(t->p, page, 4096, mem);
	from_memory(t, mem, from, page + 4096 - from); /* in step with what runs */
	if (from > page)
		from_memory(t, mem, page, from - page);
	close(mem);
}

/* --- a fresh program */
struct fresh {
	struct thread *t;
	int mem;
	uint64_t own_from, own_to; /* what the kernel mapped for itself: the vDSO and its data */
	uint64_t vdso_from, vdso_to; /* of that, the vDSO */
};

static void fresh_mapping(void *with, const struct mapping *m)
{
	struct fresh *f = with;
	struct stat st;
	if (!strncmp(m->name, "[v", 2) && m->from < 1ull << 47) {
		if (!f->own_to)
			f->own_from = m->from;
		f->own_to = m->to;
		if (!strcmp(m->name, "[vdso]")) {
			f->vdso_from = m->from;
			f->vdso_to = m->to;
		}
	}
	if (!m->exec || m->name[0] == '[' || m->from >= 1ull << 47)
		return;
	int fd = m->name[0] == '/' ? open(m->name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : -1;
	bool known = fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == m->inode && by_file(f->t, f->mem, m->from, m->to - m->from, fd, m->offset);
	if (fd >= 0)
		close(fd);
	if (!known)
		from_memory(f->t, f->mem, m->from, m->to - m->from);
}

/* The kernel's vDSO reads the counter and names the processor: ours takes its place. The data beside it goes; a kernel
 * that seals it keeps it, where nobody looks for it. */
void patch_after_exec(struct thread *t)
{
	struct fresh f = {.t = t};
	patch_free(t->p);
	f.mem = memory_of(t, O_RDWR);
	if (!each_mapping(t->p, fresh_mapping, &f))
		trouble("read a program's mappings");
	if (f.vdso_to)
		lay_vdso(t, f.mem, f.vdso_from, f.vdso_to);
	close(f.mem);
	if (t->p->vdso && f.own_from < f.vdso_from && f.own_to == f.vdso_to)
		f.own_to = f.vdso_from;
	if (f.own_to)
		inject_fresh(t, SYS_munmap, f.own_from, f.own_to - f.own_from, 0, 0, 0, 0);
}

/* --- traps */

/* The kernel forces the signal of a fault on a thread that blocks or ignores it: it unblocks it and makes its handling
 * the default one, before we hear of it. Both are put back. A handler is lost only where signals are blocked, so a
 * thread that has none blocked is not looked at; and where the handler was to go after one signal, nobody can tell. */
static void put_back(struct thread *t, int sig)
{
	struct { uint64_t handler, flags, restorer, mask; } act;
	uint64_t mask = signal_mask(t), handler = t->p->sig[sig].handler;
	if (handler == (uint64_t)SIG_DFL || (handler != (uint64_t)SIG_IGN && mask == 0))
		return;
	uint64_t at = scratch_fresh(t, sizeof act);
	if (inject_fresh(t, SYS_rt_sigaction, (uint64_t)sig, 0, at, 8, 0, 0) != 0 || !peek(t, at, &act, sizeof act) || act.handler != (uint64_t)SIG_DFL || act.flags & SA_RESETHAND)
		return;
	act.handler = handler;
	if (poke(t, at, &act, sizeof act) && inject_fresh(t, SYS_rt_sigaction, (uint64_t)sig, at, 0, 8, 0, 0) == 0 && handler != (uint64_t)SIG_IGN)
		set_signal_mask(t, mask | 1ull << (sig - 1));
}

static void chance(struct thread *t, const struct insn *in)
{
	uint64_t value, told[2] = {in->rex & 8 ? 8 : in->data16 ? 2 : 4, R_RDRAND};
	if (in->repeat) {
		cpu_give(&t->r, in, 0, false); /* rdpid: processor 0 */
		return;
	}
	random_fill(R_RDRAND, &value, sizeof value);
	event(t, TJ_RANDOM, told, sizeof told);
	cpu_give(&t->r, in, value, true);
}

/* replaced does what stood where a ud2 of ours is. */
static bool replaced(struct thread *t, const struct insn *in, const uint8_t *code, size_t n)
{
	const struct places *at = &patches_of(t->p)->at;
	uint64_t where = t->r.rip + in->opcode_at;
	for (size_t i = 0; i < at->n; i++) {
		if (at->p[i].at != where)
			continue;
		vtick(ASK_NS);
		if (at->p[i].was == 0xa2) {
			cpu_cpuid(&t->r);
			t->r.rip += in->length;
			return true;
		}
		/* The operand that ud2 has none of is still there. */
		struct insn real = *in;
		if (in->length >= n)
			return false;
		real.modrm = code[in->length];
		t->r.rip += in->length + 1ull;
		chance(t, &real);
		return true;
	}
	return false;
}

/* code_at reads an instruction, also where the program may only execute; it gives how many bytes there are. */
static size_t code_at(struct thread *t, uint64_t at, uint8_t code[INSN_MAX])
{
	if (peek(t, at, code, INSN_MAX))
		return INSN_MAX;
	int mem = memory_of(t, O_RDONLY);
	ssize_t got = pread(mem, code, INSN_MAX, (off_t)at);
	close(mem);
	return got < 0 ? 0 : (size_t)got;
}

int emulate_instruction(struct thread *t, int sig)
{
	siginfo_t info;
	struct insn in;
	uint8_t code[INSN_MAX];
	int verdict = V_DONE;
	if (ptrace(PTRACE_GETSIGINFO, t->tid, 0, &info) < 0 || !fetch(t))
		return -1;
	if (sig == SIGSEGV && info.si_code == SEGV_ACCERR && written_runs(t, (uint64_t)info.si_addr)) {
		put_back(t, sig);
		return V_DONE;
	}
	/* A fault and not somebody's kill: an invalid opcode has an address, a refused instruction comes from the kernel. */
	if (sig == SIGILL ? info.si_code != ILL_ILLOPN : info.si_code != SI_KERNEL)
		return -1;
	size_t n = code_at(t, t->r.rip, code);
	if (!decode(code, n, &in) || in.map != 1)
		return -1;
	if (sig == SIGILL) {
		if (in.opcode != UD2 || !replaced(t, &in, code, n))
			return -1;
	} else if (in.opcode == 0x31 || (in.opcode == 0x01 && in.modrm == 0xf9)) {
		cpu_time(&t->r, vtick(TIME_NS) - job->epoch_ns, in.opcode == 0x01);
		t->r.rip += in.length;
		verdict = read_enough(t) ? V_YIELD : V_DONE;
	} else if (in.opcode == 0xa2) {
		vtick(ASK_NS);
		cpu_cpuid(&t->r); /* the processor refuses it by itself: see exec.c */
		t->r.rip += in.length;
	} else {
		return -1;
	}
	store(t);
	put_back(t, sig);
	return verdict;
}
