/* The statement gate. It judges the parsed statement, not its spelling: the engine parses the SQL, gives its syntax
 * tree, and the gate looks at every function and table in it. Table functions are on a list of the allowed, since a new
 * one is more likely to reach out than not; scalar functions are on a list of the refused. What slips through meets the
 * engine's own walls (allowed_directories, enable_external_access) and the cage's. */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "worker.h"

static const char *const table_functions[] = {
    "range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree", "histogram",
    "histogram_values", "summary", "test_all_types", "duckdb_functions", "duckdb_types", "duckdb_keywords",
    "duckdb_columns", "duckdb_tables", "pg_timezone_names", "icu_calendar_names", NULL};

/* What these tell or do is the executor's, not the job's. */
static const char *const refused_scalars[] = {
    "getenv", "current_setting", "get_block_size", "current_connection_id", "current_query_id",
    "current_transaction_id", "txid_current", "sleep_ms", "write_log", "nextval", "currval", "stats", "set_config",
    "json_serialize_plan", "json_execute_serialized_sql", "pg_conf_load_time", "pg_postmaster_start_time", "pg_sleep",
    "pg_get_viewdef", "query", "query_table", NULL};

static const char *const clock_functions[] = {
    "now", "get_current_timestamp", "get_current_time", "today", "current_date", "current_time", "current_timestamp",
    "current_localtime", "current_localtimestamp", "localtime", "localtimestamp", "transaction_timestamp", "age", NULL};

static const char *const random_functions[] = {"random", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "setseed", NULL};

static const char *const double_aggregates[] = {
    "sum", "avg", "mean", "fsum", "kahan_sum", "favg", "sumkahan", "stddev", "stddev_pop", "stddev_samp", "var_pop", "var_samp",
    "variance", "corr", "covar_pop", "covar_samp", "regr_slope", "regr_intercept", "regr_r2", "skewness", "kurtosis",
    "geomean", "geometric_mean", "product", "entropy", NULL};

typedef struct {
	char *name, *schema, *catalog;
	int64_t position;
} table_ref;

typedef struct {
	const request *request;
	findings found;
	table_ref *tables;
	size_t table_count;
	char **ctes;
	size_t cte_count;
} walk;

static int listed(const char *name, const char *const *list) {
	for (; *list != NULL; list++)
		if (strcasecmp(name, *list) == 0)
			return 1;
	return 0;
}

static int is(const char *key, size_t len, const char *want) { return strlen(want) == len && memcmp(key, want, len) == 0; }

static void note(walk *w, const char *kind, const char *name) {
	for (size_t i = 0; i < w->found.count; i++)
		if (strcmp(w->found.list[i].kind, kind) == 0 && strcasecmp(w->found.list[i].name, name) == 0)
			return;
	w->found.list = realloc(w->found.list, (w->found.count + 1) * sizeof *w->found.list);
	if (w->found.list == NULL)
		abort();
	w->found.list[w->found.count++] = (finding){take_string(kind, strlen(kind)), take_string(name, strlen(name))};
}

static void on_text(void *context, frame *stack, size_t depth, const char *key, size_t len, char *value) {
	walk *w = context;
	if (depth == 0)
		return;
	frame *f = &stack[depth - 1];
	if (f->kind == '[') {
		if (is(f->key, f->key_len, "column_names") && listed(value, clock_functions))
			note(w, "clock", value);
		return;
	}
	if (is(key, len, "type"))
		f->type = value;
	else if (is(key, len, "class"))
		f->class_name = value;
	else if (is(key, len, "function_name"))
		f->function = value;
	else if (is(key, len, "table_name"))
		f->table = value;
	else if (is(key, len, "schema_name"))
		f->schema = value;
	else if (is(key, len, "catalog_name"))
		f->catalog = value;
	else if (is(key, len, "query_location")) {
		unsigned long long at = strtoull(value, NULL, 10);
		f->position = at > INT64_MAX ? -1 : (int64_t)at;
	} else if (is(key, len, "key") && depth >= 3 && stack[depth - 2].kind == '[' &&
	           is(stack[depth - 2].key, stack[depth - 2].key_len, "map") &&
	           is(stack[depth - 3].key, stack[depth - 3].key_len, "cte_map")) {
		w->ctes = realloc(w->ctes, (w->cte_count + 1) * sizeof *w->ctes);
		if (w->ctes == NULL)
			abort();
		w->ctes[w->cte_count++] = value;
	}
}

