package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"github.com/spf13/pflag"

	"snap-to-s3/internal/encrypt"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/workflow"
)

// sessionKeyFlag is the one flag whose value is a secret.
const sessionKeyFlag = "--gpg-session-key"

// keyFlags are session keys as they were typed.
type keyFlags struct {
	keys []string
	file string
}

func (k *keyFlags) define(s *pflag.FlagSet) {
	s.StringArrayVar(&k.keys, "gpg-session-key", nil, "`KEY` 9:HEX of an encrypted archive, as gpg --show-session-key prints it; may be repeated")
	s.StringVar(&k.file, "gpg-session-key-file", "", "`FILE` with such keys, a line each")
}

// read checks the keys. What is wrong with one is said without it.
func (k *keyFlags) read() (keys []*encrypt.SessionKey, err error) {
	const form = "gpg prints it as 9:HEX: gpg --decrypt --show-session-key"
	for i, text := range k.keys {
		key, err := encrypt.ParseSessionKey(text)
		if err != nil {
			return nil, usagef(form, "%s, the value number %d: %w", sessionKeyFlag, i+1, err)
		}
		keys = append(keys, key)
	}
	if k.file == "" {
		return keys, nil
	}
	f, err := os.Open(k.file)
	if err != nil {
		return nil, usagef("", "--gpg-session-key-file: %w", err)
	}
	defer f.Close()
	more, err := encrypt.ReadSessionKeys(f)
	if err != nil {
		return nil, usagef(form, "--gpg-session-key-file %q: %w", k.file, err)
	}
	return append(keys, more...), nil
}

// gpgFor finds gpg and checks the recipients. A run that validates what it has
// encrypted must be able to decrypt it, which is tried before anything is done.
func gpgFor(ctx context.Context, names []string, andValidate bool) (*encrypt.GPG, []encrypt.Recipient, error) {
	g, err := encrypt.Find(ctx, encrypt.Options{})
	if err != nil {
		return nil, nil, fmt.Errorf("--gpg-recipient: %w", err)
	}
	var to []encrypt.Recipient
	var errs []error
	for _, name := range names {
		one, err := g.Recipients(ctx, []string{name})
		if err != nil {
			errs = append(errs, hint.Wrap(fmt.Errorf("--gpg-recipient: %w", err), hint.Of(err)))
			continue
		}
		to = append(to, one...)
	}
	if err := errors.Join(errs...); err != nil || !andValidate {
		return g, to, err
	}
	if err := tryDecrypt(ctx, g, to); err != nil {
		return nil, nil, hint.Replace(fmt.Errorf("what is encrypted to these recipients could not be validated here: %w", err), openable(err))
	}
	return g, to, nil
}

// openable says how what was encrypted can be validated where err is in the way.
func openable(err error) string {
	next := hint.Of(err)
	if errors.Is(err, encrypt.ErrNoKey) { // there is no object yet whose session key could be shown
		next = "add a recipient whose private key is in this machine's keyring"
	}
	if next == "" {
		next = "gpg --decrypt must be able to read it here"
	}
	return next + "; or leave --validate out, and validate afterwards with --gpg-session-key (docs/encryption.md)"
}

// tryDecrypt encrypts a word and sees whether it could be read again.
func tryDecrypt(ctx context.Context, g *encrypt.GPG, to []encrypt.Recipient) error {
	r, w := io.Pipe()
	e, err := g.Encrypt(ctx, w, to)
	if err != nil {
		return err
	}
	go func() {
		_, err := e.Write([]byte("a word to try the key with\n"))
		w.CloseWithError(errors.Join(err, e.Close()))
	}()
	message, err := io.ReadAll(r)
	if err != nil {
		return errors.Join(err, e.Abort())
	}
	return g.Probe(ctx, message, nil)
}

// wireGPG gives the workflow what it encrypts and decrypts with.
func wireGPG(ctx context.Context, m *workflow.Migrator, o MigrateOptions) (err error) {
	if len(o.SessionKeys) > 0 && !o.ValidateOnly {
		return usagef("migrate without it; the object then tells its key (docs/encryption.md), with which validate reads it",
			"%s: an archive has no key before it is stored", sessionKeyFlag)
	}
	m.SessionKeys = o.SessionKeys
	switch {
	case len(o.Recipients) > 0 && !o.ValidateOnly:
		m.GPG, m.Recipients, err = gpgFor(ctx, o.Recipients, o.AndValidate)
	case o.ValidateOnly || o.AndValidate: // archives that stand there may be encrypted
		m.GPG, m.NoGPG = encrypt.Find(ctx, encrypt.Options{})
	}
	return err
}

// TakeArgs returns the arguments of the process, and takes session keys out of what
// the system shows of it to others (ps, /proc/PID/cmdline).
func TakeArgs() []string {
	args := make([]string, 0, len(os.Args))
	next := false
	for i, arg := range os.Args {
		own := string(append([]byte(nil), arg...))
		from := len(arg)
		switch {
		case next:
			from = 0
		case len(arg) > len(sessionKeyFlag) && arg[:len(sessionKeyFlag)+1] == sessionKeyFlag+"=":
			from = len(sessionKeyFlag) + 1
		}
		next = arg == sessionKeyFlag
		if from < len(arg) {
			// The runtime's strings are the memory that the kernel shows.
			shown := unsafe.Slice(unsafe.StringData(arg), len(arg))
			for j := from; j < len(shown); j++ {
				shown[j] = 'x'
			}
			os.Args[i] = own[:from] + "..."
		}
		args = append(args, own)
	}
	return args[1:]
}
