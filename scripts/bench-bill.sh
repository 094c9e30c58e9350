#!/usr/bin/env bash
# Reading a large bill, gzipped CSV and Parquet, against zcat piped into awk that
# does the same sum over the same file on the same machine. Runs alternate, so
# that a machine that is busy is so for all; what is compared are medians. Prints
# a Markdown table; progress goes to stderr.
#
# Environment: BENCH_ROUNDS (3), BENCH_LINES of the bill (10000000), BENCH_DIR for
# it (a temporary folder, removed at the end; a given one is kept and used again).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/bench-common.sh

rounds=${BENCH_ROUNDS:-3}
lines=${BENCH_LINES:-10000000}
need zcat awk go
if [[ -n ${BENCH_DIR:-} ]]; then
  dir=$BENCH_DIR
  mkdir -p "$dir"
else
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
fi

go test -c -o "$dir/bill.test" ./internal/cost/bill
run() { BENCH_BILL="$dir/$1" BENCH_LINES=$lines "$dir/bill.test" -test.run '^$' -test.bench "^Benchmark$2\$" -test.benchtime 1x -test.timeout 0; }
for file in bill.csv.gz bill.parquet; do
  [[ -s $dir/$file ]] && continue
  say "making $file of $lines lines in $dir"
  run "$file" Make >/dev/null
done

# The same sum: of each snapshot the cost, and the amount of its newest day.
cat >"$dir/sum.awk" <<'AWK'
NR == 1 {
  for (i = 1; i <= NF; i++) at[$i] = i
  u = at["lineItem/UsageType"]; r = at["lineItem/ResourceId"]; a = at["lineItem/UsageAmount"]
  c = at["lineItem/UnblendedCost"]; s = at["lineItem/UsageStartDate"]
  next
}
$u ~ /(^|-)EBS:Snapshot(Usage|ArchiveStorage)$/ {
  cost[$r] += $c
  if ($s >= day[$r]) { day[$r] = $s; size[$r] = $a }
}
END { for (k in cost) total += cost[k]; printf "%.2f\n", total }
AWK
pipe() { zcat "$dir/bill.csv.gz" | awk -F, -f "$dir/sum.awk"; }

# timed NAME COMMAND...: appends the milliseconds that passed, and those of
# processor time, to a file of that name; what it prints is kept in NAME.said.
timed() {
  local name=$1 TIMEFORMAT='%3R %3U %3S'
  shift
  { time "$@" >"$dir/$name.said" 2>&1; } 2>"$dir/took" || { cat "$dir/$name.said" "$dir/took" >&2; exit 1; }
  awk '{ printf "%.0f %.0f\n", $1 * 1000, ($2 + $3) * 1000 }' "$dir/took" >>"$dir/times.$name"
}
# median NAME COLUMN
median() { awk -v c="$2" '{ print $c }' "$dir/times.$1" | sort -n | awk '{ a[NR] = $1 } END { print (NR % 2) ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }
# metric NAME UNIT: of the benchmark's line.
metric() { awk -v unit="$2" '/^Benchmark/ { for (i = 2; i < NF; i++) if ($(i + 1) == unit) print $i }' "$dir/$1.said"; }

rm -f "$dir"/times.*
cat "$dir/bill.csv.gz" "$dir/bill.parquet" >/dev/null # into the page cache
for ((round = 1; round <= rounds; round++)); do
  say "round $round of $rounds"
  timed csv run bill.csv.gz Read
  timed pipe pipe
  timed parquet run bill.parquet Read
done
for name in csv parquet; do
  awk -v a="$(metric "$name" dollars)" -v b="$(cat "$dir/pipe.said")" 'BEGIN { d = a - b; exit !(d * d < b * b / 1e8) }' ||
    { say "$name: $(metric "$name" dollars) dollars, awk has $(cat "$dir/pipe.said")"; exit 1; }
done

row() { awk -v title="$1" -v w="$(median "$2" 1)" -v c="$(median "$2" 2)" -v pw="$(median pipe 1)" -v pc="$(median pipe 2)" -v mem="$3" \
  'BEGIN { printf "| %s | %.1f | %.1f | %.2f | %.2f | %s |\n", title, w / 1000, c / 1000, pw / w, pc / c, mem }'; }
echo "$(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), load $(cut -d' ' -f1 /proc/loadavg) at the end, $(go version | cut -d' ' -f3), $lines lines, $(metric csv snapshots) snapshots, median of $rounds"
echo
echo '| job | s | CPU s | times as fast as the pipe | in CPU time | peak MiB |'
echo '|---|---|---|---|---|---|'
row 'CSV, gzip' csv "$(metric csv peak-MiB)"
row "\`zcat \\| awk\` of the same" pipe ''
row 'Parquet' parquet "$(metric parquet peak-MiB)"
