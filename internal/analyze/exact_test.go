package analyze_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"snap-to-s3/internal/analyze"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/snapshot"
)

const ebsBlock = 512 << 10

// history is the snapshots of one volume as EBS keeps them: of each the version
// of each block that it holds.
type history struct {
	volume snapshot.VolumeID
	blocks int64
	of     []map[int64]int
}

// drawHistory makes a volume whose blocks are written, written over and discarded.
func drawHistory(t *rapid.T, volume snapshot.VolumeID) history {
	h := history{volume: volume, blocks: rapid.Int64Range(1, 40).Draw(t, "blocks")}
	if rapid.Bool().Draw(t, "large") {
		h.blocks += 1 << 16 // more than one chunk
	}
	version, disk := 0, map[int64]int{}
	for range rapid.IntRange(1, 8).Draw(t, "snapshots") {
		for range rapid.IntRange(0, 30).Draw(t, "writes") {
			version++
			disk[rapid.Int64Range(0, h.blocks-1).Draw(t, "written")] = version
		}
		for range rapid.IntRange(0, 4).Draw(t, "discards") {
			delete(disk, rapid.Int64Range(0, h.blocks-1).Draw(t, "discarded"))
		}
		h.of = append(h.of, maps.Clone(disk))
	}
	return h
}

func (h history) id(i int) snapshot.ID {
	return snapshot.ID(fmt.Sprintf("snap-%s%04x", strings.TrimPrefix(string(h.volume), "vol-")[4:], i))
}

func (h history) snapshots() []snapshot.Snapshot {
	var all []snapshot.Snapshot
	for i, held := range h.of {
		all = append(all, snapshot.Snapshot{
			ID: h.id(i), VolumeID: h.volume, Size: h.blocks * ebsBlock, FullSize: int64(len(held)) * ebsBlock,
			Start: time.Date(2026, 1, 1, 0, i, 0, 0, time.UTC), State: snapshot.StateCompleted,
		})
	}
	return all
}

// sizes is the naive account of what each snapshot is billed for and what
// deleting it alone would free.
func (h history) sizes(i int) (billed, frees int64) {
	for index, version := range h.of[i] {
		older := i > 0 && h.of[i-1][index] == version
		newer := i+1 < len(h.of) && h.of[i+1][index] == version
		if !older {
			billed += ebsBlock
		}
		if !older && !newer {
			frees += ebsBlock
		}
	}
	return billed, frees
}

// lists is what AWS would tell of histories.
type lists struct {
	histories []history
	listGone  bool
	fail      map[snapshot.ID]error

	mu       sync.Mutex
	requests int
}

func (l *lists) find(id snapshot.ID) map[int64]int {
	for _, h := range l.histories {
		for i := range h.of {
			if h.id(i) == id {
				return h.of[i]
			}
		}
	}
	return nil
}

func (l *lists) called() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
}

func (l *lists) Blocks(_ context.Context, id snapshot.ID) iter.Seq2[int64, error] {
	l.called()
	return func(yield func(int64, error) bool) {
		for _, index := range slices.Sorted(maps.Keys(l.find(id))) {
			if !yield(index, nil) {
				return
			}
		}
		if err := l.fail[id]; err != nil {
			yield(0, err)
		}
	}
}

func (l *lists) Changed(_ context.Context, first, second snapshot.ID) iter.Seq2[analyze.BlockChange, error] {
	l.called()
	return func(yield func(analyze.BlockChange, error) bool) {
		before, after := l.find(first), l.find(second)
		var changes []analyze.BlockChange
		for index, version := range after {
			if before[index] != version {
				changes = append(changes, analyze.BlockChange{Index: index})
			}
		}
		for index := range before {
			if _, there := after[index]; !there && l.listGone {
				changes = append(changes, analyze.BlockChange{Index: index, Gone: true})
			}
		}
		slices.SortFunc(changes, func(a, b analyze.BlockChange) int { return cmp.Compare(a.Index, b.Index) })
		for _, c := range changes {
			if !yield(c, nil) {
				return
			}
		}
		if err := l.fail[second]; err != nil {
			yield(analyze.BlockChange{}, err)
		}
	}
}

func exactly(l *lists) analyze.Exact {
	return analyze.Exact{Lists: l, Jobs: 3, Log: slog.New(slog.DiscardHandler)}
}

