package objstore

import (
	"context"
	"iter"
)

// Lister is what a Store may be able to do beyond that. It needs a right of its own.
type Lister interface {
	// List yields the objects whose keys begin with prefix, by key. Of their Info
	// there is what a list tells: Key, Size, ETag, StorageClass and Modified; a thaw
	// is not in it. It ends after the first error, which is ErrForbidden where the
	// right is missing.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
}
