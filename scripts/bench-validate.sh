#!/usr/bin/env bash
# migrate --validate of a disk with an ext4 of mixed files, tar and lz4, against the
# sandbox's EC2 and S3 on loopback: CPU seconds, wall time and peak memory of the
# program alone, the sandbox being another process. Prints a Markdown table; progress
# goes to stderr. Needs root: volumes are mounted.
#
# Environment: BENCH_ROUNDS (3), BENCH_MIB of files (1024).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/bench-common.sh

rounds=${BENCH_ROUNDS:-3}
mib=${BENCH_MIB:-1024}
[ "$(id -u)" -eq 0 ] || { say "only root may mount"; exit 1; }
need mkfs.ext4 lz4 go awk
dir=$(mktemp -d)
trap 'rm -rf --one-file-system "$dir"' EXIT

say "a disk with $mib MiB of the files of /usr"
usr_tree "$dir/files" "$mib"
truncate -s $((mib * 3 / 2))M "$dir/disk.img"
mkfs.ext4 -q -F -d "$dir/files" "$dir/disk.img"
rm -rf "$dir/files"
go build -o "$dir/snap-to-s3" ./cmd/snap-to-s3

# measure NAME ARGS...: wall, CPU and peak memory of one run, a line in $dir/figures.
measure() {
  local name=$1
  shift
  cat >"$dir/run" <<'RUN'
import os, resource, subprocess, sys, time
start = time.time()
code = subprocess.call(sys.argv[2:], stdout=subprocess.DEVNULL)
wall = time.time() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("%s %.2f %.2f %.2f %d" % (sys.argv[1], wall, used.ru_utime, used.ru_stime, used.ru_maxrss // 1024))
sys.exit(code)
RUN
  # The snapshot of --image has no tag: it is named by its id.
  PATH=$dir:$PATH "$dir/snap-to-s3" sandbox --image "$dir/disk.img" -- bash -c '
    id=$(aws --endpoint-url "$AWS_ENDPOINT_URL_EC2" --region us-east-1 ec2 describe-snapshots --owner-ids self --query "Snapshots[?VolumeSize>\`0\`].[SnapshotId,VolumeSize]" --output text | sort -k2 -n | tail -1 | cut -f1)
    python3 "$0" "$@" --snapshots "$id" --bucket demo' "$dir/run" "$name" "$@" 2>"$dir/log" >>"$dir/figures" ||
    { cat "$dir/log" >&2; exit 1; }
}

for ((round = 1; round <= rounds; round++)); do
  say "round $round of $rounds"
  measure migrate snap-to-s3 --migrate
  measure migrate+validate snap-to-s3 --migrate --validate
done
echo "| run | wall s | CPU s (user + system) | peak MiB |"
echo "| --- | --- | --- | --- |"
for name in migrate migrate+validate; do
  awk -v name="$name" '$1 == name { print $2, $3 + $4, $5 }' "$dir/figures" | sort -n -k2 |
    awk -v name="$name" '{ wall[NR] = $1; cpu[NR] = $2; if ($3 > peak) peak = $3 } END { m = int((NR + 1) / 2); printf "| %s | %.1f | %.1f | %d |\n", name, wall[m], cpu[m], peak }'
done
