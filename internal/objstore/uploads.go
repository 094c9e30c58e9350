package objstore

import (
	"context"
	"iter"
	"time"
)

// Unfinished is an upload in parts that was neither completed nor aborted. Its
// parts are billed, and show in no list of objects.
type Unfinished struct {
	Key   string
	ID    string
	Begun time.Time // by the store's clock
}

// Uploads is what a Store may be able to do beyond that: to list and abort uploads
// that other processes have begun. It needs rights of its own.
type Uploads interface {
	// Unfinished yields the uploads of keys that begin with prefix, in the order of
	// their keys. It ends after the first error.
	Unfinished(ctx context.Context, prefix string) iter.Seq2[Unfinished, error]
	// AbortUpload takes an upload back. One that is gone, aborted or completed, is no
	// error. An error names what stays (LeftBehindError).
	AbortUpload(ctx context.Context, key, id string) error
}
