package cli

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/filesystem"
)

// typed is a line of a document that a person types, on the machine that migrates
// or at home.
type typed struct {
	home bool
	line string
}

// encryptionLines are the lines of the ```console blocks of docs/encryption.md.
func encryptionLines(t *testing.T) (lines []typed) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "encryption.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		for line := range strings.Lines(m[1]) {
			prompt, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "$ ")
			if !ok || prompt != "" && prompt != "home" {
				t.Errorf("docs/encryption.md: %q in a console block is not a line that is typed", line)
			}
			lines = append(lines, typed{prompt == "home", rest})
		}
	}
	if len(lines) < 15 {
		t.Fatalf("docs/encryption.md has %d lines to type", len(lines))
	}
	return lines
}

// documented is what docs/encryption.md takes for granted: two machines.
type documented struct {
	*world
	here, home     keyring // their dir is .gnupg of a home folder
	passphrase     string
	all            []subject // one for each line that migrates
	device, folder string
}

func newDocumented(t *testing.T) *documented {
	t.Helper()
	d := &documented{world: newWorld(t, awssim.Config{}), here: newKeyring(t), home: newKeyring(t), passphrase: "correct horse"}
	for _, k := range []*keyring{&d.here, &d.home} {
		k.dir = filepath.Join(k.dir, ".gnupg")
		if err := os.Mkdir(k.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { k.program("", "gpgconf", "--kill", "all") })
	}
	d.home.makes("Backups <backups@example.com>", "")
	// Who is asked for the passphrase of the new key is a person.
	person := filepath.Join(d.dir, "person")
	writeFile(t, person, []byte("#!/bin/bash\necho OK\nwhile read -r word rest; do\n\tif [[ $word == GETPIN ]]; then echo 'D "+d.passphrase+"'; fi\n\techo OK\ndone\n"))
	if err := os.Chmod(person, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.unmountKept)
	d.here.configures("gpg-agent.conf", "pinentry-program "+person, "s2k-count 65536")
	d.device, d.folder = filepath.Join(d.dir, "device"), filepath.Join(d.dir, "folder")
	if err := os.Mkdir(d.folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

// waiting adds a snapshot that a line can migrate.
func (d *documented) waiting() {
	d.t.Helper()
	d.all = append(d.all, sealedWorld{d.world, d.here}.marked(awssim.SnapshotSpec{}))
}

// variables are those of the document, as far as they are known.
func (d *documented) variables(line string) []string {
	d.t.Helper()
	primary, _ := d.home.fingerprints("backups@example.com")
	all := []string{"FINGERPRINT=" + primary, "DEVICE=" + d.device, "FOLDER=" + d.folder}
	for _, s := range d.all { // the last of each kind
		for name, key := range map[string]string{"TAR": s.sealedKeys("tar", "zstd")[3], "IMAGE": s.sealedKeys("img", "lz4")[3]} {
			if _, there := d.sim.Object(testBucket, key); there {
				all = append(all, name+"="+key)
			}
		}
	}
	if strings.Contains(line, "$KEYGRIP") {
		grips := regexp.MustCompile(`\[E\][^K]*Keygrip = ([0-9A-F]{40})`).FindStringSubmatch(
			d.here.gpg("--list-secret-keys", "--with-keygrip", "snap-to-s3@example.com"))
		if grips == nil {
			d.t.Fatal("gpg --list-secret-keys --with-keygrip shows no keygrip of an [E] key")
		}
		all = append(all, "KEYGRIP="+grips[1])
	}
	return all
}

func (d *documented) types(l typed) {
	d.t.Helper()
	k, prelude := d.here, readmePrelude
	if l.home {
		k = d.home
	}
	if strings.Contains(l.line, "--show-session-key") { // which complains of the cut message
		prelude = strings.TrimPrefix(prelude, "set -e -o pipefail\n")
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", prelude+l.line)
	env := slices.DeleteFunc(d.command().Env, func(kv string) bool { return strings.HasPrefix(kv, "GNUPGHOME=") })
	cmd.Env, cmd.Dir = append(env, append(d.variables(l.line), "HOME="+filepath.Dir(k.dir),
		"AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=false", "AWS_DEFAULT_REGION=us-east-1")...), d.dir
	cmd.Stdin = strings.NewReader(d.passphrase + "\n")
	out, err := cmd.CombinedOutput()
	d.t.Logf("$ %s\n%s", l.line, out)
	if err != nil && !strings.Contains(l.line, "--show-session-key") {
		d.t.Fatalf("%s: %v", l.line, err)
	}
	if strings.Contains(l.line, "migrate ") {
		want := "migrated"
		if strings.Contains(l.line, "--validate") {
			want = "validated"
		}
		if got := d.sim.Tags(d.all[len(d.all)-1].ID)["snap-to-s3"]; got != want {
			d.t.Errorf("%s: the tag is %q, want %q", l.line, got, want)
		}
	}
}

// TestEncryptionDocument types what docs/encryption.md says, in its order, on one
// account.
func TestEncryptionDocument(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bash", "aws", "zstd", "lz4", "tar"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	if _, err := os.Stat("/usr/lib/gnupg/gpg-preset-passphrase"); err != nil {
		t.Skip("gpg-preset-passphrase is elsewhere here")
	}
	if filesystem.Usable() != nil {
		t.Skip("only root may mount")
	}
	d := newDocumented(t)
	for _, l := range encryptionLines(t) {
		if strings.Contains(l.line, "migrate ") {
			d.waiting()
		}
		d.types(l)
	}
	if text, err := os.ReadFile(filepath.Join(d.folder, markerName)); err != nil || string(text) != markerText {
		t.Errorf("the file holds %q, %v", text, err)
	}
	disk, err := os.ReadFile(d.all[1].Image)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(d.device); err != nil || !bytes.Equal(got, disk) {
		t.Errorf("the device holds %d bytes that are not the disk's %d, %v", len(got), len(disk), err)
	}
	for _, s := range d.all {
		if got := d.sim.Tags(s.ID)["snap-to-s3"]; got != "validated" {
			t.Errorf("%s is tagged %q in the end", s.ID, got)
		}
	}
	d.nothingLeft()
}
