package objstoretest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Versitygw is a running versitygw: an S3 server that shares no code with us.
type Versitygw struct {
	Endpoint  string // http://127.0.0.1:port
	AccessKey string
	SecretKey string
	Region    string
	Dir       string // each folder in it is a bucket
}

// VersitygwOptions changes how it is started. The zero value will do.
type VersitygwOptions struct {
	Buckets  []string
	MaxParts int // of one upload; 0: 10,000
}

const versitygwStart = 20 * time.Second

// StartVersitygw starts the server for the length of a test, which is skipped
// where the program is not found: $SNAP_TO_S3_VERSITYGW, the PATH, or the cache
// that the build fills.
func StartVersitygw(t testing.TB, o VersitygwOptions) Versitygw {
	t.Helper()
	program := findVersitygw(t)
	dir := t.TempDir()
	v := Versitygw{
		AccessKey: "versity", SecretKey: "versity-secret", Region: "us-east-1",
		Dir: filepath.Join(dir, "buckets"),
	}
	for _, b := range append([]string{""}, o.Buckets...) {
		if err := os.MkdirAll(filepath.Join(v.Dir, b), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	address := freeAddress(t)
	v.Endpoint = "http://" + address
	args := []string{"--port", address, "--region", v.Region, "--health", "/health", "--quiet", "--keep-alive"}
	if o.MaxParts != 0 {
		args = append(args, "--mp-max-parts", fmt.Sprint(o.MaxParts))
	}
	args = append(args, "posix")
	if unix.Setxattr(v.Dir, "user.snap-to-s3-test", []byte("x"), 0) != nil {
		sidecar := filepath.Join(dir, "sidecar")
		if err := os.Mkdir(sidecar, 0o755); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--sidecar", sidecar)
	}
	v.run(t, program, append(args, v.Dir))
	return v
}

func (v Versitygw) run(t testing.TB, program string, args []string) {
	t.Helper()
	var output bytes.Buffer
	server := exec.Command(program, args...) //nolint:noctx // it is ended below, after the test's context
	server.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+v.AccessKey, "ROOT_SECRET_KEY="+v.SecretKey)
	server.Stdout, server.Stderr = &output, &output
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = server.Wait() // killed below, or ended by itself, which the log tells
	}()
	t.Cleanup(func() {
		_ = server.Process.Kill() // it may have ended by itself, which the log below tells
		<-exited
		if t.Failed() {
			t.Logf("versitygw said:\n%s", output.String())
		}
	})
	if err := v.awaitHealth(t.Context()); err != nil {
		t.Fatalf("versitygw does not answer: %v", err)
	}
}

// awaitHealth asks until the server answers.
func (v Versitygw) awaitHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, versitygwStart)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, v.Endpoint+"/health", nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = answer.Body.Close() // nothing was asked of it
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("within %v: %w", versitygwStart, err)
		}
	}
}

func findVersitygw(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("SNAP_TO_S3_VERSITYGW"); p != "" {
		return p
	}
	if p, err := exec.LookPath("versitygw"); err == nil {
		return p
	}
	if cache, err := os.UserCacheDir(); err == nil {
		p := filepath.Join(cache, "snap-to-s3", "versitygw-v1.8.0", "versitygw")
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	t.Skip("versitygw is not installed: set SNAP_TO_S3_VERSITYGW, or put it in the PATH")
	return ""
}

// freeAddress finds a port by opening it; another process could take it in
// between, which awaitHealth or the server itself would tell.
func freeAddress(t testing.TB) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}