static void on_function(walk *w, frame *stack, size_t depth) {
	frame *f = &stack[depth - 1];
	int from = depth >= 2 && is(f->key, f->key_len, "function") && stack[depth - 2].type != NULL &&
	           strcmp(stack[depth - 2].type, "TABLE_FUNCTION") == 0;
	if (from && !listed(f->function, table_functions))
		fail(EXIT_GATE, "gate", f->position,
		     "table function %s() is not allowed: a job reads its datasets only; name them with FROM", f->function);
	if (!from && listed(f->function, refused_scalars))
		fail(EXIT_GATE, "gate", f->position,
		     "function %s() is not allowed: its answer would be the executor's, not the job's", f->function);
	if (listed(f->function, random_functions))
		note(w, "random", f->function);
	if (listed(f->function, clock_functions))
		note(w, "clock", f->function);
	if (listed(f->function, double_aggregates))
		note(w, "float-aggregate", f->function);
}

static void on_table(walk *w, const frame *f) {
	w->tables = realloc(w->tables, (w->table_count + 1) * sizeof *w->tables);
	if (w->tables == NULL)
		abort();
	w->tables[w->table_count++] =
	    (table_ref){f->table, f->schema != NULL ? f->schema : "", f->catalog != NULL ? f->catalog : "", f->position};
}

static void on_close(void *context, frame *stack, size_t depth) {
	walk *w = context;
	frame *f = &stack[depth - 1];
	frame *parent = depth >= 2 ? &stack[depth - 2] : NULL;
	if (f->kind == '[') {
		if (is(f->key, f->key_len, "modifiers") && f->limit && !f->order)
			note(w, "limit-without-order", "LIMIT");
		return;
	}
	if (f->function != NULL)
		on_function(w, stack, depth);
	if (f->type == NULL)
		return;
	if (strcmp(f->type, "BASE_TABLE") == 0 && f->table != NULL)
		on_table(w, f);
	if (strcmp(f->type, "SHOW_REF") == 0 && f->table != NULL && f->table[0] != 0 && strcmp(f->table, "\"tables\"") != 0 &&
	    strcmp(f->table, "__show_tables_expanded") != 0)
		fail(EXIT_GATE, "gate", -1, "SHOW of %s is not allowed: use SHOW TABLES or DESCRIBE", f->table);
	if (parent != NULL && parent->kind == '[') {
		if (strncmp(f->type, "LIMIT", 5) == 0)
			parent->limit = 1;
		if (strcmp(f->type, "ORDER_MODIFIER") == 0)
			parent->order = 1;
	}
	if (f->key_len == 6 && memcmp(f->key, "sample", 6) == 0)
		note(w, "random", "sample");
}

/* check_tables sees to it that every table is a dataset of the job, a common table expression or the information
 * schema: a file's name in FROM has no way to be one. */
static void check_tables(const walk *w) {
	for (size_t i = 0; i < w->table_count; i++) {
		const table_ref *t = &w->tables[i];
		int known = strcasecmp(t->schema, "information_schema") == 0;
		for (size_t c = 0; c < w->cte_count && !known; c++)
			known = strcasecmp(t->name, w->ctes[c]) == 0;
		for (size_t d = 0; d < w->request->table_count && !known; d++)
			known = strcasecmp(t->name, w->request->tables[d].name) == 0;
		if (known)
			continue;
		if (strpbrk(t->name, "/.*:") != NULL)
			fail(EXIT_GATE, "gate", t->position,
			     "reading the file %.200s is not allowed: a job reads its datasets only; add it with: bpi dataset add",
			     t->name);
		text names = {0};
		for (size_t d = 0; d < w->request->table_count; d++)
			add(&names, "%s%s", d > 0 ? ", " : "", w->request->tables[d].name);
		fail(EXIT_BINDER, "binder", t->position, "table %.200s is not a dataset of this job; its datasets: %s", t->name,
		     names.len > 0 ? names.data : "none");
	}
}

