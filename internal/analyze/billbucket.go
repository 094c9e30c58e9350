package analyze

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"path"
	"strings"
	"sync"

	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
)

// BillBucket is a bucket that AWS writes bills to.
type BillBucket struct {
	Store  objstore.Store
	Bucket string
	Log    *slog.Logger
}

// Input is an object, or what is below a prefix, where there is no object with
// this key. Each needs its right: s3:GetObject, or s3:ListBucket besides.
func (b BillBucket) Input(ctx context.Context, key string) (bill.Input, error) {
	if key != "" && !strings.HasSuffix(key, "/") {
		info, err := b.Store.Stat(ctx, key)
		if err == nil {
			return b.file(info), nil
		}
		if !errors.Is(err, objstore.ErrNotExist) {
			return bill.Input{}, fmt.Errorf("read bill %s: %w", b.name(key), err)
		}
	}
	prefix := key
	if key != "" {
		prefix = strings.TrimSuffix(key, "/") + "/"
	}
	for _, err := range b.Store.List(ctx, prefix) {
		if err != nil {
			return bill.Input{}, fmt.Errorf("read bill %s: there is no such object, or it is forbidden; below it: %w", b.name(key), err)
		}
		return b.folder(prefix), nil
	}
	return bill.Input{}, hint.Wrap(fmt.Errorf("read bill %s: there is no such object, and none below it", b.name(key)),
		"aws s3 ls --recursive s3://"+b.Bucket+"/ shows what is there; allow s3:GetObject on it")
}

func (b BillBucket) name(key string) string { return "s3://" + b.Bucket + "/" + key }

func (b BillBucket) folder(prefix string) bill.Input {
	return bill.Input{
		Name: b.name(prefix), Size: -1,
		Files: func(ctx context.Context) iter.Seq2[bill.Input, error] {
			return func(yield func(bill.Input, error) bool) {
				for info, err := range b.Store.List(ctx, prefix) {
					if err != nil {
						yield(bill.Input{}, err)
						return
					}
					if !strings.HasSuffix(info.Key, "/") && !yield(b.file(info), nil) {
						return
					}
				}
			}
		},
	}
}

// file is one object, read by ranges.
func (b BillBucket) file(info objstore.Info) bill.Input {
	return bill.Input{
		Name: b.name(info.Key), Size: info.Size, Modified: info.Modified,
		Open: func(ctx context.Context) (io.ReadCloser, error) {
			return objstore.NewReader(ctx, b.Store, info, objstore.ReadOptions{Log: b.Log}), nil
		},
		OpenAt: func(ctx context.Context) (bill.ReaderAt, error) {
			return &objectAt{size: info.Size, fetch: func(off, n int64) ([]byte, error) {
				r := objstore.NewReader(ctx, b.Store, info, objstore.ReadOptions{Streams: 1, Chunk: n, Off: off, Len: n, Log: b.Log})
				data := make([]byte, n)
				_, err := io.ReadFull(r, data)
				return data, errors.Join(err, r.Close())
			}}, nil
		},
		Beside: func(ctx context.Context, key string) (bill.Input, error) { return b.beside(ctx, info.Key, key) },
	}
}

// beside finds what a manifest names: under that key, or, if the report was
// copied, in the folder of the manifest.
func (b BillBucket) beside(ctx context.Context, manifest, key string) (bill.Input, error) {
	for _, k := range []string{strings.TrimPrefix(key, "/"), path.Join(path.Dir(manifest), path.Base(key))} {
		info, err := b.Store.Stat(ctx, k)
		if err == nil {
			return b.file(info), nil
		}
		if !errors.Is(err, objstore.ErrNotExist) {
			return bill.Input{}, err
		}
	}
	return bill.Input{}, fs.ErrNotExist
}

const (
	atBlock = 2 << 20 // bytes of a range that is asked for: a column's pages of one row group and more
	atKept  = 24      // such ranges in memory: of each column that is read one
)

// objectAt is an object with random access, by ranges that are kept for a while.
type objectAt struct {
	size  int64
	fetch func(off, n int64) ([]byte, error)

	mu   sync.Mutex
	kept []atRange // that used last is the last
}

type atRange struct {
	off  int64
	data []byte
}

// ReadAt implements io.ReaderAt.
func (o *objectAt) ReadAt(p []byte, off int64) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if off < 0 {
		return 0, fmt.Errorf("read from byte %d on: there is none", off)
	}
	n := 0
	for n < len(p) && off+int64(n) < o.size {
		at := off + int64(n)
		data, err := o.block(at / atBlock * atBlock)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], data[at%atBlock:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (o *objectAt) block(off int64) ([]byte, error) {
	for i, k := range o.kept {
		if k.off == off {
			o.kept = append(append(o.kept[:i:i], o.kept[i+1:]...), k)
			return k.data, nil
		}
	}
	data, err := o.fetch(off, min(atBlock, o.size-off))
	if err != nil {
		return nil, err
	}
	if len(o.kept) >= atKept {
		o.kept = o.kept[1:]
	}
	o.kept = append(o.kept, atRange{off, data})
	return data, nil
}

// Close implements io.Closer.
func (o *objectAt) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = nil
	return nil
}
