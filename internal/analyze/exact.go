package analyze

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
)

// BlockChange is a block in which a snapshot differs from an older one of its
// volume.
type BlockChange struct {
	Index int64 // offset on the volume / 512 KiB
	Gone  bool  // it does not hold the block, the older one does
}

// BlockLists tells which blocks of 512 KiB the snapshots of one region hold,
// by ascending index. Calls of it may run side by side.
type BlockLists interface {
	// Blocks lists all blocks of a snapshot.
	Blocks(ctx context.Context, id snapshot.ID) iter.Seq2[int64, error]
	// Changed lists the blocks in which second differs from first. Those that
	// only first holds may be missing: AWS does not say whether they are listed.
	Changed(ctx context.Context, first, second snapshot.ID) iter.Seq2[BlockChange, error]
}

// ErrBlocksRefused is a snapshot of which, other than of others, no blocks are
// listed.
var ErrBlocksRefused = errors.New("its blocks cannot be listed")

// Exact finds out which blocks snapshots share, and so how much each is billed
// for and what deleting it frees: the first of a volume is listed whole, each
// later one by what changed. Whether a block has gone in between follows from
// the number of blocks that EC2 tells for the snapshot; where that number is not
// told, or is another one, the snapshot is listed whole as well.
type Exact struct {
	Lists BlockLists
	Jobs  int // volumes at once; less than 1: one
	// Done, unless nil, hears of each snapshot that is done, and how many there
	// are. It may be called by several goroutines at once.
	Done func(done, all int)
	Log  *slog.Logger
}

// ExactSizes is what Exact found out.
type ExactSizes struct {
	Spans   map[snapshot.VolumeID][]cost.Span // for cost.AnalysisOptions
	Skipped []SkippedVolume                   // by id: of these there are no spans
}

// SkippedVolume is one whose snapshots could not be compared.
type SkippedVolume struct {
	Volume snapshot.VolumeID
	Why    string // half a sentence for a person
}

const (
	listedBlock = 512 << 10 // bytes of a block in lists (EBS user guide, "EBS direct APIs concepts")
	blocksAPage = 10_000    // the most that one request lists

	// exactMemory is how many blocks may be kept account of at a time: those of
	// the largest volume, 64 TiB, at 2 bytes each: 256 MiB.
	exactMemory = 64 << 40 / listedBlock

	// maxSpans bounds what is kept of all volumes: 40 bytes each.
	maxSpans = 4_000_000

	madeUpVolume snapshot.VolumeID = "vol-ffffffff" // of copies
)

// Requests is how many requests Sizes will make of the lists if their pages are
// full: at most, since what changed is not known before.
func (Exact) Requests(s []snapshot.Snapshot) int64 {
	var n int64
	for _, l := range lineages(s) {
		if l.known() || l.unfit() != "" {
			continue
		}
		for i, x := range l.snapshots {
			pages := max(1, cmp.Or(ceilDiv(x.FullSize, listedBlock), l.blocks()))
			pages = ceilDiv(pages, blocksAPage) + 1 // the last may be empty
			n += pages
			if i > 0 {
				n += pages
			}
		}
	}
	return n
}

// Sizes compares the snapshots of one region, of which all that there are of a
// volume must be given. Where those of one volume cannot be compared it goes on
// with the others; it returns an error where nothing more can be asked.
func (e Exact) Sizes(ctx context.Context, s []snapshot.Snapshot) (ExactSizes, error) {
	all := lineages(s)
	r := &exactRun{Exact: e, memory: semaphore.NewWeighted(exactMemory), spans: map[snapshot.VolumeID][]cost.Span{}}
	for _, l := range all {
		r.all += len(l.snapshots)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, e.Jobs))
	for _, l := range all {
		g.Go(func() error { return r.volume(ctx, l) })
	}
	if err := g.Wait(); err != nil {
		return ExactSizes{}, fmt.Errorf("compare blocks of snapshots: %w", err)
	}
	slices.SortFunc(r.skipped, func(a, b SkippedVolume) int { return cmp.Compare(a.Volume, b.Volume) })
	return ExactSizes{r.spans, r.skipped}, nil
}

// exactRun is one call of Sizes.
type exactRun struct {
	Exact
	memory *semaphore.Weighted // in blocks
	all    int

	mu      sync.Mutex
	spans   map[snapshot.VolumeID][]cost.Span
	count   int // spans of all volumes
	skipped []SkippedVolume
	done    int
}

func (r *exactRun) volume(ctx context.Context, l lineage) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	spans, err := r.compare(ctx, l)
	refused := errors.Is(err, ErrBlocksRefused)
	if err != nil && !refused {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !refused && r.count+len(spans) > maxSpans {
		refused, err = true, fmt.Errorf("its %d snapshots share blocks in too many ways to be kept in memory", len(l.snapshots))
	}
	if refused {
		r.skipped = append(r.skipped, SkippedVolume{l.volume, err.Error()})
		r.Log.Warn("sizes of a volume's snapshots stay estimates", slog.String("volume", string(l.volume)), slog.String("err", err.Error()))
		return nil
	}
	r.spans[l.volume] = spans
	r.count += len(spans)
	return nil
}

