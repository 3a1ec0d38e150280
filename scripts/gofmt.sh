#!/usr/bin/env bash
# Names every Go file that gofmt would change, and fails if there is one.
set -euo pipefail
cd "$(dirname "$0")/.."
unformatted=$(find . -name '*.go' -not -path './.git/*' -not -path './build/*' -print0 | xargs -0 gofmt -l)
if [ -n "$unformatted" ]; then
  echo "gofmt: these files are not formatted; run: gofmt -w FILE" >&2
  echo "$unformatted" >&2
  exit 1
fi
