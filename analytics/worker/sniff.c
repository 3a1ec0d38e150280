/* The sniff action: what `dataset add` asks once, so that no query ever guesses. For the one table of the request it
 * answers with rows (what, name, value): the dialect, the columns with their types, and each file's rows, counted by a
 * scan that reads every value under the inferred types. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "worker.h"

static void row3(const char *what, const char *name, const char *value) {
	const char *values[3] = {what, name, value};
	stream_text_row(values, 3);
}

static duckdb_result ask(duckdb_connection con, const char *sql) {
	duckdb_result result;
	if (duckdb_query(con, sql, &result) != DuckDBSuccess)
		fail_engine(duckdb_result_error(&result), NULL);
	return result;
}

/* cell gives a text, empty for NULL. */
static char *cell(duckdb_result *r, idx_t column, idx_t row) {
	char *s = duckdb_value_varchar(r, column, row);
	return s != NULL ? s : take_string("", 0);
}

static void sniff_csv(duckdb_connection con, table *t) {
	text sql = {0};
	add(&sql, "SELECT Delimiter, Quote, \"Escape\", HasHeader::INT, Comment, SkipRows, coalesce(DateFormat, ''), "
	          "coalesce(TimestampFormat, '') FROM sniff_csv(");
	add_literal(&sql, file_path(t, 0));
	add(&sql, ", sample_size = -1)");
	duckdb_result r = ask(con, sql.data);
	if (duckdb_row_count(&r) != 1)
		fail(EXIT_DATA, "data", -1, "%s: no CSV dialect fits", file_path(t, 0));
	static const char empty[] = "(empty)";
	char *values[8];
	for (idx_t i = 0; i < 8; i++) {
		values[i] = cell(&r, i, 0);
		if (strcmp(values[i], empty) == 0 || (i < 5 && i != 3 && strcmp(values[i], "\\0") == 0))
			values[i] = take_string("", 0);
	}
	t->csv.delim = values[0];
	t->csv.quote = values[1];
	t->csv.escape = values[2];
	t->csv.header = values[3][0] == '1';
	t->csv.null = take_string("", 0);
	t->csv.comment = values[4];
	t->csv.skip = strtoull(values[5], NULL, 10);
	t->csv.date_format = values[6];
	t->csv.timestamp_format = values[7];
	row3("dialect", "delim", t->csv.delim);
	row3("dialect", "quote", t->csv.quote);
	row3("dialect", "escape", t->csv.escape);
	row3("dialect", "header", t->csv.header ? "true" : "false");
	row3("dialect", "comment", t->csv.comment);
	row3("dialect", "skip", values[5]);
	row3("dialect", "dateformat", t->csv.date_format);
	row3("dialect", "timestampformat", t->csv.timestamp_format);
	duckdb_destroy_result(&r);
}

/* infer finds the columns, unless the request declares them. */
static void infer(duckdb_connection con, table *t, size_t files) {
	text sql = {0};
	add(&sql, "DESCRIBE SELECT * FROM ");
	if (strcmp(t->format, "csv") == 0) {
		add(&sql, "read_csv(");
		add_literal(&sql, file_path(t, 0));
		add(&sql, ", sample_size = -1, hive_partitioning = false)");
	} else if (strcmp(t->format, "parquet") == 0) {
		add(&sql, "read_parquet(");
		add_literal(&sql, file_path(t, 0));
		add(&sql, ", hive_partitioning = false)");
	} else {
		add(&sql, "read_json([");
		for (size_t i = 0; i < files; i++) {
			add(&sql, "%s", i > 0 ? ", " : "");
			add_literal(&sql, file_path(t, i));
		}
		add(&sql, "], format = 'newline_delimited', sample_size = -1, hive_partitioning = false)");
	}
	duckdb_result r = ask(con, sql.data);
	t->column_count = duckdb_row_count(&r);
	t->columns = take(t->column_count * sizeof *t->columns);
	for (size_t i = 0; i < t->column_count; i++)
		t->columns[i] = (column){cell(&r, 0, i), cell(&r, 1, i)};
	duckdb_destroy_result(&r);
}

static void count_rows(duckdb_connection con, const table *t, size_t file) {
	text sql = {0};
	add(&sql, "SELECT count(*)");
	for (size_t i = 0; i < t->column_count; i++) {
		add(&sql, ", count(CAST(");
		add_name(&sql, t->columns[i].name);
		add(&sql, " AS %s))", t->columns[i].type);
	}
	add(&sql, " FROM ");
	add_scan(&sql, t, file, 1);
	duckdb_result r = ask(con, sql.data);
	text name = {0};
	add(&name, "%zu", file);
	row3("rows", name.data, cell(&r, 0, 0));
	duckdb_destroy_result(&r);
}

void action_sniff(duckdb_connection con, const request *r) {
	if (r->table_count != 1)
		fail(EXIT_REQUEST, "request", -1, "sniff: want exactly one table");
	table *t = &r->tables[0];
	size_t files = 0;
	for (size_t i = 0; i < t->part_count; i++)
		files += t->parts[i].files;
	static const char *const names[3] = {"what", "name", "value"};
	stream_text_schema(names, 3);
	if (strcmp(t->format, "csv") == 0 && t->csv.delim[0] == 0)
		sniff_csv(con, t);
	if (t->column_count == 0)
		infer(con, t, files);
	for (size_t i = 0; i < t->column_count; i++)
		row3("column", t->columns[i].name, t->columns[i].type);
	for (size_t i = 0; i < files; i++)
		count_rows(con, t, i);
	stream_end();
}
