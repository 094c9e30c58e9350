package filesystem

import (
	"context"
	"errors"
	"math"
)

// Survey is what a tree holds.
type Survey struct {
	Entries    int64 // all of them
	Regular    int64
	Folders    int64
	Sockets    int64
	Subvolumes []string // paths of btrfs subvolumes
	Sample     []string // paths of the first sockets, at most Named
	Bytes      int64    // as du --bytes counts: sizes of regular files once each, of folders, of link targets
	Data       int64    // bytes of data that regular files hardly exceed: holes left out as far as they are known
}

// Survey walks the tree without reading files. It is an *UnreadableError when
// there are entries that cannot be looked at.
func (t *Tree) Survey(ctx context.Context) (Survey, error) {
	var (
		s     Survey
		links Links
		bad   UnreadableError
	)
	for e, err := range t.walk(ctx, false) {
		if _, ok := errors.AsType[*PathError](err); ok {
			if bad.Errs = append(bad.Errs, err); len(bad.Errs) == Named {
				break
			}
			continue
		}
		if err != nil {
			return s, err
		}
		s.count(e, &links)
	}
	if len(bad.Errs) > 0 {
		return s, &bad
	}
	return s, nil
}

func (s *Survey) count(e *Entry, links *Links) {
	s.Entries++
	if _, before := links.First(e); before {
		return
	}
	switch e.Type {
	case Regular:
		s.Regular++
		s.add(e.Size)
		s.Data += min(e.Size, e.Allocated)
	case Folder:
		s.Folders++
		s.add(e.Size)
		if e.Subvolume {
			s.Subvolumes = append(s.Subvolumes, e.Path)
		}
	case Symlink:
		s.add(int64(len(e.Target)))
	case Socket:
		if s.Sockets++; len(s.Sample) < Named {
			s.Sample = append(s.Sample, e.Path)
		}
	}
}

// add counts bytes: two files of 8 EiB of hole are more than a number holds.
func (s *Survey) add(n int64) { s.Bytes += min(n, math.MaxInt64-s.Bytes) }
