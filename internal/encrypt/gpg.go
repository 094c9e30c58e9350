// Package encrypt owns the talk with the gpg program, which encrypts archives to
// public keys and decrypts them with the user's keyring, trust, agent and smart
// cards. It refuses to ask for a passphrase, to trust a key that gpg does not,
// and to call a message whole before gpg has.
package encrypt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"snap-to-s3/internal/hint"
)

// installHint is what to do where there is no gpg that will do.
const installHint = "install GnuPG 2.2 or later: the package gnupg (Debian, Ubuntu) or gnupg2 (Amazon Linux, Fedora, RHEL)"

// ErrNoGPG is returned by Find where gpg is missing or too old.
var ErrNoGPG = errors.New("no usable gpg")

// Options are what Find takes from its surroundings. The zero value is right
// outside of tests. The keyring is the user's, or the one in $GNUPGHOME.
type Options struct {
	LookPath func(name string) (string, error) // nil: exec.LookPath
	Env      []string                          // NAME=value, of gpg; nil: os.Environ()
}

// GPG is a gpg program that was found to do. It is safe for concurrent use.
type GPG struct {
	name       string // as a person types it: gpg2 or gpg
	path       string
	env        []string
	version    string
	sessionKey string // the option that takes a session key by descriptor, or ""
}

// Find looks for gpg2, then gpg, of version 2.2 or later. Its error is ErrNoGPG,
// unless ctx ended.
func Find(ctx context.Context, o Options) (*GPG, error) {
	look, env := o.LookPath, o.Env
	if look == nil {
		look = exec.LookPath
	}
	if env == nil {
		env = os.Environ()
	}
	var found error
	for _, name := range []string{"gpg2", "gpg"} {
		path, err := look(name)
		if err != nil {
			found = beside(found, err)
			continue
		}
		// Messages and numbers as we read them; a later entry wins.
		g := &GPG{name: name, path: path, env: append(slices.Clone(env), "LC_ALL=C")}
		if err = g.inspect(ctx); err == nil {
			return g, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		found = beside(found, err)
	}
	return nil, hint.Wrap(fmt.Errorf("%w: %w", ErrNoGPG, found), installHint)
}

// beside is errors.Join in one line.
func beside(err, more error) error {
	if err == nil {
		return more
	}
	return fmt.Errorf("%w; %w", err, more)
}

// Version is the version of the program, as in "2.2.40".
func (g *GPG) Version() string { return g.version }

func (g *GPG) inspect(ctx context.Context) error {
	out, err := g.ask(ctx, "--version")
	if err != nil {
		return err
	}
	if g.version, err = parseVersion(out); err != nil {
		return fmt.Errorf("%s: %w", g.path, err)
	}
	options, err := g.ask(ctx, "--dump-options")
	if err != nil {
		return err
	}
	const byDescriptor = "--override-session-key-fd"
	if slices.Contains(strings.Fields(options), byDescriptor) {
		g.sessionKey = byDescriptor
	}
	return nil
}

// ask returns what gpg prints about itself.
func (g *GPG) ask(ctx context.Context, option string) (string, error) {
	cmd := exec.CommandContext(ctx, g.path, option)
	cmd.Env = g.env
	cmd.WaitDelay = grace
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", g.path, option, err)
	}
	return string(out), nil
}

// parseVersion reads the first line of gpg --version, as in
// "gpg (GnuPG) 2.2.40" or "gpg (GnuPG/MacGPG2) 2.4.5-unknown".
func parseVersion(text string) (string, error) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 3 || fields[0] != "gpg" {
		return "", fmt.Errorf("it does not say which version of GnuPG it is: %q", line[:min(len(line), 80)])
	}
	version := fields[len(fields)-1]
	numbers := strings.SplitN(version, ".", 3)
	if len(numbers) < 2 {
		return "", fmt.Errorf("its version is not a number: %q", version)
	}
	major, err := strconv.Atoi(numbers[0])
	if err != nil {
		return "", fmt.Errorf("its version is not a number: %q", version)
	}
	minor, err := strconv.Atoi(numbers[1])
	if err != nil {
		return "", fmt.Errorf("its version is not a number: %q", version)
	}
	if major < 2 || major == 2 && minor < 2 {
		return "", fmt.Errorf("it is version %s, older than 2.2", version)
	}
	return version, nil
}
