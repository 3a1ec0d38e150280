#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME (default 3s). With FUZZTOTAL above 0, the time of each is shortened,
# to no less than a second, so that all together stay near FUZZTOTAL. Arguments restrict it to those packages.
#
# Each package's test binary is built once with coverage instrumentation and run once a target. An input that breaks a
# target is written to testdata/fuzz/ of its package, where `go test` finds it from then on. Minimizing an input that only
# reaches new code stops after 50 tries: by time it would use up the few seconds that a target has.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds() { # seconds 3s | 2m | 3
  case $1 in *m) echo $((${1%m} * 60)) ;; *) echo "${1%s}" ;; esac
}
each=$(seconds "${FUZZTIME:-3s}")
total=$(seconds "${FUZZTOTAL:-240s}")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One line a target: package, folder, name.
go list -f '{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{$p.Dir}} {{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$p.ImportPath}} {{$p.Dir}} {{.}}{{"\n"}}{{end}}' \
  "${@:-./...}" | while read -r package folder file; do
  [ -n "$package" ] || continue
  { grep -oE '^func Fuzz[A-Za-z0-9_]+\(f \*testing\.F\)' "$folder/$file" || true; } |
    sed -E "s|^func (Fuzz[A-Za-z0-9_]+).*|$package $folder \1|"
done | sort -u > "$work/targets"

count=$(wc -l < "$work/targets")
if [ "$count" -eq 0 ]; then
  echo "fuzz: no targets"
  exit 0
fi
if [ "$total" -gt 0 ] && [ $((count * each)) -gt "$total" ]; then
  each=$((total / count))
  [ "$each" -ge 1 ] || each=1
fi
echo "fuzz: $count targets, ${each}s each"

built=
failed=0
while read -r package folder name; do
  if [ "$package" != "$built" ]; then
    go test -c -fuzz=Fuzz -o "$work/fuzz.test" "$package"
    built=$package
  fi
  if (cd "$folder" && "$work/fuzz.test" -test.run='^$' -test.fuzz="^$name\$" -test.fuzztime="${each}s" \
    -test.fuzzminimizetime=50x -test.fuzzcachedir="$work/cache/$package" -test.timeout=10m) > "$work/log" 2>&1; then
    echo "ok    $package $name: $(grep -oE 'execs: [0-9]+' "$work/log" | tail -1)"
  else
    echo "FAIL  $package $name"
    cat "$work/log"
    failed=1
  fi
done < "$work/targets"
exit $failed
