/* gen: runs the SQL on stdin in an empty database, single-threaded, and prints nothing unless it fails. The tables that
 * the SQL writes go to the working directory. The same SQL gives the same bytes. */
#include <stdio.h>
#include <stdlib.h>
#include "duckdb.h"

static void fail(const char *what, const char *why) {
	fprintf(stderr, "gen: %s: %s\n", what, why != NULL ? why : "no reason given");
	exit(1);
}

int main(void) {
	static char sql[1 << 20];
	size_t n = fread(sql, 1, sizeof sql - 1, stdin);
	if (ferror(stdin) || !feof(stdin) || n == 0)
		fail("read the SQL on stdin", "want 1 byte to 1 MiB of it");
	duckdb_config config;
	duckdb_database database;
	duckdb_connection con;
	duckdb_result result;
	char *error = NULL;
	if (duckdb_create_config(&config) != DuckDBSuccess || duckdb_set_config(config, "threads", "1") != DuckDBSuccess)
		fail("configure the engine", NULL);
	if (duckdb_open_ext(NULL, &database, config, &error) != DuckDBSuccess)
		fail("open the engine", error);
	if (duckdb_connect(database, &con) != DuckDBSuccess)
		fail("connect to the engine", NULL);
	if (duckdb_query(con, sql, &result) != DuckDBSuccess)
		fail("run the SQL", duckdb_result_error(&result));
	duckdb_destroy_result(&result);
	duckdb_disconnect(&con);
	duckdb_close(&database);
	return 0;
}
