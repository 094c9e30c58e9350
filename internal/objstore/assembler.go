package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/minio/crc64nvme"

	"snap-to-s3/internal/hint"
)

// errAborted is what running part uploads see when Abort is called.
var errAborted = errors.New("objstore: the writer was aborted")

// NewWriter cuts a stream into parts and gives them to up, with o.Streams of
// them under way while the next one fills. So it holds at most o.Streams+1
// parts, in memory or in o.SpoolDir, in chunks that are reused. An object no larger
// than its first part is put in one request.
//
// Parts under way live as long as ctx; a failure of one shows at the next Write
// and at Commit. Abort may be called while a Write waits: it ends that.
func NewWriter(ctx context.Context, up Uploader, key string, o CreateOptions, l Limits) (Writer, error) {
	plan, err := NewPlan(o.SizeBound, o.PartSize, l)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", key, err)
	}
	uploads, stop := context.WithCancelCause(ctx)
	return &assembler{
		key: key, options: o, plan: plan, up: up,
		slots: make(chan struct{}, max(1, o.Streams)),
		stop:  stop, stopped: uploads.Done(),
		cause: func() error { return context.Cause(uploads) },
		// io.Writer has no context; what Write starts lives in Create's.
		begin: func() (string, error) { return up.Begin(uploads) },
		send:  func(p Part) (string, error) { return up.UploadPart(uploads, p) },
	}, nil
}

type state int

const (
	stateOpen state = iota
	stateFailed
	stateCommitted
	stateAborted
)

// assembler is the Writer of every store. Its memory is (Streams+1) × part
// size, rounded up to whole chunks.
type assembler struct {
	key     string
	options CreateOptions
	plan    Plan
	up      Uploader

	begin   func() (string, error)
	send    func(Part) (string, error)
	stop    context.CancelCauseFunc
	stopped <-chan struct{}
	cause   func() error

	mu      sync.Mutex // held by Write, Commit and Abort for as long as they run
	state   state
	begun   bool
	size    int64
	crc     uint64
	part    partBuffer // the one that fills, nil before the first byte
	number  int        // of part
	partLen int64
	partMax int64
	partCRC uint64

	ring  chunkRing
	slots chan struct{} // one token a part under way

	running sync.WaitGroup
	doneMu  sync.Mutex
	parts   []UploadedPart
	files   []*os.File // spool files that wait for a part
}

// failure is why nothing more can be written, or nil.
func (a *assembler) failure() error {
	select {
	case <-a.stopped:
		return a.cause()
	default:
		return nil
	}
}

// fail ends the uploads under way. The first reason stays.
func (a *assembler) fail(err error) error {
	a.stop(err)
	return a.cause()
}

// Write adds p to the object. It blocks while all streams are busy and a part is full.
func (a *assembler) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != stateOpen {
		return 0, ErrDone
	}
	written := 0
	for {
		if err := a.failure(); err != nil {
			return written, err
		}
		if len(p) == 0 {
			return written, nil
		}
		if err := a.makeRoom(); err != nil {
			return written, a.fail(err)
		}
		n := int(min(int64(len(p)), a.partMax-a.partLen))
		if err := a.part.write(p[:n]); err != nil {
			return written, a.fail(spoolHint(err))
		}
		a.partCRC = crc64nvme.Update(a.partCRC, p[:n])
		a.crc = crc64nvme.Update(a.crc, p[:n])
		a.partLen += int64(n)
		a.size += int64(n)
		written += n
		p = p[n:]
	}
}

// makeRoom sees to it that the part that fills can take a byte. A full part is
// sent only now that another byte is there, so that an object of exactly one
// part is put at once and no upload ends with an empty part.
func (a *assembler) makeRoom() error {
	if a.size >= a.plan.limits.MaxObject {
		return fmt.Errorf("write %s: the object is over the %s that the store takes",
			a.key, size(a.plan.limits.MaxObject))
	}
	if a.part != nil && a.partLen < a.partMax {
		return nil
	}
	if a.part != nil {
		if err := a.sendPart(); err != nil {
			return err
		}
	}
	return a.startPart()
}

func (a *assembler) startPart() error {
	if a.number >= a.plan.limits.MaxParts {
		return hint.Wrap(
			fmt.Errorf("write %s: the object does not fit into %d parts of %s",
				a.key, a.plan.limits.MaxParts, size(a.partMax)),
			"use a larger --part-size, or leave it out: it is then derived from the size of the snapshot")
	}
	a.number++
	a.partMax = a.plan.Part(a.number)
	a.partLen, a.partCRC = 0, 0
	if a.options.SpoolDir == "" || a.partMax <= SpoolOver {
		a.part = &memoryPart{ring: &a.ring}
		return nil
	}
	f, err := a.spoolFile()
	if err != nil {
		return spoolHint(fmt.Errorf("write %s: %w", a.key, err))
	}
	a.part = &filePart{dir: a.options.SpoolDir, file: f, give: a.giveFile}
	return nil
}

