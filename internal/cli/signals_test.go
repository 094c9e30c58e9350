package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// signalProbe is a process that takes signals as ours does: it says when it is
// ready and what it was cancelled by, and then hangs, as a clean-up might.
func signalProbe() {
	ctx, stop := WithSignals(context.Background())
	defer stop()
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // the test closes it once it has closed our output
		fmt.Fprintln(os.Stderr, err)
	}
	if _, err := fmt.Println("still here"); err != nil {
		fmt.Fprintln(os.Stderr, "output is gone:", errors.Is(err, syscall.EPIPE))
		os.Exit(7)
	}
	<-ctx.Done()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	fmt.Println(context.Cause(ctx))
	for range asked {
		fmt.Println("alive")
	}
}

type probe struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	lines  *bufio.Scanner
	stderr strings.Builder
}

func startProbe(t *testing.T, argv ...string) *probe {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	p := &probe{cmd: exec.CommandContext(ctx, argv[0], argv[1:]...)}
	p.cmd.Stderr = &p.stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if p.out, err = p.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = p.cmd.Wait() // a test that cares has waited already
	})
	p.lines = bufio.NewScanner(p.out)
	p.wants(t, "ready")
	return p
}

func (p *probe) wants(t *testing.T, line string) {
	t.Helper()
	if !p.lines.Scan() || p.lines.Text() != line {
		t.Fatalf("got line %q, want %q", p.lines.Text(), line)
	}
}

func (p *probe) sends(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// endsBy waits for the end of the process and wants it to be killed by s.
func (p *probe) endsBy(t *testing.T, s syscall.Signal) {
	t.Helper()
	err := p.cmd.Wait()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatalf("ended with %v", err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != s {
		t.Errorf("ended with %v, want %v", err, s)
	}
}

func TestTheFirstSignalCancelsAndTheSecondEnds(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			p := startProbe(t, "signal-probe")
			p.in.Close()
			p.wants(t, "still here")
			p.sends(t, s)
			p.wants(t, "interrupted by "+signalName(s))
			p.sends(t, s)
			p.endsBy(t, s)
		})
	}
}

// When a terminal goes away, kernel and shell send a hangup each.
func TestFurtherHangupsAreDropped(t *testing.T) {
	for first, second := range map[syscall.Signal]syscall.Signal{
		syscall.SIGHUP: syscall.SIGTERM, syscall.SIGTERM: syscall.SIGINT, syscall.SIGINT: syscall.SIGTERM,
	} {
		t.Run(signalName(first), func(t *testing.T) {
			t.Parallel()
			if signal.Ignored(first) {
				t.Skip("it is ignored where this test runs (nohup), and so by what it starts")
			}
			p := startProbe(t, "signal-probe")
			p.in.Close()
			p.wants(t, "still here")
			p.sends(t, first)
			p.wants(t, "interrupted by "+signalName(first))
			for range 3 {
				p.sends(t, syscall.SIGHUP)
			}
			p.sends(t, syscall.SIGUSR1) // which the probe answers: the hangups came before it
			p.wants(t, "alive")
			p.sends(t, second)
			p.endsBy(t, second)
		})
	}
}

func TestHangupIsLeftAloneWhereItIsIgnored(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("no sh")
	}
	p := startProbe(t, "sh", "-c", "trap '' HUP; exec signal-probe")
	p.sends(t, syscall.SIGHUP)
	p.in.Close()
	p.wants(t, "still here")
	p.sends(t, syscall.SIGTERM) // the hangup, had it counted, came first
	p.wants(t, "interrupted by SIGTERM")
}

func TestAReaderThatGoesAwayDoesNotKill(t *testing.T) {
	p := startProbe(t, "signal-probe")
	p.out.Close()
	p.in.Close()
	err := p.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 || p.stderr.String() != "output is gone: true\n" {
		t.Errorf("ended with %v, saying %q; want a failed write and code 7", err, p.stderr.String())
	}
}
