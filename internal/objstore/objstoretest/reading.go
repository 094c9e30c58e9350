package objstoretest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/minio/crc64nvme"

	"snap-to-s3/internal/objstore"
)

func ranges(s *script) {
	key, data := s.key("object"), s.bytes(2*s.PartSize+100)
	info := s.put(key, data, objstore.CreateOptions{})
	size := int64(len(data))
	for _, r := range []objstore.Range{
		{Len: 1},
		{Len: size},
		{Len: size + 1},
		{Off: 7, Len: 1},
		{Off: s.PartSize - 3, Len: 6},
		{Off: size - 1},
		{Off: size - 1, Len: 1},
		{Off: size - 5, Len: 1000},
		{Off: 9, Len: 1<<63 - 1},
	} {
		for _, etag := range []string{"", info.ETag} {
			r.ETag = etag
			want := data[r.Off:]
			if r.Len > 0 {
				want = want[:min(r.Len, int64(len(want)))]
			}
			if got := s.read(key, r); string(got) != string(want) {
				s.Errorf("%+v: %d bytes, want other %d", r, len(got), len(want))
			}
		}
	}
	for _, r := range []objstore.Range{{Off: size}, {Off: size, Len: 1}, {Off: size + 1}, {Off: -1}, {Len: -1}} {
		s.wantNoRange(key, r)
	}
	empty := s.key("empty")
	s.put(empty, nil, objstore.CreateOptions{})
	s.wantNoRange(empty, objstore.Range{Len: 1})
	s.wantNoRange(empty, objstore.Range{Off: 1})
}

// wantNoRange fails unless there is an error, which does not say that the object
// is another or gone.
func (s *script) wantNoRange(key string, r objstore.Range) {
	s.Helper()
	body, err := s.Store.Open(s.Context(), key, r)
	if err == nil {
		s.Errorf("%+v of %s was opened: %v", r, key, body.Close())
	}
	if errors.Is(err, objstore.ErrNotExist) || errors.Is(err, objstore.ErrChanged) {
		s.Errorf("%+v of %s: %v", r, key, err)
	}
}

func openByETag(s *script) {
	for _, n := range []int64{0, 10, s.PartSize + 1} {
		key := s.key(fmt.Sprint(n))
		old := s.put(key, s.bytes(n), objstore.CreateOptions{})
		// An ETag is of the bytes: the new object must have others.
		data := s.bytes(n + 1)
		fresh := s.put(key, data, objstore.CreateOptions{IfMatch: old.ETag})
		for _, r := range []objstore.Range{{ETag: old.ETag}, {ETag: old.ETag, Len: 1}} {
			if _, err := s.Store.Open(s.Context(), key, r); !errors.Is(err, objstore.ErrChanged) {
				s.Errorf("%+v after it was replaced: %v, want ErrChanged", r, err)
			}
		}
		if got := s.read(key, objstore.Range{ETag: fresh.ETag}); string(got) != string(data) {
			s.Errorf("by its etag: %d bytes that are not the %d written", len(got), len(data))
		}
		if _, err := io.ReadAll(objstore.NewReader(s.Context(), s.Store, old, objstore.ReadOptions{})); !errors.Is(err, objstore.ErrChanged) {
			s.Errorf("read after it was replaced: %v, want ErrChanged", err)
		}
	}
}

func readByRanges(s *script) {
	for _, n := range []int64{0, 1, s.PartSize - 1, s.PartSize, 3*s.PartSize + 17} {
		key, data := s.key(fmt.Sprint(n)), s.bytes(n)
		info := s.put(key, data, objstore.CreateOptions{})
		for _, o := range []objstore.ReadOptions{{}, {Streams: 1, Chunk: s.PartSize}, {Streams: 3, Chunk: s.PartSize/2 + 1}} {
			r := objstore.NewReader(s.Context(), s.Store, info, o)
			err := iotest.TestReader(r, data)
			if crc := r.CRC64NVME(); crc != objstore.FormatCRC64NVME(crc64nvme.Checksum(data)) || s.CRC && crc != info.CRC64NVME {
				s.Errorf("%d bytes by %+v: CRC64NVME %q, the store has %q", n, o, crc, info.CRC64NVME)
			}
			if err := errors.Join(err, r.Close()); err != nil {
				s.Errorf("%d bytes by %+v: %v", n, o, err)
			}
		}
	}
}

func list(s *script) {
	of := func(prefix string) (all []objstore.Info) {
		s.Helper()
		for i, err := range s.Store.List(s.Context(), prefix) {
			if err != nil {
				s.Fatalf("list %q: %v", prefix, err)
			}
			all = append(all, i)
		}
		return all
	}
	var want []objstore.Info
	for n, name := range []string{"a", "a b & <ü> + 100 %", "a0", "b\u2028/c", "b~", "☃"} {
		key := s.key(name)
		s.put(key, s.bytes(int64(n)), objstore.CreateOptions{Metadata: map[string]string{"not": "listed"}})
		i := s.stat(key)
		want = append(want, objstore.Info{Key: key, Size: int64(n), ETag: i.ETag, StorageClass: "STANDARD", Modified: i.Modified})
	}
	near := cmpopts.EquateApproxTime(1e9) // HEAD tells whole seconds
	byKey := cmpopts.SortSlices(func(a, b objstore.Info) bool { return a.Key < b.Key })
	got := of(s.key(""))
	if diff := cmp.Diff(want, got, near, byKey); diff != "" {
		s.Errorf("listed (-want +got):\n%s", diff)
	}
	if !slices.IsSortedFunc(got, func(a, b objstore.Info) int { return strings.Compare(a.Key, b.Key) }) {
		s.Errorf("listed out of order: %+v", got)
	}
	if got := of(want[0].Key); len(got) != 3 {
		s.Errorf("%d keys begin with %q, want 3: %+v", len(got), want[0].Key, got)
	}
	if got := of(s.key("nothing")); len(got) > 0 {
		s.Errorf("listed: %+v, want nothing", got)
	}
	for i, err := range s.Store.List(s.Context(), s.key("")) {
		if err != nil || i.Key != got[0].Key {
			s.Errorf("the first is %+v, %v", i, err)
		}
		break // more must not be asked for
	}
}
