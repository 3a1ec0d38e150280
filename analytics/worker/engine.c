/* Opens the engine and hardens it. The order is a rule: what needs the outside (opening, dataset views' bindings) comes
 * before or inside the walls, and the lock comes last. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "worker.h"

static duckdb_database database;

static const char *input_dir(void) {
	const char *dir = getenv("DOCKLOCK_INPUT_DIR");
	return dir != NULL && dir[0] != 0 ? dir : "/in";
}

/* spill_dir is where queries that outgrow their memory put the rest. Outside a cage it must be the caller's own. */
static const char *spill_dir(void) {
	const char *dir = getenv("DOCKLOCK_SPILL_DIR");
	return dir != NULL && dir[0] != 0 ? dir : "/tmp/spill";
}

/* run_sql runs a statement of the worker's own. */
void run_sql(duckdb_connection con, const char *sql) {
	duckdb_result result;
	if (duckdb_query(con, sql, &result) != DuckDBSuccess)
		fail_engine(duckdb_result_error(&result), NULL);
	duckdb_destroy_result(&result);
}

/* engine_open opens the engine once, before the request is known: nothing here may depend on it. The engine runs on
 * the one thread of this process, and neither loads nor looks for code. */
int engine_open(void) {
	const char *const options[][2] = {
	    {"threads", "1"},
	    {"memory_limit", "512MiB"},
	    {"temp_directory", spill_dir()},
	    {"max_temp_directory_size", "512MiB"},
	    {"autoinstall_known_extensions", "false"},
	    {"autoload_known_extensions", "false"},
	    {"allow_community_extensions", "false"},
	    {"allow_unsigned_extensions", "false"},
	    {"allow_persistent_secrets", "false"},
	    {"secret_directory", "/tmp/secrets"},
	    {"extension_directory", "/tmp/extensions"},
	    {"home_directory", "/tmp"},
	    {"enable_external_file_cache", "false"},
	    {"enable_http_metadata_cache", "false"},
	};
	setenv("TZ", "UTC", 1);
	setenv("LC_ALL", "C", 1);
	duckdb_config config;
	if (duckdb_create_config(&config) != DuckDBSuccess)
		return 1;
	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		if (duckdb_set_config(config, options[i][0], options[i][1]) != DuckDBSuccess)
			fail(EXIT_ENGINE, "engine", -1, "the engine does not know the option %s", options[i][0]);
	char *error = NULL;
	if (duckdb_open_ext(NULL, &database, config, &error) != DuckDBSuccess)
		fail(EXIT_ENGINE, "engine", -1, "open the engine: %s", error != NULL ? error : "no reason given");
	duckdb_destroy_config(&config);
	return 0;
}

/* engine_connect makes the request's connection. It is made after the seed is known, since the connection draws its
 * own from it. */
duckdb_connection engine_connect(const request *r) {
	duckdb_connection con;
	if (duckdb_connect(database, &con) != DuckDBSuccess)
		fail(EXIT_ENGINE, "engine", -1, "connect to the engine");
	run_sql(con, "SET errors_as_json = true");
	text t = {0};
	if (r->memory_bytes != DEFAULT_MEMORY_BYTES) {
		add(&t, "SET memory_limit = '%llu B'", (unsigned long long)r->memory_bytes);
		run_sql(con, t.data);
		t.len = 0;
		add(&t, "SET max_temp_directory_size = '%llu B'", (unsigned long long)r->memory_bytes);
		run_sql(con, t.data);
		t.len = 0;
	}
	add(&t, "SET TimeZone = ");
	add_literal(&t, r->time_zone);
	run_sql(con, t.data);
	return con;
}

void engine_harden(duckdb_connection con) {
	text t = {0};
	text dir = {0};
	add(&dir, "%s/", input_dir());
	add(&t, "SET allowed_directories = [");
	add_literal(&t, dir.data);
	add(&t, "]");
	run_sql(con, t.data);
	run_sql(con, "SET enable_external_access = false");
}

void engine_lock(duckdb_connection con) { run_sql(con, "SET lock_configuration = true"); }

/* file_path gives the n-th file of t, counted from 0. */
char *file_path(const table *t, size_t n) {
	text path = {0};
	add(&path, "%s/%s/%zu.%s", input_dir(), t->name, n, t->format);
	return path.data;
}

static void add_option(text *t, const char *name, const char *value) {
	add(t, ", %s = ", name);
	add_literal(t, value);
}

static void add_columns(text *t, const table *tab) {
	add(t, ", columns = {");
	for (size_t i = 0; i < tab->column_count; i++) {
		if (i > 0)
			add(t, ", ");
		add_literal(t, tab->columns[i].name);
		add(t, ": ");
		add_literal(t, tab->columns[i].type);
	}
	add(t, "}");
}