/* statement_word gives the first word of sql in capitals, for people. */
static char *statement_word(const char *sql) {
	for (;;) {
		while (*sql != 0 && (isspace((unsigned char)*sql) || *sql == '(' || *sql == ';'))
			sql++;
		if (strncmp(sql, "--", 2) == 0) {
			sql += strcspn(sql, "\n");
		} else if (strncmp(sql, "/*", 2) == 0) {
			const char *end = strstr(sql, "*/");
			if (end == NULL)
				break;
			sql = end + 2;
		} else {
			break;
		}
	}
	size_t n = 0;
	while (n < 20 && isalpha((unsigned char)sql[n]))
		n++;
	char *word = take_string(sql, n);
	for (size_t i = 0; i < n; i++)
		word[i] = (char)toupper((unsigned char)word[i]);
	return word;
}

static char *serialize(duckdb_connection con, const char *sql) {
	duckdb_prepared_statement p;
	duckdb_result result;
	if (duckdb_prepare(con, "SELECT json_serialize_sql($1::VARCHAR)", &p) != DuckDBSuccess)
		fail_engine(duckdb_prepare_error(p), NULL);
	duckdb_bind_varchar(p, 1, sql);
	if (duckdb_execute_prepared(p, &result) != DuckDBSuccess)
		fail_engine(duckdb_result_error(&result), NULL);
	duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
	if (chunk == NULL || duckdb_data_chunk_get_size(chunk) != 1)
		fail(EXIT_ENGINE, "engine", -1, "the engine gave no syntax tree");
	duckdb_string_t *s = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
	char *json = take_string(duckdb_string_t_data(s), duckdb_string_t_length(*s));
	duckdb_destroy_data_chunk(&chunk);
	duckdb_destroy_result(&result);
	duckdb_destroy_prepare(&p);
	return json;
}

/* gate ends the process unless the request's SQL is one allowed SELECT, and else says what is worth a warning. */
findings gate(duckdb_connection con, const request *r) {
	duckdb_extracted_statements extracted = NULL;
	idx_t count = duckdb_extract_statements(con, r->sql, &extracted);
	if (count == 0) {
		const char *error = duckdb_extract_statements_error(extracted);
		if (error != NULL && error[0] != 0)
			fail_engine(error, r->sql);
		fail(EXIT_SYNTAX, "syntax", 0, "there is no statement in the query");
	}
	char *json = serialize(con, r->sql);
	char *failed = json_field(json, "error");
	if (failed == NULL || strcmp(failed, "false") != 0) {
		char *type = json_field(json, "error_type"), *message = json_field(json, "error_message");
		char *where = json_field(json, "position");
		if (type != NULL && (strcmp(type, "parser") == 0 || strcmp(type, "syntax") == 0))
			fail(EXIT_SYNTAX, "syntax", where != NULL ? strtoll(where, NULL, 10) : -1, "%s",
			     message != NULL ? message : "the engine gave no reason");
		char *word = statement_word(r->sql);
		if (count > 1 && strcmp(word, "PIVOT") == 0)
			fail(EXIT_GATE, "gate", 0,
			     "PIVOT must name its values, as in PIVOT t ON c IN (1, 2): without them it is more than one statement");
		if (count > 1)
			fail(EXIT_GATE, "gate", -1, "%llu statements in one query: a job is exactly one SELECT",
			     (unsigned long long)count);
		if (strcmp(word, "EXPLAIN") == 0)
			fail(EXIT_GATE, "gate", 0, "EXPLAIN is not a job; use: bpi analytics explain");
		fail(EXIT_GATE, "gate", 0, "%s is not allowed: a job is one SELECT (also WITH, VALUES, FROM, DESCRIBE, SUMMARIZE)",
		     word[0] != 0 ? word : "this statement");
	}
	if (count != 1)
		fail(EXIT_GATE, "gate", -1, "%llu statements in one query: a job is exactly one SELECT", (unsigned long long)count);
	duckdb_destroy_extracted(&extracted);
	walk w = {.request = r};
	json_events events = {&w, on_text, on_close};
	if (!json_scan(json, &events))
		fail(EXIT_GATE, "gate", -1, "the query is nested too deeply to be checked");
	check_tables(&w);
	return w.found;
}
