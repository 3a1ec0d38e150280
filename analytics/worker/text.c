/* Growing strings and SQL quoting. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "worker.h"

/* take is calloc that never returns NULL. */
void *take(size_t bytes) {
	void *p = calloc(1, bytes + 1);
	if (p == NULL)
		fail(EXIT_LIMIT, "limit", -1, "out of memory");
	return p;
}

char *take_string(const char *data, size_t len) {
	char *p = take(len);
	memcpy(p, data, len);
	return p;
}

void add_bytes(text *t, const void *data, size_t len) {
	if (t->len + len + 1 > t->cap) {
		size_t cap = (t->len + len + 1) * 2;
		char *p = realloc(t->data, cap);
		if (p == NULL)
			abort();
		t->data = p;
		t->cap = cap;
	}
	memcpy(t->data + t->len, data, len);
	t->len += len;
	t->data[t->len] = 0;
}

void add(text *t, const char *format, ...) {
	char small[256];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(small, sizeof small, format, args);
	va_end(args);
	if (n < 0)
		abort();
	if ((size_t)n < sizeof small) {
		add_bytes(t, small, (size_t)n);
		return;
	}
	char *big = take((size_t)n);
	va_start(args, format);
	vsnprintf(big, (size_t)n + 1, format, args);
	va_end(args);
	add_bytes(t, big, (size_t)n);
	free(big);
}

static void add_quoted(text *t, const char *value, char quote) {
	add_bytes(t, &quote, 1);
	for (; *value != 0; value++) {
		if (*value == quote)
			add_bytes(t, &quote, 1);
		add_bytes(t, value, 1);
	}
	add_bytes(t, &quote, 1);
}

void add_literal(text *t, const char *value) { add_quoted(t, value, '\''); }
void add_name(text *t, const char *name) { add_quoted(t, name, '"'); }
