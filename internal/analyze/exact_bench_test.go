package analyze_test

import (
	"context"
	"iter"
	"log/slog"
	"testing"
	"time"

	"snap-to-s3/internal/analyze"
	"snap-to-s3/internal/snapshot"
)

// everywhere is a volume that is full, and of which each snapshot changes every
// seventh block.
type everywhere struct{ blocks int64 }

func (e everywhere) Blocks(context.Context, snapshot.ID) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		for i := range e.blocks {
			if !yield(i, nil) {
				return
			}
		}
	}
}

func (e everywhere) Changed(context.Context, snapshot.ID, snapshot.ID) iter.Seq2[analyze.BlockChange, error] {
	return func(yield func(analyze.BlockChange, error) bool) {
		for i := int64(0); i < e.blocks; i += 7 {
			if !yield(analyze.BlockChange{Index: i}, nil) {
				return
			}
		}
	}
}

// The largest volume there is: 134 million blocks, in 256 MiB.
func BenchmarkExact(b *testing.B) {
	e := everywhere{64 << 40 / ebsBlock}
	var s []snapshot.Snapshot
	for i, id := range []snapshot.ID{"snap-00000001", "snap-00000002", "snap-00000003"} {
		s = append(s, snapshot.Snapshot{ID: id, VolumeID: "vol-00000001", Size: 64 << 40, Start: time.Unix(int64(i), 0), State: snapshot.StateCompleted})
	}
	b.ReportAllocs()
	for b.Loop() {
		x := analyze.Exact{Lists: e, Log: slog.New(slog.DiscardHandler)}
		if got, err := x.Sizes(b.Context(), s); err != nil || len(got.Spans) != 1 {
			b.Fatalf("%+v, %v", got, err)
		}
	}
}
