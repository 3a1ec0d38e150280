/* futex.c: waiting on words of memory. No futex call reaches the kernel: who waits stands parked here, and since one
 * thread runs at a time, a word that was compared cannot change before its waiter is parked. Only in relaxed mode, where
 * it could, all are the kernel's. */
#include "clock.h"
#include "futex.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define USER_END 0x7ffffffff000u

static uint64_t arrivals;

static int give(struct thread *t, long r) { answer(t, r); return V_DONE; }

static bool at_key(const struct thread *o, const struct key *k)
{
	return o->state == FUTEX && o->futex_key == k->space && o->futex_addr == k->where && o->keep[DEV] == k->dev;
}

struct thread *first_waiter(const struct key *k, uint32_t bits)
{
	struct thread *first = NULL;
	for (struct thread *o = threads; o; o = o->next)
		if (at_key(o, k) && o->futex_bits & bits && (!first || o->keep[ORDER] < first->keep[ORDER]))
			first = o;
	return first;
}

/* shared_key finds what is mapped at addr: 0 or -EFAULT. */
static long shared_key(struct thread *t, uint64_t addr, struct key *k)
{
	char name[32], mode[8], *line = NULL;
	unsigned long long from, to, offset, ino;
	unsigned major, minor;
	size_t cap = 0;
	long r = -EFAULT;
	snprintf(name, sizeof name, "%d/maps", t->tid);
	int fd = openat(host_proc, name, O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f)
		trouble("read the mappings of a process");
	while (r < 0 && getline(&line, &cap, f) > 0)
		if (sscanf(line, "%llx-%llx %7s %llx %x:%x %llu", &from, &to, mode, &offset, &major, &minor, &ino) == 7 && addr >= from && addr < to) {
			if (mode[0] != 'r')
				break;
			*k = (struct key){t->p->mm, addr, OWN_UNFLAGGED};
			if (mode[3] == 's')
				*k = (struct key){ino, addr - from + offset, FIRST_DEV + ((uint64_t)major << 32 | minor)};
			r = 0;
		}
	free(line);
	fclose(f);
	return r;
}

long key_of(struct thread *t, uint64_t addr, bool private, struct key *k)
{
	if (addr % 4)
		return -EINVAL;
	if (addr >= USER_END)
		return -EFAULT;
	*k = (struct key){t->p->mm, addr, OWN};
	return private ? 0 : shared_key(t, addr, k);
}

/* wake_key_of is key_of for who only wakes. If nobody waits but on private words, it need not look at the mappings. */
static long wake_key_of(struct thread *t, uint64_t addr, bool private, struct key *k)
{
	uint32_t word;
	if (!private && addr % 4 == 0) {
		struct thread *o = threads;
		while (o && (o->state != FUTEX || o->keep[DEV] == OWN))
			o = o->next;
		if (!o) {
			*k = (struct key){0, 0, OWN_UNFLAGGED};
			return peek(t, addr, &word, sizeof word) ? 0 : -EFAULT;
		}
	}
	return key_of(t, addr, private, k);
}

void park(struct thread *t, const struct key *k, uint64_t word, uint32_t bits, uint64_t deadline, bool pi)
{
	t->futex_key = k->space;
	t->futex_addr = k->where;
	t->futex_bits = bits;
	t->keep[DEV] = k->dev;
	t->keep[ORDER] = ++arrivals;
	t->keep[WORD] = word;
	t->keep[PI] = pi;
	t->deadline = deadline;
	t->state = FUTEX;
}

void release(struct thread *o)
{
	answer(o, 0);
	o->state = READY;
	o->deadline = 0;
}

/* wake releases up to n that wait at k, and at least one: so the kernel counts. -EINVAL if one waits for a lock with an
 * owner, which only its unlocking may release. */
static long wake(const struct key *k, int n, uint32_t bits)
{
	long woken = 0;
	struct thread *o;
	while ((o = first_waiter(k, bits))) {
		if (o->keep[PI])
			return -EINVAL;
		release(o);
		if (++woken >= n)
			break;
	}
	return woken;
}

int futex_wake(struct thread *t, uint64_t addr, int n)
{
	struct key k;
	if (wake_key_of(t, addr, false, &k) < 0)
		return 0;
	long r = wake(&k, n, ANY);
	return r < 0 ? 0 : (int)r;
}

