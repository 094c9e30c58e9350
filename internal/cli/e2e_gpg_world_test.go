package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/layout"
)

// keyring is a GnuPG home of a test's own: a machine's, or a person's.
type keyring struct {
	t   *testing.T
	dir string
}

// newKeyring makes one in a short path, as the sockets of its agent are in it.
func newKeyring(t *testing.T) keyring {
	t.Helper()
	for _, name := range []string{"gpg", "gpgconf"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "k") //nolint:usetesting // the path of a socket may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	k := keyring{t, dir}
	t.Cleanup(func() {
		k.program("", "gpgconf", "--kill", "all")
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return k
}

func (k keyring) env() string { return "GNUPGHOME=" + k.dir }

// program runs a program of GnuPG's and returns what it writes to its output.
func (k keyring) program(stdin, name string, args ...string) string {
	k.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Stdin = append(os.Environ(), k.env(), "LC_ALL=C"), strings.NewReader(stdin)
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	if err := cmd.Run(); err != nil {
		k.t.Fatalf("%s %q: %v: %s", name, args, err, &messages)
	}
	return out.String()
}

func (k keyring) gpg(args ...string) string {
	k.t.Helper()
	return k.program("", "gpg", append([]string{"--batch", "--no-tty", "--quiet"}, args...)...)
}

// makes makes a key that signs and one that encrypts, and returns the fingerprints.
func (k keyring) makes(user, passphrase string) (primary, subkey string) {
	k.t.Helper()
	k.gpg("--pinentry-mode", "loopback", "--passphrase", passphrase, "--quick-generate-key", user, "future-default", "default", "never")
	return k.fingerprints("=" + user)
}

func (k keyring) fingerprints(name string) (primary, subkey string) {
	k.t.Helper()
	prints := regexp.MustCompile(`(?m)^fpr:+([0-9A-F]{40}):`).FindAllStringSubmatch(k.gpg("--with-colons", "--list-keys", name), -1)
	if len(prints) == 0 {
		k.t.Fatalf("no key %q", name)
	}
	return prints[0][1], prints[len(prints)-1][1]
}

// gives hands a public key to another keyring, which trusts it if it is told to.
func (k keyring) gives(name string, to keyring, trust bool) {
	k.t.Helper()
	to.program(k.gpg("--export", name), "gpg", "--batch", "--quiet", "--import")
	if trust {
		primary, _ := k.fingerprints(name)
		to.program(primary+":6:\n", "gpg", "--batch", "--quiet", "--import-ownertrust")
	}
}

// configures writes one of GnuPG's files.
func (k keyring) configures(file string, lines ...string) {
	k.t.Helper()
	writeFile(k.t, filepath.Join(k.dir, file), []byte(strings.Join(lines, "\n")+"\n"))
}

// presets gives the agent the passphrase of a key, as docs/encryption.md has it.
func (k keyring) presets(name, passphrase string) {
	k.t.Helper()
	grips := regexp.MustCompile(`(?m)^grp:+([0-9A-F]{40}):`).FindAllStringSubmatch(k.gpg("--with-colons", "--with-keygrip", "--list-secret-keys", name), -1)
	k.program(passphrase+"\n", presetter(k.t), "--preset", grips[len(grips)-1][1])
}

func presetter(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"/usr/lib/gnupg", "/usr/lib/gnupg2", "/usr/libexec"} {
		if path, err := exec.LookPath(filepath.Join(dir, "gpg-preset-passphrase")); err == nil {
			return path
		}
	}
	t.Skip("gpg-preset-passphrase is not installed")
	return ""
}

// sessionKey is what a person's gpg shows of a message's first 512 KiB.
func (k keyring) sessionKey(message []byte) string {
	k.t.Helper()
	cmd := exec.Command("gpg", "--decrypt", "--show-session-key")
	cmd.Env, cmd.Stdin = append(os.Environ(), k.env(), "LC_ALL=C"), bytes.NewReader(message[:min(len(message), 512<<10)])
	var messages bytes.Buffer
	cmd.Stderr = &messages
	err := cmd.Run() // fails for what is cut, after it has told
	m := regexp.MustCompile(`(?m)^gpg: session key: '(9:[0-9A-F]{64})'$`).FindStringSubmatch(messages.String())
	if m == nil {
		k.t.Fatalf("gpg shows no session key: %v: %s", err, &messages)
	}
	return m[1]
}

// running are the processes of gpg that use the keyring; its agent is none of them.
func (k keyring) running() (pids []string) {
	k.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		k.t.Fatal(err)
	}
	for _, path := range all {
		env, err := os.ReadFile(path) // any process may end at any time
		if err != nil || !slices.Contains(strings.Split(string(env), "\x00"), k.env()) {
			continue
		}
		exe, err := os.Readlink(filepath.Join(filepath.Dir(path), "exe"))
		if name := filepath.Base(exe); err == nil && (name == "gpg" || name == "gpg2") {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

// idle wants no gpg to run any more, soon.
func (k keyring) idle() {
	k.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 300 {
		if len(k.running()) == 0 {
			return
		}
		<-tick.C
	}
	k.t.Errorf("gpg still runs: %v", k.running())
}

const (
	markerName = "zebra-finch-payroll-2016.csv"
	markerText = "the quick brown fox is paid by the hour, and nobody may know\n"
)

// sealedWorld is an account whose machine has a keyring.
type sealedWorld struct {
	*world
	keyring keyring
}

func newSealedWorld(t *testing.T) sealedWorld {
	t.Helper()
	w := sealedWorld{newWorld(t, awssim.Config{}), newKeyring(t)}
	w.extra = []string{w.keyring.env()}
	return w
}

// marked adds a snapshot of one filesystem, with a file that can be looked for.
func (w sealedWorld) marked(spec awssim.SnapshotSpec) subject {
	w.t.Helper()
	files := w.t.TempDir()
	writeFile(w.t, filepath.Join(files, markerName), []byte(markerText))
	noise(w.t, filepath.Join(files, "noise"), 3<<20)
	spec.Image = filepath.Join(w.t.TempDir(), "disk")
	blank(w.t, spec.Image, 12<<20)
	tool(w.t, "", "mkfs.ext4", "-q", "-F", "-L", "label-of-it", "-d", files, spec.Image)
	if spec.Tags == nil {
		spec.Tags = tagged()
	}
	return w.add(spec)
}

// sealedKeys are where an encrypted archive and what belongs to it must stand
// (docs/format.md, "Keys").
func (s subject) sealedKeys(kind, codecName string) []string {
	text := ""
	if s.Description != "" {
		text = " - " + s.Description
	}
	archive := s.prefix() + text + "." + kind + "." + codecName + ".gpg"
	whole := map[string]string{"img": "image", "tar": "files"}[kind]
	return []string{
		"manifests/" + s.prefix() + "." + whole + "." + codecName + ".gpg.json",
		"manifests/" + archive + ".json", "manifests/" + archive + ".entries.gpg", archive,
	}
}

// object is the bytes of an object that must be there.
func (w sealedWorld) object(key string) []byte {
	w.t.Helper()
	data, ok := w.view(key)
	if !ok {
		w.t.Fatalf("no object %q among %v", key, w.state())
	}
	return data
}

// isSealed wants these objects of the snapshot and no others, the records to name the subkeys and
// nothing in the bucket to tell of the marker.
func (w sealedWorld) isSealed(s subject, keys []string, subkeys ...string) layout.ArchiveRecord {
	w.t.Helper()
	slices.Sort(subkeys)
	for _, key := range keys {
		w.object(key)
	}
	for _, o := range w.objects() {
		if strings.Contains(o.Key, s.ID) && !slices.Contains(keys, o.Key) {
			w.t.Errorf("there is an object %q", o.Key)
		}
	}
	w.tellsNothing()
	rec, err := layout.DecodeArchiveRecord(sealed(w.t, w.view, keys[1]))
	if err != nil {
		w.t.Fatal(err)
	}
	whole, err := layout.DecodeSnapshotRecord(sealed(w.t, w.view, keys[0]))
	if err != nil {
		w.t.Fatal(err)
	}
	if !slices.Equal(rec.Recipients, subkeys) || len(whole.Archives) != 1 || whole.Archives[0].SHA256 != rec.SHA256 {
		w.t.Errorf("the record has the recipients %v, want %v", rec.Recipients, subkeys)
	}
	if rec.Archive != keys[3] || rec.Entries.Key != keys[2] || rec.StoredSize != int64(len(w.object(keys[3]))) || rec.Digest != "" {
		w.t.Errorf("the record says %+v", rec)
	}
	return rec
}

// tellsNothing looks for the marker in keys, metadata, tags and bytes of all objects.
func (w sealedWorld) tellsNothing() {
	w.t.Helper()
	sum := sha256.Sum256([]byte(markerText))
	secrets := [][]byte{
		[]byte(markerName), []byte(markerText), []byte("label-of-it"), sum[:],
		[]byte(hex.EncodeToString(sum[:])), []byte(base64.StdEncoding.EncodeToString(sum[:])),
	}
	for _, o := range w.objects() {
		all := append([]byte(o.Key), readObject(w.t, o)...)
		for k, v := range o.Metadata {
			all = append(append(all, k...), v...)
		}
		for i, secret := range secrets {
			if bytes.Contains(all, secret) {
				w.t.Errorf("%s tells of the marker (%d)", o.Key, i)
			}
		}
	}
}

// opensTo has everybody's programs open an archive with one keyring alone.
func (k keyring) opensTo(message []byte, decoder string) []byte {
	k.t.Helper()
	if _, err := exec.LookPath(decoder); err != nil {
		k.t.Skipf("%s is not installed", decoder)
	}
	cmd := exec.Command("bash", "-o", "pipefail", "-c", "gpg --batch --quiet --decrypt | "+decoder+" -dc")
	cmd.Env, cmd.Stdin = append(os.Environ(), k.env()), bytes.NewReader(message)
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	if err := cmd.Run(); err != nil {
		k.t.Fatalf("gpg --decrypt | %s -dc: %v: %s", decoder, err, &messages)
	}
	return out.Bytes()
}

// untouched wants a run to have been refused before anything was.
func (w sealedWorld) untouched(s subject) {
	w.t.Helper()
	w.untagged()
	w.waits(s, "migrate")
}

// untagged wants no call to have been made that changes anything.
func (w sealedWorld) untagged() {
	w.t.Helper()
	for _, action := range []string{"CreateVolume", "CreateTags", "DeleteTags", "PutObject", "CreateMultipartUpload"} {
		if n := w.called(action); n > 0 {
			w.t.Errorf("%s was called %d times", action, n)
		}
	}
}

// waits wants the snapshot to be tagged as it was, and nothing to be left.
func (w sealedWorld) waits(s subject, value string) {
	w.t.Helper()
	if tags := w.sim.Tags(s.ID); len(tags) != 1 || tags["snap-to-s3"] != value {
		w.t.Errorf("tags %v, want %s alone", tags, value)
	}
	w.stateless()
	w.keyring.idle()
}

// isValidated wants the snapshot's tags to say so.
func (w sealedWorld) isValidated(s subject) {
	w.t.Helper()
	if tags := w.sim.Tags(s.ID); len(tags) != 1 || tags["snap-to-s3"] != "validated" {
		w.t.Errorf("tags %v, want validated alone", tags)
	}
	w.nothingLeft()
	w.keyring.idle()
}

// silent wants secrets to be in nothing that a run has left: its output, and the
// files of the machine's state.
func (w sealedWorld) silent(r result, secrets ...string) {
	w.t.Helper()
	text := r.stdout + r.stderr
	err := filepath.WalkDir(w.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !strings.HasPrefix(path, w.stateDir()) || e.IsDir() {
			return errIgnored(err)
		}
		data, err := os.ReadFile(path)
		text += string(data)
		return errIgnored(err)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, secret := range secrets {
		_, digits, _ := strings.Cut(secret, ":")
		if strings.Contains(strings.ToUpper(text), strings.ToUpper(digits)) {
			w.t.Error("a secret was told")
		}
	}
}

// errIgnored: a file may be gone meanwhile.
func errIgnored(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
