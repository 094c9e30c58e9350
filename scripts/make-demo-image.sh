#!/usr/bin/env bash
# Makes internal/cli/demo.img.zst: the disk that `snap-to-s3 demo` migrates. A
# 1 GiB disk with a GUID partition table and one ext4 partition with a few
# files. Needs sfdisk, mkfs.ext4 and zstd; no root.
set -euo pipefail
out=$(cd "$(dirname "$0")/.." && pwd)/internal/cli/demo.img.zst
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export SOURCE_DATE_EPOCH=1483228800 # 2017-01-01
mkdir -p "$tmp/tree/etc" "$tmp/tree/srv/notes"
echo 'demo.example.com' >"$tmp/tree/etc/hostname"
for month in 01 02 03 04 05 06; do
	for day in $(seq -w 1 28); do
		echo "2016-$month-$day the backup of the night went well"
	done
done >"$tmp/tree/srv/notes/2016.log"
# Bytes that no compressor shrinks, always the same.
openssl enc -aes-128-ctr -nosalt -K 00112233445566778899aabbccddeeff -iv 0 -in /dev/zero 2>/dev/null |
	head -c 262144 >"$tmp/tree/srv/photo.raw" || true
find "$tmp/tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
truncate -s 1G "$tmp/disk"
sfdisk -q "$tmp/disk" <<'EOF'
label: gpt
label-id: 6B1D3C5E-0A2F-4E57-9C11-5D2E8F6A7B01
start=2048, type=linux, uuid=6B1D3C5E-0A2F-4E57-9C11-5D2E8F6A7B02, name="data"
EOF
mkfs.ext4 -q -F -L data -U 6b1d3c5e-0a2f-4e57-9c11-5d2e8f6a7b03 \
	-E offset=1048576,hash_seed=6b1d3c5e-0a2f-4e57-9c11-5d2e8f6a7b04,root_owner=0:0 \
	-d "$tmp/tree" "$tmp/disk" 1046511k
zstd -q -19 -T1 -f "$tmp/disk" -o "$out"
ls -l "$out"
