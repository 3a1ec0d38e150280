/* What every job needs and no job decides, done once before the job is known: the engine builds its parsers, readers and
 * catalogs on first use, and a zygote's jobs then find them built. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "worker.h"

/* warm_file makes an empty scratch file; where /tmp cannot be written the readers stay cold, which only costs time. */
static int warm_file(char *path) {
	strcpy(path, "/tmp/warm-XXXXXX");
	int fd = mkstemp(path);
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

/* warm_reader writes one row in a format, and reads it back as a data set's view would. */
static void warm_reader(duckdb_connection con, const char *format, const char *scan) {
	char path[32];
	text t = {0};
	if (warm_file(path) != 0)
		return;
	add(&t, "COPY (SELECT 1::BIGINT AS a, 'x' AS b, 1.5::DOUBLE AS c, DATE '2025-01-01' AS d) TO '%s' (FORMAT %s)", path, format);
	run_sql(con, t.data);
	t.len = 0;
	add(&t, "CREATE VIEW warm AS SELECT * FROM ");
	add(&t, scan, path);
	run_sql(con, t.data);
	run_sql(con, "SELECT b, count(*), sum(c), min(d) FROM warm WHERE a > 0 GROUP BY b ORDER BY 2 DESC LIMIT 5");
	run_sql(con, "DROP VIEW warm");
	unlink(path);
}

int warm_up(void) {
	/* Keep freed memory: pages that a job's process has touched once are cheaper than new ones. */
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_TOP_PAD, 1 << 20);
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	det_reset(NULL, NULL);
	if (engine_open() != 0)
		return EXIT_ENGINE;
	request nothing = {.time_zone = "UTC", .memory_bytes = DEFAULT_MEMORY_BYTES, .sql = "SELECT count(*), sum(range) FROM range(3)"};
	duckdb_connection con = engine_connect(&nothing);
	gate(con, &nothing);
	run_sql(con, nothing.sql);
	run_sql(con, "SELECT current_date + INTERVAL 1 DAY, '2025-01-01'::TIMESTAMPTZ::VARCHAR");
	warm_reader(con, "csv", "read_csv(['%s'], hive_partitioning = false, auto_detect = false, header = true, skip = 0, delim = ',', "
				"quote = '\"', escape = '\"', nullstr = '', columns = {'a': 'BIGINT', 'b': 'VARCHAR', 'c': 'DOUBLE', 'd': 'DATE'})");
	warm_reader(con, "json", "read_json(['%s'], hive_partitioning = false, format = 'newline_delimited', auto_detect = false, "
				 "columns = {'a': 'BIGINT', 'b': 'VARCHAR', 'c': 'DOUBLE', 'd': 'DATE'})");
	warm_reader(con, "parquet", "read_parquet(['%s'], hive_partitioning = false)");
	duckdb_disconnect(&con);
	return 0;
}
