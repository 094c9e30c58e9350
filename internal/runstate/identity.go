package runstate

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"snap-to-s3/internal/hint"
)

// StateDirEnv names the environment variable that sets the folder of state files.
const StateDirEnv = "SNAP_TO_S3_STATE_DIR"

const (
	tool          = "snap-to-s3"
	machineIDFile = "machine-id"
)

// DefaultDir is the folder of state files: what StateDirEnv says; for root
// /var/lib/snap-to-s3; else snap-to-s3 in $XDG_STATE_HOME or ~/.local/state, and
// without a home in /var/tmp, which outlives a restart.
func DefaultDir() string {
	if dir := os.Getenv(StateDirEnv); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return filepath.Join("/var/lib", tool)
	}
	// The XDG base directory specification has relative paths ignored.
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, tool)
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", tool)
	}
	return filepath.Join("/var/tmp", tool+"-"+strconv.Itoa(os.Geteuid()))
}

// NewRunID names a run: the second it started in, UTC, and 40 random bits, so
// that names sort by time. 24 characters of 0-9, a-z and -.
func NewRunID() string {
	var random [5]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	return time.Now().UTC().Format("20060102-150405-") +
		strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))
}

// MachineID names this machine where there is no instance id: "m-" and 20 hex
// digits, the same at every run. It is derived from the system's machine id, which
// must not be shown to others itself (machine-id(5)); a machine without one gets
// one in DefaultDir.
func MachineID() (string, error) {
	return machineID([]string{"/etc/machine-id", "/var/lib/dbus/machine-id"}, DefaultDir())
}

// BootID names this boot of the machine's kernel.
func BootID() (string, error) {
	return bootID("/proc/sys/kernel/random/boot_id")
}

var (
	machineForm = regexp.MustCompile(`^[0-9a-f]{32}$`)
	bootForm    = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

func machineID(system []string, dir string) (string, error) {
	for _, path := range system {
		// Missing, empty and "uninitialized" are all no id (machine-id(5)).
		if id, err := os.ReadFile(path); err == nil && machineForm.MatchString(strings.TrimSpace(string(id))) {
			return derived(strings.TrimSpace(string(id))), nil
		}
	}
	id, err := ownMachineID(dir)
	if err != nil {
		err = fmt.Errorf("this machine has no id in %s, and none can be kept: %w", strings.Join(system, " or "), err)
		return "", hint.Wrap(err, elsewhere)
	}
	return derived(id), nil
}

func derived(id string) string {
	mac := hmac.New(sha256.New, []byte(id))
	mac.Write([]byte(tool))
	return "m-" + hex.EncodeToString(mac.Sum(nil))[:20]
}

// ownMachineID reads the id kept in dir, or makes one. Of several processes that
// do so at once, one makes it and all read it.
func ownMachineID(dir string) (string, error) {
	path := filepath.Join(dir, machineIDFile)
	id, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeMachineID(dir, path); err != nil {
			return "", err
		}
		id, err = os.ReadFile(path)
	}
	if err != nil {
		return "", err
	}
	if s := strings.TrimSpace(string(id)); machineForm.MatchString(s) {
		return s, nil
	}
	return "", fmt.Errorf("%s does not hold 32 hex digits", path)
}

func makeMachineID(dir, path string) (err error) {
	if err := makeDir(dir); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, machineIDFile+"-*"+newSuffix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeIfThere(f.Name())) }()
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	_, err = f.WriteString(hex.EncodeToString(random[:]) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, does not replace what another process made.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

func bootID(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if !bootForm.MatchString(id) {
		return "", fmt.Errorf("read the boot id: %s holds %q, not a UUID", path, id)
	}
	return id, nil
}