// What spans say is what a naive account of every block says, whatever EC2 tells
// of full sizes, whether or not lists tell of blocks that have gone.
func TestExactSizesAreThoseOfANaiveModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := &lists{listGone: rapid.Bool().Draw(t, "gone blocks are listed")}
		var all []snapshot.Snapshot
		for i := range rapid.IntRange(1, 3).Draw(t, "volumes") {
			h := drawHistory(t, snapshot.VolumeID(fmt.Sprintf("vol-0000%04x", i)))
			l.histories = append(l.histories, h)
			for _, s := range h.snapshots() {
				switch rapid.IntRange(0, 3).Draw(t, "full size") {
				case 0:
					s.FullSize = 0
				case 1:
					s.FullSize += 4096 // it is none of the lists: do not rely on it
				}
				all = append(all, s)
			}
		}
		got, err := exactly(l).Sizes(t.Context(), rapid.Permutation(all).Draw(t, "order"))
		if err != nil || len(got.Skipped) != 0 || len(got.Spans) != len(l.histories) {
			t.Fatalf("got %+v, %v", got, err)
		}
		for _, h := range l.histories {
			checkSpans(t, h, got.Spans[h.volume], all)
		}
	})
}

func checkSpans(t *rapid.T, h history, spans []cost.Span, all []snapshot.Snapshot) {
	at := map[snapshot.ID]int{}
	for i := range h.of {
		at[h.id(i)] = i
	}
	billed, frees, full := make([]int64, len(h.of)), make([]int64, len(h.of)), make([]int64, len(h.of))
	for _, s := range spans {
		first, last := at[s.First], at[s.Last]
		if s.Bytes <= 0 || first > last {
			t.Fatalf("span %+v", s)
		}
		billed[first] += s.Bytes
		if first == last {
			frees[first] += s.Bytes
		}
		for i := first; i <= last; i++ {
			full[i] += s.Bytes
		}
	}
	for i := range h.of {
		want, free := h.sizes(i)
		holds := int64(len(h.of[i])) * ebsBlock
		if len(h.of) == 1 { // nobody was asked, unless EC2 told nothing
			for _, s := range all {
				if s.ID == h.id(0) && s.FullSize > 0 {
					want, free, holds = s.FullSize, s.FullSize, s.FullSize
				}
			}
		}
		if billed[i] != want || frees[i] != free || full[i] != holds {
			t.Errorf("%s: billed %d, want %d; deleting it frees %d, want %d; full %d, want %d", h.id(i), billed[i], want, frees[i], free, full[i], holds)
		}
	}
}

// The report made with spans has the sizes of the naive account, and freeing by
// the oldest n is that of deleting them.
func TestExactSizesInAReport(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, "vol-00000001")
		l := &lists{histories: []history{h}}
		all := h.snapshots()
		for i := range all {
			all[i].FullSize = 0
		}
		got, err := exactly(l).Sizes(t.Context(), all)
		if err != nil {
			t.Fatal(err)
		}
		var holdings []cost.Holding
		for _, s := range all {
			holdings = append(holdings, cost.Holding{
				Partition: "aws", Account: "111122223333", Region: "us-east-1", ID: s.ID, Volume: s.VolumeID, VolumeSize: 1 << 40, Start: s.Start,
			})
		}
		key := cost.VolumeKey{Account: "111122223333", Region: "us-east-1", ID: h.volume}
		r, err := cost.Analyze(holdings, cost.AnalysisOptions{Spans: map[cost.VolumeKey][]cost.Span{key: got.Spans[h.volume]}})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Notes) != 0 {
			t.Errorf("what is exact is said to be estimated: %q", r.Notes)
		}
		for i, s := range r.Regions[0].Volumes[0].Snapshots {
			want, _ := h.sizes(i)
			if !s.Standard.Exact() || s.Standard.Estimate != want || s.Full.Estimate != int64(len(h.of[i]))*ebsBlock {
				t.Errorf("%s: %+v billed, %+v full; want %d and %d blocks", s.ID, s.Standard, s.Full, want, len(h.of[i]))
			}
		}
	})
}

