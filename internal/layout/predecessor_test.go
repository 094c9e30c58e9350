package layout_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/snapshot"
)

// old is a snapshot as the predecessor may have migrated it.
func old(description string) snapshot.Snapshot {
	return snapshot.Snapshot{
		ID: "snap-0123456789abcdef0", VolumeID: "vol-0fedcba9876543210", Description: description,
		Start: time.Date(2017, 1, 1, 0, 0, 0, 987e6, time.UTC),
	}
}

// oldKey is the key of its first partition's tar, which f changes.
func oldKey(s snapshot.Snapshot, minutes int, f func(*layout.PredecessorKey)) layout.PredecessorKey {
	k := layout.PredecessorKey{
		Volume: s.VolumeID, Snapshot: s.ID, Description: s.Description, Start: s.Start.In(time.FixedZone("", minutes*60)),
		Partition: "1", Kind: layout.Tar, Codec: "lz4",
	}
	if f != nil {
		f(&k)
	}
	return k
}

func TestPredecessorKeys(t *testing.T) {
	const volume, id = "vol-0fedcba9876543210/", " snap-0123456789abcdef0"
	whole := func(k *layout.PredecessorKey) { k.Partition = "" }
	image := func(k *layout.PredecessorKey) { k.Partition, k.Kind = "", layout.Image }
	for _, c := range []struct {
		description string
		minutes     int
		edit        func(*layout.PredecessorKey)
		want        string
		part        layout.Part
	}{
		{"", 0, nil, "2017-01-01T00:00:00+00:00" + id + ".1.tar.lz4", 1},
		{"", 120, nil, "2017-01-01T02:00:00+02:00" + id + ".1.tar.lz4", 1},
		{"", -420, nil, "2016-12-31T17:00:00-07:00" + id + ".1.tar.lz4", 1},
		{"", 345, func(k *layout.PredecessorKey) { k.Partition = "p15" }, "2017-01-01T05:45:00+05:45" + id + ".p15.tar.lz4", 15},
		{"", 0, whole, "2017-01-01T00:00:00+00:00" + id + ".tar.lz4", layout.Whole},
		{"", -210, image, "2016-12-31T20:30:00-03:30" + id + ".img.lz4", layout.Whole},
		{"web", 0, nil, "2017-01-01T00:00:00+00:00" + id + " - web.1.tar.lz4", 1},
		{
			"web", 0, func(k *layout.PredecessorKey) { k.Codec, k.Encrypted = "zstd", true },
			"2017-01-01T00:00:00+00:00" + id + " - web.1.tar.zstd.gpg", 1,
		},
		{"a.b.c", 0, nil, "2017-01-01T00:00:00+00:00" + id + " - a.b.c.1.tar.lz4", 1},
		{"/srv/a\\b", 0, nil, "2017-01-01T00:00:00+00:00" + id + " - /srv/a\\b.1.tar.lz4", 1},
		{"of - vol - snap-00000001", 0, whole, "2017-01-01T00:00:00+00:00" + id + " - of - vol - snap-00000001.tar.lz4", layout.Whole},
		{" - ", 0, whole, "2017-01-01T00:00:00+00:00" + id + " -  - .tar.lz4", layout.Whole},
		{"- ", 0, whole, "2017-01-01T00:00:00+00:00" + id + " - - .tar.lz4", layout.Whole},
		{"v1.1", 0, nil, "2017-01-01T00:00:00+00:00" + id + " - v1.1.1.tar.lz4", 1},
		{"v1.1", 0, whole, "2017-01-01T00:00:00+00:00" + id + " - v1.1.tar.lz4", layout.Whole},
		{"v1.1", 0, image, "2017-01-01T00:00:00+00:00" + id + " - v1.1.img.lz4", layout.Whole},
		{"v1.p1", 0, whole, "2017-01-01T00:00:00+00:00" + id + " - v1.p1.tar.lz4", layout.Whole},
		{".1", 0, whole, "2017-01-01T00:00:00+00:00" + id + " - .1.tar.lz4", layout.Whole},
		{".1", 0, nil, "2017-01-01T00:00:00+00:00" + id + " - .1.1.tar.lz4", 1},
		{"1", 0, whole, "2017-01-01T00:00:00+00:00" + id + " - 1.tar.lz4", layout.Whole},
		{"x.tar.lz4", 0, nil, "2017-01-01T00:00:00+00:00" + id + " - x.tar.lz4.1.tar.lz4", 1},
		{"x.img.zstd.gpg", 0, image, "2017-01-01T00:00:00+00:00" + id + " - x.img.zstd.gpg.img.lz4", layout.Whole},
		{"Müller's 箱 🗄", 0, nil, "2017-01-01T00:00:00+00:00" + id + " - Müller's 箱 🗄.1.tar.lz4", 1},
		{"two\nlines\r\n", 0, nil, "2017-01-01T00:00:00+00:00" + id + " - two\nlines\r\n.1.tar.lz4", 1},
		{"not \xff UTF-8", 0, nil, "2017-01-01T00:00:00+00:00" + id + " - not \xff UTF-8.1.tar.lz4", 1},
	} {
		s := old(c.description)
		k := oldKey(s, c.minutes, c.edit)
		if got := k.String(); got != volume+c.want {
			t.Errorf("%+v:\ngot  %q\nwant %q", k, got, volume+c.want)
			continue
		}
		got, ok := layout.ParsePredecessorKey(volume+c.want, s)
		if !ok {
			t.Errorf("%q is not read", c.want)
			continue
		}
		// To the second, and in the zone of the key.
		if want := k.Start.Truncate(time.Second).Format(time.RFC3339Nano); got.Start.Format(time.RFC3339Nano) != want {
			t.Errorf("%q: start %v, want %v", c.want, got.Start, want)
		}
		got.Start = k.Start
		if diff := cmp.Diff(k, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.want, diff)
		}
		if got.Part() != c.part {
			t.Errorf("%q: part %d, want %d", c.want, got.Part(), c.part)
		}
	}
}

