package encrypt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"snap-to-s3/internal/hint"
)

// writeSize is the least that goes to gpg at a time, but for the last.
const writeSize = 256 << 10 // 256 KiB

// hiddenKey is the key ID of a recipient whose key is not told (throw-keyids).
const hiddenKey = "0000000000000000"

var errAborted = errors.New("the encryption was given up")

// Encryptor is a message that is being encrypted. Write and Close are for one
// goroutine; Abort may be called beside them.
//
// It holds writeSize and pipeSize bytes, besides two pipes of pipeSize in the kernel.
type Encryptor struct {
	p       *process
	in      *bufio.Writer
	keys    []string // key IDs of the recipients
	copied  chan struct{}
	out     framing // of what gpg wrote; valid after copied
	outErr  error   // why the copying ended early; valid after copied
	aborted atomic.Bool
	finish  func() error // Close, once
}

// Encrypt runs gpg, so that what is written comes out at w encrypted to the
// recipients that Recipients checked: to exactly their subkeys, whatever gpg.conf
// adds, and without compression. When ctx ends gpg is killed, and w has no whole
// message. Close or Abort must be called. While w's Write hangs, so does Close:
// it should end with ctx.
func (g *GPG) Encrypt(ctx context.Context, w io.Writer, to []Recipient) (*Encryptor, error) {
	if len(to) == 0 {
		return nil, errors.New("encrypt: no recipient")
	}
	e := &Encryptor{copied: make(chan struct{})}
	args := encryptOptions()
	for _, r := range to {
		if !isFingerprint(r.Subkey) {
			return nil, fmt.Errorf("encrypt to %q: its subkey was not looked up", r.Name)
		}
		// The same key under two names is one to gpg as well.
		if id := keyID(r.Subkey); !slices.Contains(e.keys, id) {
			e.keys = append(e.keys, id)
			args = append(args, "--recipient", r.Subkey+"!")
		}
	}
	p, err := g.start(ctx, nil, append(args, "--encrypt")...)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	e.p, e.in, e.finish = p, bufio.NewWriterSize(p.stdin, writeSize), sync.OnceValue(e.close)
	go e.copy(w)
	return e, nil
}

// encryptOptions keep gpg from compressing, and from encrypting to others than
// are named.
func encryptOptions() []string {
	return []string{"--compress-level", "0", "--no-armor", "--no-encrypt-to", "--output", "-"}
}

// Write encrypts p.
func (e *Encryptor) Write(p []byte) (int, error) {
	n, err := e.in.Write(p)
	if err != nil {
		return n, e.failure(err)
	}
	return n, nil
}

// Close ends the message and waits for gpg. Only when it returns nil is what w
// was given a whole message, encrypted to the recipients. w is not written to
// after it.
func (e *Encryptor) Close() error { return e.finish() }

// Abort kills gpg and waits until it is gone and w is not written to any more;
// unless Close has returned nil, w has no whole message then. It waits for some
// seconds at most: the error says what still goes on. After Close, and when
// called again, it does nothing.
func (e *Encryptor) Abort() error {
	e.aborted.Store(true)
	// Killed before its input ends: it would take that for the message's end.
	e.p.kill(errAborted)
	_ = e.p.wait() // that it was killed is no news
	closeAll([]*os.File{e.p.stdin})
	if !e.p.gone() {
		return fmt.Errorf("give up an encryption: %w", e.p.wait())
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-e.copied:
		return nil
	case <-timer.C:
		return errors.New("give up an encryption: what gpg wrote is still being stored")
	}
}

func (e *Encryptor) close() error {
	err := e.in.Flush()
	if err == nil && !e.aborted.Load() {
		err = e.p.stdin.Close()
	}
	if err != nil {
		return e.failure(err)
	}
	return e.verdict()
}

// failure says why gpg takes no more. That its input broke is only how it shows.
func (e *Encryptor) failure(broken error) error {
	if err := e.verdict(); err != nil {
		return err
	}
	return fmt.Errorf("encrypt: gpg ended before its input did: %w", broken)
}

// verdict waits for the end and says what came of it.
func (e *Encryptor) verdict() error {
	select {
	case <-e.copied:
	case <-e.p.lost:
		return fmt.Errorf("encrypt: %w", e.p.wait())
	}
	err := e.p.waitBriefly()
	closeAll([]*os.File{e.p.stdin, e.p.stdout})
	switch {
	case e.aborted.Load():
		return errAborted
	case e.outErr != nil:
		return fmt.Errorf("encrypt: %w", e.outErr)
	case err != nil:
		return fmt.Errorf("encrypt: %w", e.p.said(err))
	case !e.p.status.encoded:
		return fmt.Errorf("encrypt: %w", e.p.said(errors.New("it did not say that the message was whole")))
	}
	if err := e.out.end(); err != nil {
		return fmt.Errorf("encrypt: what gpg wrote: %w", err)
	}
	return nil
}

// copy hands to w what gpg writes, and kills gpg when that cannot go on.
func (e *Encryptor) copy(w io.Writer) {
	defer close(e.copied)
	if e.outErr = e.copyAll(w); e.outErr != nil {
		e.p.kill(e.outErr)
	}
}

func (e *Encryptor) copyAll(w io.Writer) error {
	buf := make([]byte, pipeSize)
	held, checked := 0, false // nothing goes out before all its recipients are known
	for !e.aborted.Load() {
		n, err := e.p.stdout.Read(buf[held:])
		if _, err := e.out.Write(buf[held : held+n]); err != nil {
			return fmt.Errorf("what gpg wrote: %w", err)
		}
		held += n
		if e.out.begun() && !checked {
			if err := e.checkRecipients(); err != nil {
				return err
			}
			checked = true
		}
		switch {
		case checked:
			if _, err := w.Write(buf[:held]); err != nil {
				return err
			}
			held = 0
		case held == len(buf):
			return fmt.Errorf("what gpg wrote: no message in the first %d bytes", held)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read from gpg: %w", err)
		}
	}
	return nil
}

// checkRecipients compares the keys in the message with those asked for.
func (e *Encryptor) checkRecipients() error {
	other := func(id string) bool { return id != hiddenKey && !slices.Contains(e.keys, id) }
	if slices.ContainsFunc(e.out.keyIDs, other) || e.out.armored || len(e.out.keyIDs) != len(e.keys) {
		err := fmt.Errorf("gpg encrypted to %d keys instead of the %d asked for: %s",
			len(e.out.keyIDs), len(e.keys), keyNames(e.out.keyIDs))
		return hint.Wrap(err, "see whether gpg.conf has recipient, hidden-recipient or armor")
	}
	return nil
}
