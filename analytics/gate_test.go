package analytics

import (
	"strings"
	"testing"
)

func TestGateTakesOneSelectOverItsDatasets(t *testing.T) {
	in, users := usersTable(t)
	for _, sql := range []string{
		"select 1", "from users", "values (1)", "with x as (select 1) from x", "describe users", "summarize users",
		"show tables", "table users", "select * from users limit 1;", "-- a remark\nselect 1", "(select 1) union all (select 2)",
		"with recursive c(n) as (select 1 union all select n + 1 from c where n < 3) from c",
		"pivot users on country in ('GB', 'SE') using count(*)", "unpivot users on id into name k value v",
		"select * from range(3) r, users", "from (from users) u", "select * from information_schema.tables",
		"select u.name from users u join users v using (id)", "select (select max(id) from users)",
		"select * from unnest([1, 2])", "from histogram(users, id)", "select list_transform([1], lambda x: x + 1)",
		"select count(*) over (partition by country) from users", "select * from users using sample 2 rows",
		"with a as (with b as (from users) from b) from a", "describe select 1", "select 'read_csv(''/etc/passwd'')'",
		"select columns('i.*') from users", "select setseed(0.5), random()",
	} {
		if a := ask(t, in, Request{SQL: sql, Tables: []Table{users}}); a.code != 0 {
			t.Errorf("%s: exit code %d: %s", sql, a.code, a.stderr)
		}
	}
}

func TestGateRefuses(t *testing.T) {
	in, users := usersTable(t)
	cases := map[string]string{ // query: what the message names
		"explain select 1":                 "EXPLAIN",
		"explain analyze select 1":         "EXPLAIN",
		"select 1; select 2":               "2 statements",
		"pragma version":                   "PRAGMA",
		"call pragma_version()":            "CALL",
		"copy users to '/tmp/x'":           "COPY",
		"copy (select 1) to '/tmp/x.csv'":  "COPY",
		"attach ':memory:' as x":           "ATTACH",
		"set threads = 1":                  "SET",
		"reset threads":                    "RESET",
		"create table t (a int)":           "CREATE",
		"insert into users values (1)":     "INSERT",
		"prepare p as select 1":            "PREPARE",
		"pivot users on country":           "PIVOT",
		"install httpfs":                   "INSTALL",
		"load json":                        "LOAD",
		"checkpoint":                       "CHECKPOINT",
		"export database '/tmp/x'":         "EXPORT",
		"drop view users":                  "DROP",
		"vacuum":                           "VACUUM",
		"begin":                            "BEGIN",
		"use memory":                       "USE",
		"from read_csv('/etc/passwd')":     "read_csv",
		"from READ_CSV('/in/users/0.csv')": "not allowed",
		"select * from main.read_text('/in/users/0.csv')":             "read_text",
		"from read_blob('/in/users/0.csv')":                           "read_blob",
		"from read_parquet('/in/x')":                                  "read_parquet",
		"from parquet_scan('/in/x')":                                  "parquet_scan",
		"from read_ndjson('/in/x')":                                   "read_ndjson",
		"from sniff_csv('/in/x')":                                     "sniff_csv",
		"from read_duckdb('/in/x')":                                   "read_duckdb",
		"from glob('/*')":                                             "glob",
		"from query('select 1')":                                      "query",
		"from query_table('users')":                                   "query_table",
		"from checkpoint()":                                           "checkpoint",
		"from enable_logging()":                                       "enable_logging",
		"from duckdb_settings()":                                      "duckdb_settings",
		"from duckdb_memory()":                                        "duckdb_memory",
		"from duckdb_temporary_files()":                               "duckdb_temporary_files",
		"from pragma_database_size()":                                 "pragma_database_size",
		"from pragma_platform()":                                      "pragma_platform",
		"from pragma_user_agent()":                                    "pragma_user_agent",
		"from json_execute_serialized_sql('{}')":                      "json_execute_serialized_sql",
		"from duckdb_secrets()":                                       "duckdb_secrets",
		"from which_secret('a', 'b')":                                 "which_secret",
		"from sql_auto_complete('s')":                                 "sql_auto_complete",
		"from '/in/users/0.csv'":                                      "reading the file",
		"from 'users.parquet'":                                        "reading the file",
		"from 'https://example.com/x.csv'":                            "reading the file",
		"select current_setting('temp_directory')":                    "current_setting",
		"select getenv('HOME')":                                       "getenv",
		"select write_log('x')":                                       "write_log",
		"select current_connection_id()":                              "current_connection_id",
		"select (select count(*) from glob('/*'))":                    "glob",
		"select 1 where exists (from read_text('/etc/hostname'))":     "read_text",
		"with x as (from read_text('/etc/hostname')) select 1":        "read_text",
		"select * from users u, lateral (from read_text(u.name)) r":   "read_text",
		"select 1 union all select 2 from glob('*')":                  "glob",
		"with x as materialized (from glob('*')) from users":          "glob",
		"describe from read_csv('/etc/passwd')":                       "read_csv",
		"summarize '/etc/passwd.csv'":                                 "reading the file",
		"pivot read_csv('/x') on a in (1)":                            "read_csv",
		"with x as (insert into users values (1) returning *) from x": "",
	}
	for sql, names := range cases {
		a := ask(t, in, Request{SQL: sql, Tables: []Table{users}})
		f := ParseFailure(a.code, []byte(a.stderr))
		if f == nil {
			t.Errorf("%s: was run", sql)
			continue
		}
		wantCode := ExitGate
		if names == "" {
			wantCode = f.Code // a statement the engine itself may call a syntax error
		}
		if f.Code != wantCode || !strings.Contains(f.Message, names) {
			t.Errorf("%s: code %d, %s %q; want code %d and %q", sql, f.Code, f.Kind, f.Message, wantCode, names)
		}
		if len(a.stdout) != 0 {
			t.Errorf("%s: was refused after %d bytes of result", sql, len(a.stdout))
		}
	}
}

