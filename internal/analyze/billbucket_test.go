package analyze

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
)

// An object is read at random as a file is.
func TestObjectAt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		data := make([]byte, rapid.IntRange(0, 3*atBlock).Draw(t, "size"))
		for i := range data {
			data[i] = byte(i * 7919 >> 8)
		}
		asked := 0
		o := &objectAt{size: int64(len(data)), fetch: func(off, n int64) ([]byte, error) {
			asked++
			return bytes.Clone(data[off : off+n]), nil
		}}
		file := bytes.NewReader(data)
		for range rapid.IntRange(1, 20).Draw(t, "reads") {
			off := rapid.Int64Range(0, int64(len(data))+10).Draw(t, "off")
			n := rapid.IntRange(1, atBlock+10).Draw(t, "n")
			got, want := make([]byte, n), make([]byte, n)
			gotN, gotErr := o.ReadAt(got, off)
			wantN, wantErr := file.ReadAt(want, off)
			if gotN != wantN || !errors.Is(gotErr, wantErr) || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes from %d on: %d, %v; want %d, %v", n, off, gotN, gotErr, wantN, wantErr)
			}
		}
		if asked > 4 {
			t.Fatalf("asked %d times for %d bytes", asked, len(data))
		}
	})
}

// What is kept does not grow, and what is used stays.
func TestObjectAtKeepsLittle(t *testing.T) {
	t.Parallel()
	asked := map[int64]int{}
	o := &objectAt{size: 100 * atBlock, fetch: func(off, _ int64) ([]byte, error) {
		asked[off/atBlock]++
		return make([]byte, atBlock), nil
	}}
	one := make([]byte, 1)
	for i := range int64(100) {
		for _, off := range []int64{0, i * atBlock} {
			if _, err := o.ReadAt(one, off); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(o.kept) != atKept || asked[0] != 1 {
		t.Errorf("%d ranges kept, the first asked for %d times", len(o.kept), asked[0])
	}
	o.fetch = func(int64, int64) ([]byte, error) { return nil, objstore.ErrChanged }
	if _, err := o.ReadAt(one, 50*atBlock); !errors.Is(err, objstore.ErrChanged) {
		t.Errorf("an object that was replaced: %v", err)
	}
	if _, err := o.ReadAt(one, -1); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("before the start: %v", err)
	}
}

// A manifest's files are found by their keys, and beside it where it was copied.
func TestBillBucket(t *testing.T) {
	t.Parallel()
	store := objstore.NewMemory(objstore.MemoryOptions{})
	for key, text := range map[string]string{"copy/r-Manifest.json": "{}", "copy/r-1.csv": "copied", "cur/x/r-2.csv": "there", "cur/x/": ""} {
		w, err := store.Create(t.Context(), key, objstore.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write([]byte(text))
		if _, e := w.Commit(t.Context()); errors.Join(err, e) != nil {
			t.Fatal(err, e)
		}
	}
	b := BillBucket{Store: store, Bucket: "bills"}
	manifest, err := b.Input(t.Context(), "copy/r-Manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"cur/x/r-2.csv": "there", "/cur/x/r-2.csv": "there", "cur/elsewhere/r-1.csv": "copied"} {
		in, err := manifest.Beside(t.Context(), key)
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		r, err := in.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	if _, err := manifest.Beside(t.Context(), "cur/none.csv"); err == nil {
		t.Error("what is not there was found")
	}
	var names []string
	folder, err := b.Input(t.Context(), "cur")
	if err != nil {
		t.Fatal(err)
	}
	for in, err := range folder.Files(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, in.Name)
	}
	if len(names) != 1 || names[0] != "s3://bills/cur/x/r-2.csv" {
		t.Errorf("below cur: %q", names)
	}
	if _, err := b.Input(t.Context(), "nowhere"); err == nil || !strings.Contains(hint.Of(err), "aws s3 ls") {
		t.Errorf("nowhere: %v", err)
	}
}
