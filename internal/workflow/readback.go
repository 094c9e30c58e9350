package workflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/encrypt"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
)

// readback reads one archive back, all of it, and holds it to what the bucket says
// of it: its record, its entries, or at least its own form. What it finds goes to
// those who compare it with the snapshot.
type readback struct {
	store   objstore.Store
	gpg     *encrypt.GPG // nil: nothing is encrypted
	log     *slog.Logger
	subject snapshot.ID
	a       archived

	found    func(Difference)
	progress func(stored int64)           // so many more bytes of the object are read
	entry    func(*archive.TreeRow) error // told of the entries of a tar
	blocks   func(archive.BlockRun) error // told of the blocks of an image

	last  string // path of the last entry
	seen  bool   // there is one
	plain int64  // bytes of the archive's contents
}

// receiverError is an error of who is told of entries and blocks: no fault of the
// archive's.
type receiverError struct{ error }

func (e receiverError) Unwrap() error { return e.error }

// run reads the archive. An error is why it could not be read, which says nothing
// of what is in it: all that is wrong with the archive itself is a difference. Where
// that keeps the rest of it from being read, the error is errCut.
func (r *readback) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := openObject(ctx, r, r.a.info, r.a.opens)
	if err != nil {
		return err
	}
	defer body.close()
	if r.a.record == nil || r.a.sealed {
		return r.stream(ctx, body)
	}
	list, err := openObject(ctx, r, r.a.entries, r.a.opensEntries)
	if err != nil {
		return err
	}
	defer list.close()
	f := newFeed(layout.ReadEntries(list.plain))
	defer f.close()
	return r.framed(ctx, body, list, f)
}

// framed reads an archive frame by frame, as its entries say.
func (r *readback) framed(ctx context.Context, body, list *object, f *feed) error {
	frames := archive.ReadFrames(ctx, body.plain, f.frame, archive.FrameOptions{Codec: r.a.codec, Image: r.a.kind == layout.Image})
	var files layout.Files
	var damage error
	if r.a.kind == layout.Image {
		damage = r.frameBlocks(ctx, f, frames)
	} else {
		files, damage = r.frameEntries(ctx, f, frames)
	}
	if err := r.failure(ctx, damage, body, list); err != nil {
		return err
	}
	listed := f.finish()
	if err := r.failure(ctx, nil, body, list); err != nil {
		return err
	}
	if err := r.checkList(list, f, listed); err != nil {
		return err
	}
	switch {
	case listed != nil: // said; without the entries the archive could not be read to its end
		return errCut
	case damage != nil:
		r.damaged(damage)
		return errCut
	}
	r.checkEnd(f.end, files)
	r.checkSum(body)
	return nil
}

// failure tells what kept the archive from being read.
func (r *readback) failure(ctx context.Context, err error, objects ...*object) error {
	for _, o := range objects {
		if failed := o.failure(); failed != nil {
			return fmt.Errorf("read %s: %w", o.key, failed)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if receiver, ok := errors.AsType[receiverError](err); ok {
		return receiver.error
	}
	for _, o := range objects {
		if err := r.undecrypted(o); err != nil {
			return err
		}
	}
	return nil
}

// undecrypted tells what kept gpg from decrypting an object. gpg says of a message
// with damage in its head what it says of one for a key that is not at hand: only
// where the stored bytes are those that were written it is a failure.
func (r *readback) undecrypted(o *object) error {
	if o.gpg == nil || o.gpg.failure() == nil {
		return nil
	}
	why := fmt.Errorf("read %s: %w", o.key, o.gpg.failure())
	if r.a.record == nil {
		return why
	}
	want := r.a.record.CRC64NVME
	if o.key != r.a.key {
		want = r.a.record.Entries.SHA256
	}
	got, err := o.stored()
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", o.key, err)
	case want == "" || got == want:
		return hint.Wrap(why, hint.Of(o.gpg.failure()))
	}
	return nil
}

// differ reports a difference of the archive.
func (r *readback) differ(d Difference) {
	d.Snapshot, d.Part = r.subject, r.a.part
	if d.Key == "" {
		d.Key = r.a.key
	}
	r.found(d)
}

// damaged reports that the archive cannot be read on.
func (r *readback) damaged(err error) {
	d := Difference{Between: BetweenObject, Kind: string(archive.DiffDamaged), Got: oneLine(err)}
	if r.a.record != nil {
		d.Between = BetweenEntries
	}
	if frame, ok := errors.AsType[*archive.FrameError](err); ok {
		d.Off, d.Len = frame.Frame.PlainOff, frame.Frame.PlainLen
	}
	if r.a.kind == layout.Tar && r.seen {
		d.Got += "; the last entry before it is ./" + r.last
	}
	r.differ(d)
}

// stream reads an archive without entries: the predecessor's, or one of ours whose
// entries are encrypted to somebody else.
func (r *readback) stream(ctx context.Context, body *object) error {
	dec, err := codec.NewReader(r.a.codec, body.plain)
	if err != nil {
		return err
	}
	defer dec.Close()
	var files layout.Files
	var damage error
	if r.a.kind == layout.Image {
		damage = r.streamBlocks(ctx, dec)
	} else {
		files, damage = r.streamEntries(ctx, dec)
	}
	if damage == nil {
		damage = body.end()
	}
	if err := r.failure(ctx, damage, body); err != nil {
		return err
	}
	if damage != nil {
		r.damaged(damage)
		return errCut
	}
	rec := r.a.record
	if rec == nil {
		r.checkPlain()
		return nil
	}
	r.checkSum(body)
	if rec.PlainSize != r.plain {
		r.differ(Difference{Between: BetweenRecord, Kind: "plain size", Want: fmt.Sprintf("%d bytes", rec.PlainSize), Got: fmt.Sprintf("%d bytes", r.plain)})
	}
	if rec.Files != nil && *rec.Files != files {
		r.differ(Difference{Between: BetweenRecord, Kind: "files", Want: fmt.Sprintf("%+v", *rec.Files), Got: fmt.Sprintf("%+v", files)})
	}
	return r.storedList(ctx)
}

func (r *readback) streamEntries(ctx context.Context, plain io.Reader) (layout.Files, error) {
	res, err := archive.ScanTree(ctx, plain, archive.ScanOptions{}, func(row *archive.TreeRow) error {
		r.last, r.seen = row.Path, true
		return received(r.entry(row))
	})
	r.plain = res.Plain
	return filesOf(res), err
}

func (r *readback) streamBlocks(ctx context.Context, plain io.Reader) (err error) {
	r.plain, err = archive.ScanImage(ctx, plain, archive.ImageScanOptions{}, func(from int64, sums [][32]byte, zero []bool) error {
		for i := 0; i < len(zero); {
			n := i + 1
			for n < len(zero) && zero[n] == zero[i] {
				n++
			}
			run := archive.BlockRun{From: from + int64(i), Count: int64(n - i), Zero: zero[i]}
			if !run.Zero {
				run.Sums = append([][32]byte(nil), sums[i:n]...)
			}
			if err := r.blocks(run); err != nil {
				return received(err)
			}
			i = n
		}
		return nil
	})
	return err
}

func received(err error) error {
	if err == nil {
		return nil
	}
	return receiverError{err}
}

func filesOf(res archive.TreeResult) layout.Files {
	return layout.Files{Entries: res.Entries, Regular: res.Regular, Folders: res.Folders, Bytes: res.Bytes}
}
