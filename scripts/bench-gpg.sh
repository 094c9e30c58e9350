#!/usr/bin/env bash
# A whole migration to recipients, migrate --dd --gpg-recipient into the sandbox's
# S3, against gpg alone in a pipe, over the same data on the same machine: noise, of
# which gpg has as much to encrypt on either side, and files of /usr, against zstd
# piped into gpg. Runs alternate, so that a machine that is busy is so for all; what
# is compared are medians. Of a migration the time counts in which it copies, not
# that in which EC2 makes a volume; the sandbox's S3 server runs beside it on the
# same cores. The same migration without recipients tells what encrypting adds. Prints a Markdown table; progress goes to stderr.
#
# Environment: BENCH_ROUNDS (5), BENCH_MIB of data (1024), BENCH_DIR for it (a
# temporary folder, removed at the end; a given one is kept and used again).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/bench-common.sh

rounds=${BENCH_ROUNDS:-5}
mib=${BENCH_MIB:-1024}
need gpg gpgconf zstd dd go
# The sockets of gpg's agent are below it: a short path.
GNUPGHOME=$(mktemp -d /tmp/bXXXXXX)
export GNUPGHOME
temporary=()
if [[ -n ${BENCH_DIR:-} ]]; then
  dir=$BENCH_DIR
  mkdir -p "$dir"
else
  dir=$(mktemp -d)
  temporary=("$dir")
fi
cleanup() { gpgconf --kill all; rm -rf "$GNUPGHOME" "${temporary[@]}"; }
trap cleanup EXIT

# files: those of /usr, one after the other, as often as it takes.
say "making $mib MiB of noise and of files in $dir"
[[ -s $dir/noise ]] || head -c "$((mib << 20))" /dev/urandom >"$dir/noise"
[[ -s $dir/files ]] || usr_bytes "$dir/files" "$mib"
go build -o "$dir/snap-to-s3" ./cmd/snap-to-s3
gpg --batch --quiet --passphrase '' --quick-generate-key bench future-default default never

# took NAME COMMAND...: appends the milliseconds that passed, and those of processor
# time, to a file of that name. A migration says itself how long it copied.
took() {
  local name=$1 TIMEFORMAT='%3R %3U %3S' real user sys said
  shift
  { time "$@" >"$dir/out" 2>"$dir/said"; } 2>"$dir/time" || { cat "$dir/said" "$dir/time" >&2; exit 1; }
  read -r real user sys <"$dir/time"
  said=$(sed -n 's/.*"msg":"read and compressed".*"elapsed_seconds":\([0-9.]*\).*/\1/p' "$dir/said")
  awk -v real="${said:-$real}" -v user="$user" -v sys="$sys" 'BEGIN { printf "%.0f %.0f\n", real * 1000, (user + sys) * 1000 }' >>"$dir/times.$name"
}
ours() { "$dir/snap-to-s3" migrate --dd --bucket demo --overwrite --gpg-recipient bench --log-format json "$1"; }
plain() { "$dir/snap-to-s3" migrate --dd --bucket demo --overwrite --log-format json "$1"; }
alone() { dd if="$dir/noise" bs=1M status=none | gpg --batch --compress-level 0 -r bench --encrypt >/dev/null; }
piped() { dd if="$dir/files" bs=1M status=none | zstd -q -1 -c | gpg --batch --compress-level 0 -r bench --encrypt >/dev/null; }

# id NAME: of the snapshot that the sandbox has made from the image of that name.
id() { "$dir/snap-to-s3" migrate --dd --all --dry-run --bucket demo --output json | sed -n 's/.*"snapshot":"\(snap-[0-9a-f]*\)".* - image '"$1"'\.img\.zstd".*/\1/p'; }
measure() {
  local noise files
  noise=$(id noise)
  files=$(id files)
  [[ -n $noise && -n $files ]] || { say "no snapshot of noise or of files in the sandbox"; exit 1; }
  rm -f "$dir"/times.*
  cat "$dir/noise" "$dir/files" >/dev/null # into the page cache
  for ((round = 1; round <= rounds; round++)); do
    say "round $round of $rounds"
    took noise.ours ours "$noise"
    took noise.gpg alone
    took noise.plain plain "$noise"
    took files.ours ours "$files"
    took files.gpg piped
    took files.plain plain "$files"
  done
}
export -f say id ours plain alone piped took measure
export dir rounds
"$dir/snap-to-s3" sandbox --image "$dir/noise" --image "$dir/files" -- bash -euo pipefail -c measure >&2

# median NAME COLUMN
median() { awk -v c="$2" '{ print $c }' "$dir/times.$1" | sort -n | awk '{ a[NR] = $1 } END { print (NR % 2) ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }
# ratio NAME: the median of theirs by ours, round by round.
ratio() { paste -d' ' "$dir/times.$1.gpg" "$dir/times.$1.ours" | awk '{ print $1 / $3 }' | sort -n | awk '{ a[NR] = $1 } END { print (NR % 2) ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }
row() { awk -v title="$1" -v mib="$mib" -v ow="$(median "$2.ours" 1)" -v gw="$(median "$2.gpg" 1)" -v pw="$(median "$2.plain" 1)" -v r="$(ratio "$2")" -v oc="$(median "$2.ours" 2)" -v gc="$(median "$2.gpg" 2)" \
  'BEGIN { mb = mib * 1048.576; printf "| %s | %.0f | %.0f | %.2f | %.1f | %.1f | %.0f |\n", title, mb / ow, mb / gw, r, oc / 1000, gc / 1000, mb / pw }'; }
echo "$(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), load $(cut -d' ' -f1 /proc/loadavg) at the end, $(go version | cut -d' ' -f3), $(gpg --version | head -1), $mib MiB, median of $rounds"
echo
echo '| job | ours MB/s | pipe MB/s | times | ours CPU s | pipe CPU s | ours without recipients MB/s |'
echo '|---|---|---|---|---|---|---|'
row "noise, against \`dd \\| gpg --encrypt --compress-level 0\`" noise
row "files of /usr, against \`dd \\| zstd -1 \\| gpg --encrypt --compress-level 0\`" files