// A key of another snapshot, or of something else, is not taken for one of it.
func TestWhatIsNoPredecessorKey(t *testing.T) {
	const stem = "vol-0fedcba9876543210/2017-01-01T00:00:00+00:00 snap-0123456789abcdef0"
	if _, ok := layout.ParsePredecessorKey(stem+".tar.lz4", old("")); !ok {
		t.Fatal("the key itself is not read")
	}
	for _, key := range []string{
		"",
		"vol-0fedcba9876543211" + stem[21:] + ".tar.lz4",
		"manifests/" + stem + ".tar.lz4",
		stem,
		stem + ".tar",
		stem + ".tar.lz4.json",
		stem + ".tar.lz4.entries",
		stem + ".tar.gz",
		stem + ".TAR.lz4",
		stem + "1.tar.lz4",
		stem + " -web.tar.lz4",
		stem + ".x1.tar.lz4",
		stem + ".0.img.lz4",       // what lies before the first partition: ours
		stem + ".1.img.lz4",       // a raw partition: ours
		stem + " - web.1.img.lz4", // the same
		stem + ".01.tar.lz4",      // no device ends so
		strings.Replace(stem, "00+00", "01+00", 1) + ".tar.lz4", // another second
		strings.Replace(stem, "+00:00", "Z", 1) + ".tar.lz4",
		strings.Replace(stem, "+00:00", "+02:00", 1) + ".tar.lz4", // another hour
		strings.Replace(stem, "2017", "2018", 1) + ".tar.lz4",
	} {
		if k, ok := layout.ParsePredecessorKey(key, old("")); ok {
			t.Errorf("%q is read as %+v", key, k)
		}
	}
	// Without a description a ".1" is a partition, whatever the description could be.
	k, ok := layout.ParsePredecessorKey(stem+".1.tar.lz4", old(".1"))
	if !ok || k.Partition != "1" || k.Description != "" {
		t.Errorf("%+v, %v", k, ok)
	}
}

func TestPredecessorKeysThatAreTried(t *testing.T) {
	s := old("web")
	keys := layout.PredecessorKeys(s, layout.PredecessorKey{Partition: "p1", Kind: layout.Tar, Codec: "zstd", Encrypted: true})
	seen := map[string]bool{}
	for _, key := range keys {
		k, ok := layout.ParsePredecessorKey(key, s)
		if !ok || k.Partition != "p1" || !k.Encrypted || seen[key] {
			t.Errorf("%q: %+v, %v, twice %v", key, k, ok, seen[key])
		}
		seen[key] = true
	}
	const first = "vol-0fedcba9876543210/2017-01-01T00:00:00+00:00 snap-0123456789abcdef0 - web.p1.tar.zstd.gpg"
	if len(keys) < 38 || len(keys) > 45 || keys[0] != first {
		t.Errorf("%d keys, the first %q", len(keys), keys[0])
	}
	// A key has 1,024 bytes at most: S3 would refuse a longer one.
	if keys := layout.PredecessorKeys(old(strings.Repeat("🗄", 250)), layout.PredecessorKey{Kind: layout.Tar, Codec: "lz4"}); len(keys) != 0 {
		t.Errorf("%d keys of %d bytes", len(keys), len(keys[0]))
	}
}

