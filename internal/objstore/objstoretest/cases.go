package objstoretest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"snap-to-s3/internal/objstore"
)

func cases() []testCase {
	return []testCase{
		{name: "sizes around the part size", run: sizes},
		{name: "open at an offset", run: offsets},
		{name: "open a range", run: ranges},
		{name: "open an object by its etag", needs: conditions, run: openByETag},
		{name: "read by ranges", run: readByRanges},
		{name: "list", needs: func(f Fixture) bool { return !f.NoList }, run: list},
		{name: "many parts", run: manyParts},
		{name: "streams in flight", run: streams},
		{name: "spool", run: spool},
		{name: "nothing is visible before commit", run: invisible},
		{name: "asked before commit", run: beforeCommit},
		{name: "abort leaves nothing", run: abortLeavesNothing},
		{name: "one of commit and abort", run: oneOfCommitAndAbort},
		{name: "missing", run: missing},
		{name: "metadata and content type", run: metadata},
		{name: "awkward keys", run: awkwardKeys},
		{name: "tags", needs: func(f Fixture) bool { return f.Tags != nil }, run: tags},
		{name: "storage classes", needs: func(f Fixture) bool { return len(f.Classes) > 0 }, run: classes},
		{name: "archive classes do not open", needs: func(f Fixture) bool { return f.Cold }, run: cold},
		{name: "no overwrite", needs: conditions, run: noOverwrite},
		{name: "replace by etag", needs: conditions, run: ifMatch},
		{name: "one of many writers wins", needs: conditions, run: race},
		{name: "cancel in mid-upload", run: cancelled},
		{name: "unfinished uploads", needs: func(f Fixture) bool { _, ok := f.Store.(objstore.Uploads); return ok && !f.Unlistable }, run: unfinished},
		{name: "part size over the number of parts", run: tooManyParts},
	}
}

func conditions(f Fixture) bool { return f.Conditions }

func sizes(s *script) {
	p := s.PartSize
	for _, n := range []int64{0, 1, p - 1, p, p + 1, 2 * p, 3*p + 17} {
		key, data := s.key(fmt.Sprint(n)), s.bytes(n)
		s.wantInfo(s.put(key, data, objstore.CreateOptions{}), key, data)
		s.wantInfo(s.stat(key), key, data)
		s.wantContent(key, data)
	}
	s.wantNoUploads()
}

func offsets(s *script) {
	key, data := s.key("object"), s.bytes(2*s.PartSize+100)
	s.put(key, data, objstore.CreateOptions{})
	for _, off := range []int64{1, s.PartSize - 1, s.PartSize, int64(len(data)) - 1} {
		if got := s.read(key, objstore.Range{Off: off}); string(got) != string(data[off:]) {
			s.Errorf("from byte %d: %d bytes, want the %d last ones", off, len(got), len(data[off:]))
		}
	}
}

func manyParts(s *script) {
	key, data := s.key("object"), s.bytes(int64(s.Many)*s.PartSize-3)
	info := s.put(key, data, objstore.CreateOptions{Streams: 4})
	s.wantInfo(info, key, data)
	s.wantContent(key, data)
}

func streams(s *script) {
	for _, n := range []int{0, 1, 2, 8} {
		key, data := s.key(fmt.Sprint(n)), s.bytes(5*s.PartSize+1)
		s.put(key, data, objstore.CreateOptions{Streams: n})
		s.wantContent(key, data)
	}
}

func spool(s *script) {
	key, data := s.key("object"), s.bytes(2*s.PartSize)
	s.put(key, data, objstore.CreateOptions{Streams: 2, SpoolDir: s.TempDir()})
	s.wantContent(key, data)
}

func invisible(s *script) {
	key, data := s.key("object"), s.bytes(3*s.PartSize)
	w := s.create(key, objstore.CreateOptions{})
	s.write(w, data)
	s.wantMissing(key)
	s.commit(w)
	s.wantContent(key, data)
}

func beforeCommit(s *script) {
	lost := errors.New("the claim is lost")
	for _, refuse := range []error{nil, lost} {
		for _, n := range []int64{0, 10, s.PartSize, 3*s.PartSize + 1} {
			key, data, asked := s.key(fmt.Sprint(n, refuse)), s.bytes(n), 0
			w := s.create(key, objstore.CreateOptions{Streams: 2, BeforeCommit: func(context.Context) error {
				asked++
				s.wantMissing(key)
				return refuse
			}})
			s.write(w, data)
			if asked != 0 {
				s.Errorf("asked %d times before Commit was called", asked)
			}
			_, err := w.Commit(s.Context())
			if asked != 1 || err != refuse { //nolint:errorlint // as it is
				s.Errorf("%d bytes: asked %d times, commit: %v; want once, %v", n, asked, err, refuse)
			}
			if refuse == nil {
				s.wantContent(key, data)
				continue
			}
			s.wantMissing(key)
			s.abort(w)
			s.wantMissing(key)
		}
	}
	s.wantNoUploads()
}

