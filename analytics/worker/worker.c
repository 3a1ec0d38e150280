/* The SQL worker: one request on stdin, inputs under /in, the result stream on stdout, or one line of JSON on stderr
 * and an exit code. It runs as a job of its own or as a zygote that has opened the engine before the job is known. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "worker.h"
#include "docklock.h"

static void prepare(duckdb_connection con, const char *sql, duckdb_prepared_statement *p) {
	if (duckdb_prepare(con, sql, p) != DuckDBSuccess)
		fail_engine(duckdb_prepare_error(*p), sql);
	if (duckdb_nparams(*p) != 0)
		fail(EXIT_BINDER, "binder", -1, "the query has parameters; write their values in it");
}

static void action_query(duckdb_connection con, const char *sql) {
	duckdb_prepared_statement p;
	duckdb_pending_result pending;
	duckdb_result result;
	prepare(con, sql, &p);
	if (duckdb_pending_prepared_streaming(p, &pending) != DuckDBSuccess)
		fail_engine(duckdb_pending_error(pending), sql);
	if (duckdb_execute_pending(pending, &result) != DuckDBSuccess)
		fail_engine(duckdb_result_error(&result), sql);
	stream_schema(&result);
	stream_rows(&result, sql);
	stream_end();
}

/* action_check answers with rows (what, name, value): the columns the query would have, and what is worth a warning. */
static void action_check(duckdb_connection con, const char *sql, findings found) {
	static const char *const names[3] = {"what", "name", "value"};
	duckdb_prepared_statement p;
	prepare(con, sql, &p);
	if (duckdb_prepared_statement_type(p) != DUCKDB_STATEMENT_TYPE_SELECT)
		fail(EXIT_GATE, "gate", 0, "a job is one SELECT");
	stream_text_schema(names, 3);
	for (idx_t i = 0; i < duckdb_prepared_statement_column_count(p); i++) {
		duckdb_logical_type type = duckdb_prepared_statement_column_logical_type(p, i);
		const char *values[3] = {"column", duckdb_prepared_statement_column_name(p, i), type_text(type)};
		stream_text_row(values, 3);
	}
	for (size_t i = 0; i < found.count; i++) {
		const char *values[3] = {found.list[i].kind, found.list[i].name, ""};
		stream_text_row(values, 3);
	}
	stream_end();
}

/* run answers one request. Seed and clock begin here, so that a warm engine and a cold one give the same bytes. */
static int run(int argc, char **argv) {
	(void)argc;
	(void)argv;
	request *r = read_request();
	det_reset(getenv("DOCKLOCK_SEED"), getenv("DOCKLOCK_EPOCH_NS"));
	duckdb_connection con = engine_connect(r);
	engine_harden(con);
	if (strcmp(r->action, "sniff") == 0) {
		engine_lock(con);
		action_sniff(con, r);
		_exit(0);
	}
	findings found = gate(con, r);
	engine_views(con, r);
	engine_lock(con);
	if (strcmp(r->action, "query") == 0) {
		action_query(con, r->sql);
	} else if (strcmp(r->action, "check") == 0) {
		action_check(con, r->sql, found);
	} else if (strcmp(r->action, "explain") == 0) {
		text t = {0};
		add(&t, "EXPLAIN %s", r->sql);
		action_query(con, t.data);
	} else {
		fail(EXIT_REQUEST, "request", -1, "action %.40s is none of query, check, explain, sniff", r->action);
	}
	_exit(0); /* the answer is written; taking the engine down again would only cost time */
}

int main(int argc, char **argv) { return docklock_main(argc, argv, warm_up, run); }
