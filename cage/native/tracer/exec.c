/* exec.c: a fresh program, before its first instruction: what the kernel tells it of the machine is made the same
 * everywhere, and what it must not ask the processor is made to trap. */
#include "code.h"
#include "core.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012
#define SIGNAL_FRAME 4096 /* room for a signal, as AT_MINSIGSTKSZ tells: enough for the registers of any processor that the cage may run on */
#define AUXV_MAX 64
#define BLOCK_MAX (4u << 20)
#define TEXT_MAX (4u << 20)

static void trap(struct thread *t)
{
	static bool refused;
	if (inject_fresh(t, SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0, 0) != 0) {
		errno = ENOTSUP;
		trouble("make the processor's counter trap");
	}
	/* Some processors refuse cpuid on demand: then also where patch.c has not found it. */
	if (!refused && inject_fresh(t, SYS_arch_prctl, ARCH_SET_CPUID, 0, 0, 0, 0, 0) != 0)
		refused = true;
}

/* The block at the stack pointer: argc, arguments, 0, environment, 0, auxiliary vector. */
struct block {
	uint64_t *words;
	size_t env, auxv, n; /* indices of the environment and the vector; words up to its end */
};

static void read_block(struct thread *t, struct block *b)
{
	size_t have = 0, cap = 0;
	*b = (struct block){0};
	for (size_t i = 0, part = 0;; i++) {
		if (i == have) {
			/* By what is left of a page: the stack ends where a page does. */
			size_t more = (4096 - ((t->r.rsp + 8 * have) & 4095)) / 8;
			if (have + more > cap) {
				cap = 2 * cap + 1024;
				b->words = realloc(b->words, cap * 8);
			}
			errno = ENOMEM;
			if (!b->words || have * 8 > BLOCK_MAX || !peek(t, t->r.rsp + 8 * have, b->words + have, more * 8))
				trouble("read a program's auxiliary vector");
			have += more;
		}
		if (i == 0)
			b->env = b->words[0] + 2;
		else if (part == 0 && i >= b->env && b->words[i] == 0) {
			b->auxv = i + 1;
			part = 1;
		} else if (part == 1 && i >= b->auxv && (i - b->auxv) % 2 == 1 && b->words[i - 1] == AT_NULL) {
			b->n = i + 1;
			return;
		}
	}
}

/* told makes of an entry what the program sees; false: nothing of it. */
static bool told(struct thread *t, uint64_t *entry)
{
	uint8_t chance[16];
	switch (entry[0]) {
	case AT_PHDR: case AT_PHENT: case AT_PHNUM: case AT_BASE: case AT_ENTRY: case AT_FLAGS: case AT_EXECFN: case AT_PLATFORM:
		return true;
	case AT_SYSINFO_EHDR:
		entry[1] = t->p->vdso;
		return t->p->vdso != 0;
	case AT_PAGESZ: entry[1] = 4096; return true;
	case AT_CLKTCK: entry[1] = 100; return true;
	case AT_HWCAP: entry[1] = CPU_HWCAP; return true;
	case AT_MINSIGSTKSZ: entry[1] = SIGNAL_FRAME; return true;
	case AT_UID: case AT_EUID: case AT_GID: case AT_EGID: case AT_SECURE: case AT_HWCAP2:
		entry[1] = 0;
		return true;
	case AT_RANDOM:
		random_fill(R_AUXV, chance, sizeof chance);
		if (!poke(t, entry[1], chance, sizeof chance))
			trouble("write a program's first randomness");
		return true;
	}
	return false; /* rseq's and what newer kernels add */
}

/* rewrite keeps of the vector what is the same everywhere, in its order. What stands before it moves up by what was
 * taken out: a kernel that tells less would have put it there. */
static uint64_t rewrite(struct thread *t, struct block *b)
{
	uint64_t kept[2 * AUXV_MAX + 2], execfn = 0;
	size_t n = 0;
	for (size_t i = b->auxv; i + 1 < b->n && b->words[i] != AT_NULL && n < 2 * AUXV_MAX; i += 2) {
		if (b->words[i] == AT_EXECFN)
			execfn = b->words[i + 1];
		if (told(t, &b->words[i])) {
			kept[n++] = b->words[i];
			kept[n++] = b->words[i + 1];
		}
	}
	kept[n++] = AT_NULL;
	kept[n++] = 0;
	size_t gone = b->n - b->auxv - n;
	uint64_t sp = t->r.rsp + 8 * gone;
	memmove(b->words + b->auxv, kept, n * 8);
	if (!poke(t, sp, b->words, (b->auxv + n) * 8))
		trouble("write a program's auxiliary vector");
	t->r.rsp = sp;
	store(t);
	return execfn;
}

static char *text_between(struct thread *t, uint64_t from, uint64_t to, size_t *n)
{
	*n = from && to > from && to - from <= TEXT_MAX ? to - from : 0;
	char *text = malloc(*n + 1);
	if (!text)
		trouble("memory for a program's arguments");
	if (!peek(t, from, text, *n))
		*n = 0;
	text[*n] = 0;
	return text;
}

/* The kernel puts the strings in a row: arguments, environment, the path that was executed. */
static void describe(struct thread *t, const struct block *b, uint64_t execfn)
{
	struct process *p = t->p;
	char path[4096], link[32];
	uint64_t arguments = b->env > 2 ? b->words[1] : 0, environment = b->auxv - b->env > 1 ? b->words[b->env] : execfn;
	free(p->argv);
	free(p->env);
	p->argv = text_between(t, arguments, environment, &p->argv_len);
	p->env = text_between(t, environment, execfn, &p->env_len);
	if (peek_string(t, execfn, path, sizeof path) >= 0) {
		const char *slash = strrchr(path, '/');
		memset(p->comm, 0, sizeof p->comm);
		snprintf(p->comm, sizeof p->comm, "%.15s", slash ? slash + 1 : path);
	}
	snprintf(link, sizeof link, "%d/exe", p->pid);
	ssize_t n = readlinkat(host_proc, link, path, sizeof path - 1);
	path[n < 0 ? 0 : n] = 0;
	free(p->exe);
	p->exe = strdup(path);
	if (!p->exe)
		trouble("memory for a program's path");
}

void after_exec(struct thread *t)
{
	struct block b;
	trap(t);
	patch_after_exec(t);
	if (!fetch(t))
		return;
	t->p->entry = t->r.rip;
	read_block(t, &b);
	describe(t, &b, rewrite(t, &b));
	free(b.words);
}
