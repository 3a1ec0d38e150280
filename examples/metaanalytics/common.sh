# What the stages share. Sourced by them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bpi=${BPI_BIN:-$PWD/build/bpi}
[ -x "$bpi" ] || { echo "metaanalytics: there is no $bpi; build it with: make build" >&2; exit 1; }

title() { printf '\n== %s\n' "$1"; }
run() { echo "\$ bpi $*"; "$bpi" "$@"; }

# expect TEXT COMMAND...: runs bpi, shows its output, and fails if TEXT is not in it.
expect() {
  local want=$1 out
  shift
  echo "\$ bpi $*"
  out=$("$bpi" "$@")
  printf '%s\n' "$out"
  grep -qF -- "$want" <<< "$out" || { echo "metaanalytics: \"$want\" is missing in the answer of: bpi $*" >&2; exit 1; }
}

# field NAME: the first value of a string field in the JSON on standard input.
# It reads all that it is given: a reader that leaves early would end the writer with an error.
field() { grep -o "\"$1\": *\"[^\"]*\"" | sed -n 1p | cut -d'"' -f4; }
