package s3

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/pause"
)

const (
	// runKey is the metadata that tells whose object it is (docs/format.md).
	runKey = "snap-to-s3-run"
	// A call that had no answer is asked about and made again this often; each
	// time has the session's whole policy of retries.
	commitRounds = 2
	// S3 asks to repeat a put that lost a race (S3 user guide, "Conditional
	// requests"): a few times, from a fifth of a second on.
	conflictTries = 6
	conflictWait  = 200 * time.Millisecond
	// How long a cancelled commit may still ask what became of it.
	settleTimeout = 15 * time.Second
	lastLook      = time.Second // for a put that was given up: whole on its way, it has happened by then
	// Larger objects are not put twice only to learn about the store.
	probeSize = 1 << 20 // 1 MiB
)

// commit is the one request that makes an object visible.
type commit struct {
	name      string // what is being done, for messages
	size      int64
	crc       uint64
	multipart bool
	send      func(context.Context, words) (objstore.Info, error)
}

// lostKey is the context's counter of answers that did not come.
type lostKey struct{}

func countLost(ctx context.Context) {
	if n, ok := ctx.Value(lostKey{}).(*atomic.Int64); ok {
		n.Add(1)
	}
}

// mayHaveEffect tells whether a failed attempt may have been carried out: it
// was sent and there was no answer, or the server stumbled. S3 reports failures
// of Complete under status 200 as well.
func mayHaveEffect(r *smithyhttp.Response, err error) bool {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		return false
	}
	return r == nil || r.Response == nil || r.StatusCode < 300 || r.StatusCode >= 500
}

// commit makes the object visible and finds out whether it is, whatever became
// of the answer.
func (u *upload) commit(ctx context.Context, c commit) (objstore.Info, error) {
	var lost atomic.Int64
	send := c.send
	c.send = func(ctx context.Context, w words) (objstore.Info, error) {
		if err := u.standIn(ctx, w, c); err != nil {
			return objstore.Info{}, &standInError{err}
		}
		return send(context.WithValue(ctx, lostKey{}, &lost), w)
	}
	for round := 1; ; round++ {
		info, err := u.sendAgainOnConflict(ctx, c)
		if err == nil {
			return info, nil
		}
		if lost.Load() == 0 {
			return objstore.Info{}, u.refused(err, c)
		}
		info, found, askErr := u.ask(ctx, c)
		switch {
		case found == foundOurs:
			u.store.log.Info("an answer was lost, but the object is there", "key", u.key)
			return info, nil
		case askErr != nil:
			return objstore.Info{}, u.unknown(err, askErr, c)
		case found == foundForeign:
			return objstore.Info{}, u.exists(c)
		case round == commitRounds || ctx.Err() != nil || aws.Code(err) == "NoSuchUpload":
			if info, ours := u.askLast(ctx, c); ours {
				return info, nil
			}
			return objstore.Info{}, u.refused(err, c)
		}
	}
}

// sendAgainOnConflict sends, and once more after a while when S3 says that two
// writes met. That is final for a multipart upload, which is void then.
func (u *upload) sendAgainOnConflict(ctx context.Context, c commit) (objstore.Info, error) {
	uses := words{checksums: true, conditions: true}
	for try := 1; ; try++ {
		var info objstore.Info
		err := u.store.speak(uses, func(w words) (err error) {
			info, err = c.send(ctx, w)
			return err
		})
		if c.multipart || try == conflictTries || aws.Code(err) != "ConditionalRequestConflict" {
			return info, err
		}
		if err := pause.For(ctx, conflictWait<<(try-1)+rand.N(conflictWait)); err != nil { //nolint:gosec // jitter
			return info, err
		}
	}
}

// refused is the error of a write that did not happen.
func (u *upload) refused(err error, c commit) error {
	doing := c.name + " in bucket " + u.store.bucket
	if looked, ok := errors.AsType[*standInError](err); ok {
		return looked.error
	}
	switch {
	case aws.Status(err) == 412:
		return u.exists(c)
	case aws.Code(err) == "NoSuchKey" && u.options.IfMatch != "":
		return u.gone(c)
	case aws.Code(err) == "ConditionalRequestConflict":
		return fmt.Errorf("%s: somebody else is writing this object at the same time: %w", doing, aws.ExplainWith(err, "S3 says",
			"find out what else writes to this bucket, then run the command again"))
	}
	return u.explain(err, c.name)
}

// exists is the error of a write that would have replaced what nobody named.
func (u *upload) exists(c commit) error {
	err := fmt.Errorf("%s in bucket %s: %w", c.name, u.store.bucket, objstore.ErrExists)
	if u.options.IfMatch != "" {
		return hint.Wrap(fmt.Errorf("%w, and not the one that was to be replaced", err),
			"another run may have written it meanwhile; look at it ("+u.look()+"), and run the command again to replace that one")
	}
	return hint.Wrap(err, "another run may have written it; look at it ("+u.look()+"), and run again with --overwrite to replace it")
}

