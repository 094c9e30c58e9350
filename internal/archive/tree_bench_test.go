package archive_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
)

// These name what the benchmarks archive: a folder, or a device with an ext4 that
// they mount as a run does; scripts/bench-tree.sh sets them. Without them that is
// Go's own sources.
const (
	benchTree   = "BENCH_TREE"
	benchDevice = "BENCH_DEVICE"
)

func openBenchTree(b *testing.B) *filesystem.Tree {
	b.Helper()
	if device := os.Getenv(benchDevice); device != "" {
		return mountBenchTree(b, device)
	}
	path := os.Getenv(benchTree)
	if path == "" {
		root, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			b.Skipf("no go program: %v", err)
		}
		path = filepath.Join(strings.TrimSpace(string(root)), "src")
	}
	root, err := os.Open(path)
	if err != nil {
		b.Skipf("nothing to read: %v", err)
	}
	b.Cleanup(func() { root.Close() })
	return &filesystem.Tree{Root: root}
}

func mountBenchTree(b *testing.B, device string) *filesystem.Tree {
	b.Helper()
	info, err := os.Stat(device)
	if err != nil {
		b.Fatal(err)
	}
	m, err := filesystem.Open(b.Context(), filesystem.MountRequest{Device: device, Size: info.Size(), Type: "ext4"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := m.Close(context.WithoutCancel(b.Context())); err != nil {
			b.Error(err)
		}
	})
	return &filesystem.Tree{Root: m.Root()}
}

// benchRows makes rows of entries, as a run does.
type benchRows struct{ out *layout.EntriesWriter }

func (r benchRows) Frame(f codec.Frame) error { return r.out.Frame(f) }

func (r benchRows) Entry(t *archive.TreeRow) error {
	e := layout.TreeEntry{
		Path: t.Path, Mode: t.Mode, UID: t.UID, GID: t.GID, MTime: layout.Timestamp{Sec: t.Sec, Nsec: t.Nsec},
		Link: t.Target, Major: t.Major, Minor: t.Minor, Xattrs: t.XattrSum, SHA256: t.Sum, Runs: t.Runs, At: t.At,
	}
	switch {
	case t.Link != "":
		e.Type, e.Link = layout.HardLink, t.Link
	case t.Type == filesystem.Regular:
		e.Type, e.Size, e.Sparse, e.Data = layout.File, t.Size, t.Sparse, t.Stored
	default:
		e.Type = [...]layout.EntryType{
			filesystem.Folder: layout.Folder, filesystem.Symlink: layout.Symlink, filesystem.CharDevice: layout.CharDevice,
			filesystem.BlockDevice: layout.BlockDevice, filesystem.Fifo: layout.Fifo,
		}[t.Type]
	}
	return r.out.Entry(e)
}

// nowhere is a store that reads each part as a socket would, and forgets it.
type nowhere struct{}

func (nowhere) Put(_ context.Context, p objstore.Part) (objstore.Info, error) {
	_, err := io.Copy(io.Discard, p.Body)
	return objstore.Info{}, err
}

func (nowhere) Begin(context.Context) (string, error) { return "id", nil }

func (nowhere) UploadPart(_ context.Context, p objstore.Part) (string, error) {
	_, err := io.Copy(io.Discard, p.Body)
	return "etag", err
}

func (nowhere) Complete(context.Context, objstore.Whole) (objstore.Info, error) {
	return objstore.Info{}, nil
}

func (nowhere) Abort(context.Context) error { return nil }

// writeTreeToStore is an archive as it is really made: parts with their
// checksums, hashes, xattrs and entries, to a store that keeps nothing.
func writeTreeToStore(ctx context.Context, tree *filesystem.Tree, c codec.Codec) (archive.TreeResult, error) {
	none := archive.TreeResult{}
	object, err := objstore.NewWriter(ctx, nowhere{}, "archive", objstore.CreateOptions{Streams: 1}, objstore.S3Limits())
	if err != nil {
		return none, err
	}
	table, err := objstore.NewWriter(ctx, nowhere{}, "entries", objstore.CreateOptions{Streams: 1}, objstore.S3Limits())
	if err != nil {
		return none, err
	}
	entries := layout.NewEntriesWriter(table, layout.EntriesHeader{
		Kind: layout.Tar, Archive: "vol-1/2026-01-01T00:00:00+00:00 snap-1.1.tar", Snapshot: "snap-1", Run: "r", Codec: c.Name(),
	})
	res, err := archive.WriteTree(ctx, tree, object, benchRows{entries}, archive.TreeOptions{Codec: c})
	if err != nil {
		return none, err
	}
	if err := entries.Close(); err != nil {
		return none, err
	}
	for _, w := range []objstore.Writer{object, table} {
		if _, err := w.Commit(ctx); err != nil {
			return none, err
		}
	}
	return res, nil
}

func BenchmarkTree(b *testing.B) {
	for _, name := range []string{"lz4", "zstd"} {
		b.Run(name+"-1", func(b *testing.B) {
			tree := openBenchTree(b)
			var res archive.TreeResult
			for b.Loop() {
				var err error
				if res, err = writeTreeToStore(b.Context(), tree, mustCodec(name, 1)); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(res.Plain)
			}
			b.ReportMetric(float64(res.Entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			b.ReportMetric(float64(res.Plain)/float64(res.Stored), "ratio")
			b.ReportMetric(peakMiB(b), "peak-MiB")
		})
	}
}

// BenchmarkWalk is the part of that which the walk takes, small files included.
func BenchmarkWalk(b *testing.B) {
	tree := openBenchTree(b)
	var entries int
	for b.Loop() {
		for _, err := range tree.Walk(b.Context()) {
			if err != nil {
				b.Fatal(err)
			}
			entries++
		}
	}
	b.ReportMetric(float64(entries)/b.Elapsed().Seconds(), "entries/s")
}
