/* lock.c: locks with an owner, and what becomes of a thread's locks at its end.
 *
 * The word of a lock with an owner holds the owner's number, whether others wait, and whether an owner died. It goes
 * from hand to hand in the order of asking; priorities there are none. A robust lock is on its owner's own list. */
#include "futex.h"

#include <sys/syscall.h>
#include <unistd.h>

#define ROBUST_MAX 2048   /* entries of a list of robust locks, as the kernel has it */

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

/* hand_over gives the lock at k, whose word with accesses at addr, to the first in line; gives whether there was one. */
static bool hand_over(struct thread *with, uint64_t addr, const struct key *k, uint32_t died)
{
	struct thread *o = first_waiter(k, ANY);
	if (!o || !o->keep[PI])
		return false;
	release(o);
	uint32_t word = o->vtid | died | (first_waiter(k, ANY) ? FUTEX_WAITERS : 0);
	poke(with, addr, &word, sizeof word);
	return true;
}

static bool is_thread(uint32_t vtid)
{
	for (struct thread *o = threads; o; o = o->next)
		if (o->vtid == vtid && o->state != DEAD)
			return true;
	return false;
}

int lock(struct thread *t, bool private, bool try, uint64_t deadline)
{
	struct key k;
	uint32_t word;
	long r = key_of(t, t->a[0], private, &k);
	if (r < 0)
		return give(t, r);
	if (!peek(t, t->a[0], &word, sizeof word))
		return give(t, -EFAULT);
	struct thread *first = first_waiter(&k, ANY);
	uint32_t owner = word & FUTEX_TID_MASK;
	if (owner == t->vtid)
		return give(t, -EDEADLK);
	if (first && !first->keep[PI])
		return give(t, -EINVAL);
	if (!owner) {
		word = (word & FUTEX_OWNER_DIED) | t->vtid | (first ? FUTEX_WAITERS : 0);
		return give(t, poke(t, t->a[0], &word, sizeof word) ? 0 : -EFAULT);
	}
	if (!is_thread(owner))
		return give(t, -ESRCH);
	if (try)
		return give(t, -EAGAIN);
	word |= FUTEX_WAITERS;
	if (!poke(t, t->a[0], &word, sizeof word))
		return give(t, -EFAULT);
	park(t, &k, t->a[0], ANY, deadline, true);
	t->restart = ALWAYS;
	return V_BLOCK;
}

int unlock(struct thread *t, bool private)
{
	struct key k;
	uint32_t word, none = 0;
	if (!peek(t, t->a[0], &word, sizeof word))
		return give(t, -EFAULT);
	if ((word & FUTEX_TID_MASK) != t->vtid)
		return give(t, -EPERM);
	long r = key_of(t, t->a[0], private, &k);
	if (r < 0)
		return give(t, r);
	struct thread *first = first_waiter(&k, ANY);
	if (first && !first->keep[PI])
		return give(t, -EINVAL);
	return give(t, hand_over(t, t->a[0], &k, 0) || poke(t, t->a[0], &none, sizeof none) ? 0 : -EFAULT);
}

/* --- the end of a thread */

/* owner_died marks the word of a robust lock that t held and wakes who waits. pending: t was about to take or leave it,
 * and may have released it without waking anybody. False ends the walk. */
static bool owner_died(struct thread *t, uint64_t addr, bool pi, bool pending)
{
	uint32_t word;
	if (addr % 4 || !peek(t, addr, &word, sizeof word))
		return false;
	if (pending && !pi && !(word & FUTEX_TID_MASK))
		futex_wake(t, addr, 1);
	if ((word & FUTEX_TID_MASK) != t->vtid)
		return true;
	uint32_t died = (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
	if (!poke(t, addr, &died, sizeof died))
		return false;
	if (!pi && word & FUTEX_WAITERS)
		futex_wake(t, addr, 1);
	return true;
}

/* The kernel keeps the list's head, and walks it itself once the thread goes on to end; it then finds nothing to do. */
static void end_robust(struct thread *t)
{
	struct robust_list_head head;
	uint64_t at = 0, size = 0;
	if (syscall(SYS_get_robust_list, t->tid, &at, &size) < 0 || !at || !peek(t, at, &head, sizeof head))
		return;
	uint64_t offset = (uint64_t)head.futex_offset, entry = (uint64_t)head.list.next, pending = (uint64_t)head.list_op_pending, next;
	for (int i = 0; i < ROBUST_MAX && (entry & ~1ull) != at; i++, entry = next) {
		bool more = peek(t, entry & ~1ull, &next, sizeof next);
		if ((entry & ~1ull) != (pending & ~1ull) && !owner_died(t, (entry & ~1ull) + offset, entry & 1, false))
			return;
		if (!more)
			break;
	}
	if (pending & ~1ull)
		owner_died(t, (pending & ~1ull) + offset, pending & 1, true);
}

/* end_owned hands over the locks that others wait for and whose owner is t, or, for t NULL, a thread that is no more. */
static void end_owned(const struct thread *t)
{
	uint32_t word;
	for (struct thread *o = threads; o; o = o->next) {
		if (o == t || o->state != FUTEX || !o->keep[PI] || !peek(o, o->keep[WORD], &word, sizeof word))
			continue;
		uint32_t owner = word & FUTEX_TID_MASK;
		if (t ? owner != t->vtid : is_thread(owner))
			continue;
		struct key k = {o->futex_key, o->futex_addr, o->keep[DEV]};
		hand_over(o, o->keep[WORD], &k, FUTEX_OWNER_DIED);
	}
}

void futex_exit(struct thread *t)
{
	uint32_t zero = 0;
	if (job->flags & TJ_RELAXED)
		return; /* the kernel does all that, and when nobody uses the thread's memory any more */
	end_owned(t);
	end_robust(t);
	/* The word of clear_tid is for those that share the address space; if nobody does, it stays as it is. */
	for (struct thread *o = threads; o && t->clear_tid; o = o->next)
		if (o != t && o->p->mm == t->p->mm && o->state != DEAD) {
			if (poke(t, t->clear_tid, &zero, sizeof zero))
				futex_wake(t, t->clear_tid, 1);
			break;
		}
}

/* A process's memory has gone, and with it the lists of its locks. The kernel has marked those that others can see; who
 * waits for one finds the mark in its own memory. One for each lock is woken. */
void futex_gone(void)
{
	uint32_t word;
	for (struct thread *o = threads; o; o = o->next) {
		if (o->state != FUTEX)
			continue;
		struct key k = {o->futex_key, o->futex_addr, o->keep[DEV]};
		o->keep[MARKED] = !o->keep[PI] && o->keep[DEV] >= FIRST_DEV && o == first_waiter(&k, ANY) &&
				  peek(o, o->keep[WORD], &word, sizeof word) && (word & (FUTEX_OWNER_DIED | FUTEX_TID_MASK)) == FUTEX_OWNER_DIED;
	}
	for (struct thread *o = threads; o; o = o->next)
		if (o->state == FUTEX && o->keep[MARKED])
			release(o);
	end_owned(NULL);
}

void futex_exec(struct thread *t)
{
	t->clear_tid = 0;
	futex_gone();
}
