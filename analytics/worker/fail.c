/* How the worker ends when it cannot answer: one line of JSON on stderr, and an exit code that says whose fault it is. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "worker.h"

enum { MAX_MESSAGE = 16 << 10 };

static void put_json(text *t, const char *s) {
	add_bytes(t, "\"", 1);
	for (; *s != 0; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\')
			add(t, "\\%c", c);
		else if (c == '\n')
			add(t, "\\n");
		else if (c == '\t')
			add(t, "\\t");
		else if (c < 0x20 || c == 0x7f)
			add(t, "\\u%04x", c);
		else
			add_bytes(t, s, 1);
	}
	add_bytes(t, "\"", 1);
}

static void finish(int code, const char *kind, int64_t position, const char *message) {
	text t = {0};
	add(&t, "{\"kind\":\"%s\",\"message\":", kind);
	put_json(&t, message);
	if (position >= 0)
		add(&t, ",\"position\":%lld", (long long)position);
	add(&t, "}\n");
	for (size_t n = 0; n < t.len;) {
		ssize_t w = write(2, t.data + n, t.len - n);
		if (w <= 0)
			break;
		n += (size_t)w;
	}
	_exit(code);
}

/* fail ends the process. position is a byte offset in the request's SQL, or -1. */
void fail(int code, const char *kind, int64_t position, const char *format, ...) {
	char *message = malloc(MAX_MESSAGE);
	va_list args;
	va_start(args, format);
	if (message != NULL)
		vsnprintf(message, MAX_MESSAGE, format, args);
	va_end(args);
	finish(code, kind, position, message != NULL ? message : "out of memory");
	abort();
}

static int one_of(const char *s, const char *const *list) {
	for (; *list != NULL; list++)
		if (strcmp(s, *list) == 0)
			return 1;
	return 0;
}

/* fail_engine ends the process with the engine's own words. The engine gives its errors as JSON (errors_as_json), some
 * with the type in front. sql is what position counts in, NULL when the text was the worker's own. */
void fail_engine(const char *error, const char *sql) {
	static const char *const syntax[] = {"Parser", "Syntax", NULL};
	static const char *const binder[] = {"Binder", "Catalog", "Parameter Not Resolved", "Parameter Not Allowed",
	                                     "Mismatch Type", NULL};
	static const char *const gate_types[] = {"Permission", "Missing Extension", "Extension Autoloading", NULL};
	static const char *const limit[] = {"Out of Memory", NULL};
	if (error == NULL)
		error = "the engine gave no reason";
	const char *json = strchr(error, '{');
	char *type = json != NULL ? json_field(json, "exception_type") : NULL;
	char *message = json != NULL ? json_field(json, "exception_message") : NULL;
	char *where = json != NULL ? json_field(json, "position") : NULL;
	if (type == NULL || message == NULL) {
		size_t head = strcspn(error, ":");
		type = take_string(error, head);
		char *tail = strstr(type, " Error");
		if (tail != NULL)
			*tail = 0;
		message = take_string(error, strlen(error));
	}
	int64_t position = -1;
	if (sql != NULL && where != NULL) {
		position = strtoll(where, NULL, 10);
		if (position < 0 || (size_t)position > strlen(sql))
			position = -1;
	}
	if (one_of(type, syntax))
		finish(EXIT_SYNTAX, "syntax", position, message);
	if (one_of(type, gate_types))
		finish(EXIT_GATE, "gate", position, message);
	if (one_of(type, binder))
		finish(EXIT_BINDER, "binder", position, message);
	if (one_of(type, limit))
		finish(EXIT_LIMIT, "limit", position, message);
	finish(EXIT_DATA, "runtime", position, message);
	abort();
}
