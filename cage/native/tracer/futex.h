/* futex.h: what waiting on words and locks with owners share. */
#ifndef DOCKLOCK_TRACER_FUTEX_H
#define DOCKLOCK_TRACER_FUTEX_H

#include "tracer.h"

#include <errno.h>
#include <linux/futex.h>

#define ANY FUTEX_BITSET_MATCH_ANY

/* Where a word is, whoever looks: in a file, or in one address space. Words in private memory that are named with and
 * without FUTEX_PRIVATE_FLAG are two different places, as for the kernel. */
#define OWN 0             /* values of dev that stand for no file */
#define OWN_UNFLAGGED 1
#define FIRST_DEV 2
struct key {
	uint64_t space;   /* number of the address space, or the file's inode */
	uint64_t where;   /* address, or offset in the file */
	uint64_t dev;     /* OWN, OWN_UNFLAGGED, or FIRST_DEV more than the file's device */
};

/* A parked thread keeps its key in futex_key and futex_addr, and of its own: */
enum { DEV, ORDER /* of arrival */, WORD /* its address for the waiter */, PI /* it waits for a lock with an owner */, MARKED };

long key_of(struct thread *t, uint64_t addr, bool private, struct key *k);     /* 0, -EINVAL or -EFAULT */
struct thread *first_waiter(const struct key *k, uint32_t bits);               /* who has waited longest of those that bits mean */
void park(struct thread *t, const struct key *k, uint64_t word, uint32_t bits, uint64_t deadline, bool pi);
void release(struct thread *o);                                                /* its call has ended with 0 */

int lock(struct thread *t, bool private, bool try, uint64_t deadline);         /* FUTEX_LOCK_PI and its kind */
int unlock(struct thread *t, bool private);
#endif
