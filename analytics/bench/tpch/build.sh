#!/bin/sh
# build.sh OUT: builds gen on the static libraries that the SQL worker is built on (../../worker/build.sh installs what
# is missing), with the system's own clock and libm.
set -eu
[ $# -eq 1 ] || { echo "usage: build.sh OUT" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
lib=$(cd "$here" && go list -m -f '{{.Dir}}' github.com/duckdb/duckdb-go-bindings/lib/linux-amd64)
[ -f "$lib/libduckdb_static.a" ] || { echo "build.sh: no libduckdb_static.a; run analytics/worker/build.sh first" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -isystem "$lib" -c "$here/gen.c" -o "$work/gen.o"
libs="-lduckdb_static -lduckdb_generated_extension_loader -lcore_functions_extension -licu_extension -ljson_extension \
-lparquet_extension -lautocomplete_extension -lduckdb_static -lduckdb_fastpforlib -lduckdb_fmt -lduckdb_fsst \
-lduckdb_hyperloglog -lduckdb_mbedtls -lduckdb_miniz -lduckdb_pg_query -lduckdb_re2 -lduckdb_skiplistlib \
-lduckdb_utf8proc -lduckdb_yyjson -lduckdb_zstd"
g++ -static -s -Wl,--gc-sections -o "$1" "$work/gen.o" -L"$lib" $libs -ldl -lm -lpthread 2>"$work/log" ||
	{ cat "$work/log" >&2; exit 1; }
