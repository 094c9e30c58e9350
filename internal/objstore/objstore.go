// Package objstore is a bucket as this tool sees it: objects that appear whole
// or not at all. It cuts a stream into parts (see assembler.go); what speaks to
// a real store is elsewhere.
package objstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Store is one bucket. It is safe for concurrent use. A returned error is
// final: what could be retried was.
type Store interface {
	// Create starts an object. Nothing is visible under key before Commit.
	Create(ctx context.Context, key string, o CreateOptions) (Writer, error)
	// Open reads an object, or a range of it, in one request: a connection that is
	// cut or hangs is an error of Read, which NewReader knows to go on after. So is
	// an end before the range's. Reading ends when ctx does. The caller closes. Open's
	// error names the object, Read's need not.
	Open(ctx context.Context, key string, r Range) (io.ReadCloser, error)
	// Stat tells of an object without reading it.
	Stat(ctx context.Context, key string) (Info, error)
	// List yields the objects whose keys begin with prefix, by key. Of their Info
	// there is what a list tells: Key, Size, ETag, StorageClass and Modified; a thaw
	// is not in it. It ends after the first error, which is ErrForbidden where the
	// right is missing: it is one of its own.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
}

// Range is what Open reads. The zero value is the whole object, whichever is there.
type Range struct {
	Off int64 // of the first byte. At or past the object's end is an error, but for 0 with Len 0
	Len int64 // bytes; 0: to the end. More than there are: as many as there are

	// ETag, unless empty, is that of the object that is meant. Where another one or
	// none stands under the key, Open says ErrChanged.
	ETag string
}

// Writer receives one object. Exactly one of Commit and Abort takes effect; the
// first call wins and later ones return ErrDone. Write never retains its
// argument.
type Writer interface {
	io.Writer
	// Commit makes the object visible, whole, and returns what the store says
	// of it. On an error the object is not ours under key (a lost answer was
	// settled by asking) and Abort is still to be called.
	Commit(ctx context.Context) (Info, error)
	// Abort takes back all that Create and Write left in the store. It must be
	// called with a context that is still alive. Its error names what stays.
	Abort(ctx context.Context) error
}

// The errors a caller branches on, tested with errors.Is.
var (
	// ErrNotExist: no object there, or none that we may see: without the right
	// to list a bucket S3 answers 403 for a missing key, so messages say
	// "missing or forbidden".
	ErrNotExist = errors.New("object is missing or forbidden")
	// ErrExists: the condition of a write did not hold: an object stands there
	// already, or is not the one that was to be replaced.
	ErrExists = errors.New("an object is already there")
	// ErrChanged: the object that was asked for by its ETag is replaced or gone.
	ErrChanged = errors.New("the object was replaced or removed meanwhile")
	// ErrArchived: the object is in a cold class and must be thawed first.
	ErrArchived = errors.New("object is in an archive storage class")
	// ErrThawing stands beside ErrArchived where a thaw is under way.
	ErrThawing = errors.New("a thaw is under way")
	// ErrForbidden: these credentials lack the right. Of a single object it stands
	// beside ErrNotExist where the object may as well not be there, and alone where
	// the store says that it is the right to read it that is missing.
	ErrForbidden = errors.New("not allowed")
	// ErrDone: Commit or Abort of a Writer was called before.
	ErrDone = errors.New("objstore: the writer is committed or aborted already")
)

// Tag is one object tag.
type Tag struct{ Key, Value string }

// Encryption is server-side encryption as the bucket's owner asks for it. The
// zero value leaves it to the bucket's default.
type Encryption struct {
	Mode     string // "", "AES256" or "aws:kms"
	KMSKeyID string // with aws:kms: a key other than the account's S3 key
}

// CreateOptions says how an object is stored.
type CreateOptions struct {
	SizeBound    int64  // bytes the object will hardly exceed; chooses the first part size. 0: unknown, small
	PartSize     int64  // bytes; fixes the size of every part but the last. 0: chosen from SizeBound
	Streams      int    // parts in flight; 0 means 1
	SpoolDir     string // parts over 64 MiB wait here, in unlinked files, instead of in memory
	ContentType  string
	Metadata     map[string]string // lower-case names, ASCII values
	Tags         []Tag
	StorageClass string // "" means STANDARD
	Encryption   Encryption

	// IfMatch replaces only the object with this ETag; empty: Commit succeeds
	// only where no object stands (If-None-Match: *).
	IfMatch string

	// Started is called with the upload's id once a multipart upload exists.
	Started func(uploadID string)

	// BeforeCommit, unless nil, is called by Commit with its context, once: all
	// parts are in the store, and what follows is the request that makes the
	// object visible (of a small object the only one). Its error ends the Commit
	// and is returned as it is; no such request is made then.
	BeforeCommit func(ctx context.Context) error
}

// Info is what a store says of an object.
type Info struct {
	Key          string
	Size         int64 // bytes
	ETag         string
	CRC64NVME    string // Base64 of the full object's CRC, "" where the store does not say
	StorageClass string // "STANDARD" where the store leaves it out
	Metadata     map[string]string
	Modified     time.Time
	Restore      string // S3's x-amz-restore header: a thaw under way or done
	Encryption   Encryption

	// ArchiveStatus is S3's x-amz-archive-status header: the archive tier that
	// INTELLIGENT_TIERING has moved the object to.
	ArchiveStatus string
}
