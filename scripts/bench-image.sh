#!/usr/bin/env bash
# The image pipeline, hashing and entries included and to writers that discard,
# against dd piped into lz4 and zstd, over the same data on the same machine.
# Runs alternate, so that a machine that is busy is so for all; what is compared
# are medians. Prints Markdown tables; progress goes to stderr.
#
# Environment: BENCH_ROUNDS (5), BENCH_MIB of data (1024), BENCH_DIR for it (a
# temporary folder, removed at the end; a given one is kept and used again).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/bench-common.sh

rounds=${BENCH_ROUNDS:-5}
mib=${BENCH_MIB:-1024}
need lz4 zstd dd go
if [[ -n ${BENCH_DIR:-} ]]; then
  dir=$BENCH_DIR
  mkdir -p "$dir"
else
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
fi

# mixed: the files of /usr, one after the other, as often as it takes.
say "making $mib MiB of mixed data and of zeros in $dir"
[[ -s $dir/mixed ]] || usr_bytes "$dir/mixed" "$mib"
[[ -s $dir/zeros ]] || dd if=/dev/zero of="$dir/zeros" bs=1M count="$mib" status=none
head -c "$((128 << 20))" "$dir/mixed" >"$dir/part"
rm -f "$dir/sparse" && truncate -s 2T "$dir/sparse"
go test -c -o "$dir/archive.test" ./internal/archive

# ours FILE CODEC-LEVEL: the benchmark's line, one pass.
ours() { BENCH_IMAGE="$dir/$1" "$dir/archive.test" -test.run '^$' -test.bench "^BenchmarkImage\$/^$2\$" -test.benchtime 1x; }
dd_lz4() { dd if="$dir/$1" bs=256k status=none | lz4 -z -1 -c >/dev/null; }
dd_zstd() { dd if="$dir/$1" bs=256k status=none | zstd -q -1 -c >/dev/null; }
dd_zstd_t2() { dd if="$dir/$1" bs=256k status=none | zstd -q -1 -T2 -c >/dev/null; }

# timed NAME COMMAND...: appends the milliseconds that passed, and those of
# processor time, to a file of that name.
timed() {
  local name=$1 TIMEFORMAT='%3R %3U %3S'
  shift
  { time "$@" >/dev/null 2>"$dir/said"; } 2>"$dir/took" || { cat "$dir/said" "$dir/took" >&2; exit 1; }
  awk '{ printf "%.0f %.0f\n", $1 * 1000, ($2 + $3) * 1000 }' "$dir/took" >>"$dir/times.$name"
}
# median NAME COLUMN
median() { awk -v c="$2" '{ print $c }' "$dir/times.$1" | sort -n | awk '{ a[NR] = $1 } END { print (NR % 2) ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }
range() { sort -n "$dir/times.$1" | awk -v mib="$mib" 'NR == 1 { low = $1 } { high = $1 } END { printf "%.0f-%.0f", mib * 1048.576 / high, mib * 1048.576 / low }'; }

rm -f "$dir"/times.*
cat "$dir/mixed" "$dir/zeros" >/dev/null # into the page cache
for ((round = 1; round <= rounds; round++)); do
  say "round $round of $rounds"
  timed lz4.ours ours mixed lz4-1
  timed lz4.dd dd_lz4 mixed
  timed zstd.ours ours mixed zstd-1
  timed zstd.dd dd_zstd mixed
  timed zstd.dd2 dd_zstd_t2 mixed
  timed zerolz4.ours ours zeros lz4-1
  timed zerolz4.dd dd_lz4 zeros
  timed zerozstd.ours ours zeros zstd-1
  timed zerozstd.dd dd_zstd zeros
done

# row TITLE OURS THEIRS...: against the fastest of them.
row() {
  local title=$1 mine=$2 best name
  shift 2
  best=$1
  for name in "$@"; do
    if awk -v a="$(median "$name" 1)" -v b="$(median "$best" 1)" 'BEGIN { exit !(a < b) }'; then best=$name; fi
  done
  awk -v title="$title" -v mib="$mib" -v a="$(median "$mine" 1)" -v b="$(median "$best" 1)" \
    -v ra="$(range "$mine")" -v rb="$(range "$best")" -v ca="$(median "$mine" 2)" -v cb="$(median "$best" 2)" \
    'BEGIN { printf "| %s | %.0f (%s) | %.0f (%s) | %.2f | %.2f | %.2f |\n", title, mib * 1048.576 / a, ra, mib * 1048.576 / b, rb, b / a, ca / 1000, cb / 1000 }'
}

# metric NAME: of the benchmark's line on stdin.
metric() { awk -v name="$1" '/^Benchmark/ { for (i = 2; i < NF; i++) if ($(i + 1) == name) print $i }'; }
memory() { printf '| %s | %.0f |\n' "$1" "$(ours "$2" "$3" | metric peak-MiB)"; }

echo "$(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), load $(cut -d' ' -f1 /proc/loadavg) at the end, $(go version | cut -d' ' -f3), $mib MiB, median of $rounds (slowest-fastest)"
echo
echo '| job | ours MB/s | pipe MB/s | times | ours CPU s | pipe CPU s |'
echo '|---|---|---|---|---|---|'
row 'lz4 level 1, against `dd \| lz4 -1`' lz4.ours lz4.dd
row 'zstd level 1, against the better of `dd \| zstd -1` and `-1 -T2`' zstd.ours zstd.dd zstd.dd2
row 'lz4, zeros that have to be read' zerolz4.ours zerolz4.dd
row 'zstd, zeros that have to be read' zerozstd.ours zerozstd.dd
latency=$("$dir/archive.test" -test.run '^$' -test.bench '^BenchmarkLatency$' -test.benchtime 1x | metric times)
printf '| 15 ms a read of 512 KiB, against one read at a time | | | %.1f | | |\n' "$latency"
echo
echo '| peak memory of the whole process | MiB |'
echo '|---|---|'
memory "$mib MiB, lz4 level 1" mixed lz4-1
memory "$mib MiB, zstd level 1" mixed zstd-1
memory 'sparse 2 TiB, lz4 level 1' sparse lz4-1
memory 'sparse 2 TiB, zstd level 1' sparse zstd-1
for level in lz4-3 lz4-9 zstd-3 zstd-9 zstd-19; do memory "128 MiB, ${level/-/ level }" part $level; done