// EBS has snapshots since August 2008. The predecessor wrote their start in the
// local time of its machine, with the offset that held there at that start.
func TestEveryZoneIsTried(t *testing.T) {
	const database = "/usr/share/zoneinfo"
	if _, err := os.Stat(database + "/UTC"); err != nil {
		t.Skipf("needs the time zone database: %v", err)
	}
	tried := map[string]bool{}
	s := old("")
	for _, key := range layout.PredecessorKeys(s, layout.PredecessorKey{Kind: layout.Tar, Codec: "lz4"}) {
		k, ok := layout.ParsePredecessorKey(key, s)
		if !ok {
			t.Fatalf("%q is not read", key)
		}
		tried[k.Start.Format("-07:00:00")] = true
	}
	needed := map[string]string{}
	if err := fs.WalkDir(os.DirFS(database), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		// "right" counts leap seconds, and is no local time of a machine whose clock
		// AWS sets; what is no zone at all does not load.
		info, err := os.Stat(database + "/" + path)
		if err != nil || info.IsDir() || strings.HasPrefix(path, "right/") {
			return err
		}
		data, err := os.ReadFile(database + "/" + path)
		if err != nil {
			return err
		}
		loc, err := time.LoadLocationFromTZData(path, data)
		if err != nil {
			return nil
		}
		for at := time.Date(2008, 8, 1, 0, 0, 0, 0, time.UTC).In(loc); at.Year() < 2040; {
			needed[at.Format("-07:00:00")] = path
			_, end := at.ZoneBounds()
			if end.IsZero() {
				break
			}
			at = end
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(needed) < 30 {
		t.Fatalf("the database has only the offsets %v", needed)
	}
	for offset, zone := range needed {
		if !tried[offset] {
			t.Errorf("%s, the offset of %s, is not tried", offset, zone)
		}
		delete(tried, offset)
	}
	if len(tried) > 0 {
		t.Errorf("tried, and of no zone: %v", tried)
	}
}

func TestCodingOf(t *testing.T) {
	for key, want := range map[string]struct {
		kind      layout.Kind
		codec     string
		encrypted bool
	}{
		"vol-1/x snap-1.tar.lz4":                {layout.Tar, "lz4", false},
		"vol-1/x snap-1.img.zstd.gpg":           {layout.Image, "zstd", true},
		"a copy under any name.1.img.lz4":       {layout.Image, "lz4", false},
		"vol-1/x snap-1.img.lz4.tar.zstd":       {layout.Tar, "zstd", false},
		"manifests/vol-1/x snap-1.img.lz4":      {},
		"manifests/vol-1/x snap-1.img.lz4.json": {},
		"vol-1/x snap-1.tar.gz":                 {},
		"":                                      {},
	} {
		kind, codec, encrypted, ok := layout.CodingOf(key)
		if kind != want.kind || codec != want.codec || encrypted != want.encrypted || ok != (want.codec != "") {
			t.Errorf("%q: %q, %q, %v, %v", key, kind, codec, encrypted, ok)
		}
	}
}

func FuzzPredecessorKey(f *testing.F) {
	f.Add("web", "p1", "zstd", true, false, 120)
	f.Add("v1.1", "", "lz4", false, true, -420)
	f.Add(" - .1.tar.lz4", "15", "lz4", true, false, 0)
	f.Fuzz(func(t *testing.T, description, partition, codec string, encrypted, image bool, minutes int) {
		s := old(description)
		if k, ok := layout.ParsePredecessorKey(description, s); ok && k.String() != description {
			t.Errorf("%q is read as %+v, which is %q", description, k, k.String())
		}
		k := oldKey(s, minutes%(15*60), func(k *layout.PredecessorKey) { k.Partition, k.Codec, k.Encrypted = "", "lz4", encrypted })
		if codec > "m" {
			k.Codec = "zstd"
		}
		switch {
		case image:
			k.Kind = layout.Image
		case partition != "":
			k.Partition = [...]string{"1", "p1", "128", "p15"}[len(partition)%4]
		}
		got, ok := layout.ParsePredecessorKey(k.String(), s)
		if !ok || got.String() != k.String() {
			t.Fatalf("%q: %+v, %v", k.String(), got, ok)
		}
		got.Start = k.Start
		if got != k {
			t.Errorf("%q: %+v, want %+v", k.String(), got, k)
		}
	})
}