func TestExplainActionIsGatedToo(t *testing.T) {
	in, users := usersTable(t)
	if a := ask(t, in, Request{Action: ActionExplain, SQL: "select count(*) from users", Tables: []Table{users}}); a.code != 0 || len(rowsOf(t, a).Rows) == 0 {
		t.Errorf("exit code %d: %s", a.code, a.stderr)
	}
	for _, sql := range []string{"analyze select 1", "select 1; select 2", "from glob('/*')"} {
		if a := ask(t, in, Request{Action: ActionExplain, SQL: sql, Tables: []Table{users}}); a.code == 0 {
			t.Errorf("explain %s: was run", sql)
		}
	}
}

func TestFailuresCarryKindMessageAndPosition(t *testing.T) {
	in, users := usersTable(t)
	at := func(n int) *int { return &n }
	for _, c := range []struct {
		sql      string
		code     int
		kind     string
		message  string
		position *int
	}{
		{"selec 1", ExitSyntax, "syntax", `syntax error at or near "selec"`, at(0)},
		{"select x from", ExitSyntax, "syntax", "syntax error at end of input", at(13)},
		{"select (1", ExitSyntax, "syntax", "syntax error", at(9)},
		{"-- nothing", ExitSyntax, "syntax", "no statement", at(0)},
		{"select nope from users", ExitBinder, "binder", `"nope" not found`, at(7)},
		{"select * from nobody", ExitBinder, "binder", "nobody is not a dataset of this job; its datasets: users", at(14)},
		{"select nofunction(1)", ExitBinder, "binder", "nofunction", at(7)},
		{"select $1", ExitBinder, "binder", "parameter", nil},
		{"select 1 + 'x'::int", ExitData, "runtime", "Could not convert string 'x' to INT32", at(14)},
		{"select 9223372036854775807 + id from users", ExitData, "runtime", "Overflow", nil},
		{"select error('stop here')", ExitData, "runtime", "stop here", nil},
		{"select sum(r) from (select lpad(range::varchar, 3000, 'x') r from range(200000) order by r desc)", ExitBinder, "binder", "sum", at(7)},
		{"select list(lpad(range::varchar, 3000, 'x')) from range(200000)", ExitLimit, "limit", "", nil},
	} {
		a := ask(t, in, Request{SQL: c.sql, MemoryBytes: 32 << 20, Tables: []Table{users}})
		f := ParseFailure(a.code, []byte(a.stderr))
		if f == nil {
			t.Errorf("%s: succeeded", c.sql)
			continue
		}
		if f.Code != c.code || f.Kind != c.kind || !strings.Contains(f.Message, c.message) {
			t.Errorf("%s: code %d, %s, %q; want %d, %s, %q", c.sql, f.Code, f.Kind, f.Message, c.code, c.kind, c.message)
		}
		if c.position != nil && (f.Position == nil || *f.Position != *c.position) {
			t.Errorf("%s: position %v, want %d: %s", c.sql, f.Position, *c.position, a.stderr)
		}
	}
}

func TestBadDataNamesFileAndLine(t *testing.T) {
	in, users := usersTable(t)
	write(t, in+"/users/1.csv", "id,name,country,score,joined\n4,Di,US,1,2024-04-05\nfive,Ed,US,2,2024-04-06\n")
	a := ask(t, in, Request{SQL: "select sum(id) from users", Tables: []Table{users}})
	if a.code != ExitData || !strings.Contains(a.stderr, "users/1.csv") || !strings.Contains(a.stderr, "Line: 3") {
		t.Errorf("code %d: %s", a.code, a.stderr)
	}
}

func TestWorkerRefusesMalformedRequests(t *testing.T) {
	in, users := usersTable(t)
	good, err := (&Request{Version: 1, Action: ActionQuery, SQL: "select 1", TimeZone: "UTC", MemoryBytes: 64 << 20, Tables: []Table{users}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if a := askBytes(t, in, good); a.code != 0 {
		t.Fatalf("the good one: %d %s", a.code, a.stderr)
	}
	for name, b := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)-1], "trailing": append(append([]byte{}, good...), 0),
		"not an array": {0x01}, "indefinite": {0x9f, 0xff}, "huge array": {0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"long spelling": append([]byte{good[0], 0x18, 0x01}, good[2:]...), "too long": make([]byte, 70<<10),
	} {
		if a := askBytes(t, in, b); a.code != ExitRequest {
			t.Errorf("%s: code %d: %s", name, a.code, a.stderr)
		}
	}
}
