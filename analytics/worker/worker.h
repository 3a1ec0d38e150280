/* The SQL worker's own declarations. One process answers one request; it has one thread and nothing here is safe for
 * more. Memory that lives as long as the request is never freed: the process ends. */
#ifndef METANODE_SQL_WORKER_H
#define METANODE_SQL_WORKER_H

#include <stddef.h>
#include <stdint.h>
#include "duckdb.h"

/* Exit codes, part of the result that executors agree on. */
enum {
	EXIT_SYNTAX = 10,  /* the SQL does not parse */
	EXIT_GATE = 11,    /* the SQL parses and is not allowed */
	EXIT_BINDER = 12,  /* a name or type in it does not resolve */
	EXIT_DATA = 13,    /* it failed while running: bad data, overflow, bad cast */
	EXIT_LIMIT = 14,   /* it needs more memory than the request grants */
	EXIT_REQUEST = 15, /* the request itself is malformed */
	EXIT_ENGINE = 16   /* the engine could not be opened or configured */
};

/* fail.c */
void fail(int code, const char *kind, int64_t position, const char *format, ...)
    __attribute__((noreturn, format(printf, 4, 5)));
void fail_engine(const char *error, const char *sql) __attribute__((noreturn));

/* text.c: a growing string and a bounded allocator. */
typedef struct {
	char *data;
	size_t len, cap;
} text;
void *take(size_t bytes);
char *take_string(const char *data, size_t len);
void add(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void add_bytes(text *t, const void *data, size_t len);
void add_literal(text *t, const char *value); /* 'value' with quotes doubled */
void add_name(text *t, const char *name);     /* "name" with quotes doubled */

/* det.c: the job's clock and randomness. */
void det_reset(const char *seed_hex, const char *epoch_ns);

/* request.c */
typedef struct {
	char *name, *type;
} column;
typedef struct {
	uint32_t files;
	char **values; /* one for each partition column */
} part;
typedef struct {
	char *delim, *quote, *escape, *null, *comment, *date_format, *timestamp_format;
	int header;
	uint64_t skip;
} dialect;
typedef struct {
	char *name, *format;
	column *columns;
	size_t column_count;
	column *keys;
	size_t key_count;
	dialect csv;
	part *parts;
	size_t part_count;
} table;
typedef struct {
	char *action, *sql, *time_zone;
	uint64_t memory_bytes;
	table *tables;
	size_t table_count;
} request;
request *read_request(void);

/* json.c: a scanner that calls back for every string, number and end of container. */
typedef struct {
	char kind; /* '{' or '[' */
	const char *key;
	size_t key_len;
	char *type, *class_name, *function, *table, *schema, *catalog;
	int64_t position;
	int limit, order, has_query;
} frame;
typedef struct {
	void *context;
	void (*text)(void *context, frame *stack, size_t depth, const char *key, size_t key_len, char *value);
	void (*close)(void *context, frame *stack, size_t depth);
} json_events;
int json_scan(const char *json, const json_events *events);
char *json_field(const char *json, const char *key);

/* warm.c */
int warm_up(void);

/* engine.c */
enum { DEFAULT_MEMORY_BYTES = 512 << 20 }; /* what most requests grant, so that most need not change it */
int engine_open(void);
duckdb_connection engine_connect(const request *r);
void engine_harden(duckdb_connection con);
void engine_views(duckdb_connection con, const request *r);
void engine_lock(duckdb_connection con);
void run_sql(duckdb_connection con, const char *sql);
char *file_path(const table *t, size_t n);
void add_scan(text *t, const table *tab, size_t first, size_t count);

/* gate.c */
typedef struct {
	char *kind, *name;
} finding;
typedef struct {
	finding *list;
	size_t count;
} findings;
findings gate(duckdb_connection con, const request *r);

/* stream.c */
void stream_schema(duckdb_result *result);
void stream_rows(duckdb_result *result, const char *sql);
void stream_text_schema(const char *const *names, uint32_t count);
void stream_text_row(const char *const *values, uint32_t count);
void stream_end(void);
char *type_text(duckdb_logical_type type);

/* sniff.c */
void action_sniff(duckdb_connection con, const request *r);

#endif
