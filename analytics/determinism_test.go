package analytics

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"
)

// TestRunsAreByteIdentical asks every query again and again, in separate processes: those that draw on randomness,
// clock or the order of work thirty times.
func TestRunsAreByteIdentical(t *testing.T) {
	in, users := usersTable(t)
	const volatile = 5 // the first ones
	queries := []string{
		"select random(), uuid(), now(), current_timestamp, current_date, gen_random_uuid(), uuidv7(), today(), get_current_timestamp()",
		"select range, random() r from range(50) using sample 10 rows",
		"select * from range(10000) using sample 5% (bernoulli)",
		"select * from range(10000) using sample reservoir(20 rows)",
		"select * from users order by random()",
		"select any_value(name), first(name), last(name), arbitrary(id), mode(country), list(name), string_agg(name, ',') from users",
		"select sum(sin(range) * 1e10), avg(exp(range / 1e4)), stddev(ln(range + 1)), corr(range, sqrt(range)), sum(pow(range, 0.37)) from range(20000)",
		"select approx_count_distinct(range % 977), approx_quantile(range, 0.3), reservoir_quantile(range, 0.5), quantile_cont(range, 0.1), median(range) from range(20000)",
		"select hash(range % 77) % 13 k, count(*), min(range), string_agg(range::varchar, ',') from range(1000) group by all",
		"select range % 100 k, sum(range * 0.1) from range(50000) group by k limit 7",
		"select a.range, b.range from range(200) a join range(200) b on a.range % 7 = b.range % 11 limit 50",
		"select row_number() over (), rank() over (order by country), sum(score) over (order by id rows 1 preceding) from users",
		"select distinct hash(range % 999) from range(5000) limit 10",
		"select histogram(range % 5), map([1, 2], ['a', 'b']), {'a': 1, 'b': [1, null]} from range(100)",
		"select '2024-03-31 02:30:00'::timestamp::timestamptz, timezone('Europe/Berlin', '2024-01-01'::timestamp), strftime(now(), '%c')",
		"select md5(string_agg(range::varchar, '')), sha256('x'), bit_xor(hash(range)) from range(3000)",
		"from users natural join (select country, count(*) n from users group by all)",
		"with recursive f(a, b) as (select 1::hugeint, 1::hugeint union all select b, a + b from f where b < 1e30) from f",
		"summarize users",
		"select tan(range), atan2(range, 3), asin(range / 1e5), acos(range / 1e5), cbrt(range), gamma(range % 50 + 1), log2(range + 1), cos(range), exp(-range) from range(100)",
	}
	for i, sql := range queries {
		runs := 30
		if i >= volatile {
			runs = 5
		}
		if testing.Short() {
			runs = 2
		}
		var first [32]byte
		for n := range runs {
			a := ask(t, in, Request{SQL: sql, TimeZone: "Europe/Berlin", Tables: []Table{users}})
			if a.code != 0 {
				t.Errorf("%s: exit code %d: %s", sql, a.code, a.stderr)
				break
			}
			sum := sha256.Sum256(a.stdout)
			if n == 0 {
				first = sum
			} else if sum != first {
				t.Errorf("%s: run %d differs from the first", sql, n)
				break
			}
		}
	}
}

func TestSeedAndClockAreTheJobs(t *testing.T) {
	in, _ := usersTable(t)
	r := rowsOf(t, ask(t, in, Request{SQL: "select now(), random(), random(), uuid()"}))
	if got := Text(&r.Columns[0].Type, r.Rows[0][0]); got != "2025-01-01 00:00:00+00" {
		t.Errorf("now() is %s, want the job's epoch", got)
	}
	if r.Rows[0][1] == r.Rows[0][2] {
		t.Error("random() gave one value twice")
	}
}

