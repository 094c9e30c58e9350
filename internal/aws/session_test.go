package aws_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/hint"
)

const secretKey = "not-so-secret-key"

// load makes a session that talks to nobody but the given server.
func load(t *testing.T, url string, o aws.Options) *aws.Session {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": secretKey, "AWS_SESSION_TOKEN": "session-token",
		"AWS_ENDPOINT_URL": url, "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT": url, "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = time.Millisecond
	}
	s, err := aws.Load(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func client(s *aws.Session) *awss3.Client {
	return awss3.NewFromConfig(s.Config, func(o *awss3.Options) { o.UsePathStyle = true })
}

func head(ctx context.Context, s *aws.Session) error {
	_, err := client(s).HeadObject(ctx, &awss3.HeadObjectInput{Bucket: awssdk.String("b"), Key: awssdk.String("k")})
	return err
}

func get(ctx context.Context, s *aws.Session) error {
	out, err := client(s).GetObject(ctx, &awss3.GetObjectInput{Bucket: awssdk.String("b"), Key: awssdk.String("k")})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, out.Body)
	return errors.Join(err, out.Body.Close())
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func answer(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Amz-Request-Id", "REQ1")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}

func TestRetriesAreCountedAndLogged(t *testing.T) {
	var calls atomic.Int64
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 4 {
			answer(w, 400, "RequestThrottleException", "slower, please")
		}
	})
	var log bytes.Buffer
	s := load(t, server.URL, aws.Options{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err := get(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if s.Retries() != 3 || calls.Load() != 4 {
		t.Errorf("%d retries, %d calls; want 3 and 4", s.Retries(), calls.Load())
	}
	for _, want := range []string{
		`msg="aws call" service=S3 operation=GetObject`, "attempts=4",
		`msg="aws attempt failed"`, `err="RequestThrottleException: slower, please (HTTP 400, request REQ1)"`, `attempt="attempt=3; max=8"`,
		`msg="aws call is made again" service=S3 operation=GetObject attempt=4 max=8 delay=`,
		`after="RequestThrottleException: slower, please (HTTP 400, request REQ1)"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log.String())
		}
	}
	if n := strings.Count(log.String(), "aws call is made again"); n != 3 {
		t.Errorf("%d lines of repetitions, want 3", n)
	}
	for _, secret := range []string{secretKey, "session-token"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %s:\n%s", secret, log.String())
		}
	}
}

func TestGivesUp(t *testing.T) {
	var calls atomic.Int64
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		answer(w, 503, "SlowDown", "Please reduce your request rate.")
	})
	s := load(t, server.URL, aws.Options{})
	err := aws.Explain(get(t.Context(), s), "read k")
	const want = "read k: AWS throttles, 8 times in a row: SlowDown: Please reduce your request rate. (HTTP 503, request REQ1)"
	if err == nil || err.Error() != want || !strings.Contains(hint.Of(err), "--jobs") {
		t.Errorf("got %v\nwant %s\nhint %q", err, want, hint.Of(err))
	}
	if calls.Load() != 8 {
		t.Errorf("%d attempts, want 8", calls.Load())
	}
}

func TestMaxAttemptsFromTheEnvironment(t *testing.T) {
	var calls atomic.Int64
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		answer(w, 500, "InternalError", "")
	})
	t.Setenv("AWS_MAX_ATTEMPTS", "2")
	s := load(t, server.URL, aws.Options{})
	if err := get(t.Context(), s); err == nil || calls.Load() != 2 {
		t.Errorf("%v after %d attempts, want an error after 2", err, calls.Load())
	}
}

// The budget of the run ends what each call by itself would go on with.
func TestBudgetIsSharedByAllCalls(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 500, "InternalError", "") })
	s := load(t, server.URL, aws.Options{})
	var err error
	for range 400 {
		if err = get(t.Context(), s); strings.Contains(err.Error(), "budget") {
			break
		}
	}
	err = aws.Explain(err, "read k")
	const want = "read k: the run's budget of retries is used up; the last failure was InternalError (HTTP 500, request REQ1)"
	if err.Error() != want || hint.Of(err) == "" {
		t.Errorf("got %v\nwant %s\nhint %q", err, want, hint.Of(err))
	}
	if n := s.Retries(); n < 1000 || n > 1100 {
		t.Errorf("%d retries before the budget was empty, want about 1000", n)
	}
}

// hangs accepts connections, reads what comes, and never answers.
func hangs(t *testing.T, read func(net.Conn)) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			go read(conn)
		}
	}()
	return "http://" + l.Addr().String()
}

func TestASilentServerIsGivenUp(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "2")
	url := hangs(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	s := load(t, url, aws.Options{Stall: 100 * time.Millisecond})
	err := aws.Explain(head(t.Context(), s), "look up k")
	const want = "look up k: the connection hangs: no byte moved for 100ms, 2 times in a row"
	if err == nil || err.Error() != want || hint.Of(err) == "" {
		t.Errorf("got %v\nwant %s, and a hint", err, want)
	}
}

func TestAnUploadThatIsNotReadIsGivenUp(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	url := hangs(t, func(net.Conn) {})
	s := load(t, url, aws.Options{Stall: 100 * time.Millisecond})
	_, err := client(s).PutObject(t.Context(), &awss3.PutObjectInput{
		Bucket: awssdk.String("b"), Key: awssdk.String("k"), Body: bytes.NewReader(make([]byte, 32<<20)),
	})
	if stall, ok := errors.AsType[*aws.StallError](err); !ok || stall.After != 100*time.Millisecond {
		t.Errorf("upload nobody reads: %v; want a stall", err)
	}
}

// A transfer that takes many times the stall time is fine while bytes move, up
// and down alike.
func TestSlowIsNotStalled(t *testing.T) {
	const stall = time.Second
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(stall / 5)
		defer tick.Stop()
		buffer := make([]byte, 1<<20)
		for {
			_, err := io.ReadFull(r.Body, buffer)
			if err != nil {
				break
			}
			<-tick.C
		}
		for range 8 {
			<-tick.C
			_, _ = w.Write([]byte("x"))
			w.(http.Flusher).Flush()
		}
	}))
	// Otherwise the kernel may take it all for the server, and be silent itself.
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if err := c.(*net.TCPConn).SetReadBuffer(256 << 10); err != nil {
			t.Error(err)
		}
		return ctx
	}
	server.Start()
	t.Cleanup(server.Close)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	s := load(t, server.URL, aws.Options{Stall: stall})
	if err := get(t.Context(), s); err != nil {
		t.Errorf("slow download: %v", err)
	}
	_, err := client(s).PutObject(t.Context(), &awss3.PutObjectInput{
		Bucket: awssdk.String("b"), Key: awssdk.String("k"), Body: bytes.NewReader(make([]byte, 10<<20)),
	})
	if err != nil {
		t.Errorf("slow upload: %v", err)
	}
}

func TestPatience(t *testing.T) {
	var slow atomic.Int64
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		late := time.NewTimer(time.Duration(slow.Load()))
		defer late.Stop()
		select {
		case <-late.C:
		case <-r.Context().Done():
		}
	})
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	s := load(t, server.URL, aws.Options{Stall: 200 * time.Millisecond})
	if err := head(t.Context(), s); err != nil { // the connection is reused below
		t.Fatal(err)
	}
	slow.Store(int64(600 * time.Millisecond))
	if err := head(aws.Patient(t.Context(), time.Minute), s); err != nil {
		t.Errorf("a call with patience: %v", err)
	}
	if err := head(t.Context(), s); err == nil {
		t.Error("the next call on that connection has patience too")
	}
}

// A call that is waited for longest is given up soonest: two times in vain are
// twice a quarter of an hour.
func TestPatienceHasAnEnd(t *testing.T) {
	var calls atomic.Int64
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		<-r.Context().Done()
	})
	s := load(t, server.URL, aws.Options{Stall: 50 * time.Millisecond})
	err := head(aws.Patient(t.Context(), 200*time.Millisecond), s)
	if err == nil || calls.Load() != 2 {
		t.Errorf("%d calls, %v; want two and an error", calls.Load(), err)
	}
}

func TestCancelIsTold(t *testing.T) {
	url := hangs(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	s := load(t, url, aws.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := aws.Explain(head(ctx, s), "look up k")
	if !errors.Is(err, context.DeadlineExceeded) || err.Error() != "look up k: not done in time" {
		t.Errorf("got %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	err = aws.Explain(head(ctx, s), "look up k")
	if !errors.Is(err, context.Canceled) || err.Error() != "look up k: cancelled" {
		t.Errorf("got %v", err)
	}
}

// Whoever interrupts reads that it was an interrupt, wherever it met the call.
func TestWhyACallWasCancelledIsTold(t *testing.T) {
	interrupted := errors.New("interrupted by SIGTERM")
	silent := hangs(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	failing := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 500, "InternalError", "") }).URL
	for name, c := range map[string]struct {
		url   string
		after time.Duration
	}{
		"before the call":     {silent, 0},
		"in an attempt":       {silent, 50 * time.Millisecond},
		"between two of them": {failing, 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			s := load(t, c.url, aws.Options{MaxBackoff: time.Hour})
			ctx, cancel := context.WithCancelCause(t.Context())
			if c.after == 0 {
				cancel(interrupted)
			}
			time.AfterFunc(c.after, func() { cancel(interrupted) })
			err := aws.Explain(head(ctx, s), "look up k")
			if !errors.Is(err, interrupted) || !errors.Is(err, context.Canceled) || err.Error() != "look up k: interrupted by SIGTERM" {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A call in trouble is told once, when it fails first, and not when it cannot
// be tried again.
func TestTheFirstFailureIsAWarning(t *testing.T) {
	hanging := hangs(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	failing := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 500, "InternalError", "We stumbled.") }).URL
	missing := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 404, "NoSuchKey", "") }).URL
	for name, c := range map[string]struct {
		url      string
		attempts string
		want     string
	}{
		"hanging": {hanging, "", `service=S3 operation=GetObject err="the connection hangs: no byte moved for 20ms" up_to=2`},
		"failing": {failing, "", `service=S3 operation=GetObject err="InternalError: We stumbled. (HTTP 500, request REQ1)" up_to=7`},
		"less":    {failing, "3", `service=S3 operation=GetObject err="InternalError: We stumbled. (HTTP 500, request REQ1)" up_to=2`},
		"once":    {failing, "1", ""},
		"missing": {missing, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_MAX_ATTEMPTS", c.attempts)
			var log bytes.Buffer
			s := load(t, c.url, aws.Options{Stall: 20 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil))})
			calls := 2
			for range calls {
				if err := get(t.Context(), s); err == nil {
					t.Fatal("the call went well")
				}
			}
			if c.want == "" {
				if log.Len() != 0 {
					t.Errorf("it was said:\n%s", log.String())
				}
				return
			}
			want := `level=WARN msg="aws call failed, it is tried again" ` + c.want + "\n"
			if n := strings.Count(log.String(), want); n != calls || strings.Count(log.String(), "\n") != calls {
				t.Errorf("said:\n%swant %d times: %s", log.String(), calls, want)
			}
		})
	}
}

// Silence is put up with three times, other trouble eight times.
func TestASilentServerIsNotAskedOften(t *testing.T) {
	var asked atomic.Int64
	url := hangs(t, func(c net.Conn) {
		asked.Add(1)
		_, _ = io.Copy(io.Discard, c)
	})
	s := load(t, url, aws.Options{Stall: 50 * time.Millisecond})
	err := aws.Explain(head(t.Context(), s), "look up k")
	const want = "look up k: the connection hangs: no byte moved for 50ms, 3 times in a row"
	if err == nil || err.Error() != want || hint.Of(err) == "" {
		t.Errorf("got %v\nwant %s, and a hint", err, want)
	}
	if asked.Load() != 3 {
		t.Errorf("%d attempts, want 3", asked.Load())
	}
}
