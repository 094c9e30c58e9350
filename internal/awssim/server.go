// Package awssim is the sandbox's AWS: EC2, the lists of the EBS direct APIs, S3 and
// the instance metadata service on loopback, strict where AWS is strict, with faults to order. It owns
// what AWS would hold (snapshots, volumes, buckets, tags, keys, credentials)
// and tells what was left behind when it is closed. It shares no code with the
// programs that it tests, imports the standard library only, and refuses what
// it does not know instead of guessing.
package awssim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Config says what account and what instance the simulator plays. The zero
// value of a field means its default.
type Config struct {
	Dir        string // disk images, device roots, object data; default: a folder of its own, removed by Close
	Region     string // default us-east-1
	Account    string // default 111122223333
	Zone       string // default Region + "a"
	InstanceID string // default i-0123456789abcdef0; where IMDS says we run
	Naming     string // how attached devices appear: "nvme" (default) or "xvd"
	Loop       bool   // attach by loop device; needs root

	Latency     time.Duration // added to every EC2, EBS and S3 call
	MinPartSize int64         // bytes of a part that is not the last; default 5 MiB
	// IgnoreConditionals plays a store that does not know If-Match and
	// If-None-Match on writes. A Bucket can be set so by itself.
	IgnoreConditionals bool
	CompleteTime       time.Duration // CompleteMultipartUpload takes so long; meanwhile white space is sent

	Role     string        // of the instance; default snap-to-s3-role
	RoleLife time.Duration // of the role's credentials; default 6 h

	EC2 EC2Config // timings and limits of EC2
	EBS EBSConfig // how the EBS direct APIs list blocks
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	set(&c.Region, "us-east-1")
	set(&c.Account, "111122223333")
	set(&c.Zone, c.Region+"a")
	set(&c.InstanceID, "i-0123456789abcdef0")
	set(&c.Naming, "nvme")
	set(&c.Role, "snap-to-s3-role")
	if c.MinPartSize == 0 {
		c.MinPartSize = 5 << 20 // 5 MiB
	}
	if c.RoleLife == 0 {
		c.RoleLife = 6 * time.Hour
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Server is a running simulator. Its methods are safe for concurrent use.
type Server struct {
	cfg    Config
	ownDir bool // cfg.Dir was made by Start
	log    *slog.Logger

	api, imds *listener
	closing   chan struct{} // closed when Close begins: hanging calls end
	closeOnce sync.Once
	closeErr  error

	requests requestCounter
	clock    clock
	creds    credentials
	roles    roleList
	iam      policy
	keys     keyring
	faults   faultHook
	quotas   quotas
	trace    trace
	imdsData imdsState
	s3       s3State
	ec2      ec2State
}

// Start listens on two loopback ports, one for EC2 and S3, one for IMDS.
func Start(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if cfg.Naming != "nvme" && cfg.Naming != "xvd" {
		return nil, fmt.Errorf("start the simulator: naming %q is neither nvme nor xvd", cfg.Naming)
	}
	s := &Server{cfg: cfg, log: cfg.Log, closing: make(chan struct{})}
	if err := s.prepareDirs(); err != nil {
		return nil, err
	}
	s.creds.add(Credential{AccessKeyID: staticKeyID, SecretAccessKey: staticSecret}, s.userARN())
	s.s3.buckets = map[string]*bucket{}
	if err := s.startEC2(); err != nil {
		return nil, errors.Join(err, s.removeDirs())
	}
	var err error
	if s.api, err = listen(s.serveAPI, s.log); err != nil {
		return nil, errors.Join(err, s.closeEC2(), s.removeDirs())
	}
	if s.imds, err = listen(func(w http.ResponseWriter, r *http.Request) { s.serveIMDS(s.cfg.InstanceID, w, r) }, s.log); err != nil {
		return nil, errors.Join(err, s.api.close(), s.closeEC2(), s.removeDirs())
	}
	return s, nil
}

func (s *Server) prepareDirs() error {
	if s.cfg.Dir == "" {
		dir, err := os.MkdirTemp("", "awssim-")
		if err != nil {
			return fmt.Errorf("make the simulator's folder: %w", err)
		}
		s.cfg.Dir, s.ownDir = dir, true
	}
	for _, dir := range []string{s.objectDir(), s.devRoot(), s.sysRoot()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the simulator's folder: %w", err)
		}
	}
	return nil
}

// removeDirs takes away the objects' data, and all of a folder that is ours.
func (s *Server) removeDirs() error {
	if s.ownDir {
		return os.RemoveAll(s.cfg.Dir)
	}
	return os.RemoveAll(s.objectDir())
}

func (s *Server) objectDir() string { return filepath.Join(s.cfg.Dir, "objects") }

// devRoot is where attached devices appear, sysRoot a fake /sys beside it.
func (s *Server) devRoot() string { return filepath.Join(s.cfg.Dir, "dev") }
func (s *Server) sysRoot() string { return filepath.Join(s.cfg.Dir, "sys") }

// Endpoint is the URL of EC2 and S3.
func (s *Server) Endpoint() string { return s.api.url() }

// MetadataEndpoint is the URL of IMDS.
func (s *Server) MetadataEndpoint() string { return s.imds.url() }

// Env is the environment that points AWS tools and this project at the server.
func (s *Server) Env() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + staticKeyID,
		"AWS_SECRET_ACCESS_KEY=" + staticSecret,
		"AWS_REGION=" + s.cfg.Region,
		"AWS_ENDPOINT_URL_EC2=" + s.Endpoint(),
		"AWS_ENDPOINT_URL_EBS=" + s.Endpoint(),
		"AWS_ENDPOINT_URL_S3=" + s.Endpoint(),
		"AWS_ENDPOINT_URL_STS=" + s.Endpoint(),
		"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + s.MetadataEndpoint(),
		"SNAP_TO_S3_DEV_ROOT=" + s.devRoot(),
		"SNAP_TO_S3_SYS_ROOT=" + s.sysRoot(),
	}
}

// Close ends all calls, takes away what the server made on this machine and
// returns an error that lists what its users left behind. Later calls return
// the same.
func (s *Server) Close() error {
	s.closeOnce.Do(func() {
		close(s.closing)
		s.closeErr = errors.Join(s.api.close(), s.imds.close(), s.closeHosts(), s.leftovers(), s.closeEC2(), s.removeDirs())
	})
	return s.closeErr
}

// leftovers names what a well-behaved program would have removed.
func (s *Server) leftovers() error {
	var errs []error
	for _, line := range append(s.leftUploads(), s.leftEC2()...) {
		errs = append(errs, errors.New("left behind: "+line))
	}
	return errors.Join(errs...)
}

// listener is one HTTP server on a loopback port. No handler runs after close.
type listener struct {
	ln      net.Listener
	http    *http.Server
	done    chan error
	running sync.RWMutex // held for reading by each handler
	closed  bool
}

func listen(h http.HandlerFunc, log *slog.Logger) (*listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen on loopback: %w", err)
	}
	l := &listener{ln: ln, done: make(chan error, 1)}
	l.http = &http.Server{
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelError),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			l.running.RLock()
			defer l.running.RUnlock()
			if l.closed {
				panic(http.ErrAbortHandler)
			}
			h(w, r)
		}),
	}
	go func() { l.done <- l.http.Serve(ln) }()
	return l, nil
}

func (l *listener) url() string { return "http://" + l.ln.Addr().String() }

// close cuts all connections, which ends their handlers, and waits for them.
func (l *listener) close() error {
	err := l.http.Close()
	l.running.Lock()
	l.closed = true
	l.running.Unlock()
	if served := <-l.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