func TestSpillingQueriesAreIdentical(t *testing.T) {
	in, _ := usersTable(t)
	sql := "select sum(hash(s)), sum(x) from (select lpad(range::varchar, 100, 'x') s, range * 0.1::double x from range(300000) order by hash(range))"
	a, b := ask(t, in, Request{SQL: sql, MemoryBytes: 48 << 20}), ask(t, in, Request{SQL: sql, MemoryBytes: 48 << 20})
	rowsOf(t, a)
	if !bytes.Equal(a.stdout, b.stdout) {
		t.Error("two runs differ")
	}
}

func TestBuildIsReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the worker again")
	}
	first := hashFile(t, workerPath(t))
	again := t.TempDir() + "/elsewhere/sql-worker"
	buildWorker(t, again)
	if second := hashFile(t, again); first != second {
		t.Errorf("two builds differ: %s and %s", first, second)
	}
}

func TestEveryTypeTravels(t *testing.T) {
	in, _ := usersTable(t)
	sql := `select true a, 1::tinyint b, -2::smallint c, 3::integer d, -4::bigint e, 170141183460469231731687303715884105727::hugeint f,
	 255::utinyint g, 65535::usmallint h, 4294967295::uinteger i, 18446744073709551615::ubigint j, 340282366920938463463374607431768211455::uhugeint k,
	 1.5::float l, -0.1::double m, 1.25::decimal(4,2) n, -12345.678::decimal(9,3) o, 1.5::decimal(18,4) p, -0.00000000000000000001::decimal(38,20) q,
	 'é' r, '\x00\xff'::blob s, '0101'::bit t, date '2024-02-29' u, time '12:34:56.5' v, '12:34:56+02'::timetz w,
	 timestamp '1969-12-31 23:59:59.25' x, timestamp_s '2024-01-01 00:00:00' y, timestamp_ms '2024-01-01 00:00:00.5' z,
	 timestamp_ns '2024-01-01 00:00:00.000000001' aa, '2024-01-01 00:00:00+00'::timestamptz ab, interval '1 year 2 months 3 days 04:05:06.7' ac,
	 '00112233-4455-6677-8899-aabbccddeeff'::uuid ad, [1, null] ae, [1, 2]::integer[2] af, {'k': 1, 'l': 'x'} ag, map {'a': 1} ah,
	 union_value(num := 2) ai, 'b'::enum('a', 'b') aj, null ak, 'nan'::double al, '-infinity'::double am, [[1], []] an, 'infinity'::date ao`
	r := rowsOf(t, ask(t, in, Request{SQL: sql}))
	want := "true|1|-2|3|-4|170141183460469231731687303715884105727|255|65535|4294967295|18446744073709551615|" +
		"340282366920938463463374607431768211455|1.5|-0.1|1.25|-12345.678|1.5000|-0.00000000000000000001|é|00ff|0101|2024-02-29|12:34:56.5|12:34:56+02|" +
		"1969-12-31 23:59:59.25|2024-01-01 00:00:00|2024-01-01 00:00:00.5|2024-01-01 00:00:00.000000001|2024-01-01 00:00:00+00|" +
		"1 year 2 months 3 days 04:05:06.7|00112233-4455-6677-8899-aabbccddeeff|[1, NULL]|[1, 2]|{k: 1, l: x}|{a=1}|2|b||NaN|-Inf|[[1], []]|infinity"
	got := ""
	for i, v := range r.Rows[0] {
		if i > 0 {
			got += "|"
		}
		got += Text(&r.Columns[i].Type, v)
	}
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	types := ""
	for _, i := range []int{13, 30, 31, 32, 33, 34, 35} {
		types += fmt.Sprint(r.Columns[i].Type, "; ")
	}
	if w := `DECIMAL(4,2); INTEGER[]; INTEGER[2]; STRUCT("k" INTEGER, "l" VARCHAR); MAP(VARCHAR, INTEGER); UNION("num" INTEGER); VARCHAR; `; types != w {
		t.Errorf("types %s, want %s", types, w)
	}
	if a := ask(t, in, Request{SQL: "select 12345::bignum as big"}); a.code != ExitBinder || !bytes.Contains([]byte(a.stderr), []byte("CAST")) {
		t.Errorf("an unsupported type: code %d: %s", a.code, a.stderr)
	}
}
