#!/usr/bin/env bash
# The files of a folder as a compressed tar: hashing, xattrs, entries, parts and
# their checksums included, to a store that keeps nothing; against GNU tar piped
# into lz4, zstd or nothing, over the same files on the same machine. Runs
# alternate, so that a machine that is busy is so for all; what is compared are
# medians. Prints Markdown tables; progress goes to stderr.
#
# As root with FUSE also over a filesystem on a device that answers the first
# read of each 512 KiB after 15 ms, and with a million files; else these are left
# out, which is said.
#
# Environment: BENCH_ROUNDS (5), BENCH_MIB of large files (1024), BENCH_DIR for
# them (a temporary folder, removed at the end; a given one is kept and used again).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/bench-common.sh

rounds=${BENCH_ROUNDS:-5}
mib=${BENCH_MIB:-1024}
need tar lz4 zstd go split
dir=${BENCH_DIR:-$(mktemp -d)}
mkdir -p "$dir/slow" "$dir/mount"

# Nothing is left mounted, however it ends. A loop device goes when it likes.
gone() {
  local tries
  for ((tries = 0; tries < 50; tries++)); do
    umount "$1" 2>/dev/null || ! mountpoint -q "$1" && return
    sleep 0.1
  done
  say "still mounted: $1"
}
clean() {
  gone "$dir/mount"
  gone "$dir/slow"
  [[ -n ${BENCH_DIR:-} ]] || rm -rf --one-file-system "$dir"
}
trap clean EXIT

# mixed: the first files of /usr, as many as have the size. A name with a newline
# is left out.
make_mixed() {
  usr_tree "$dir/mixed.new" "$mib"
  mv "$dir/mixed.new" "$dir/mixed"
}

# flat and deep: 100,000 files of 1 KiB of what is in mixed, in one folder and in
# a thousand.
make_small() {
  mkdir "$dir/flat.new" "$dir/deep.new"
  # find is told that nobody reads any more once there is enough
  (find "$dir/mixed" -type f -exec cat {} + 2>/dev/null || true) | head -c $((100000 * 1024)) |
    (cd "$dir/flat.new" && split -b 1024 -a 6 -d - file-)
  (cd "$dir/flat.new" && printf '%s\n' *) >"$dir/names"
  for ((n = 0; n < 1000; n++)); do
    mkdir "$dir/deep.new/$n"
    sed -n "$((n * 100 + 1)),$((n * 100 + 100))p" "$dir/names" | (cd "$dir/flat.new" && xargs cp -t "$dir/deep.new/$n")
  done
  mv "$dir/flat.new" "$dir/flat"
  mv "$dir/deep.new" "$dir/deep"
}

# image FILE SIZE INODES: with an ext4 that is mounted at mount, to be filled.
image() {
  truncate -s "$2" "$dir/$1.new"
  mkfs.ext4 -q -F -N "$3" "$dir/$1.new"
  mount -o loop "$dir/$1.new" "$dir/mount"
}
filled() {
  umount "$dir/mount"
  mv "$dir/$1.new" "$dir/$1"
}

# cold: each third file of mixed, at most a third of it.
make_cold() {
  image cold "$mib"M 100000
  (cd "$dir/mixed" && find . -type f | LC_ALL=C sort | awk 'NR % 3 == 0' >"$dir/list"
    tar -c --verbatim-files-from -T "$dir/list" | tar -x -C "$dir/mount")
  filled cold
}

# million: a hundred folders of ten thousand files without content.
make_million() {
  image million 2G 1100000
  seq -f 'a-file-of-many-%06g' 10000 >"$dir/names"
  for ((n = 0; n < 100; n++)); do
    mkdir "$dir/mount/$n"
    (cd "$dir/mount/$n" && xargs touch <"$dir/names")
  done
  filled million
}

say "making files in $dir"
[[ -d $dir/mixed ]] || make_mixed
[[ -d $dir/flat && -d $dir/deep ]] || make_small
cold=
if [[ $(id -u) != 0 || ! -e /dev/fuse ]] || ! command -v mkfs.ext4 losetup >/dev/null; then
  say "not root, or without FUSE or mkfs.ext4: nothing over a slow device, and not a million files"