// gone is the error of a write whose object to replace is not there any more.
func (u *upload) gone(c commit) error {
	return hint.Wrap(fmt.Errorf("%s in bucket %s: the object to be replaced is gone: %w", c.name, u.store.bucket, objstore.ErrExists),
		"somebody removed it meanwhile; run the command again")
}

// unknown is the error when neither the write nor the question had an answer.
func (u *upload) unknown(err, askErr error, c commit) error {
	return fmt.Errorf("%w; whether the object is there could not be found out: %v",
		aws.ExplainWith(err, c.name+" in bucket "+u.store.bucket,
			"when S3 answers again, run the command again, or look: "+u.look()), askErr)
}

type finding int

const (
	foundNothing finding = iota // nothing, or still what was to be replaced
	foundOurs
	foundForeign
)

// ask finds out whether a write whose answer was lost has happened. It asks
// even when ctx has ended: an object must not be there unnoticed.
func (u *upload) ask(ctx context.Context, c commit) (objstore.Info, finding, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.store.settleTimeout(ctx))
	defer cancel()
	info, err := u.store.Stat(ctx, u.key)
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		return objstore.Info{}, foundNothing, nil
	case err != nil:
		return objstore.Info{}, foundNothing, err
	case u.isOurs(info, c):
		return info, foundOurs, nil
	case u.options.IfMatch != "" && u.options.IfMatch == info.ETag:
		return objstore.Info{}, foundNothing, nil
	default:
		return objstore.Info{}, foundForeign, nil
	}
}

// askLast is for a request that was given up and had no effect so far: it may be
// carried out yet. Aborting the upload is what ends that for good; where there
// is none to abort, it was completed or is gone, and the object is asked for once
// more. A single put has no such end, only a moment to pass.
func (u *upload) askLast(ctx context.Context, c commit) (objstore.Info, bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if c.multipart {
		if gone, err := u.abortOnce(ctx); err == nil && !gone {
			return objstore.Info{}, false
		}
	} else {
		select {
		case <-time.After(lastLook):
		case <-ctx.Done():
		}
	}
	info, found, err := u.ask(ctx, c)
	return info, err == nil && found == foundOurs
}

// settleTimeout is short for a caller who wants to end, and long enough for all
// retries otherwise.
func (s *Store) settleTimeout(ctx context.Context) time.Duration {
	if ctx.Err() != nil {
		return settleTimeout
	}
	return s.options.Patience
}

// isOurs compares what the store tells: the run that wrote it, size and
// checksum. At least one of run and checksum must be known.
func (u *upload) isOurs(info objstore.Info, c commit) bool {
	run := u.options.Metadata[runKey]
	switch {
	case info.Size != c.size, run != "" && info.Metadata[runKey] != run:
		return false
	case info.CRC64NVME != "":
		return info.CRC64NVME == objstore.FormatCRC64NVME(c.crc)
	default:
		return run != ""
	}
}

// standInError is a refusal of ours, before the store was asked to write: it
// tells nothing of the words that the store knows.
type standInError struct{ error }

func (e *standInError) Unwrap() error { return e.error }

// standIn looks what is there, right before a call in the words of w, where the
// store's own conditions cannot be relied on or are left out of the call.
func (u *upload) standIn(ctx context.Context, w words, c commit) error {
	if _, conditions := u.store.dialect.now(); conditions == ConditionsHonoured && w.conditions {
		return nil
	}
	info, err := u.store.Stat(ctx, u.key)
	missing := errors.Is(err, objstore.ErrNotExist)
	switch {
	case err != nil && !missing:
		return fmt.Errorf("%s: %w", c.name, err)
	case missing && u.options.IfMatch == "", !missing && info.ETag == u.options.IfMatch:
		return nil
	case missing:
		return u.gone(c)
	default:
		return u.exists(c)
	}
}

// probeConditions puts a small object again, once a store, when it is not known
// whether the store honours conditions: one that does refuses. Either way the
// object is the same as before.
func (u *upload) probeConditions(ctx context.Context, p objstore.Part, info objstore.Info) (objstore.Info, error) {
	w, known := u.store.dialect.now()
	_, ifNoneMatch := u.condition()
	if known != ConditionsUnknown || ifNoneMatch == nil || p.Size > probeSize {
		return info, nil
	}
	again, err := u.putOnce(ctx, p, words{checksums: w.checksums, conditions: true})
	switch status := aws.Status(err); {
	case err == nil:
		u.store.dialect.setConditions(ConditionsIgnored, u.store.log)
		return again, nil
	case status == 412, status == 409:
		u.store.dialect.setConditions(ConditionsHonoured, u.store.log)
	default:
		// The object is stored; that the question failed is no fault of it.
		u.store.log.Debug("could not learn whether the store honours conditional writes", "key", u.key, "err", aws.Explain(err, "put again"))
	}
	return info, nil
}