func abortLeavesNothing(s *script) {
	for _, n := range []int64{0, 1, 3 * s.PartSize} {
		key := s.key(fmt.Sprint(n))
		w := s.create(key, objstore.CreateOptions{Streams: 2})
		s.write(w, s.bytes(n))
		s.abort(w)
		s.wantMissing(key)
	}
	s.wantNoUploads()
}

func oneOfCommitAndAbort(s *script) {
	committed := s.create(s.key("committed"), objstore.CreateOptions{})
	s.commit(committed)
	aborted := s.create(s.key("aborted"), objstore.CreateOptions{})
	s.abort(aborted)
	for name, w := range map[string]objstore.Writer{"commit": committed, "abort": aborted} {
		if _, err := w.Commit(s.Context()); !errors.Is(err, objstore.ErrDone) {
			s.Errorf("commit after %s: %v, want ErrDone", name, err)
		}
		if err := w.Abort(s.Context()); !errors.Is(err, objstore.ErrDone) {
			s.Errorf("abort after %s: %v, want ErrDone", name, err)
		}
		if _, err := w.Write([]byte("x")); !errors.Is(err, objstore.ErrDone) {
			s.Errorf("write after %s: %v, want ErrDone", name, err)
		}
	}
	s.wantContent(s.key("committed"), nil)
	s.wantMissing(s.key("aborted"))
}

func missing(s *script) { s.wantMissing(s.key("never written")) }

func metadata(s *script) {
	want := map[string]string{
		"snap-to-s3-run": "01-run", "description": "a=b; c, d \"e\" %41",
		"long": strings.Repeat("x", 1024),
	}
	for _, n := range []int64{10, 2 * s.PartSize} {
		key := s.key(fmt.Sprint(n))
		s.put(key, s.bytes(n), objstore.CreateOptions{Metadata: maps.Clone(want), ContentType: "application/x-lz4"})
		info := s.stat(key)
		if diff := cmp.Diff(want, info.Metadata); diff != "" {
			s.Errorf("metadata of %d bytes (-want +got):\n%s", n, diff)
		}
		if age := time.Since(info.Modified); age < -time.Hour || age > time.Hour {
			s.Errorf("modified %v ago", age)
		}
		if info.StorageClass != "STANDARD" {
			s.Errorf("class %q, want STANDARD", info.StorageClass)
		}
	}
}

func awkwardKeys(s *script) {
	for _, name := range []string{"a+b c", "äöü ☃", "per%20cent", "q?x=1&y#z", `quote"'`, "semi;colon,comma", "=@$!(*)"} {
		key, data := s.key(name), s.bytes(20)
		s.put(key, data, objstore.CreateOptions{})
		s.wantInfo(s.stat(key), key, data)
		s.wantContent(key, data)
		big := s.bytes(s.PartSize + 1)
		s.put(key+".big", big, objstore.CreateOptions{})
		s.wantContent(key+".big", big)
	}
}

func tags(s *script) {
	want := []objstore.Tag{{Key: "Name", Value: "a b+c=d/e:f@g"}, {Key: "Größe", Value: "1 ½ тест"}, {Key: "empty", Value: ""}}
	for _, n := range []int64{10, 2 * s.PartSize} {
		key := s.key(fmt.Sprint(n))
		s.put(key, s.bytes(n), objstore.CreateOptions{Tags: slices.Clone(want)})
		byKey := cmpopts.SortSlices(func(a, b objstore.Tag) bool { return a.Key < b.Key })
		if diff := cmp.Diff(want, s.Tags(s.T, key), byKey); diff != "" {
			s.Errorf("tags of %d bytes (-want +got):\n%s", n, diff)
		}
	}
}

func classes(s *script) {
	for _, class := range s.Classes {
		for _, n := range []int64{10, 2 * s.PartSize} {
			key := s.key(fmt.Sprint(class, n))
			s.put(key, s.bytes(n), objstore.CreateOptions{StorageClass: class})
			if got := s.stat(key).StorageClass; got != class {
				s.Errorf("class of %d bytes: %q, want %q", n, got, class)
			}
		}
	}
}

