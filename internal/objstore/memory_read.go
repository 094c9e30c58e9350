package objstore

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
)

// Open reads an object or a range of it.
func (m *Memory) Open(ctx context.Context, key string, r Range) (io.ReadCloser, error) {
	if err := m.start(ctx, "open", key); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[key]
	switch {
	case r.ETag != "" && (!ok || o.info.ETag != r.ETag):
		return nil, fmt.Errorf("open %s: %w", key, ErrChanged)
	case !ok:
		return nil, fmt.Errorf("open %s: %w", key, ErrNotExist)
	case o.info.Readable() != nil:
		return nil, fmt.Errorf("open %w", o.info.Readable())
	case r.Off < 0 || r.Len < 0 || r.Off >= o.info.Size && (r.Off > 0 || r.Len > 0):
		return nil, fmt.Errorf("open %s at byte %d: the object has %d bytes", key, r.Off, o.info.Size)
	}
	data := o.data[r.Off:]
	if r.Len > 0 {
		data = data[:min(r.Len, int64(len(data)))]
	}
	return &memoryBody{ended: func() error { return context.Cause(ctx) }, data: data}, nil
}

// List tells of the objects under a prefix.
func (m *Memory) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if err := m.start(ctx, "list", prefix); err != nil {
			yield(Info{}, err)
			return
		}
		for _, i := range m.list(prefix) {
			if !yield(i, nil) {
				return
			}
		}
	}
}

func (m *Memory) list(prefix string) []Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Info
	for key, o := range m.objects {
		if strings.HasPrefix(key, prefix) {
			i := o.info
			all = append(all, Info{Key: key, Size: i.Size, ETag: i.ETag, StorageClass: i.StorageClass, Modified: i.Modified})
		}
	}
	slices.SortFunc(all, func(a, b Info) int { return cmp.Compare(a.Key, b.Key) })
	return all
}

// memoryBody is an answer of a Memory store. It ends with its context, as one from
// a network does.
type memoryBody struct {
	ended func() error
	data  []byte
}

func (b *memoryBody) Read(p []byte) (int, error) {
	if err := b.ended(); err != nil {
		return 0, err
	}
	if len(b.data) == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	return n, nil
}

func (b *memoryBody) Close() error { return nil }
