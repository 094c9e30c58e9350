package encrypt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// decryptor is a message that is being decrypted.
type decryptor struct {
	p     *process
	fed   chan struct{}
	in    framing // of what gpg was given; valid after fed
	inErr error   // of the reader, or of the framing; valid after fed
	early bool    // gpg ended before its input; valid after fed
	key   *SessionKey

	mu     sync.Mutex // one Read or verdict at a time
	end    error      // sticky
	closed chan struct{}
	once   sync.Once
}

// Decrypt runs gpg on the message that r gives, with key or, if that is nil, with
// a private key that the agent can use without asking. What Read returns is not
// known to be unchanged until it returns io.EOF, which it does only after gpg has
// found the message whole and unchanged and nothing stood behind it. Its errors
// are those of r and of ctx, ErrDamaged, and those of Probe.
//
// Close may come before the end, and from another goroutine: it kills gpg and
// waits some seconds at most for it and for a Read of r that is under way, which
// it cannot end: its error says so. Close r after it, or to hurry it.
func (g *GPG) Decrypt(ctx context.Context, r io.Reader, key *SessionKey) (io.ReadCloser, error) {
	p, err := g.start(ctx, key, decryptOptions()...)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	d := &decryptor{p: p, key: key, fed: make(chan struct{}), closed: make(chan struct{})}
	go d.feed(r)
	return d, nil
}

func decryptOptions() []string {
	return []string{"--max-output", "0", "--output", "-", "--decrypt"}
}

// Read implements io.Reader.
func (d *decryptor) Read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.end != nil {
		return 0, d.end
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := d.p.stdout.Read(p)
	if n > 0 || err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		d.p.kill(fmt.Errorf("read from gpg: %w", err))
	}
	d.end = d.verdict()
	return 0, d.end
}

// Close implements io.Closer.
func (d *decryptor) Close() error {
	d.once.Do(func() { close(d.closed) })
	d.p.kill(os.ErrClosed)
	_ = d.p.wait() // that it was killed is no news
	closeAll([]*os.File{d.p.stdin, d.p.stdout})
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.end == nil {
		d.end = fmt.Errorf("decrypt: %w", os.ErrClosed)
	}
	if !d.p.gone() {
		return fmt.Errorf("close a decryption: %w", d.p.wait())
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-d.fed:
		return nil
	case <-timer.C:
		return errors.New("close a decryption: the encrypted message is still being read")
	}
}

// feed hands to gpg what r gives. If that breaks off, gpg is killed before its
// input ends.
func (d *decryptor) feed(r io.Reader) {
	defer close(d.fed)
	if d.inErr = d.feedAll(r); d.inErr != nil {
		d.p.kill(d.inErr)
	}
	closeAll([]*os.File{d.p.stdin})
}

func (d *decryptor) feedAll(r io.Reader) error {
	buf := make([]byte, pipeSize)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := d.in.Write(buf[:n]); err != nil {
				return fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			if _, err := d.p.stdin.Write(buf[:n]); err != nil {
				d.early = true // gpg has ended, and says why
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			if err := d.in.end(); err != nil {
				return fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-d.closed:
			return os.ErrClosed
		default:
		}
	}
}

// verdict is called when gpg's output has ended.
func (d *decryptor) verdict() error {
	err := d.p.waitBriefly()
	closeAll([]*os.File{d.p.stdin})
	if !d.p.gone() {
		return fmt.Errorf("decrypt: %w", err)
	}
	whole := err == nil && d.p.status.whole()
	if whole {
		// Nobody reads on behind the message: what r still gives is too much.
		select {
		case <-d.fed:
		case <-d.closed:
		}
	}
	select {
	case <-d.fed:
	default: // r may hang; gpg ended for a reason of its own
		return fmt.Errorf("decrypt: %w", d.p.refusal(d.key, nil, err))
	}
	switch {
	case d.inErr != nil:
		return fmt.Errorf("decrypt: %w", d.inErr)
	case whole && d.early:
		return fmt.Errorf("decrypt: %w: %w", ErrDamaged, errTrailing)
	case whole:
		return io.EOF
	}
	return fmt.Errorf("decrypt: %w", d.p.refusal(d.key, &d.in, err))
}