func cold(s *script) {
	for _, class := range []string{"GLACIER", "DEEP_ARCHIVE"} {
		key := s.key(class)
		s.put(key, s.bytes(10), objstore.CreateOptions{StorageClass: class})
		if got := s.stat(key).StorageClass; got != class {
			s.Errorf("class %q, want %q", got, class)
		}
		if _, err := s.Store.Open(s.Context(), key, objstore.Range{}); !errors.Is(err, objstore.ErrArchived) {
			s.Errorf("open of class %s: %v, want ErrArchived", class, err)
		}
		if err := s.stat(key).Readable(); !errors.Is(err, objstore.ErrArchived) || errors.Is(err, objstore.ErrThawing) {
			s.Errorf("class %s is readable: %v, want ErrArchived alone", class, err)
		}
	}
}

func noOverwrite(s *script) {
	for _, n := range []int64{10, 2 * s.PartSize} {
		key, data := s.key(fmt.Sprint(n)), s.bytes(n)
		s.put(key, data, objstore.CreateOptions{})
		w := s.create(key, objstore.CreateOptions{})
		s.write(w, s.bytes(n))
		s.wantExists(w)
		s.wantContent(key, data)
	}
	s.wantNoUploads()
}

// wantExists commits w, which must find its condition broken.
func (s *script) wantExists(w objstore.Writer) {
	s.Helper()
	if _, err := w.Commit(s.Context()); !errors.Is(err, objstore.ErrExists) {
		s.Errorf("commit: %v, want ErrExists", err)
	}
	s.abort(w)
}

func ifMatch(s *script) {
	for _, n := range []int64{10, 2 * s.PartSize} {
		key := s.key(fmt.Sprint(n))
		old := s.put(key, s.bytes(n), objstore.CreateOptions{})
		data := s.bytes(n)
		second := s.put(key, data, objstore.CreateOptions{IfMatch: old.ETag})
		s.wantContent(key, data)
		w := s.create(key, objstore.CreateOptions{IfMatch: old.ETag})
		s.write(w, s.bytes(n))
		s.wantExists(w)
		if got := s.stat(key).ETag; got != second.ETag {
			s.Errorf("etag %s, want that of the second write, %s", got, second.ETag)
		}
	}
	s.wantNoUploads()
}

func race(s *script) {
	for _, n := range []int64{10, s.PartSize + 1} {
		key, data := s.key(fmt.Sprint(n)), make([][]byte, 4)
		won := make([]error, len(data))
		var running sync.WaitGroup
		for i := range data {
			data[i] = s.bytes(n)
			w := s.create(key, objstore.CreateOptions{})
			s.write(w, data[i])
			running.Go(func() {
				if _, won[i] = w.Commit(s.Context()); won[i] != nil {
					if err := w.Abort(s.Context()); err != nil {
						s.Errorf("abort of a loser: %v", err)
					}
				}
			})
		}
		running.Wait()
		s.wantOneWinner(key, data, won)
	}
	s.wantNoUploads()
}

func (s *script) wantOneWinner(key string, data [][]byte, won []error) {
	s.Helper()
	winners := 0
	for i, err := range won {
		if err == nil {
			winners++
			s.wantContent(key, data[i])
		}
	}
	if winners != 1 {
		s.Errorf("%d of %d writers of one key won: %v", winners, len(data), won)
	}
}

func cancelled(s *script) {
	gone := errors.New("the claim is lost")
	ctx, cancel := context.WithCancelCause(s.Context())
	key := s.key("object")
	w, err := s.Store.Create(ctx, key, objstore.CreateOptions{PartSize: s.PartSize, Streams: 2})
	if err != nil {
		s.Fatal(err)
	}
	s.write(w, s.bytes(2*s.PartSize+1))
	cancel(gone)
	if _, err := w.Write(s.bytes(s.PartSize)); !errors.Is(err, gone) {
		s.Errorf("write after cancel: %v, want the cause", err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, gone) {
		s.Errorf("second write after cancel: %v, want the cause", err)
	}
	if _, err := w.Commit(s.Context()); !errors.Is(err, gone) {
		s.Errorf("commit after cancel: %v, want the cause", err)
	}
	s.abort(w)
	s.wantMissing(key)
	s.wantNoUploads()
}

func tooManyParts(s *script) {
	_, err := s.Store.Create(s.Context(), s.key("object"), objstore.CreateOptions{
		PartSize: s.PartSize, SizeBound: 10_000*s.PartSize + 1,
	})
	if err == nil {
		s.Error("an object that does not fit into 10,000 parts of the given size was begun")
	}
}

var _ testing.TB = (*script)(nil)
