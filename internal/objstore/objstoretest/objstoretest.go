// Package objstoretest holds what every objstore.Store must do, as one suite
// that runs over any of them, and starts the third-party server that the suite
// runs against. It is imported by tests only.
package objstoretest

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/minio/crc64nvme"

	"snap-to-s3/internal/objstore"
)

// Fixture is a store under test and what it is able to do. What a capability
// leaves out is skipped, by name.
type Fixture struct {
	Store    objstore.Store
	PartSize int64 // bytes; a small part size that the store takes
	Many     int   // parts of the object with many of them; 0 means 20

	Conditions bool // If-None-Match and If-Match of writes are honoured
	CRC        bool // Info tells the full object's CRC64NVME
	Cold       bool // knows GLACIER and DEEP_ARCHIVE, and does not open objects in them
	Classes    []string

	// Unlistable: these credentials may not list unfinished uploads.
	Unlistable bool
	// NoList: nor objects.
	NoList bool

	// Tags reads an object's tags back; nil: the store has none.
	Tags func(t *testing.T, key string) []objstore.Tag
	// Uploads counts unfinished multipart uploads; nil: it cannot be told.
	Uploads func(t *testing.T) int
}

// Run holds the store that open returns against the contract of objstore.Store.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Helper()
	f := open(t)
	if f.Many == 0 {
		f.Many = 20
	}
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			if c.needs != nil && !c.needs(f) {
				t.Skipf("this store does not offer what %q is about", c.name)
			}
			c.run(&script{T: t, Fixture: f, prefix: strings.ReplaceAll(t.Name(), "/", "-")})
		})
	}
}

type testCase struct {
	name  string
	needs func(Fixture) bool
	run   func(*script)
}

// script is a case as it is told: its own keys, and steps that fail the test.
type script struct {
	*testing.T
	Fixture
	prefix string
	seed   atomic.Uint64
}

func (s *script) key(name string) string {
	return "vol-0123/" + s.prefix + " 2017-01-01T00:00:00+00:00 " + name
}

// bytes returns n bytes that no codec and no store could have made up.
func (s *script) bytes(n int64) []byte {
	seed := [32]byte{byte(s.seed.Add(1)), byte(n), byte(n >> 8)}
	copy(seed[8:], s.prefix)
	data := make([]byte, n)
	if _, err := rand.NewChaCha8(seed).Read(data); err != nil {
		s.Fatal(err)
	}
	return data
}

func (s *script) create(key string, o objstore.CreateOptions) objstore.Writer {
	s.Helper()
	if o.PartSize == 0 {
		o.PartSize = s.PartSize
	}
	w, err := s.Store.Create(s.Context(), key, o)
	if err != nil {
		s.Fatalf("create %s: %v", key, err)
	}
	return w
}

// write gives data in uneven pieces, as a codec would.
func (s *script) write(w objstore.Writer, data []byte) {
	s.Helper()
	for step := 1; len(data) > 0; step = step*3 + 7 {
		n := min(step, len(data))
		if k, err := w.Write(data[:n]); err != nil || k != n {
			s.Fatalf("write of %d bytes: %d, %v", n, k, err)
		}
		data = data[n:]
	}
}

func (s *script) commit(w objstore.Writer) objstore.Info {
	s.Helper()
	info, err := w.Commit(s.Context())
	if err != nil {
		s.Fatalf("commit: %v", err)
	}
	return info
}

func (s *script) put(key string, data []byte, o objstore.CreateOptions) objstore.Info {
	s.Helper()
	w := s.create(key, o)
	s.write(w, data)
	return s.commit(w)
}

func (s *script) abort(w objstore.Writer) {
	s.Helper()
	if err := w.Abort(s.Context()); err != nil {
		s.Fatalf("abort: %v", err)
	}
}

func (s *script) stat(key string) objstore.Info {
	s.Helper()
	info, err := s.Store.Stat(s.Context(), key)
	if err != nil {
		s.Fatalf("stat %s: %v", key, err)
	}
	return info
}

func (s *script) read(key string, part objstore.Range) []byte {
	s.Helper()
	r, err := s.Store.Open(s.Context(), key, part)
	if err != nil {
		s.Fatalf("open %s, %+v: %v", key, part, err)
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		s.Fatalf("read %s, %+v: %v", key, part, err)
	}
	return data
}

// wantMissing fails unless nothing is under key, for Stat and Open alike.
func (s *script) wantMissing(key string) {
	s.Helper()
	if info, err := s.Store.Stat(s.Context(), key); !errors.Is(err, objstore.ErrNotExist) {
		s.Errorf("stat of a missing object: %+v, %v; want ErrNotExist", info, err)
	}
	r, err := s.Store.Open(s.Context(), key, objstore.Range{})
	if !errors.Is(err, objstore.ErrNotExist) {
		s.Errorf("open of a missing object: %v; want ErrNotExist", err)
	}
	if err == nil {
		_ = r.Close()
	}
}

func (s *script) wantContent(key string, want []byte) {
	s.Helper()
	if got := s.read(key, objstore.Range{}); string(got) != string(want) {
		s.Errorf("%s: read %d bytes that differ from the %d written", key, len(got), len(want))
	}
}

// wantInfo holds what the store tells of an object against what was written.
func (s *script) wantInfo(info objstore.Info, key string, data []byte) {
	s.Helper()
	if info.Key != key || info.Size != int64(len(data)) {
		s.Errorf("info tells of %q with %d bytes, want %q with %d", info.Key, info.Size, key, len(data))
	}
	if info.ETag == "" {
		s.Errorf("info of %q has no ETag", key)
	}
	if s.CRC {
		if want := objstore.FormatCRC64NVME(crc64nvme.Checksum(data)); info.CRC64NVME != want {
			s.Errorf("info of %q has CRC64NVME %q, want %q", key, info.CRC64NVME, want)
		}
	}
}

// wantNoUploads fails when a multipart upload is left in the store.
func (s *script) wantNoUploads() {
	s.Helper()
	if s.Uploads == nil {
		return
	}
	if n := s.Uploads(s.T); n != 0 {
		s.Errorf("%d multipart uploads are left behind", n)
	}
}
