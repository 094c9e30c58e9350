package encrypt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"snap-to-s3/internal/hint"
)

const (
	// grace is how long gpg may take to go once it was killed, or to exit once
	// it has closed its output.
	grace = 10 * time.Second

	pipeSize = 1 << 20 // 1 MiB, the most that Linux allows a user by default

	statusFD = 3 // the first of exec.Cmd.ExtraFiles
	keyFD    = 4

	// setPipeSize is F_SETPIPE_SZ of Linux's fcntl.h, which package syscall lacks.
	setPipeSize = 1031
)

// process is a running gpg. Its end is known by the end of its pipes and by its
// exit, in this order; ended says that all of it is there.
type process struct {
	stdin  *os.File
	stdout *os.File
	status *status
	stderr *messages
	kill   context.CancelCauseFunc
	ended  chan struct{} // closed once gpg is gone and has said all it had to say
	lost   chan struct{} // closed if it does not go
	err    error         // how gpg ended; valid after ended
}

// baseOptions come first in every call. They take back what a user's gpg.conf
// may say that would ask somebody, change the bytes, or send the messages elsewhere.
// None of them is --quiet: with it gpg does not say that a private key is locked.
func baseOptions() []string {
	return []string{
		"--batch", "--no-tty", "--no-verbose", "--pinentry-mode", "error",
		"--status-fd", strconv.Itoa(statusFD), "--exit-on-status-write-error", "--logger-file", "/dev/stderr",
		"--no-textmode", "--no-for-your-eyes-only", "--no-use-embedded-filename",
		"--no-auto-key-locate", "--no-groups",
	}
}

// start runs gpg with pipes on all sides. It is killed when ctx ends.
func (g *GPG) start(ctx context.Context, key *SessionKey, args ...string) (*process, error) {
	theirs, ours, err := openPipes()
	defer func() { closeAll(theirs) }()
	if err != nil {
		closeAll(ours)
		return nil, err
	}
	extra := []*os.File{theirs[3]}
	if key != nil {
		r, err := g.keyPipe(key)
		if err != nil {
			closeAll(ours)
			return nil, err
		}
		theirs, extra = append(theirs, r), append(extra, r)
		args = append([]string{g.sessionKey, strconv.Itoa(keyFD)}, args...)
	}
	runCtx, kill := context.WithCancelCause(ctx)
	p := &process{
		stdin: ours[0], stdout: ours[1], status: &status{}, stderr: &messages{},
		kill: kill, ended: make(chan struct{}), lost: make(chan struct{}),
	}
	cmd := exec.CommandContext(runCtx, g.path, append(baseOptions(), args...)...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = g.env, theirs[0], theirs[1], theirs[2], extra
	// A Ctrl-C at the terminal is for us to act on: gpg is not to see it first.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		go p.giveUp(ours)
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if err := cmd.Start(); err != nil {
		kill(nil)
		closeAll(ours)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, hint.Wrap(fmt.Errorf("start %s: %w", g.path, err), installHint)
	}
	go p.follow(runCtx, cmd, ours[2], ours[3])
	return p, nil
}

// openPipes makes the pipes of gpg's input, output, messages and status. What it
// returns with an error is to be closed as well.
func openPipes() (theirs, ours []*os.File, err error) {
	for i := range 4 {
		r, w, err := os.Pipe()
		if err != nil {
			return theirs, ours, fmt.Errorf("pipe to gpg: %w", err)
		}
		if i == 0 {
			r, w = w, r
		}
		theirs, ours = append(theirs, w), append(ours, r)
	}
	enlarge(ours[0])
	enlarge(ours[1])
	return theirs, ours, nil
}

// keyPipe returns a pipe that holds the session key. It never stands in an
// argument, which all users of the machine can read.
func (g *GPG) keyPipe(key *SessionKey) (*os.File, error) {
	if g.sessionKey == "" {
		return nil, hint.Wrap(fmt.Errorf("%s %s cannot take a session key by descriptor", g.path, g.version), installHint)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe to gpg: %w", err)
	}
	// A pipe holds at least a page: this cannot block.
	_, err = io.WriteString(w, *key.secret+"\n")
	if err = errors.Join(err, w.Close()); err != nil {
		closeAll([]*os.File{r})
		return nil, fmt.Errorf("hand the session key to gpg: %w", err)
	}
	return r, nil
}

// giveUp ends the waiting for a gpg that does not go although it was killed.
func (p *process) giveUp(ours []*os.File) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		close(p.lost)
		closeAll(ours)
	}
}

// follow reads what gpg says and waits for it to go.
func (p *process) follow(ctx context.Context, cmd *exec.Cmd, stderr, status *os.File) {
	read := make(chan struct{}, 2)
	go func() { eachLine(status, p.status.add); read <- struct{}{} }()
	go func() { eachLine(stderr, p.stderr.add); read <- struct{}{} }()
	err := cmd.Wait()
	// Whatever still has the other ends open, say an agent that gpg started, may
	// not keep us.
	until := time.Now().Add(grace)
	for _, f := range []*os.File{stderr, status} {
		if deadlineErr := f.SetReadDeadline(until); deadlineErr != nil {
			closeAll([]*os.File{f})
		}
	}
	<-read
	<-read
	closeAll([]*os.File{stderr, status})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	p.err = err
	p.kill(nil) // gives back what the context holds
	close(p.ended)
}

// wait waits for gpg to be gone and returns how it ended.
func (p *process) wait() error {
	select {
	case <-p.ended:
		return p.err
	case <-p.lost:
		return fmt.Errorf("gpg does not end, %s after it was killed", grace)
	}
}

// waitBriefly is wait for a gpg that has closed its output or its input and so
// has nothing left to do.
func (p *process) waitBriefly() error {
	timer := time.AfterFunc(grace, func() {
		p.kill(fmt.Errorf("gpg was killed: it did not exit for %s after its output had ended", grace))
	})
	defer timer.Stop()
	return p.wait()
}

// gone says whether p.status, p.stderr and p.err may be read.
func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// said adds to err what gpg printed, if anything.
func (p *process) said(err error) error {
	if !p.gone() {
		return err
	}
	if text := p.stderr.String(); text != "" {
		return fmt.Errorf("gpg: %s (%w)", text, err)
	}
	return fmt.Errorf("gpg: %w", err)
}

// enlarge makes a pipe as large as may be. It works without, only slower.
func enlarge(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, pipeSize)
	})
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // a pipe: what is written to it is checked by who reads it
	}
}

// output runs gpg to its end with in as its input, and returns what it writes,
// up to limit bytes. The error is how gpg ended.
func (g *GPG) output(ctx context.Context, key *SessionKey, in []byte, limit int64, args ...string) (string, *process, error) {
	p, err := g.start(ctx, key, args...)
	if err != nil {
		return "", nil, err
	}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		_, _ = p.stdin.Write(in) // gpg may stop early; it says why
		_ = p.stdin.Close()
	}()
	var out strings.Builder
	_, err = io.CopyN(&out, p.stdout, limit)
	if err == nil {
		// There may be more, which nobody wants.
		_, err = io.Copy(io.Discard, p.stdout)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		p.kill(err)
	}
	err = p.waitBriefly()
	closeAll([]*os.File{p.stdout, p.stdin})
	<-fed
	return out.String(), p, err
}
