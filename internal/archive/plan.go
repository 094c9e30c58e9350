package archive

import (
	"fmt"
	"iter"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

// span is a frame, or a run of whole frames of which no block is present.
type span struct {
	frame   int64 // number of the first
	count   int64
	present uint8 // bit i: block i of the frame may hold data
}

// plan cuts a volume of that size into spans, in order and without gaps.
// Blocks that an extent touches are present.
func plan(size int64, extents iter.Seq2[block.Extent, error]) iter.Seq2[span, error] {
	return func(yield func(span, error) bool) {
		p := planner{whole: size / codec.FrameSize, yield: yield}
		end := int64(0)
		for e, err := range extents {
			if err == nil && (e.Len < 0 || e.Off < end || e.Off > size-e.Len) {
				err = fmt.Errorf("extent of %d bytes at %d, after %d in a volume of %d", e.Len, e.Off, end, size)
			}
			if err != nil {
				yield(span{}, fmt.Errorf("list the extents: %w", err))
				return
			}
			end = e.Off + e.Len
			if e.Len > 0 && !p.mark(e.Off/block.Size, (end-1)/block.Size) {
				return
			}
		}
		frames := (size + codec.FrameSize - 1) / codec.FrameSize
		if !p.advance(p.whole) || frames == p.whole {
			return
		}
		yield(span{p.next, 1, p.present}, nil) // the short frame at the end
	}
}

type planner struct {
	whole   int64 // frames that are not cut short by the end
	next    int64 // the first frame not yet yielded
	present uint8 // of that frame
	yield   func(span, error) bool
}

// mark notes blocks as present; it is called in ascending order.
func (p *planner) mark(first, last int64) bool {
	for first <= last {
		frame := first / frameBlocks
		if !p.advance(frame) {
			return false
		}
		to := min(last, frame*frameBlocks+frameBlocks-1)
		for ; first <= to; first++ {
			p.present |= 1 << (first % frameBlocks)
		}
	}
	return true
}

// advance yields all frames before that one.
func (p *planner) advance(frame int64) bool {
	if p.next < frame && p.present != 0 {
		s := span{p.next, 1, p.present}
		p.next, p.present = p.next+1, 0
		if !p.yield(s, nil) {
			return false
		}
	}
	if p.next < frame {
		s := span{p.next, frame - p.next, 0}
		p.next = frame
		return p.yield(s, nil)
	}
	return true
}
