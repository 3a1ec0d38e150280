/* Reads the request: canonical CBOR (RFC 8949 section 4.2.1) of analytics.Request, from stdin, strict and bounded. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "worker.h"

enum { MAX_REQUEST = 64 << 10, MAX_TABLES = 64, MAX_COLUMNS = 4096, MAX_KEYS = 16, MAX_PARTS = 4096, MAX_FILES = 4096 };

typedef struct {
	const unsigned char *p, *end;
} reader;

static void bad(const char *what) { fail(EXIT_REQUEST, "request", -1, "request: %s", what); }

/* head reads one item's major type and argument, in the shortest form only. */
static uint64_t head(reader *r, int want) {
	if (r->p == r->end)
		bad("cut short");
	int major = *r->p >> 5, info = *r->p & 31;
	r->p++;
	if (major != want)
		bad("a field has the wrong type");
	if (info < 24)
		return (uint64_t)info;
	if (info > 27)
		bad("not in canonical form");
	size_t n = (size_t)1 << (info - 24);
	if ((size_t)(r->end - r->p) < n)
		bad("cut short");
	uint64_t v = 0;
	for (size_t i = 0; i < n; i++)
		v = v << 8 | *r->p++;
	static const uint64_t least[4] = {24, 1 << 8, 1 << 16, 1ULL << 32};
	if (v < least[info - 24])
		bad("not in canonical form");
	return v;
}

static uint64_t number(reader *r) { return head(r, 0); }

static char *string(reader *r) {
	uint64_t n = head(r, 3);
	if (n > (uint64_t)(r->end - r->p))
		bad("cut short");
	if (memchr(r->p, 0, n) != NULL)
		bad("a NUL byte in a text");
	char *s = take_string((const char *)r->p, n);
	r->p += n;
	return s;
}

static size_t array(reader *r, size_t max) {
	uint64_t n = head(r, 4);
	if (n > max || n > (uint64_t)(r->end - r->p))
		bad("too many elements");
	return (size_t)n;
}

static void fields(reader *r, size_t count) {
	if (array(r, count) != count)
		bad("wrong number of fields");
}

static int boolean(reader *r) {
	if (r->p == r->end || (*r->p != 0xf4 && *r->p != 0xf5))
		bad("a field has the wrong type");
	return *r->p++ == 0xf5;
}

static column *columns(reader *r, size_t max, size_t *count) {
	*count = array(r, max);
	column *list = take(*count * sizeof *list);
	for (size_t i = 0; i < *count; i++) {
		fields(r, 2);
		list[i].name = string(r);
		list[i].type = string(r);
	}
	return list;
}

static void read_table(reader *r, table *t) {
	fields(r, 6);
	t->name = string(r);
	t->format = string(r);
	t->columns = columns(r, MAX_COLUMNS, &t->column_count);
	fields(r, 9);
	t->csv.delim = string(r);
	t->csv.quote = string(r);
	t->csv.escape = string(r);
	t->csv.header = boolean(r);
	t->csv.null = string(r);
	t->csv.comment = string(r);
	t->csv.skip = number(r);
	t->csv.date_format = string(r);
	t->csv.timestamp_format = string(r);
	t->keys = columns(r, MAX_KEYS, &t->key_count);
	t->part_count = array(r, MAX_PARTS);
	t->parts = take(t->part_count * sizeof *t->parts);
	uint64_t files = 0;
	for (size_t i = 0; i < t->part_count; i++) {
		fields(r, 2);
		uint64_t n = number(r);
		files += n;
		if (n == 0 || n > MAX_FILES || files > MAX_FILES)
			bad("too many files, or a part without any");
		t->parts[i].files = (uint32_t)n;
		fields(r, t->key_count);
		t->parts[i].values = take(t->key_count * sizeof(char *));
		for (size_t k = 0; k < t->key_count; k++)
			t->parts[i].values[k] = string(r);
	}
	if (files == 0)
		bad("a table without files");
	if (strcmp(t->format, "csv") != 0 && strcmp(t->format, "parquet") != 0 && strcmp(t->format, "ndjson") != 0)
		bad("a table's format is none of csv, parquet, ndjson");
	if (t->name[0] == 0 || strlen(t->name) > 63 || strspn(t->name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != strlen(t->name))
		bad("a table's name is not 1 to 63 of a-z, 0-9, _ and -");
}

/* read_request reads all of stdin. Any fault ends the process. */
request *read_request(void) {
	unsigned char *buffer = take(MAX_REQUEST);
	size_t len = 0;
	for (;;) {
		ssize_t n = read(0, buffer + len, MAX_REQUEST + 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			bad("stdin cannot be read");
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > MAX_REQUEST)
			bad("over 64 KiB");
	}
	reader r = {buffer, buffer + len};
	request *q = take(sizeof *q);
	fields(&r, 6);
	if (number(&r) != 1)
		bad("a version other than 1");
	q->action = string(&r);
	q->sql = string(&r);
	q->time_zone = string(&r);
	q->memory_bytes = number(&r);
	q->table_count = array(&r, MAX_TABLES);
	q->tables = take(q->table_count * sizeof *q->tables);
	for (size_t i = 0; i < q->table_count; i++)
		read_table(&r, &q->tables[i]);
	if (r.p != r.end)
		bad("bytes after the end");
	return q;
}