func spoolHint(err error) error {
	return hint.Wrap(err, "the --spool folder needs room for (upload streams + 1) parts of each job; --part-size makes them smaller")
}

func (a *assembler) spoolFile() (*os.File, error) {
	a.doneMu.Lock()
	defer a.doneMu.Unlock()
	if n := len(a.files); n > 0 {
		f := a.files[n-1]
		a.files = a.files[:n-1]
		return f, nil
	}
	return openUnlinked(a.options.SpoolDir)
}

func (a *assembler) giveFile(f *os.File) {
	a.doneMu.Lock()
	defer a.doneMu.Unlock()
	a.files = append(a.files, f)
}

// sendPart hands the part that filled to a stream, and waits for a free one.
func (a *assembler) sendPart() error {
	if !a.begun {
		id, err := a.begin()
		if err != nil {
			return err
		}
		a.begun = true
		if a.options.Started != nil {
			a.options.Started(id)
		}
	}
	select {
	case a.slots <- struct{}{}:
	case <-a.stopped:
		return a.cause()
	}
	buffer := a.part
	p := Part{Number: a.number, Size: a.partLen, CRC64NVME: a.partCRC, Body: buffer.body()}
	a.part = nil
	a.running.Go(func() {
		etag, err := a.send(p)
		a.sent(UploadedPart{Number: p.Number, ETag: etag, Size: p.Size, CRC64NVME: p.CRC64NVME}, err)
		buffer.release()
		<-a.slots
	})
	return nil
}

func (a *assembler) sent(p UploadedPart, err error) {
	if err != nil {
		a.stop(err)
		return
	}
	a.doneMu.Lock()
	defer a.doneMu.Unlock()
	a.parts = append(a.parts, p)
}

// Commit sends what is left and makes the object visible.
func (a *assembler) Commit(ctx context.Context) (Info, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != stateOpen {
		return Info{}, ErrDone
	}
	defer context.AfterFunc(ctx, func() { a.stop(context.Cause(ctx)) })()
	info, err := a.commit(ctx)
	a.state = stateCommitted
	if err != nil {
		a.state = stateFailed
	}
	a.stop(err)
	a.running.Wait()
	a.drop()
	return info, err
}

func (a *assembler) commit(ctx context.Context) (Info, error) {
	if err := a.failure(); err != nil {
		return Info{}, err
	}
	if !a.begun {
		body := io.ReadSeeker(&chunkReader{})
		if a.part != nil {
			body = a.part.body()
		}
		if err := a.beforeCommit(ctx); err != nil {
			return Info{}, err
		}
		return a.checked(a.up.Put(ctx, Part{Number: 1, Size: a.size, CRC64NVME: a.crc, Body: body}))
	}
	if err := a.sendPart(); err != nil {
		return Info{}, a.fail(err)
	}
	a.running.Wait()
	if err := a.failure(); err != nil {
		return Info{}, err
	}
	slices.SortFunc(a.parts, func(x, y UploadedPart) int { return x.Number - y.Number })
	if err := a.beforeCommit(ctx); err != nil {
		return Info{}, err
	}
	return a.checked(a.up.Complete(ctx, Whole{Parts: a.parts, Size: a.size, CRC64NVME: a.crc}))
}

// beforeCommit asks the caller a last time, and looks whether Commit was ended meanwhile.
func (a *assembler) beforeCommit(ctx context.Context) error {
	if a.options.BeforeCommit == nil {
		return nil
	}
	if err := a.options.BeforeCommit(ctx); err != nil {
		return err
	}
	return a.failure()
}

// checked holds what the store says of the object against what was written.
func (a *assembler) checked(info Info, err error) (Info, error) {
	if err != nil {
		return Info{}, err
	}
	if crc := FormatCRC64NVME(a.crc); info.CRC64NVME != "" && info.CRC64NVME != crc {
		return info, fmt.Errorf("store %s: it is there but damaged: the store has CRC64NVME %s, written was %s",
			a.key, info.CRC64NVME, crc)
	}
	return info, nil
}

// Abort ends the uploads under way and takes back what is in the store.
func (a *assembler) Abort(ctx context.Context) error {
	a.stop(errAborted) // before the lock: a Write that waits must let go of it
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state == stateCommitted || a.state == stateAborted {
		return ErrDone
	}
	a.state = stateAborted
	a.running.Wait()
	a.drop()
	if !a.begun {
		return nil
	}
	return a.up.Abort(ctx)
}

// drop lets go of all memory and files; no part is under way any more.
func (a *assembler) drop() {
	if a.part != nil {
		a.part.release()
		a.part = nil
	}
	a.ring.free = nil
	for _, f := range a.files {
		_ = f.Close() // scratch without a name, read already: nothing can be lost
	}
	a.files = nil
}