// compare is exact about one volume. Its error is ErrBlocksRefused where another
// volume may do better.
func (r *exactRun) compare(ctx context.Context, l lineage) ([]cost.Span, error) {
	done := 0
	defer func() { r.tell(len(l.snapshots) - done) }()
	if why := l.unfit(); why != "" {
		return nil, fmt.Errorf("%s: %w", why, ErrBlocksRefused)
	}
	if l.known() {
		one := l.snapshots[0]
		return []cost.Span{{First: one.ID, Last: one.ID, Bytes: one.FullSize}}, nil
	}
	if err := r.memory.Acquire(ctx, l.blocks()); err != nil {
		return nil, context.Cause(ctx)
	}
	defer r.memory.Release(l.blocks())
	v := newVersions(l.blocks())
	for i, s := range l.snapshots {
		if err := r.next(ctx, v, i, l.snapshots); err != nil {
			return nil, err
		}
		if len(v.ended) > maxSpans {
			return nil, fmt.Errorf("its %d snapshots share blocks in too many ways to be kept in memory: %w", len(l.snapshots), ErrBlocksRefused)
		}
		if held := v.held * listedBlock; s.FullSize > 0 && s.FullSize != held {
			r.Log.Debug("EC2 tells another full size than the list of blocks", slog.String("snapshot", string(s.ID)),
				slog.Int64("bytes", s.FullSize), slog.Int64("listed", held))
		}
		done++
		r.tell(1)
	}
	return v.spans(l.snapshots), nil
}

// next accounts for the blocks of snapshot i.
func (r *exactRun) next(ctx context.Context, v *versions, i int, all []snapshot.Snapshot) error {
	if i > 0 {
		for c, err := range r.Lists.Changed(ctx, all[i-1].ID, all[i].ID) {
			if err == nil {
				err = v.changed(i, c)
			}
			if err != nil {
				return err
			}
		}
		if all[i].FullSize == v.held*listedBlock {
			return nil // none has gone
		}
	}
	whole := v.whole(i)
	for index, err := range r.Lists.Blocks(ctx, all[i].ID) {
		if err == nil {
			err = whole.has(index)
		}
		if err != nil {
			return err
		}
	}
	whole.end()
	return nil
}

func (r *exactRun) tell(n int) {
	if r.Done == nil || n == 0 {
		return
	}
	r.mu.Lock()
	r.done += n
	done := r.done
	r.mu.Unlock()
	r.Done(done, r.all)
}

// lineage is the snapshots of one volume that are billed in the standard tier,
// the oldest first, in the order of internal/cost.
type lineage struct {
	volume    snapshot.VolumeID
	snapshots []snapshot.Snapshot
}

// lineages sorts snapshots by volume. Copies have none.
func lineages(s []snapshot.Snapshot) []lineage {
	of := map[snapshot.VolumeID][]snapshot.Snapshot{}
	for _, x := range s {
		if x.VolumeID.Valid() && x.VolumeID != madeUpVolume && !x.Archived {
			of[x.VolumeID] = append(of[x.VolumeID], x)
		}
	}
	all := make([]lineage, 0, len(of))
	for _, id := range slices.Sorted(maps.Keys(of)) {
		slices.SortFunc(of[id], func(a, b snapshot.Snapshot) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.ID, b.ID)) })
		all = append(all, lineage{id, of[id]})
	}
	return all
}

// known tells whether nothing needs to be asked: a snapshot that is alone is
// billed for all it holds.
func (l lineage) known() bool {
	return len(l.snapshots) == 1 && l.snapshots[0].FullSize > 0 && l.unfit() == ""
}

// unfit says why the snapshots cannot be compared; empty: they can.
func (l lineage) unfit() string {
	if len(l.snapshots) > maxVersions {
		return fmt.Sprintf("it has %d snapshots, over %d", len(l.snapshots), maxVersions)
	}
	if l.blocks() > exactMemory {
		return fmt.Sprintf("it has %d GiB, which is more than any volume", l.snapshots[0].SizeGiB())
	}
	for _, s := range l.snapshots {
		if s.State != snapshot.StateCompleted {
			return fmt.Sprintf("%s is %s", s.ID, s.State)
		}
	}
	return ""
}

// blocks is how many the volume has, at its largest.
func (l lineage) blocks() int64 {
	var size int64
	for _, s := range l.snapshots {
		size = max(size, s.Size, s.FullSize)
	}
	return ceilDiv(size, listedBlock)
}

func ceilDiv(n, by int64) int64 { return (n + by - 1) / by }

// errNoSuchBlock and errOutOfOrder are lists that contradict EC2 or themselves.
func errNoSuchBlock(index, blocks int64) error {
	return hint.Wrap(fmt.Errorf("block %d is listed, and the volume has %d: %w", index, blocks, ErrBlocksRefused), strangeBlocks)
}

func errOutOfOrder(index int64) error {
	return hint.Wrap(fmt.Errorf("block %d is listed behind a later one: %w", index, ErrBlocksRefused), strangeBlocks)
}

const strangeBlocks = "see what AWS says of it: aws ebs list-snapshot-blocks; something between this machine and AWS may change answers"
