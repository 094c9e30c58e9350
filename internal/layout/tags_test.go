package layout

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/objstore"
)

func TestObjectTags(t *testing.T) {
	tests := []struct {
		name  string
		tags  map[string]string
		want  []objstore.Tag
		notes []string
	}{
		{"none", nil, nil, nil},
		{
			"ours and AWS's are left out",
			map[string]string{"snap-to-s3": "migrating", "snap-to-s3-id": "1", "snap-to-s3-owner": "o", "aws:dlm:x": "1", "snap-to-s3-note": "n", "Name": "web"},
			[]objstore.Tag{{Key: "Name", Value: "web"}, {Key: "snap-to-s3-note", Value: "n"}},
			nil,
		},
		{
			"other characters",
			map[string]string{"e-mail": "a@b.c", "Größe": "1\t2\n3\u00a04 😀", "a+=._:/-Z9": "+=._:/-"},
			[]objstore.Tag{{Key: "Gr__e", Value: "1 2 3 4 _"}, {Key: "a+=._:/-Z9", Value: "+=._:/-"}, {Key: "e-mail", Value: "a_b.c"}},
			nil,
		},
		{
			"two that collide: the first by its own name",
			map[string]string{"a@": "second", "a!": "first", "a_": "third"},
			[]objstore.Tag{{Key: "a_", Value: "first"}},
			[]string{`2 tag(s) only in the record, since on an object their names would be those of other tags: "a@", "a_"`},
		},
		{
			"a reserved name in other letters",
			map[string]string{"AWS:x": "1", "": "2"},
			nil,
			[]string{`2 tag(s) only in the record, since S3 refuses the name: "", "AWS:x"`},
		},
		{
			"cut",
			map[string]string{strings.Repeat("k", 200): strings.Repeat("v", 300)},
			[]objstore.Tag{{Key: strings.Repeat("k", 128), Value: strings.Repeat("v", 256)}},
			nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, notes := ObjectTags(tt.tags, "snap-to-s3")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("tags of %q (-want +got):\n%s", tt.tags, diff)
			}
			if diff := cmp.Diff(tt.notes, notes); diff != "" {
				t.Errorf("notes of %q (-want +got):\n%s", tt.tags, diff)
			}
		})
	}
}

// Fifty tags become ten, the same each time, and the note names those left out.
func TestFiftyTags(t *testing.T) {
	tags := map[string]string{}
	for i := range 50 {
		tags[fmt.Sprintf("key-%02d", i)] = "v"
	}
	for range 20 {
		got, notes := ObjectTags(tags, "snap-to-s3")
		if len(got) != 10 || got[0].Key != "key-00" || got[9].Key != "key-09" {
			t.Fatalf("tags: %v, want key-00 to key-09", got)
		}
		want := `40 tag(s) only in the record, since an object has at most ten tags: "key-10", "key-11", "key-12", "key-13", "key-14", "key-15", "key-16", "key-17", "key-18", "key-19", and 30 more`
		if len(notes) != 1 || notes[0] != want {
			t.Fatalf("notes: %q, want %q", notes, want)
		}
	}
}

// Values that triple when they are URL-encoded run into the header's limit;
// shorter tags behind them still go in.
func TestTagHeader(t *testing.T) {
	tags := map[string]string{"z": "short"}
	for i := range 8 {
		tags[fmt.Sprintf("k%d", i)] = strings.Repeat("/", 256)
	}
	got, notes := ObjectTags(tags, "snap-to-s3")
	if len(got) != 6 || got[5].Key != "z" {
		t.Errorf("tags: %v, want k0 to k4 and z", got)
	}
	want := `3 tag(s) only in the record, since they would not fit into the request's header: "k5", "k6", "k7"`
	if len(notes) != 1 || notes[0] != want {
		t.Errorf("notes: %q, want %q", notes, want)
	}
}

func FuzzObjectTags(f *testing.F) {
	f.Add("Name=web&Größe=1 2", "snap-to-s3")
	f.Add("a=1&b=2&c=3&d=4&e=5&f=6&g=7&h=8&i=9&j=10&k=11", "a")
	f.Add("aws:x=1&AWS:y=2&=3&\t=4", "")
	allowed := regexp.MustCompile(`^[a-zA-Z0-9+=._:/ -]*$`)
	f.Fuzz(func(t *testing.T, list, tagName string) {
		tags := map[string]string{}
		for pair := range strings.SplitSeq(list, "&") {
			key, value, _ := strings.Cut(pair, "=")
			tags[key] = value
		}
		got, notes := ObjectTags(tags, tagName)
		if len(got) > 10 {
			t.Errorf("%d tags", len(got))
		}
		header, seen := url.Values{}, map[string]bool{}
		for _, tag := range got {
			if len(tag.Key) < 1 || len(tag.Key) > 128 || len(tag.Value) > 256 ||
				!allowed.MatchString(tag.Key) || !allowed.MatchString(tag.Value) ||
				strings.HasPrefix(strings.ToLower(tag.Key), "aws:") || seen[tag.Key] {
				t.Errorf("tag %q=%q of %q", tag.Key, tag.Value, tags)
			}
			seen[tag.Key] = true
			header.Add(tag.Key, tag.Value)
		}
		if n := len(header.Encode()); n > 4096 {
			t.Errorf("header of %d bytes", n)
		}
		for _, note := range notes {
			if strings.ContainsAny(note, "\r\n") {
				t.Errorf("note of several lines: %q", note)
			}
		}
	})
}
