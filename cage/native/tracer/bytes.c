/* bytes.c: the buffers that a call names, one or many, in the program's memory. */
#include "fd.h"

#define MOST 0x7ffff000u /* bytes that a call moves at most, as in the kernel */
#define PAGE 4096u

void one_buffer(uint64_t at, uint64_t n, struct bytes *b)
{
	b->n = 1;
	b->total = n < MOST ? n : MOST;
	b->v[0] = (struct iovec){(void *)at, b->total};
}

long load_bytes(struct thread *t, uint64_t iov, uint64_t count, struct bytes *b)
{
	b->n = 0;
	b->total = 0;
	if (count > SEGMENTS)
		return -EINVAL;
	if (!peek(t, iov, b->v, count * sizeof b->v[0]))
		return -EFAULT;
	for (uint64_t i = 0; i < count; i++) {
		if (b->v[i].iov_len > INT64_MAX)
			return -EINVAL;
		if (b->v[i].iov_len > MOST - b->total)
			b->v[i].iov_len = MOST - b->total;
		b->total += b->v[i].iov_len;
	}
	b->n = (int)count;
	return 0;
}

uint64_t segment(const struct bytes *b, uint64_t skip, uint64_t *at)
{
	for (int i = 0; i < b->n; i++) {
		if (skip < b->v[i].iov_len) {
			*at = (uint64_t)b->v[i].iov_base + skip;
			return b->v[i].iov_len - skip;
		}
		skip -= b->v[i].iov_len;
	}
	return 0;
}

/* readable reads what it can of n bytes: up to the first page that it cannot. */
static size_t readable(struct thread *t, uint64_t at, void *to, size_t n)
{
	if (peek(t, at, to, n))
		return n;
	size_t got = 0;
	while (got < n) {
		size_t some = PAGE - (at + got) % PAGE;
		if (some > n - got)
			some = n - got;
		if (!peek(t, at + got, (char *)to + got, some))
			break;
		got += some;
	}
	return got;
}

size_t gather(struct thread *t, const struct bytes *b, uint64_t skip, void *to, size_t cap)
{
	size_t got = 0;
	uint64_t at, n;
	while (got < cap && (n = segment(b, skip + got, &at)) > 0) {
		if (n > cap - got)
			n = cap - got;
		size_t some = readable(t, at, (char *)to + got, n);
		got += some;
		if (some < n)
			break;
	}
	return got;
}
