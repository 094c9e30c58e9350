package objstore

import (
	"context"
	"io"
)

// Uploader is what a store does for one object under the hands of NewWriter.
// UploadPart is called concurrently; the other methods are called at most once
// and alone. A returned error is final: what could be retried was.
type Uploader interface {
	// Put stores a whole object in one request.
	Put(ctx context.Context, p Part) (Info, error)
	// Begin starts a multipart upload and returns its id.
	Begin(ctx context.Context) (string, error)
	// UploadPart stores one part and returns its ETag.
	UploadPart(ctx context.Context, p Part) (string, error)
	// Complete makes the parts an object. On an error the object is not there.
	Complete(ctx context.Context, w Whole) (Info, error)
	// Abort takes back the upload that Begin started.
	Abort(ctx context.Context) error
}

// Part is one part, or an object small enough to be stored at once.
type Part struct {
	Number    int // from 1
	Size      int64
	CRC64NVME uint64
	Body      io.ReadSeeker // of Size bytes; the uploader rewinds it before each use
}

// UploadedPart is a part that the store has.
type UploadedPart struct {
	Number    int
	ETag      string
	Size      int64
	CRC64NVME uint64
}

// Whole is what an upload must add up to.
type Whole struct {
	Parts     []UploadedPart // ascending by number
	Size      int64
	CRC64NVME uint64
}