static int wait(struct thread *t, bool private, uint32_t bits, uint64_t deadline)
{
	struct key k;
	uint32_t word;
	if (!bits)
		return give(t, -EINVAL);
	long r = key_of(t, t->a[0], private, &k);
	if (r < 0)
		return give(t, r);
	if (!peek(t, t->a[0], &word, sizeof word))
		return give(t, -EFAULT);
	if (word != (uint32_t)t->a[2]) {
		answer(t, -EAGAIN);
		return V_YIELD; /* it may be asking for what another has yet to write */
	}
	park(t, &k, t->a[0], bits, deadline, false);
	t->restart = deadline ? NO_RESTART : RESTART;
	return V_BLOCK;
}

static int wake_call(struct thread *t, bool private, uint32_t bits)
{
	struct key k;
	if (!bits)
		return give(t, -EINVAL);
	long r = wake_key_of(t, t->a[0], private, &k);
	return give(t, r < 0 ? r : wake(&k, (int)t->a[2], bits));
}

static int requeue(struct thread *t, bool private, bool compare)
{
	struct key from, to;
	struct thread *o;
	uint32_t word;
	int wakes = (int)t->a[2], moves = (int)t->a[3];
	long done = 0, r;
	if (wakes < 0 || moves < 0)
		return give(t, -EINVAL);
	if ((r = key_of(t, t->a[0], private, &from)) < 0 || (r = key_of(t, t->a[4], private, &to)) < 0)
		return give(t, r);
	if (compare && !peek(t, t->a[0], &word, sizeof word))
		return give(t, -EFAULT);
	if (compare && word != (uint32_t)t->a[5])
		return give(t, -EAGAIN);
	/* Who is moved to where it waits already must not be found again. */
	uint64_t before = arrivals;
	while (done - wakes < moves && (o = first_waiter(&from, ANY)) && o->keep[ORDER] <= before) {
		if (o->keep[PI])
			return give(t, done ? done : -EINVAL);
		if (++done <= wakes) {
			release(o);
			continue;
		}
		o->futex_key = to.space;
		o->futex_addr = to.where;
		o->keep[DEV] = to.dev;
		o->keep[ORDER] = ++arrivals;
		o->keep[WORD] = o->p->mm == t->p->mm ? t->a[4] : 0; /* where another process has it is not known */
	}
	return give(t, done);
}

/* operate does the operation that FUTEX_WAKE_OP packs into a word: 1 or 0 for its comparison with the old value, or an
 * error. Both arguments are 12 bits with a sign. */
static long operate(struct thread *t, uint64_t addr, uint32_t packed)
{
	int arg = (int32_t)(packed << 8) >> 20, with = (int32_t)(packed << 20) >> 20;
	uint32_t old, new, by = (uint32_t)arg;
	if (packed >> 28 & FUTEX_OP_OPARG_SHIFT)
		by = 1u << (arg & 31);
	if (!peek(t, addr, &old, sizeof old))
		return -EFAULT;
	switch (packed >> 28 & 7) {
	case FUTEX_OP_SET: new = by; break;
	case FUTEX_OP_ADD: new = old + by; break;
	case FUTEX_OP_OR: new = old | by; break;
	case FUTEX_OP_ANDN: new = old & ~by; break;
	case FUTEX_OP_XOR: new = old ^ by; break;
	default: return -ENOSYS;
	}
	if (!poke(t, addr, &new, sizeof new))
		return -EFAULT;
	int was = (int)old;
	switch (packed >> 24 & 15) {
	case FUTEX_OP_CMP_EQ: return was == with;
	case FUTEX_OP_CMP_NE: return was != with;
	case FUTEX_OP_CMP_LT: return was < with;
	case FUTEX_OP_CMP_LE: return was <= with;
	case FUTEX_OP_CMP_GT: return was > with;
	case FUTEX_OP_CMP_GE: return was >= with;
	}
	return -ENOSYS;
}

static int wake_op(struct thread *t, bool private)
{
	struct key one, two;
	long r, also, more = 0;
	if ((r = key_of(t, t->a[0], private, &one)) < 0 || (r = key_of(t, t->a[4], private, &two)) < 0)
		return give(t, r);
	if ((also = operate(t, t->a[4], (uint32_t)t->a[5])) < 0)
		return give(t, also);
	r = wake(&one, (int)t->a[2], ANY);
	if (r >= 0 && also)
		more = wake(&two, (int)t->a[3], ANY);
	return give(t, r < 0 ? r : more < 0 ? more : r + more);
}

