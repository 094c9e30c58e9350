package layout_test

import (
	"testing"
	"time"

	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/snapshot"
)

// All keys of a snapshot tell its id, whatever its description says.
func TestSnapshotOf(t *testing.T) {
	s := snapshot.Snapshot{
		ID: "snap-0123456789abcdef0", VolumeID: "vol-0123456789abcdef0", Start: time.Unix(1, 0),
		Description: "copied from snap-0fedcba9876543210 - snap-00000001.img", Tags: map[string]string{},
	}
	for _, description := range []string{"", s.Description, "."} {
		s.Description = description
		for _, n := range []layout.Name{
			{Snapshot: s, Kind: layout.Image, Codec: "lz4"},
			{Snapshot: s, Kind: layout.Tar, Codec: "zstd", Partition: layout.Part(3)},
		} {
			for _, key := range []string{n.ArchiveKey(), n.EntriesKey(), n.ArchiveRecordKey(), n.SnapshotRecordKey()} {
				if id, ok := layout.SnapshotOf(key); !ok || id != s.ID {
					t.Errorf("%q: %q, %v", key, id, ok)
				}
			}
		}
	}
	for key, want := range map[string]snapshot.ID{
		"vol-1234abcd/2017-01-01T00:00:00-08:00 snap-1234abcd - desc.p1.tar.lz4": "snap-1234abcd", // the predecessor's
		"vol-1234abcd/2017-01-01T00:00:00+00:00 snap-1234abcd":                   "",
		"vol-1234abcd/2017-01-01T00:00:00+00:00 snap-1234abcde.img.lz4":          "",
		"vol-1234abcd/backup snap-1234abcd of snap-00000001.img":                 "",
		"vol-x/2017 snap-1234abcd.img":                                           "",
		"other/vol-1234abcd/2017 snap-1234abcd.img":                              "",
		"": "",
	} {
		if id, ok := layout.SnapshotOf(key); id != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", key, id, ok, want)
		}
	}
}
