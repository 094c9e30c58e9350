#!/usr/bin/env bash
# Makes archives as snap-to-s3 0.6.1 left them in buckets, with the programs that
# it called and as it called them: vectors for tests, and for trying things out.
set -euo pipefail

usage() {
	cat <<'EOF'
Usage: make-predecessor-archives.sh [OPTIONS] SOURCE OUT

Makes the archives of SOURCE in the folder OUT, as the predecessor made them of a
snapshot. SOURCE is the image of a disk, each of whose filesystems is mounted
read-only and archived (as root), or a folder, which is archived as it is.
Of each archive there are in OUT, N being 1, 2 …:
  N.object    the archive
  N.key       the key under which it stood in the bucket
  N.metadata  its metadata, as JSON: aws s3api put-object takes file://N.metadata
SOURCE is not changed; a filesystem on it that was not unmounted is refused. What
fails leaves nothing behind, in OUT neither.

  --volume ID          of the snapshot (default: vol-0123456789abcdef0)
  --snapshot ID        (default: snap-0123456789abcdef0)
  --start TIME         of the snapshot, as date(1) reads it (default:
                       2017-01-01T00:00:00Z)
  --zone OFFSET        local time of the machine, as +02:00 (default: +00:00)
  --description TEXT   of the snapshot (default: none)
  --size GIB           of the snapshot (default: that of an image, rounded up)
  --naming xvd|nvme    partitions are called 1 (the default) or p1
  --partition NAME     what a folder's partition is called (default: none)
  --only NUMBER        archive this partition alone
  --dd                 archive the image itself
  --compression NAME   lz4 (default) or zstd
  --compression-level N  (default: 1)
  --gpg-recipient NAME encrypt to NAME; may be repeated
  --help               show this
EOF
}

die() {
	echo "make-predecessor-archives.sh: $*" >&2
	exit 1
}

bad() {
	echo "make-predecessor-archives.sh: $* (--help shows what there is)" >&2
	exit 2
}

volume=vol-0123456789abcdef0 snapshot=snap-0123456789abcdef0
start=2017-01-01T00:00:00Z zone=+00:00 description='' size=''
naming=xvd partition='' only='' dd=no compression=lz4 level=1
recipients=() paths=()
while [ $# -gt 0 ]; do
	case $1 in
	--help)
		usage
		exit 0
		;;
	--dd)
		dd=yes
		shift
		continue
		;;
	--*) [ $# -ge 2 ] || bad "$1 needs a value" ;;
	*)
		paths+=("$1")
		shift
		continue
		;;
	esac
	case $1 in
	--volume) volume=$2 ;;
	--snapshot) snapshot=$2 ;;
	--start) start=$2 ;;
	--zone) zone=$2 ;;
	--description) description=$2 ;;
	--size) size=$2 ;;
	--naming) naming=$2 ;;
	--partition) partition=$2 ;;
	--only) only=$2 ;;
	--compression) compression=$2 ;;
	--compression-level) level=$2 ;;
	--gpg-recipient) recipients+=(--recipient "$2") ;;
	*) bad "unknown option $1" ;;
	esac
	shift 2