static int waited(struct thread *t, long result)
{
	if (result == -ETIMEDOUT)
		clock_reach(t->keep[0]);
	t->r.r10 = t->a[3];
	set_args(t);
	return V_DONE;
}

/* relaxed has the kernel make the call. A time by a virtual clock becomes one as far off by the machine's. */
static int relaxed(struct thread *t, uint64_t deadline, bool absolute, bool realtime)
{
	struct timespec ts;
	if (!deadline)
		return V_PASS;
	if (absolute) {
		machine_clock(realtime ? CLOCK_REALTIME : CLOCK_MONOTONIC, &ts);
		uint64_t left = deadline > vnow() ? deadline - vnow() : 0, at = scratch(t, sizeof ts);
		ts = timespec_of(clock_when(ts.tv_sec * 1000000000 + ts.tv_nsec, left));
		if (!poke(t, at, &ts, sizeof ts))
			return give(t, -EFAULT);
		t->r.r10 = at;
		set_args(t);
	}
	t->keep[0] = deadline;
	t->after = waited;
	return V_AFTER;
}

static int do_futex(struct thread *t)
{
	int op = (int)t->a[1], command = op & FUTEX_CMD_MASK;
	bool private = op & FUTEX_PRIVATE_FLAG, realtime = op & FUTEX_CLOCK_REALTIME;
	bool waits = command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET || command == FUTEX_LOCK_PI || command == FUTEX_LOCK_PI2;
	struct clock c;
	uint64_t ns, deadline = 0;
	if (waits && t->a[3]) {
		long r = read_span(t, t->a[3], &ns);
		if (r < 0)
			return give(t, r);
		clock_of(t, realtime || command == FUTEX_LOCK_PI ? CLOCK_REALTIME : CLOCK_MONOTONIC, &c);
		deadline = command == FUTEX_WAIT ? clock_soon(ns) : clock_when(c.zero, ns);
	}
	if (realtime && command != FUTEX_WAIT_BITSET && command != FUTEX_LOCK_PI2)
		return give(t, -ENOSYS);
	if (job->flags & TJ_RELAXED && command != FUTEX_WAIT_REQUEUE_PI && command != FUTEX_CMP_REQUEUE_PI)
		return relaxed(t, deadline, command != FUTEX_WAIT, realtime || command == FUTEX_LOCK_PI);
	switch (command) {
	case FUTEX_WAIT: return wait(t, private, ANY, deadline);
	case FUTEX_WAIT_BITSET: return wait(t, private, (uint32_t)t->a[5], deadline);
	case FUTEX_WAKE: return wake_call(t, private, ANY);
	case FUTEX_WAKE_BITSET: return wake_call(t, private, (uint32_t)t->a[5]);
	case FUTEX_WAKE_OP: return wake_op(t, private);
	case FUTEX_REQUEUE: return requeue(t, private, false);
	case FUTEX_CMP_REQUEUE: return requeue(t, private, true);
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2: return lock(t, private, false, deadline);
	case FUTEX_TRYLOCK_PI: return lock(t, private, true, 0);
	case FUTEX_UNLOCK_PI: return unlock(t, private);
	}
	return give(t, -ENOSYS); /* FUTEX_WAIT_REQUEUE_PI and FUTEX_CMP_REQUEUE_PI too: libraries do without */
}

static int do_set_tid_address(struct thread *t)
{
	t->clear_tid = t->a[0];
	return V_PASS;
}

#define TRACE(n, f) {SYS_##n, C_TRACE, f, 0}
#define PASS(n) {SYS_##n, C_PASS, NULL, 0}

const struct call futex_calls[] = {
	TRACE(futex, do_futex), TRACE(set_tid_address, do_set_tid_address), PASS(set_robust_list), PASS(get_robust_list),
	{449 /* futex_waitv */, C_ERRNO, NULL, ENOSYS}, {454 /* futex_wake */, C_ERRNO, NULL, ENOSYS},
	{455 /* futex_wait */, C_ERRNO, NULL, ENOSYS}, {456 /* futex_requeue */, C_ERRNO, NULL, ENOSYS},
	{-1, C_PASS, NULL, 0},
};
