/* written.c: code that is written where it runs, by compilers that work while their program does. A mapping that is both
 * writable and executable is made writable alone; where a thread first goes into a page of it, the page is looked
 * through and becomes executable then. So what a compiler asks the processor with code of its own, which it writes and
 * runs once, is answered here too.
 *
 * Out of reach: what is written into a page that has run. */
#include "code.h"
#include "core.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PAGE 4096ul

struct span { uint64_t from, to; };

struct written {
	size_t n, cap;
	struct span *s; /* in no order; none meets another */
};

static void add(struct written *w, uint64_t from, uint64_t to)
{
	if (from >= to)
		return;
	if (w->n == w->cap) {
		w->cap = w->cap * 2 + 16;
		w->s = realloc(w->s, w->cap * sizeof *w->s);
		if (!w->s)
			trouble("memory for a program's code");
	}
	w->s[w->n++] = (struct span){from, to};
}

void written_gone(struct process *p, uint64_t from, uint64_t len)
{
	struct written *w = p->written;
	for (size_t i = 0; w && i < w->n; i++) {
		struct span s = w->s[i];
		if (s.to <= from || s.from >= from + len)
			continue;
		w->s[i--] = w->s[--w->n];
		add(w, s.from, s.from < from ? from : s.from);
		add(w, s.to > from + len ? from + len : s.to, s.to);
	}
}

bool written_new(struct thread *t, uint64_t from, uint64_t len, uint64_t prot)
{
	char c;
	struct process *p = t->p;
	written_gone(p, from, len);
	if (!peek(t, p->entry, &c, 1) || inject(t, SYS_mprotect, from, len, prot & ~(uint64_t)PROT_EXEC, 0, 0, 0) != 0)
		return false;
	if (!p->written)
		p->written = calloc(1, sizeof *p->written);
	if (!p->written)
		trouble("memory for a program's code");
	add(p->written, from, from + len);
	return true;
}

/* The fault names the page that could not be fetched from: that of the instruction, or the next if it crosses over. */
bool written_runs(struct thread *t, uint64_t at)
{
	struct written *w = t->p->written;
	uint64_t page = at & ~(PAGE - 1);
	bool crosses = at == page && t->r.rip < page && page - t->r.rip < INSN_MAX;
	if (!w || (at != t->r.rip && !crosses))
		return false;
	for (size_t i = 0; i < w->n; i++) {
		if (page < w->s[i].from || page >= w->s[i].to)
			continue;
		if (inject_at(t, t->p->entry, SYS_mprotect, page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, 0, 0, 0) != 0)
			return false;
		written_gone(t->p, page, PAGE);
		patch_page(t, page, t->r.rip);
		return true;
	}
	return false;
}

void written_fork(struct process *child, struct process *parent)
{
	for (size_t i = 0; parent->written && i < parent->written->n; i++) {
		if (!child->written)
			child->written = calloc(1, sizeof *child->written);
		if (!child->written)
			trouble("memory for a program's code");
		add(child->written, parent->written->s[i].from, parent->written->s[i].to);
	}
}

void written_free(struct process *p)
{
	if (p->written)
		free(p->written->s);
	free(p->written);
	p->written = NULL;
}
