#!/usr/bin/env bash
# Runs every fuzz target of the module for a while, one after another:
#   scripts/fuzz.sh [TIME]
# What a target finds stays under its package's testdata/fuzz, to be committed.
set -euo pipefail
time=${1:-30s}
cd "$(dirname "$0")/.."
count=0
while IFS=: read -r file target; do
	count=$((count + 1))
	echo "== $(dirname "$file") $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "./$(dirname "$file")"
done < <(grep -roP --include='*_test.go' '^func \KFuzz\w+(?=\(f \*testing\.F\))' internal | sort)
[ "$count" -gt 0 ] || { echo "no fuzz targets found" >&2; exit 1; }
echo "$count targets, $time each"
