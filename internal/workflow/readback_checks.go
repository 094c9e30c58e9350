package workflow

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/layout"
)

// checkList holds the entries object to the record.
func (r *readback) checkList(list *object, f *feed, damage error) error {
	ref := r.a.record.Entries
	differ := func(kind, want, got string) {
		r.differ(Difference{Key: ref.Key, Between: BetweenRecord, Kind: kind, Want: want, Got: got})
	}
	if damage != nil && !errors.Is(damage, layout.ErrNewer) {
		differ(string(archive.DiffDamaged), "", oneLine(damage))
		return nil
	}
	sum, err := list.rest()
	if err != nil {
		return fmt.Errorf("read %s: %w", ref.Key, err)
	}
	if damage != nil && sum == ref.SHA256 {
		return newer(r.a.record.Entries.Key, damage)
	}
	if damage != nil {
		differ(string(archive.DiffDamaged), "", oneLine(damage))
		return nil
	}
	if sum != ref.SHA256 {
		differ("checksum", "sha256 "+ref.SHA256, "sha256 "+sum)
	}
	h, rec := f.header, r.a.record
	for _, c := range []struct{ kind, want, got string }{
		{"archive", rec.Archive, h.Archive},
		{"run", rec.Run, h.Run},
		{"snapshot", string(rec.Snapshot), string(h.Snapshot)},
		{"kind", string(rec.Kind), string(h.Kind)},
		{"codec", rec.Codec, h.Codec},
		{"frame size", strconv.FormatInt(rec.FrameSize, 10), strconv.FormatInt(h.FrameSize, 10)},
	} {
		if c.want != c.got {
			differ(c.kind, c.want, c.got)
		}
	}
	return nil
}

// checkEnd holds what was read to the last row of the entries and to the record.
func (r *readback) checkEnd(end *layout.EntriesEnd, files layout.Files) {
	rec := r.a.record
	differ := func(between Between, kind, want, got string) {
		if want != got {
			r.differ(Difference{Between: between, Kind: kind, Want: want, Got: got})
		}
	}
	size := func(n int64) string { return fmt.Sprintf("%d bytes", n) }
	differ(BetweenRecord, "plain size", size(rec.PlainSize), size(end.PlainSize))
	if !r.a.encrypted { // else the digest and this size are in the entries alone
		differ(BetweenRecord, "stored size", size(rec.StoredSize), size(end.StoredSize))
		differ(BetweenRecord, "digest", rec.Digest, end.Digest)
	}
	if r.a.kind == layout.Image {
		differ(BetweenRecord, "blocks", fmt.Sprintf("%+v", *rec.Blocks), fmt.Sprintf("%+v", end.Blocks))
		return
	}
	differ(BetweenEntries, "files", fmt.Sprintf("%+v", end.Files), fmt.Sprintf("%+v", files))
	differ(BetweenRecord, "files", fmt.Sprintf("%+v", *rec.Files), fmt.Sprintf("%+v", files))
}

// checkSum holds the bytes of the object to the checksum in the record.
func (r *readback) checkSum(body *object) {
	want, got := r.a.record.CRC64NVME, body.crc()
	if want != "" && got != want {
		r.differ(Difference{Between: BetweenRecord, Kind: "checksum", Want: "CRC64NVME " + want, Got: "CRC64NVME " + got})
	}
}

// checkPlain holds an image of the predecessor's to the size in its metadata.
func (r *readback) checkPlain() {
	want, err := strconv.ParseInt(r.a.info.Metadata[layout.MetaUncompressed], 10, 64)
	if err == nil && r.a.kind == layout.Image && want != r.plain {
		r.differ(Difference{Between: BetweenObject, Kind: "plain size", Want: fmt.Sprintf("%d bytes", want), Got: fmt.Sprintf("%d bytes", r.plain)})
	}
}

// storedList holds entries that cannot be decrypted to the record.
func (r *readback) storedList(ctx context.Context) error {
	list := openStored(ctx, r, r.a.entries)
	defer list.close()
	sum, err := list.rest()
	if err != nil {
		return fmt.Errorf("read %s: %w", list.key, err)
	}
	if ref := r.a.record.Entries; sum != ref.SHA256 {
		r.differ(Difference{Key: ref.Key, Between: BetweenRecord, Kind: "checksum", Want: "sha256 " + ref.SHA256, Got: "sha256 " + sum})
	}
	return nil
}
