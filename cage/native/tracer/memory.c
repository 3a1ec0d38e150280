/* memory.c: calls on memory. Where mappings come to lie is the kernel's doing and the same everywhere (no randomness,
 * one thread at a time, an address space of the job's size); what is answered here is what would tell of the machine,
 * and what makes code executable, which is looked through by patch.c before it runs, or by written.c when it does.
 *
 * Executable mappings that are shared cannot be: to replace an instruction in one would write to its file, or is not
 * possible at all. They are refused as on a file system mounted noexec, and programs then use private ones. */
#include "code.h"
#include "tracer.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES(n) (((n) + PAGE - 1) & ~(PAGE - 1))

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

static int mapped(struct thread *t, long result)
{
	if (result < 0 && result >= -4095)
		return V_DONE;
	uint64_t from = (uint64_t)result, len = PAGES(t->a[1]);
	if (t->a[2] & PROT_WRITE && written_new(t, from, len, t->a[2]))
		return V_DONE;
	written_gone(t->p, from, len);
	if (t->a[3] & MAP_ANONYMOUS) {
		patch_none(t, from, len);
		return V_DONE;
	}
	int fd = file_of(t, (int)t->a[4]);
	patch_file(t, from, len, fd, t->a[5]);
	if (fd >= 0)
		close(fd);
	return V_DONE;
}

static int do_mmap(struct thread *t)
{
	if (t->a[3] & MAP_HUGETLB)
		return give(t, -ENOMEM); /* how many huge pages there are is the machine's affair */
	if ((t->a[3] & MAP_TYPE) != MAP_PRIVATE)
		return give(t, -EPERM);
	t->after = mapped;
	return V_AFTER;
}

static int protected(struct thread *t, long result)
{
	if (result != 0 || (t->a[2] & PROT_WRITE && written_new(t, t->a[0], PAGES(t->a[1]), t->a[2])))
		return V_DONE;
	written_gone(t->p, t->a[0], PAGES(t->a[1]));
	patch_mapping(t, t->a[0], PAGES(t->a[1]));
	return V_DONE;
}

struct range { uint64_t from, to; bool shared; };

static void see_shared(void *with, const struct mapping *m)
{
	struct range *r = with;
	r->shared |= m->shared && m->from < r->to && r->from < m->to;
}

static int do_mprotect(struct thread *t)
{
	struct range r = {t->a[0], t->a[0] + PAGES(t->a[1]), false};
	if (t->nr == SYS_pkey_mprotect && (int)t->a[3] != -1)
		return give(t, -EINVAL);
	if (!each_mapping(t->p, see_shared, &r))
		trouble("read a program's mappings");
	if (r.shared)
		return give(t, -EACCES);
	t->after = protected;
	return V_AFTER;
}

/* What was freed lazily would still be there or not by how much memory the machine has to spare: it is gone at once.
 * Advice whose only effect is speed, and which some kernels don't know, is taken everywhere. */
static int advised(struct thread *t, long result)
{
	if (result != -ENOMEM && result != 0)
		answer(t, 0);
	return V_DONE;
}

static int do_madvise(struct thread *t)
{
	if (t->a[0] & (PAGE - 1))
		return give(t, -EINVAL);
	switch ((int)t->a[2]) {
	case MADV_NORMAL: case MADV_RANDOM: case MADV_SEQUENTIAL: case MADV_WILLNEED: case MADV_DONTNEED: case MADV_REMOVE:
	case MADV_DONTFORK: case MADV_DOFORK: case MADV_DONTDUMP: case MADV_DODUMP: case MADV_WIPEONFORK: case MADV_KEEPONFORK:
	case MADV_POPULATE_READ: case MADV_POPULATE_WRITE:
		return V_PASS;
	case MADV_FREE:
		return give(t, inject(t, SYS_madvise, t->a[0], t->a[1], MADV_DONTNEED, 0, 0, 0));
	case MADV_HUGEPAGE: case MADV_NOHUGEPAGE: case MADV_COLD: case MADV_PAGEOUT:
		t->after = advised;
		return V_AFTER;
	}
	return give(t, -EINVAL);
}

/* Every page is in memory, as far as anybody is told. */
static int do_mincore(struct thread *t)
{
	static const unsigned char in[4096] = {[0 ... 4095] = 1};
	uint64_t pages = PAGES(t->a[1]) / PAGE;
	if (t->a[0] & (PAGE - 1))
		return give(t, -EINVAL);
	/* Whether all of it is mapped, the kernel says: this kind of msync does nothing else. */
	long r = inject(t, SYS_msync, t->a[0], t->a[1], MS_ASYNC, 0, 0, 0);
	for (uint64_t done = 0, some; r == 0 && done < pages; done += some) {
		some = pages - done < sizeof in ? pages - done : sizeof in;
		if (!poke(t, t->a[2] + done, in, some))
			r = -EFAULT;
	}
	return give(t, r);
}

#define TRACE(n, f) {SYS_##n, C_TRACE, f, 0}
#define PASS(n) {SYS_##n, C_PASS, NULL, 0}
#define ERRNO(n, e) {SYS_##n, C_ERRNO, NULL, e}

const struct call memory_calls[] = {
	{SYS_mmap, C_EXEC_PROT, do_mmap, 0}, {SYS_mprotect, C_EXEC_PROT, do_mprotect, 0}, {SYS_pkey_mprotect, C_EXEC_PROT, do_mprotect, 0},
	PASS(mremap), PASS(munmap), PASS(brk), PASS(msync), TRACE(madvise, do_madvise), TRACE(mincore, do_mincore),
	/* Nothing is ever written out, so all is locked. */
	ERRNO(mlock, 0), ERRNO(mlock2, 0), ERRNO(mlockall, 0), ERRNO(munlock, 0), ERRNO(munlockall, 0),
	ERRNO(remap_file_pages, ENOSYS), ERRNO(pkey_alloc, ENOSYS), ERRNO(pkey_free, ENOSYS),
	ERRNO(shmget, ENOSYS), ERRNO(shmat, ENOSYS), ERRNO(shmctl, ENOSYS), ERRNO(shmdt, ENOSYS),
	ERRNO(semget, ENOSYS), ERRNO(semop, ENOSYS), ERRNO(semtimedop, ENOSYS), ERRNO(semctl, ENOSYS),
	ERRNO(msgget, ENOSYS), ERRNO(msgsnd, ENOSYS), ERRNO(msgrcv, ENOSYS), ERRNO(msgctl, ENOSYS),
	{453 /* map_shadow_stack */, C_ERRNO, NULL, ENOSYS}, {462 /* mseal */, C_ERRNO, NULL, ENOSYS},
	{-1, C_PASS, NULL, 0},
};
