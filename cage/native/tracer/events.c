/* events.c: the stream of what every machine sees in the same order. It is buffered and written out when the buffer is
 * full and at the end; the node reads it meanwhile. */
#include "core.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

uint64_t events_made;
static unsigned char buffer[1 << 16];
static size_t filled;

static void write_all(const unsigned char *from, size_t n)
{
	while (n) {
		ssize_t w = write(TJ_EVENTS, from, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			finish_unheard(); /* the node has ended */
		from += w;
		n -= (size_t)w;
	}
}

void flush_events(void)
{
	write_all(buffer, filled);
	filled = 0;
}

static void put(const void *from, size_t n)
{
	if (n > sizeof buffer - filled)
		flush_events();
	if (n > sizeof buffer) {
		write_all(from, n);
		return;
	}
	memcpy(buffer + filled, from, n);
	filled += n;
}

void event(struct thread *t, enum tj_event_kind kind, const void *payload, size_t n)
{
	struct tj_event e = {(uint32_t)(n > TJ_EVENT_MAX ? TJ_EVENT_MAX : n), kind, t ? t->vtid : 0};
	put(&e, sizeof e);
	put(payload, e.payload_len);
	events_made++;
}

void event_call(struct thread *t, enum tj_event_kind kind, uint64_t a, uint64_t b, const char *path)
{
	char text[16 + 4096];
	size_t l = path ? strlen(path) : 0;
	if (l > sizeof text - 16)
		l = sizeof text - 16;
	memcpy(text, &a, 8);
	memcpy(text + 8, &b, 8);
	if (l)
		memcpy(text + 16, path, l);
	event(t, kind, text, 16 + l);
}