else
  cold=yes
  rm -f "$dir"/*.new
  [[ -s $dir/cold ]] || make_cold
  [[ -s $dir/million ]] || make_million
  go test -c -o "$dir/slowdisk.test" ./internal/filesystem/slowdisktest
fi
go test -c -o "$dir/archive.test" ./internal/archive

# ours FOLDER CODEC-LEVEL: the benchmark's line, one pass. bench adds to the
# environment.
bench() { env "$1" "$dir/archive.test" -test.run '^$' -test.bench "^BenchmarkTree\$/^$2\$" -test.benchtime 1x; }
ours() { bench "BENCH_TREE=$dir/$1" "$2"; }
# cat: GNU tar reads no files when it sees that it writes to /dev/null.
tar_cat() { tar -C "$dir/$1" -c . | cat >/dev/null; }
tar_lz4() { tar -C "$dir/$1" -c . | lz4 -q -z -1 -c >/dev/null; }
tar_zstd() { tar -C "$dir/$1" -c . | zstd -q -1 -c >/dev/null; }
ours_cold() { bench "BENCH_DEVICE=$dir/slow/disk" zstd-1; }
tar_cold() { tar -C "$dir/mount" -c . | cat >/dev/null; }

# timed NAME COMMAND...: appends the milliseconds that passed, and those of
# processor time, to a file of that name.
timed() {
  local name=$1 TIMEFORMAT='%3R %3U %3S'
  shift
  { time "$@" >/dev/null 2>"$dir/said"; } 2>"$dir/took" || { cat "$dir/said" "$dir/took" >&2; exit 1; }
  awk '{ printf "%.0f %.0f\n", $1 * 1000, ($2 + $3) * 1000 }' "$dir/took" >>"$dir/times.$name"
}

# slowly COMMAND...: over the image cold as a slow device that nobody has read.
# It is served by a process of its own, from its page cache.
slowly() {
  local server
  sync
  echo 3 >/proc/sys/vm/drop_caches
  SLOWDISK_IMAGE="$dir/cold" SLOWDISK_AT="$dir/slow" SLOWDISK_LATENCY=15ms "$dir/slowdisk.test" &
  server=$!
  until [[ -e $dir/slow/disk ]]; do
    kill -0 $server || exit 1
    sleep 0.1
  done
  "$@"
  gone "$dir/slow"
  wait $server
}
mounted() {
  mount -o ro,loop "$dir/slow/disk" "$dir/mount"
  "$@"
  umount "$dir/mount"
}

rm -f "$dir"/times.*
for folder in mixed flat deep; do tar_cat "$folder"; done # into the page cache
for ((round = 1; round <= rounds; round++)); do
  say "round $round of $rounds"
  timed mixed.lz4 ours mixed lz4-1
  timed mixed.tarlz4 tar_lz4 mixed
  timed mixed.zstd ours mixed zstd-1
  timed mixed.tarzstd tar_zstd mixed
  for folder in deep flat; do
    timed $folder.lz4 ours $folder lz4-1
    timed $folder.tarlz4 tar_lz4 $folder
    timed $folder.tar tar_cat $folder
    timed $folder.zstd ours $folder zstd-1
    timed $folder.tarzstd tar_zstd $folder
  done
done
if [[ -n $cold ]]; then # at the end: it empties the page cache
  for ((round = 1; round <= rounds; round++)); do
    say "slow device, round $round of $rounds"
    slowly timed cold.zstd ours_cold
    slowly mounted timed cold.tar tar_cold
  done
fi

# column NAME COLUMN: median, least and most of it, in seconds.
column() {
  awk -v c="$2" '{ print $c }' "$dir/times.$1" | sort -n | awk '{ a[NR] = $1 / 1000 }
    END { printf "%.2f %.2f %.2f\n", (NR % 2) ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2, a[1], a[NR] }'
}
# row TITLE OURS THEIRS
row() {
  echo "$(column "$2" 1) $(column "$3" 1) $(column "$2" 2) $(column "$3" 2)" |
    awk -v title="$1" '{ printf "| %s | %.2f (%.2f-%.2f) | %.2f (%.2f-%.2f) | %.2f | %.2f | %.2f |\n", title, $1, $2, $3, $4, $5, $6, $4 / $1, $7, $10 }'
}
metric() { awk -v name="$1" '/^Benchmark/ { for (i = 2; i < NF; i++) if ($(i + 1) == name) print $i }'; }
memory() { printf '| %s | %.0f |\n' "$1" "$(bench "$2" "$3" | metric peak-MiB)"; }

echo "$(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), load $(cut -d' ' -f1 /proc/loadavg) at the end, $(go version | cut -d' ' -f3), $(tar --version | head -1), median of $rounds (fastest-slowest)"
echo
echo '| job | ours s | theirs s | times | ours CPU s | theirs CPU s |'
echo '|---|---|---|---|---|---|'
row "$mib MiB of files, lz4 level 1, against \`tar \\| lz4 -1\`" mixed.lz4 mixed.tarlz4
row "$mib MiB of files, zstd level 1, against \`tar \\| zstd -1\`" mixed.zstd mixed.tarzstd
for folder in deep flat; do
  what="100,000 small files in 1,000 folders"
  [[ $folder = deep ]] || what="100,000 small files in one folder"
  row "$what, lz4, against \`tar \\| cat\`" $folder.lz4 $folder.tar
  row "$what, lz4, against \`tar \\| lz4 -1\`" $folder.lz4 $folder.tarlz4
  row "$what, zstd, against \`tar \\| cat\`" $folder.zstd $folder.tar
  row "$what, zstd, against \`tar \\| zstd -1\`" $folder.zstd $folder.tarzstd
done
[[ -z $cold ]] || row "15 ms a read of 512 KiB, zstd, against \`tar \\| cat\`" cold.zstd cold.tar
echo
echo '| peak memory of the whole process | MiB |'
echo '|---|---|'
memory "$mib MiB of files, lz4 level 1" "BENCH_TREE=$dir/mixed" lz4-1
memory "$mib MiB of files, zstd level 1" "BENCH_TREE=$dir/mixed" zstd-1
memory "100,000 files in one folder, zstd level 1" "BENCH_TREE=$dir/flat" zstd-1
[[ -z $cold ]] || memory "1,000,000 files in 100 folders, zstd level 1" "BENCH_DEVICE=$dir/million" zstd-1