/* add_scan adds the table function call that reads files [first, first+count) of tab as declared: nothing is guessed. */
void add_scan(text *t, const table *tab, size_t first, size_t count) {
	int csv = strcmp(tab->format, "csv") == 0, parquet = strcmp(tab->format, "parquet") == 0;
	add(t, parquet ? "read_parquet([" : csv ? "read_csv([" : "read_json([");
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			add(t, ", ");
		add_literal(t, file_path(tab, first + i));
	}
	add(t, "]");
	add(t, ", hive_partitioning = false");
	if (csv) {
		const dialect *d = &tab->csv;
		add(t, ", auto_detect = false, header = %s, skip = %llu", d->header ? "true" : "false",
		    (unsigned long long)d->skip);
		add_option(t, "delim", d->delim);
		add_option(t, "quote", d->quote);
		add_option(t, "escape", d->escape);
		add_option(t, "nullstr", d->null);
		if (d->comment[0] != 0)
			add_option(t, "comment", d->comment);
		if (d->date_format[0] != 0)
			add_option(t, "dateformat", d->date_format);
		if (d->timestamp_format[0] != 0)
			add_option(t, "timestampformat", d->timestamp_format);
		add_columns(t, tab);
	} else if (!parquet) {
		add(t, ", format = 'newline_delimited', auto_detect = false");
		add_columns(t, tab);
	}
	add(t, ")");
}

/* add_part adds the SELECT over one run of files with the same partition values. */
static void add_part(text *t, const table *tab, const part *p, size_t first) {
	add(t, "SELECT ");
	for (size_t i = 0; i < tab->column_count; i++) {
		if (i > 0)
			add(t, ", ");
		if (strcmp(tab->format, "parquet") == 0) {
			add(t, "CAST(");
			add_name(t, tab->columns[i].name);
			add(t, " AS %s) AS ", tab->columns[i].type);
		}
		add_name(t, tab->columns[i].name);
	}
	for (size_t k = 0; k < tab->key_count; k++) {
		add(t, "%sCAST(", tab->column_count + k > 0 ? ", " : "");
		if (strcmp(p->values[k], "__HIVE_DEFAULT_PARTITION__") == 0)
			add(t, "NULL");
		else
			add_literal(t, p->values[k]);
		add(t, " AS %s) AS ", tab->keys[k].type);
		add_name(t, tab->keys[k].name);
	}
	add(t, " FROM ");
	add_scan(t, tab, first, p->files);
}

/* add_union joins parts [from, to) as a balanced tree, so that thousands of partitions nest a dozen deep. */
static void add_union(text *t, const table *tab, const size_t *first, size_t from, size_t to) {
	if (to - from == 1) {
		add_part(t, tab, &tab->parts[from], first[from]);
		return;
	}
	size_t middle = from + (to - from) / 2;
	add(t, "(");
	add_union(t, tab, first, from, middle);
	add(t, ") UNION ALL (");
	add_union(t, tab, first, middle, to);
	add(t, ")");
}

/* check_type refuses a declared type that is more than a type: it stands in SQL as it is. */
static void check_type(const table *t, const column *c) {
	if (c->name[0] == 0 || c->type[0] == 0 || strlen(c->type) > 1024 || strpbrk(c->type, ";'`\\\n") != NULL ||
	    strstr(c->type, "--") != NULL || strstr(c->type, "/*") != NULL)
		fail(EXIT_REQUEST, "request", -1, "table %s: column %s has no usable type", t->name, c->name);
	int depth = 0;
	for (const char *p = c->type; *p != 0; p++) {
		depth += *p == '(' ? 1 : *p == ')' ? -1 : 0;
		if (depth < 0 || (depth == 0 && *p == ','))
			fail(EXIT_REQUEST, "request", -1, "table %s: column %s has no usable type", t->name, c->name);
	}
}

/* engine_views makes one view a table. Binding them opens each table's first file. */
void engine_views(duckdb_connection con, const request *r) {
	for (size_t i = 0; i < r->table_count; i++) {
		const table *tab = &r->tables[i];
		text t = {0};
		size_t *first = take(tab->part_count * sizeof *first);
		size_t next = 0;
		for (size_t c = 0; c < tab->column_count; c++)
			check_type(tab, &tab->columns[c]);
		for (size_t c = 0; c < tab->key_count; c++)
			check_type(tab, &tab->keys[c]);
		if (tab->column_count + tab->key_count == 0)
			fail(EXIT_REQUEST, "request", -1, "table %s has no columns", tab->name);
		for (size_t p = 0; p < tab->part_count; p++) {
			first[p] = next;
			next += tab->parts[p].files;
		}
		add(&t, "CREATE VIEW ");
		add_name(&t, tab->name);
		add(&t, " AS ");
		add_union(&t, tab, first, 0, tab->part_count);
		run_sql(con, t.data);
	}
}