done
[ ${#paths[@]} -eq 2 ] || bad "SOURCE and OUT are needed"
source=$(realpath -e -- "${paths[0]}")
out=${paths[1]}
[[ $zone =~ ^[+-][0-9]{2}:[0-9]{2}$ ]] || bad "--zone is no offset: $zone"
[[ $naming == xvd || $naming == nvme ]] || bad "--naming is neither xvd nor nvme: $naming"
[[ $compression == lz4 || $compression == zstd ]] || bad "--compression is neither lz4 nor zstd: $compression"
[[ $level =~ ^[0-9]+$ ]] || bad "--compression-level is no number: $level"
[[ ! $description =~ [[:cntrl:]] ]] || bad "--description has control characters, which JSON and headers do not take"
if [ -d "$source" ]; then
	[ "$dd$only" = no ] || bad "--dd and --only are for the image of a disk"
	bytes=$(du --bytes --summarize -- "$source" | cut -f1)
else
	[ -z "$partition" ] || bad "--partition is for a folder"
	bytes=$(stat --dereference --format=%s -- "$source")
fi
[ -n "$size" ] || size=$(((bytes + (1 << 30) - 1) >> 30))

# The time is local: that of Greenwich, shifted, with the offset behind it.
seconds=$(date --date="$start" +%s) || die "--start is no time: $start"
shift_by=$((10#${zone:1:2} * 3600 + 10#${zone:4:2} * 60))
if [ "${zone:0:1}" = - ]; then shift_by=-$shift_by; fi
stamp=$(date --utc --date="@$((seconds + shift_by))" +%Y-%m-%dT%H:%M:%S)$zone

gpg=gpg2
command -v gpg2 >/dev/null || gpg=gpg

loop='' mounted='' count=0
mkdir -p -- "$out"
out=$(realpath -e -- "$out")
work=$(mktemp -d)

unmount() {
	if [ -n "$mounted" ]; then
		umount -- "$mounted"
		mounted=''
	fi
	if [ -n "$loop" ]; then
		losetup --detach "$loop"
		loop=''
	fi
}

cleanup() {
	local code=$?
	trap - EXIT
	set +e
	cd /
	unmount
	rmdir -- "$work/mount" 2>/dev/null
	rm --recursive --force --one-file-system -- "$work"
	if [ "$code" -ne 0 ]; then
		while [ "$count" -gt 0 ]; do
			rm --force -- "$out/$count.object" "$out/$count.key" "$out/$count.metadata"
			count=$((count - 1))
		done
	fi
	exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

compress() {
	case $compression in
	lz4) lz4 -z "-$level" ;;
	zstd) zstd -z "-$level" ;;
	esac
}

encrypt() {
	if [ ${#recipients[@]} -gt 0 ]; then
		"$gpg" --batch --encrypt --compress-level 0 "${recipients[@]}"
	else
		cat
	fi
}

json() {
	local text=${1//\\/\\\\}
	printf '"%s"' "${text//\"/\\\"}"
}

# archive KIND PARTITION SIZE: standard input is what is archived.
archive() {
	local key="$volume/$stamp $snapshot"
	if [ -n "$description" ]; then key+=" - $description"; fi
	if [ -n "$2" ]; then key+=".$2"; fi
	key+=".$1.$compression"
	if [ ${#recipients[@]} -gt 0 ]; then key+=.gpg; fi
	compress | encrypt >"$out/$count.object"
	printf '%s' "$key" >"$out/$count.key"
	cat >"$out/$count.metadata" <<EOF
{
  "snapshot-starttime": $(json "$stamp"),
  "snapshot-snapshotid": $(json "$snapshot"),
  "snapshot-volumesize": "$size",
  "snapshot-volumeid": $(json "$volume"),
  "snapshot-description": $(json "$description"),
  "uncompressed-size": "$3"
}
EOF
	echo "$key"
}

# next counts an archive before anything of it is written, so that a failure
# takes it away.
next() {
	count=$((count + 1))
	[ ! -e "$out/$count.object" ] || {
		count=$((count - 1))
		die "$out/$((count + 1)).object is there already"
	}
}

# tree FOLDER PARTITION
tree() {
	local used
	next
	used=$(cd -- "$1" && du --bytes --summarize . | cut -f1)
	(cd -- "$1" && tar -c .) | archive tar "$2" "$used"
}

# filesystem NUMBER OFFSET LENGTH, in bytes; number 0 is the whole disk.
filesystem() {
	local type options=ro name=''
	type=$(blkid --probe --offset "$2" --size "$3" --output value --match-tag TYPE -- "$source" || true)
	case $type in
	'' | swap | LVM2_member | linux_raid_member)
		echo "partition $1 (${type:-nothing known}) has no files, and is left out" >&2
		return
		;;
	xfs) options=ro,nouuid ;;
	esac
	case $1,$naming in
	0,*) ;;
	*,xvd) name=$1 ;;
	*,nvme) name=p$1 ;;
	esac
	loop=$(losetup --find --show --read-only --offset "$2" --sizelimit "$3" -- "$source")
	mkdir -p -- "$work/mount"
	mount --types "$type" --options "$options" -- "$loop" "$work/mount"
	mounted=$work/mount
	tree "$mounted" "$name"
	unmount
}

disk() {
	local table number first sectors type found=no
	table=$(sfdisk --dump -- "$source" 2>/dev/null | sed -n \
		's/^.*[^0-9]\([0-9][0-9]*\) : start= *\([0-9]*\), size= *\([0-9]*\), type=\([^,]*\).*$/\1 \2 \3 \4/p') || table=''
	if [ -z "$table" ]; then
		filesystem 0 0 "$bytes"
		return
	fi
	while read -r number first sectors type; do
		case $type in
		5 | f | 85) continue ;; # holds others
		esac
		if [ -n "$only" ] && [ "$only" != "$number" ]; then continue; fi
		found=yes
		filesystem "$number" $((first * 512)) $((sectors * 512))
	done <<<"$table"
	[ "$found" = yes ] || die "there is no partition $only on $source"
}

if [ -d "$source" ]; then
	tree "$source" "$partition"
elif [ "$dd" = yes ]; then
	next
	dd bs=256k if="$source" status=none | archive img '' "$bytes"
else
	disk
fi
[ "$count" -gt 0 ] || die "nothing on $source could be archived"
