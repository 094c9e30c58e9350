package layout

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestReadHostileEntries(t *testing.T) {
	header := func(size int64) string {
		return fmt.Sprintf(`{"entries":1,"kind":"img","plain_size":%d,"block_size":524288,"frame_size":4194304}`+"\n", size)
	}
	sum := base64.StdEncoding.EncodeToString(make([]byte, 32))
	frame := func(n, plain int64) string {
		return fmt.Sprintf(`{"frames":%d,"plain":0,"plain_size":%d,"stored":0,"stored_size":9,"sha256":"%s"}`+"\n", n, plain, sum)
	}
	digest := hex.EncodeToString(func() []byte { s := sha256.Sum256(make([]byte, 32)); return s[:] }())
	end := `{"end":{"blocks":{"data":0,"zero":1,"absent":0},"frames":1,"plain_size":524288,"stored_size":9,"digest":"` + digest + `"}}` + "\n"
	zero := `{"zero":{"from":0,"count":1}}` + "\n"
	tests := []struct {
		name, rows string
		is         error // nil: read without an error
	}{
		{"whole", header(524288) + zero + frame(1, 524288) + end, nil},
		{"rows of another kind", header(524288) + `{"note":"x","size":1}` + "\n" + zero + frame(1, 524288) + end, nil},
		{"an entry of a tar", header(524288) + `{"path":".","type":"folder","mode":0,"uid":0,"gid":0,"mtime":"0.000000000","at":0}` + "\n" + zero + frame(1, 524288) + end, ErrDamaged},
		{"kind unknown", strings.Replace(header(524288), `"img"`, `"zip"`, 1) + zero + frame(1, 524288) + end, ErrDamaged},
		{"nothing", "", ErrDamaged},
		{"no last row", header(524288) + zero + frame(1, 524288), ErrDamaged},
		{"no header", zero + frame(1, 524288) + end, ErrDamaged},
		{"two headers", header(524288) + header(524288) + zero + frame(1, 524288) + end, ErrDamaged},
		{"a row behind the last", header(524288) + zero + frame(1, 524288) + end + zero, ErrDamaged},
		{"newer", strings.Replace(header(524288), `"entries":1`, `"entries":2`, 1), ErrNewer},
		{"wrong digest", header(524288) + zero + frame(1, 524288) + strings.Replace(end, digest, strings.Repeat("0", 64), 1), ErrDamaged},
		{"too few blocks", header(524289) + zero + frame(1, 524289) + end, ErrDamaged},
		{"overflowing range", header(524288) + `{"zero":{"from":1,"count":9223372036854775807}}` + "\n", ErrDamaged},
		{"overflowing frames", header(524288) + zero + frame(1<<62, 4194304), ErrDamaged},
		{"frames of one byte", header(1<<47) + frame(1<<47, 1), ErrDamaged},
		{"image beyond measure", header(1 << 62), ErrDamaged},
		{"hashes of the wrong length", header(524288) + `{"from":0,"count":2,"sha256":"` + sum + `"}` + "\n", ErrDamaged},
		{"too many blocks in a row", header(1<<40) + `{"from":0,"count":4097,"sha256":"` + base64.StdEncoding.EncodeToString(make([]byte, 4097*32)) + `"}` + "\n", ErrDamaged},
		{"not JSON", "hello\n", ErrDamaged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var last error
			for _, err := range ReadEntries(bytes.NewReader(pack(t, tt.rows))) {
				last = err
			}
			if (tt.is == nil) != (last == nil) || !errors.Is(last, tt.is) {
				t.Errorf("error %v, want %v", last, tt.is)
			}
		})
	}
	t.Run("a row without end", func(t *testing.T) {
		var last error
		for _, err := range ReadEntries(bytes.NewReader(pack(t, strings.Repeat("x", 4<<20)))) {
			last = err
		}
		if last == nil {
			t.Error("no error")
		}
	})
}

func FuzzReadEntries(f *testing.F) {
	var b bytes.Buffer
	newImage(9<<20, func(n int64) byte { return "adzd"[n%4] }).write(f, NewEntriesWriter(&b, entriesOf(9<<20)))
	dec, err := zstd.NewReader(nil)
	if err != nil {
		f.Fatal(err)
	}
	rows, err := dec.DecodeAll(b.Bytes(), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rows)
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, rows []byte) {
		var size, told int64
		var failed error
		for row, err := range ReadEntries(bytes.NewReader(enc.EncodeAll(rows, nil))) {
			switch failed = err; {
			case err != nil:
			case row.Header != nil:
				size = row.Header.PlainSize
			case row.Frames != nil:
				told += row.Frames.Count * row.Frames.First.PlainLen
			}
		}
		if failed == nil && (size == 0 || told != size) {
			t.Errorf("read without an error: frames of %d bytes for an image of %d", told, size)
		}
	})
}

func FuzzOpenEntries(f *testing.F) {
	var b bytes.Buffer
	newImage(9<<20, func(n int64) byte { return "adzd"[n%4] }).write(f, NewEntriesWriter(&b, entriesOf(9<<20)))
	f.Add(b.Bytes(), int64(5<<20))
	f.Fuzz(func(t *testing.T, data []byte, off int64) {
		x, err := OpenEntries(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		if fr, err := x.FrameAt(off); err == nil && (off < fr.PlainOff || off >= fr.PlainOff+fr.PlainLen) {
			t.Errorf("frame of byte %d: %+v", off, fr)
		}
	})
}
