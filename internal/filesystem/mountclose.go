package filesystem

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/pause"
)

// Close unmounts the filesystem and waits until its loop device is free, since
// the caller detaches the volume next. Files of it that are still open, and calls
// that the kernel does not answer, are not waited for longer than ctx and half a
// minute allow: then it is an error, which names the loop device. A mount that is
// to be kept stays, with an entry in the state file. Only the first call does
// anything.
func (m *Mount) Close(ctx context.Context) error {
	if m.closed {
		return nil
	}
	m.closed = true
	late := fmt.Errorf("it is still mounted after %s", mountGrace+slack)
	outer, stop := context.WithTimeoutCause(ctx, mountGrace+slack, late)
	defer stop()
	_, err := bounded(outer, func() (struct{}, error) {
		inner, stop := context.WithTimeoutCause(outer, mountGrace, fmt.Errorf("gave up after %s", mountGrace))
		defer stop()
		return struct{}{}, m.close(inner)
	}, func(struct{}) {})
	if err != nil {
		return hint.Wrap(fmt.Errorf("unmount the filesystem at byte %d of %s, on %s: %w", m.loop.offset, m.loop.device, m.loop.name, err),
			"end what has it open, or files below it (lsof "+m.loop.name+"), before the volume is detached")
	}
	return nil
}

// undo takes back what Open did not bring to its end.
func (m *Mount) undo(ctx context.Context) error {
	if m.plain != nil {
		m.plain.keep = false
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), mountGrace)
	defer stop()
	return m.Close(ctx)
}

func (m *Mount) close(ctx context.Context) error {
	var err error
	for _, f := range []*os.File{m.root, m.detached} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if m.plain != nil {
		if m.plain.keep {
			return errors.Join(err, m.plain.intent.Update(map[string]string{"kept": m.plain.folder}), m.plain.stay("it was to be kept"))
		}
		if err := errors.Join(err, m.plain.unmount(ctx)); err != nil {
			return err // the loop device cannot be free
		}
	}
	return errors.Join(err, m.loop.gone(ctx))
}

// unmount takes the mount away, and the folder where it was made for it.
func (p *plainMount) unmount(ctx context.Context) error {
	if !p.mounted {
		return errors.Join(p.removeFolder(), p.intent.Done())
	}
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := p.unmountOnce()
		if err == nil {
			break
		}
		if errors.Is(err, unix.EBUSY) && pause.For(ctx, wait) == nil {
			continue
		}
		err = fmt.Errorf("unmount %s: %w", p.folder, err)
		next := "end what uses it (fuser -vm " + hint.Quote(p.folder) + "), then: " + p.command()
		return errors.Join(hint.Wrap(err, next), p.stay(err.Error()))
	}
	p.mounted = false
	return errors.Join(p.removeFolder(), p.intent.Done())
}

// unmountOnce unmounts what we mounted, and nothing that somebody has put over it
// or in its place since.
func (p *plainMount) unmountOnce() error {
	var st unix.Stat_t
	if err := again0(func() error { return unix.Lstat(p.folder, &st) }); err != nil {
		return err
	}
	switch {
	case st.Dev == p.below:
		return nil // somebody was faster
	case p.device != 0 && st.Dev != p.device:
		return errors.New("something else is mounted there by now")
	}
	return unix.Unmount(p.folder, unix.UMOUNT_NOFOLLOW)
}

func (p *plainMount) removeFolder() error {
	if !p.made {
		return nil
	}
	if err := os.Remove(p.folder); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// stay leaves the mount in the state file, with the command that takes it away.
func (p *plainMount) stay(reason string) error { return p.intent.Stay(reason, p.command()) }

func (p *plainMount) command() string { return "umount " + hint.Quote(p.folder) }

// How often the kernel is asked again, where it tells nobody.
const (
	firstWait   = 2 * time.Millisecond
	longestWait = 200 * time.Millisecond
)

// again0 is again for calls that give nothing but an error.
func again0(call func() error) error {
	_, err := again(func() (struct{}, error) { return struct{}{}, call() })
	return err
}