// Where EC2's full sizes prove that no block has gone, only the first snapshot is
// listed whole; alone, a snapshot is not listed at all.
func TestNoMoreRequestsThanNeeded(t *testing.T) {
	t.Parallel()
	grown := history{volume: "vol-00000001", blocks: 100, of: []map[int64]int{{1: 1}, {1: 1, 2: 2}, {1: 3, 2: 2}}}
	shrunk := history{volume: "vol-00000002", blocks: 100, of: []map[int64]int{{1: 1, 2: 2}, {1: 1}, {1: 1}}}
	alone := history{volume: "vol-00000003", blocks: 100, of: []map[int64]int{{1: 1}}}
	for _, c := range []struct {
		name          string
		h             history
		requests, max int
	}{{"grown", grown, 3, 10}, {"shrunk", shrunk, 4, 10}, {"alone", alone, 0, 0}} {
		l := &lists{histories: []history{c.h}}
		done := 0
		e := exactly(l)
		e.Done = func(n, all int) {
			done = n
			if all != len(c.h.of) {
				t.Errorf("%s: %d of %d", c.name, n, all)
			}
		}
		if _, err := e.Sizes(t.Context(), c.h.snapshots()); err != nil || l.requests != c.requests || done != len(c.h.of) {
			t.Errorf("%s: %d lists, want %d; %d snapshots done; %v", c.name, l.requests, c.requests, done, err)
		}
		if n := e.Requests(c.h.snapshots()); n != int64(c.max) {
			t.Errorf("%s: %d requests at most, want %d", c.name, n, c.max)
		}
	}
	terabyte := history{volume: "vol-00000004", blocks: 2 << 20, of: make([]map[int64]int, 2)}.snapshots()
	if n := (analyze.Exact{}).Requests(terabyte); n != 3*(210+1) { // 2,097,152 blocks, 10,000 a page
		t.Errorf("two snapshots of 1 TiB: %d requests at most", n)
	}
}

func TestVolumesThatCannotBeCompared(t *testing.T) {
	t.Parallel()
	good := history{volume: "vol-00000001", blocks: 10, of: []map[int64]int{{1: 1}, {1: 1, 2: 2}}}
	other := history{volume: "vol-00000002", blocks: 10, of: []map[int64]int{{1: 1}, {3: 4}}}
	want := []cost.Span{{First: good.id(0), Last: good.id(1), Bytes: ebsBlock}, {First: good.id(1), Last: good.id(1), Bytes: ebsBlock}}
	refused := fmt.Errorf("list blocks: %w", analyze.ErrBlocksRefused)
	for _, c := range []struct {
		name   string
		change func(l *lists, s []snapshot.Snapshot)
		why    string
	}{
		{"refused", func(l *lists, _ []snapshot.Snapshot) {
			l.fail = map[snapshot.ID]error{other.id(1): refused}
		}, "list blocks"},
		{"pending", func(_ *lists, s []snapshot.Snapshot) { s[1].State = snapshot.StatePending }, "is pending"},
		{"larger than volumes are", func(_ *lists, s []snapshot.Snapshot) { s[0].Size = 65 << 40 }, "more than any volume"},
		{"a block behind the end", func(_ *lists, s []snapshot.Snapshot) { s[0].Size, s[1].Size = 3*ebsBlock, 3*ebsBlock }, "block 3 is listed"},
	} {
		l := &lists{histories: []history{good, other}}
		mixed := other.snapshots()
		c.change(l, mixed)
		got, err := exactly(l).Sizes(t.Context(), slices.Concat(good.snapshots(), mixed))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := gocmp.Diff(map[snapshot.VolumeID][]cost.Span{good.volume: want}, got.Spans); diff != "" {
			t.Errorf("%s: spans (-want +got):\n%s", c.name, diff)
		}
		if len(got.Skipped) != 1 || got.Skipped[0].Volume != other.volume || !strings.Contains(got.Skipped[0].Why, c.why) {
			t.Errorf("%s: skipped %+v", c.name, got.Skipped)
		}
	}
	// Copies and archived ones are in no volume's account.
	loose := good.snapshots()
	loose[0].VolumeID, loose[1].Archived = "vol-ffffffff", true
	if got, err := exactly(&lists{}).Sizes(t.Context(), loose); err != nil || len(got.Spans)+len(got.Skipped) != 0 {
		t.Errorf("a copy and an archived one: %+v, %v", got, err)
	}
}

func TestExactSizesEndWhereNothingCanBeAsked(t *testing.T) {
	t.Parallel()
	h := history{volume: "vol-00000001", blocks: 10, of: []map[int64]int{{1: 1}, {2: 2}}}
	denied := errors.New("access denied")
	_, err := exactly(&lists{histories: []history{h}, fail: map[snapshot.ID]error{h.id(0): denied}}).Sizes(t.Context(), h.snapshots())
	if !errors.Is(err, denied) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(denied)
	if _, err := exactly(&lists{histories: []history{h}}).Sizes(ctx, h.snapshots()); !errors.Is(err, denied) {
		t.Errorf("ended: got %v", err)
	}
}
