#!/bin/sh
# build.sh OUT: builds the SQL worker, a static program on DuckDB's prebuilt static libraries.
#
# On one machine the same sources give the same bytes: no time, no path, no build id goes in. Needs go (to find the
# libraries in the module cache), gcc, g++ and the static libraries of libstdc++ and libc; as root, what is missing is
# installed with apt-get.
#
# Three things happen at link time. Clocks and randomness are wrapped (det.c). The libm variants that glibc would choose
# by the CPU's features (FMA, AVX2) are made names of the plain ones, so that a sum of sines does not depend on the
# model of the CPU: the worker's CPU class is built in. And only what the worker needs is linked.
set -eu
[ $# -eq 1 ] || { echo "usage: build.sh OUT" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=$1
case $out in /*) ;; *) out=$(pwd)/$out ;; esac
export LC_ALL=C SOURCE_DATE_EPOCH=0

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || { echo "build.sh: the SQL worker is built on Linux x86-64 only" >&2; exit 1; }
missing=
command -v gcc >/dev/null || missing="$missing gcc"
command -v g++ >/dev/null || missing="$missing g++"
if [ -z "$missing" ]; then
	case $(g++ -print-file-name=libstdc++.a) in /*) ;; *) missing="$missing libstdc++-$(g++ -dumpversion | cut -d. -f1)-dev" ;; esac
	case $(gcc -print-file-name=libm.a) in /*) ;; *) missing="$missing libc6-dev" ;; esac
fi
if [ -n "$missing" ]; then
	if [ "$(id -u)" -ne 0 ]; then
		echo "build.sh: missing:$missing; install with: sudo apt-get install -y$missing libstdc++-12-dev" >&2
		exit 1
	fi
	echo "build.sh: installing$missing" >&2
	apt-get update -qq >&2
	apt-get install -y -qq $missing libstdc++-12-dev >&2
fi
command -v go >/dev/null || { echo "build.sh: missing: go; see https://go.dev/doc/install" >&2; exit 1; }

module=github.com/duckdb/duckdb-go-bindings/lib/linux-amd64
(cd "$root" && go mod download "$module") >&2
lib=$(cd "$root" && go list -m -f '{{.Dir}}' "$module")
[ -f "$lib/libduckdb_static.a" ] || { echo "build.sh: $lib has no libduckdb_static.a" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
zygote=$root/cage/native/zygote
[ -f "$zygote/docklock.c" ] || zygote=$here/plain
objects=
for source in "$here"/*.c "$zygote"/*.c; do
	object=$work/$(basename "$source" .c).o
	gcc -std=gnu11 -O2 -Wall -Wextra -Werror=implicit-function-declaration -fno-ident -ffile-prefix-map="$root"=. \
		-march=x86-64 -I"$zygote" -isystem "$lib" -c "$source" -o "$object"
	objects="$objects $object"
done

wrap=
for name in syscall getrandom getentropy clock_gettime gettimeofday time sched_getcpu nanosleep clock_nanosleep \
	_ZNSt13random_device9_M_getvalEv; do
	wrap="$wrap -Wl,--wrap=$name"
done

# Every variant FUNCTION_fma, _fma4, _avx, _avx2 that has a FUNCTION_sse2 beside it.
libm=$(dirname "$(gcc -print-file-name=libm.a)")/libm-$(getconf GNU_LIBC_VERSION | cut -d' ' -f2).a
[ -f "$libm" ] || libm=$(gcc -print-file-name=libm.a)
nm "$libm" 2>/dev/null | awk '$2 == "T" { print $3 }' | sort -u >"$work/libm"
class=
for variant in $(grep -E '_(fma|fma4|avx|avx2)$' "$work/libm"); do
	plain=${variant%_*}_sse2
	if grep -qx -- "$plain" "$work/libm"; then class="$class -Wl,--defsym=$variant=$plain"; fi
done

libs="-lduckdb_static -lduckdb_generated_extension_loader -lcore_functions_extension -licu_extension -ljson_extension \
-lparquet_extension -lautocomplete_extension -lduckdb_static -lduckdb_fastpforlib -lduckdb_fmt -lduckdb_fsst \
-lduckdb_hyperloglog -lduckdb_mbedtls -lduckdb_miniz -lduckdb_pg_query -lduckdb_re2 -lduckdb_skiplistlib \
-lduckdb_utf8proc -lduckdb_yyjson -lduckdb_zstd"
# The linker warns that getaddrinfo, dlopen and the like want the shared glibc: the worker never calls them.
g++ -static -s -Wl,--build-id=none -Wl,--gc-sections $wrap $class -o "$work/worker" $objects -L"$lib" $libs \
	-ldl -lm -lpthread 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
mkdir -p "$(dirname "$out")"
mv "$work/worker" "$out.new.$$"
mv "$out.new.$$" "$out"
