package layout

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/snapshot"
)

// sample is a snapshot with every field set.
func sample() snapshot.Snapshot {
	return snapshot.Snapshot{
		ID: "snap-0123456789abcdef0", VolumeID: "vol-0fedcba9876543210",
		Size: 8 << 30, FullSize: 3 << 30,
		Start:       time.Date(2017, 1, 1, 2, 0, 0, 987e6, time.FixedZone("", 2*3600)),
		Description: "web root",
		Tags:        map[string]string{"Name": "web", "snap-to-s3": "migrating"},
		State:       snapshot.StateCompleted,
	}
}

func TestKeys(t *testing.T) {
	type keys struct{ Archive, Entries, Record, Snapshot string }
	const stem = "vol-0fedcba9876543210/2017-01-01T00:00:00+00:00 snap-0123456789abcdef0"
	tests := []struct {
		name string
		edit func(*Name)
		want keys
	}{
		{"image", func(*Name) {}, keys{
			stem + " - web root.img.lz4",
			"manifests/" + stem + " - web root.img.lz4.entries",
			"manifests/" + stem + " - web root.img.lz4.json",
			"manifests/" + stem + ".image.lz4.json",
		}},
		{"no description", func(n *Name) { n.Snapshot.Description = "" }, keys{
			stem + ".img.lz4",
			"manifests/" + stem + ".img.lz4.entries",
			"manifests/" + stem + ".img.lz4.json",
			"manifests/" + stem + ".image.lz4.json",
		}},
		{"encrypted", func(n *Name) { n.Encrypted, n.Codec = true, "zstd" }, keys{
			stem + " - web root.img.zstd.gpg",
			"manifests/" + stem + " - web root.img.zstd.gpg.entries.gpg",
			"manifests/" + stem + " - web root.img.zstd.gpg.json",
			"manifests/" + stem + ".image.zstd.gpg.json",
		}},
		{"files of a partition", func(n *Name) { n.Kind, n.Partition = Tar, 3 }, keys{
			stem + " - web root.3.tar.lz4",
			"manifests/" + stem + " - web root.3.tar.lz4.entries",
			"manifests/" + stem + " - web root.3.tar.lz4.json",
			"manifests/" + stem + ".files.lz4.json",
		}},
		{"sectors before the first partition", func(n *Name) { n.Partition = Head }, keys{
			stem + " - web root.0.img.lz4",
			"manifests/" + stem + " - web root.0.img.lz4.entries",
			"manifests/" + stem + " - web root.0.img.lz4.json",
			"manifests/" + stem + ".files.lz4.json",
		}},
		{"raw partition", func(n *Name) { n.Partition, n.Encrypted = 14, true }, keys{
			stem + " - web root.14.img.lz4.gpg",
			"manifests/" + stem + " - web root.14.img.lz4.gpg.entries.gpg",
			"manifests/" + stem + " - web root.14.img.lz4.gpg.json",
			"manifests/" + stem + ".files.lz4.gpg.json",
		}},
		{"separators, control, not UTF-8", func(n *Name) { n.Snapshot.Description = "a/b\\c\td\u0085e\xff\xfeé" }, keys{
			stem + " - a_b_c_d_e__é.img.lz4",
			"manifests/" + stem + " - a_b_c_d_e__é.img.lz4.entries",
			"manifests/" + stem + " - a_b_c_d_e__é.img.lz4.json",
			"manifests/" + stem + ".image.lz4.json",
		}},
		{"made-up volume", func(n *Name) { n.Snapshot.VolumeID = "vol-ffffffff" }, keys{
			"vol-ffffffff" + stem[21:] + " - web root.img.lz4",
			"manifests/vol-ffffffff" + stem[21:] + " - web root.img.lz4.entries",
			"manifests/vol-ffffffff" + stem[21:] + " - web root.img.lz4.json",
			"manifests/vol-ffffffff" + stem[21:] + ".image.lz4.json",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := Name{Snapshot: sample(), Kind: Image, Codec: "lz4"}
			tt.edit(&n)
			got := keys{n.ArchiveKey(), n.EntriesKey(), n.ArchiveRecordKey(), n.SnapshotRecordKey()}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("keys of %+v (-want +got):\n%s", n, diff)
			}
		})
	}
}

// All objects of a snapshot have the same description, cut between runes.
func TestLongDescription(t *testing.T) {
	s := sample()
	s.Description = strings.Repeat("😀", 255) // 1,020 bytes: the longest EC2 allows
	plain := Name{Snapshot: s, Kind: Image, Codec: "lz4"}.ArchiveKey()
	coded := Name{Snapshot: s, Kind: Tar, Codec: "zstd", Encrypted: true, Partition: 128}.ArchiveKey()
	stem, ok := strings.CutSuffix(plain, ".img.lz4")
	if !ok || !strings.HasPrefix(coded, stem+".128.") {
		t.Errorf("cut at different places:\n%s\n%s", plain, coded)
	}
	if kept := strings.Count(stem, "😀"); kept < 220 || !utf8.ValidString(stem) {
		t.Errorf("%d runes of the description are left in %q, want 220 or more", kept, stem)
	}
}

// An archive record never has the key of a snapshot record.
func TestRecordKeysDiffer(t *testing.T) {
	for _, description := range []string{"", "x", ".image", "a.files"} {
		for _, n := range []Name{{Kind: Image}, {Kind: Tar}, {Kind: Image, Partition: Head}, {Kind: Tar, Partition: 5}} {
			n.Snapshot, n.Codec = sample(), "zstd"
			n.Snapshot.Description = description
			if n.ArchiveRecordKey() == n.SnapshotRecordKey() {
				t.Errorf("%s, %q: both records are %s", n.Kind, description, n.ArchiveRecordKey())
			}
		}
	}
}

func FuzzKeys(f *testing.F) {
	f.Add("web root", 0, true)
	f.Add(strings.Repeat("é", 600), 128, false)
	f.Add("a/b\\c\x00\xff\u2028\ufffe", -1, true)
	f.Fuzz(func(t *testing.T, description string, partition int, encrypted bool) {
		s := sample()
		s.Description = description
		for _, kind := range []Kind{Image, Tar} {
			n := Name{Snapshot: s, Kind: kind, Codec: "zstd", Encrypted: encrypted, Partition: Part(partition)}
			for _, key := range []string{n.ArchiveKey(), n.EntriesKey(), n.ArchiveRecordKey(), n.SnapshotRecordKey()} {
				switch {
				case len(key) > 1024:
					t.Errorf("%d bytes: %q", len(key), key)
				case !utf8.ValidString(key):
					t.Errorf("not UTF-8: %q", key)
				case strings.ContainsFunc(key, unicode.IsControl):
					t.Errorf("control characters: %q", key)
				case strings.Contains(key, `\`) || strings.Count(strings.TrimPrefix(key, Manifests), "/") != 1:
					t.Errorf("separators: %q", key)
				}
			}
		}
	})
}
