package analyze

import (
	"cmp"
	"slices"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/snapshot"
)

// maxVersions is how many snapshots of a volume can be told apart in 2 bytes a
// block, 0 being none.
const maxVersions = 1<<16 - 1

// chunkBlocks is how many blocks are kept account of together: those of 32 GiB,
// in 128 KiB, and only once one of them is held.
const chunkBlocks = 1 << 16

// versions keeps account of the blocks of a volume from one snapshot to the
// next: since which snapshot each block is as it is.
type versions struct {
	blocks int64
	since  [][]uint16    // by chunk and block: number of the snapshot from 1; 0: not held
	held   int64         // blocks of the newest snapshot
	ended  map[run]int64 // blocks by the snapshots that hold them, where a later one does not
}

// run is neighbouring snapshots, by number from 0.
type run struct{ first, last uint16 }

func newVersions(blocks int64) *versions {
	return &versions{blocks: blocks, since: make([][]uint16, ceilDiv(blocks, chunkBlocks)), ended: map[run]int64{}}
}

// begin makes snapshot n the first that holds a block as it is.
func (v *versions) begin(n int, index int64) {
	v.end(n, index)
	chunk := &v.since[index/chunkBlocks]
	if *chunk == nil {
		*chunk = make([]uint16, min(chunkBlocks, v.blocks-index/chunkBlocks*chunkBlocks))
	}
	(*chunk)[index%chunkBlocks] = uint16(n + 1)
	v.held++
}

// end makes the snapshot before n the last that holds a block as it was.
func (v *versions) end(n int, index int64) {
	chunk := v.since[index/chunkBlocks]
	if chunk == nil || chunk[index%chunkBlocks] == 0 {
		return
	}
	// A block that began with n itself was listed as changed and is not held after all.
	if first := int(chunk[index%chunkBlocks]) - 1; first < n {
		v.ended[run{uint16(first), uint16(n - 1)}]++
	}
	chunk[index%chunkBlocks] = 0
	v.held--
}

func (v *versions) holds(index int64) bool {
	chunk := v.since[index/chunkBlocks]
	return chunk != nil && chunk[index%chunkBlocks] != 0
}

func (v *versions) check(index int64) error {
	if index < 0 || index >= v.blocks {
		return errNoSuchBlock(index, v.blocks)
	}
	return nil
}

// changed takes a block in which snapshot n differs from the one before.
func (v *versions) changed(n int, c BlockChange) error {
	if err := v.check(c.Index); err != nil {
		return err
	}
	if c.Gone {
		v.end(n, c.Index)
	} else {
		v.begin(n, c.Index)
	}
	return nil
}

// wholeList takes all blocks of snapshot n by ascending index: what lies between
// them has gone.
type wholeList struct {
	v    *versions
	n    int
	next int64
}

func (v *versions) whole(n int) *wholeList { return &wholeList{v: v, n: n} }

func (w *wholeList) has(index int64) error {
	if err := w.v.check(index); err != nil {
		return err
	}
	if index < w.next {
		return errOutOfOrder(index)
	}
	w.gone(index)
	if !w.v.holds(index) {
		w.v.begin(w.n, index)
	}
	w.next = index + 1
	return nil
}

func (w *wholeList) end() { w.gone(w.v.blocks) }

// gone ends the blocks up to one that is there.
func (w *wholeList) gone(to int64) {
	for i := w.next; i < to; {
		if w.v.since[i/chunkBlocks] == nil {
			i = (i/chunkBlocks + 1) * chunkBlocks
			continue
		}
		w.v.end(w.n, i)
		i++
	}
}

// spans is the account of all snapshots, by first and last. It is the last
// thing asked of v.
func (v *versions) spans(s []snapshot.Snapshot) []cost.Span {
	still := make([]int64, len(s)+1) // blocks that are as they are to the end, by their number
	for _, chunk := range v.since {
		for _, since := range chunk {
			still[since]++
		}
	}
	for since, n := range still {
		if since > 0 && n > 0 {
			v.ended[run{uint16(since - 1), uint16(len(s) - 1)}] += n
		}
	}
	runs := make([]run, 0, len(v.ended))
	for r := range v.ended {
		runs = append(runs, r)
	}
	slices.SortFunc(runs, func(a, b run) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.last, b.last)) })
	spans := make([]cost.Span, 0, len(runs))
	for _, r := range runs {
		spans = append(spans, cost.Span{First: s[r.first].ID, Last: s[r.last].ID, Bytes: v.ended[r] * listedBlock})
	}
	return spans
}
