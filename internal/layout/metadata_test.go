package layout

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMetadata(t *testing.T) {
	got := Metadata(Name{Snapshot: sample(), Kind: Image, Codec: "lz4"}, 8<<30, "r-1")
	want := map[string]string{
		"snapshot-starttime":   "2017-01-01T00:00:00+00:00",
		"snapshot-snapshotid":  "snap-0123456789abcdef0",
		"snapshot-volumesize":  "8",
		"snapshot-volumeid":    "vol-0fedcba9876543210",
		"snapshot-description": "web root",
		"uncompressed-size":    "8589934592",
		"snap-to-s3-format":    "1",
		"snap-to-s3-run":       "r-1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
}

// What a header would lose is coded, and comes back.
func TestDescriptionInMetadata(t *testing.T) {
	tests := []struct{ name, description, want string }{
		{"empty", "", ""},
		{"ascii", `Created by "CreateImage" (x), 100%`, `Created by "CreateImage" (x), 100%`},
		{"latin", "größe", "=?utf-8?b?Z3LDtsOfZQ==?="},
		{"one letter in a sentence", "the café on the corner of the street", "=?utf-8?q?the_caf=C3=A9_on_the_corner_of_the_street?="},
		{"mostly not latin", "日本語の説明", "=?utf-8?b?5pel5pys6Kqe44Gu6Kqs5piO?="},
		{"space at the end", "x ", "=?utf-8?q?=78=20?="},
		{"tab", "a\tb", "=?utf-8?q?=61=09=62?="},
		{"line end", "a\r\nb", "=?utf-8?q?a=0D=0Ab?="},
		{"looks coded", "=?utf-8?q?x?=", "=?utf-8?q?=3D=3F=75=74=66=2D=38=3F=71=3F=78=3F=3D?="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := sample()
			s.Description = tt.description
			m := Metadata(Name{Snapshot: s}, 1, "r-1")
			if got := m[MetaDescription]; got != tt.want {
				t.Errorf("description %q is coded as %q, want %q", tt.description, got, tt.want)
			}
			if got := Description(m); got != tt.description {
				t.Errorf("description %q comes back as %q", tt.description, got)
			}
		})
	}
}

// The longest description EC2 allows keeps most of its text.
func TestLongDescriptionInMetadata(t *testing.T) {
	s := sample()
	s.Description = strings.Repeat("😀", 255)
	got := Description(Metadata(Name{Snapshot: s}, 1, "r-1"))
	if n := strings.Count(got, "😀"); n < 220 || !strings.HasPrefix(s.Description, got) {
		t.Errorf("%d runes are left, want 220 or more: %q", n, got)
	}
}

func FuzzMetadata(f *testing.F) {
	f.Add("web root", int64(8<<30))
	f.Add(strings.Repeat("é", 1000), int64(-1))
	f.Add(strings.Repeat("=?", 900), int64(0))
	f.Add(" \t\x00\xff\u2028", int64(1))
	f.Fuzz(func(t *testing.T, description string, size int64) {
		s := sample()
		s.Description, s.Size = description, size
		m := Metadata(Name{Snapshot: s}, size, "20261123T101112Z-0123abcd")
		total := 0
		for name, value := range m {
			total += len(name) + len(value)
			if !plain(strings.ReplaceAll(value, "=?", "")) {
				t.Errorf("%s: %q is not fit for a header", name, value)
			}
		}
		if total > 2048 {
			t.Errorf("%d bytes of metadata for %q", total, description)
		}
		if got := Description(m); !strings.HasPrefix(valid(description), got) {
			t.Errorf("%q comes back as %q, which is not its beginning", description, got)
		}
	})
}
