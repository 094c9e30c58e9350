package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/hint"
)

// sandboxBucket is the bucket that every sandbox has.
const sandboxBucket = "demo"

// SandboxOptions says what the sandbox's account holds and who uses it.
type SandboxOptions struct {
	Images  []string // disk images; each becomes a snapshot tagged migrate, after the embedded one
	Naming  string   // how attached volumes appear: "nvme" or "xvd"
	Command []string // run against the sandbox; empty: it stays up until interrupted
}

// sandbox is a small account on loopback.
type sandbox struct {
	sim  *awssim.Server
	dir  string
	lock *os.File // on dir, as long as the sandbox lives
	demo string   // the embedded disk image
	ids  []string // its snapshots: the embedded image first
}

// openSandbox starts an account with a bucket and the embedded disk as a
// snapshot tagged migrate. As root volumes are loop devices, otherwise the image
// files themselves.
func openSandbox(naming string) (_ *sandbox, err error) {
	if err := removeDeadSandboxes(); err != nil {
		return nil, hint.Wrap(err, "remove it by hand, or set TMPDIR to another folder")
	}
	dir, lock, err := newSandboxDir()
	if err != nil {
		return nil, err
	}
	s := &sandbox{dir: dir, lock: lock, demo: filepath.Join(dir, "disk.img")}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir), lock.Close())
		}
	}()
	if err := writeDemoImage(s.demo); err != nil {
		return nil, err
	}
	s.sim, err = awssim.Start(awssim.Config{
		Dir: filepath.Join(dir, "aws"), Naming: naming, Loop: os.Geteuid() == 0,
	})
	if err != nil {
		return nil, fmt.Errorf("start the sandbox: %w", err)
	}
	if err := s.furnish(); err != nil {
		return nil, errors.Join(err, s.sim.Close())
	}
	return s, nil
}

func (s *sandbox) furnish() error {
	s.sim.AddBucket(awssim.Bucket{Name: sandboxBucket})
	return s.add(awssim.SnapshotSpec{
		Image: s.demo, Description: "nightly backup of demo.example.com",
		VolumeID: "vol-0a1b2c3d4e5f60718",
		Start:    time.Date(2026, 6, 1, 2, 0, 0, 0, time.UTC),
		Tags:     map[string]string{"Name": "demo", "env": "production", "snap-to-s3": "migrate"},
	})
}

func (s *sandbox) add(spec awssim.SnapshotSpec) error {
	id, err := s.sim.AddSnapshot(spec)
	if err != nil {
		return err
	}
	s.ids = append(s.ids, id)
	return nil
}

// Env points AWS tools and this one at the sandbox, and at nothing else.
func (s *sandbox) env() []string {
	return append(s.sim.Env(),
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"SNAP_TO_S3_STATE_DIR="+filepath.Join(s.dir, "state"))
}

// close ends the sandbox; its error lists what was left behind in it.
func (s *sandbox) close() error {
	return errors.Join(s.sim.Close(), os.RemoveAll(s.dir), s.lock.Close())
}

func runSandbox(ctx context.Context, env Env, o SandboxOptions) (err error) {
	s, err := openSandbox(o.Naming)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, path := range o.Images {
		err := s.add(awssim.SnapshotSpec{
			Image: path, Description: "image " + filepath.Base(path),
			Tags: map[string]string{"snap-to-s3": "migrate"},
		})
		if err != nil {
			return hint.Wrap(err, "--image takes the path of a raw disk image")
		}
	}
	if len(o.Command) > 0 {
		return s.run(ctx, env, o.Command)
	}
	s.printEnv(env.out)
	fmt.Fprintf(env.Stderr, "The sandbox is up: bucket %s; snapshots %s.\nSet the environment above in another shell and run: snap-to-s3 migrate --all --bucket %s\nCtrl-C ends it.\n",
		sandboxBucket, strings.Join(s.ids, ", "), sandboxBucket)
	<-ctx.Done()
	return nil
}

// printEnv writes what a shell must run to reach the sandbox, and nothing else.
func (s *sandbox) printEnv(w io.Writer) {
	unset, exports := awsSettings(), ""
	for _, kv := range s.env() {
		k, v, _ := strings.Cut(kv, "=")
		exports += fmt.Sprintf("export %s=%s\n", k, hint.Quote(v))
		unset = slices.DeleteFunc(unset, func(name string) bool { return name == k })
	}
	fmt.Fprintf(w, "unset %s\n%s", strings.Join(unset, " "), exports)
}

// awsSettings are variables that would lead AWS's tools, or ours, past the
// sandbox or change how they ask it (AWS SDKs and tools reference guide,
// "Environment variables support").
func awsSettings() []string {
	return []string{
		"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
		"AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
		"AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "AWS_CA_BUNDLE",
		"AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE",
	}
}

// run runs a command against the sandbox. Its exit code becomes ours.
func (s *sandbox) run(ctx context.Context, env Env, argv []string) error {
	path, err := program(argv[0])
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = env.Stdin, env.Stdout, env.Stderr
	cmd.Env = append(withoutAWS(os.Environ()), s.env()...)
	onTerminal := env.IsTerminal(env.Stdin) // asked now: one that hung up is none any more
	cmd.Cancel = func() error {
		if onTerminal {
			return nil // the terminal has sent it the same signal; a second one would cut its clean-up short
		}
		return cmd.Process.Signal(syscall.SIGTERM)
	}
	cmd.WaitDelay = 2 * time.Minute // its clean-up has that long
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &childError{name: argv[0], code: exit.ExitCode()}
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", argv[0], err)
	}
	return nil
}

// childError is a command that the sandbox ran and that failed.
type childError struct {
	name string
	code int
}

func (e *childError) Error() string { return fmt.Sprintf("%s exited with %d", e.name, e.code) }

// program finds a command; snap-to-s3 is this very program, installed or not.
func program(name string) (string, error) {
	if name == "snap-to-s3" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find this program: %w", err)
		}
		return self, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", hint.Wrap(fmt.Errorf("run %s: %w", name, err), "for example: snap-to-s3 sandbox -- snap-to-s3 migrate --all --bucket demo")
	}
	return path, nil
}

// withoutAWS drops what could point a command at a real account.
func withoutAWS(environ []string) []string {
	var out []string
	for _, kv := range environ {
		if !strings.HasPrefix(kv, "AWS_") {
			out = append(out, kv)
		}
	}
	return out
}
