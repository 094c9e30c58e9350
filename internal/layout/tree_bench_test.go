package layout

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"testing"

	"snap-to-s3/internal/codec"
)

// files is a tree of n small files, a hundred in each folder, with their hashes.
func files(n int) []TreeEntry {
	all := []TreeEntry{{Type: Folder, Mode: 0o755, MTime: Timestamp{Sec: 1_700_000_000}}}
	at := int64(tarBlock)
	for i := range n {
		if i%100 == 0 {
			all = append(all, TreeEntry{
				Path: fmt.Sprintf("folder-%08d", i), Type: Folder, Mode: 0o755, UID: 1000, GID: 1000,
				MTime: Timestamp{1_700_000_000 + int64(i), 12345}, At: at,
			})
			at += tarBlock
		}
		sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(i)))
		all = append(all, TreeEntry{
			Path: fmt.Sprintf("folder-%08d/some-file-name-%08d.txt", i-i%100, i), Type: File, Mode: 0o644, UID: 1000, GID: 1000,
			MTime: Timestamp{1_700_000_000 + int64(i), 987654321}, Size: 300 + int64(i%1000), SHA256: &sum, At: at,
		})
		at += 4 * tarBlock
	}
	return all
}

func tarHeader() EntriesHeader {
	return EntriesHeader{Kind: Tar, Archive: "vol-1/x.1.tar.zstd", Snapshot: "snap-1", Run: "r-1", Codec: "zstd"}
}

// writeTree writes a tree whose tar ends behind the last header, and its frames.
func writeTree(t testing.TB, w io.Writer, all []TreeEntry) *EntriesWriter {
	t.Helper()
	e := NewEntriesWriter(w, tarHeader())
	var f codec.Frame
	frame := func(end int64) {
		for f.PlainOff < end {
			f.PlainLen, f.StoredLen = min(codec.FrameSize, end-f.PlainOff), 1000+f.PlainOff%999
			f.Hash = sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(f.PlainOff)))
			if err := e.Frame(f); err != nil {
				t.Fatal(err)
			}
			f.PlainOff, f.StoredOff = f.PlainOff+f.PlainLen, f.StoredOff+f.StoredLen
		}
	}
	for _, entry := range all {
		if err := e.Entry(entry); err != nil {
			t.Fatal(err)
		}
		frame(entry.At / codec.FrameSize * codec.FrameSize)
	}
	frame(all[len(all)-1].At + 3*tarBlock)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return e
}

// How many rows of a tree are written in a second: those of small files must not
// be what an archive waits for.
func BenchmarkWriteTree(b *testing.B) {
	all := files(100_000)
	for b.Loop() {
		writeTree(b, io.Discard, all)
	}
	b.ReportMetric(float64(len(all))*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkReadTree(b *testing.B) {
	all := files(100_000)
	var object bytes.Buffer
	writeTree(b, &object, all)
	for b.Loop() {
		for _, err := range ReadEntries(bytes.NewReader(object.Bytes())) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(all))*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
