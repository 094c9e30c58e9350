package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"snap-to-s3/internal/awssim"
)

// expires makes a key that was good for a day of 2020.
func (k keyring) expires(user string) {
	k.t.Helper()
	k.gpg("--faked-system-time", "20200101T000000!", "--passphrase", "", "--quick-generate-key", user, "future-default", "default", "1d")
}

// revokes imports the certificate that gpg has put by for a key.
func (k keyring) revokes(name string) {
	k.t.Helper()
	primary, _ := k.fingerprints(name)
	path := filepath.Join(k.dir, "openpgp-revocs.d", primary+".rev")
	text, err := os.ReadFile(path)
	if err != nil {
		k.t.Fatal(err)
	}
	// A colon keeps it from being used by mistake.
	k.program(strings.Replace(string(text), "\n:-----BEGIN", "\n-----BEGIN", 1), "gpg", "--batch", "--quiet", "--import")
}

// What cannot be encrypted to, or not be validated afterwards, is refused before
// anything is touched, and the error says what to do.
func TestGPGRecipientsRefused(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	home := newKeyring(t)
	for _, user := range []string{"away", "stranger", "good", "revoked"} {
		home.makes(user, "")
	}
	home.gives("away", w.keyring, true)
	home.gives("stranger", w.keyring, false)
	w.keyring.makes("good", "")
	w.keyring.makes("revoked", "")
	w.keyring.revokes("revoked")
	w.keyring.expires("outdated")
	w.keyring.gpg("--passphrase", "", "--quick-generate-key", "signonly", "ed25519", "sign", "never")
	s := w.noisy(mib, awssim.SnapshotSpec{})

	for _, c := range []struct{ args, says, hint string }{
		{"--gpg-recipient nobody", `unusable recipient "nobody": there is no such public key in the keyring`, "--import"},
		{"--gpg-recipient outdated", `unusable recipient "outdated": the key `, "--quick-set-expire"},
		{"--gpg-recipient revoked", "is revoked", "name another key"},
		{"--gpg-recipient stranger", "is not trusted", "--quick-lsign-key"},
		{"--gpg-recipient signonly", "without an encryption subkey", "--quick-add-key"},
		{"--gpg-recipient good --gpg-recipient nobody", `"nobody"`, "--import"},
		{"--validate --gpg-recipient away", "could not be validated here: ", "add a recipient whose private key is in this machine's keyring; or leave --validate out"},
	} {
		for _, style := range []string{"--migrate --dd --all", "migrate --dd --jobs 2 --all"} {
			w.sim.ResetCalls()
			r := w.run(strings.Fields(style + " --bucket " + testBucket + " " + c.args)...)
			r.says(t, exitFailed, c.says, c.hint)
			r.oneLineEach(t)
			w.untouched(s)
		}
	}
	// Several that will not do are told at once.
	r := w.run("migrate", "--dd", "--all", "--bucket", testBucket, "--gpg-recipient", "nobody", "--gpg-recipient", "outdated")
	r.says(t, exitFailed, `"nobody"`, "--import")
	r.says(t, exitFailed, `"outdated"`, "--quick-set-expire")
	w.untouched(s)
	// One key at hand is enough, and a dry run checks as well.
	r = w.run("migrate", "--dd", "--all", "--dry-run", "--bucket", testBucket, "--gpg-recipient", "nobody")
	r.says(t, exitFailed, `"nobody"`, "--import")
	w.untouched(s)
	w.ok("migrate", "--validate", "--dd", "--all", "--bucket", testBucket, "--gpg-recipient", "away", "--gpg-recipient", "good")
	w.isValidated(s)
}

// withoutGPG is a PATH of one folder, which has no gpg.
func (w sealedWorld) withoutGPG() []string {
	w.t.Helper()
	return append(slices.Clone(w.extra), "PATH="+w.t.TempDir())
}

// Where gpg is missing, what needs it is refused, and nothing else is.
func TestGPGMissing(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	w.keyring.makes("ann", "")
	s := w.noisy(mib, awssim.SnapshotSpec{})
	with := w.extra
	w.extra = w.withoutGPG()
	r := w.run("migrate", "--dd", "--all", "--bucket", testBucket, "--gpg-recipient", "ann")
	r.says(t, exitFailed, "--gpg-recipient: no usable gpg: ", "install GnuPG 2.2 or later")
	w.untouched(s)

	w.extra = with
	w.ok("migrate", "--dd", "--all", "--bucket", testBucket, "--gpg-recipient", "ann")
	w.extra = w.withoutGPG()
	w.sim.ResetCalls()
	key := s.sealedKeys("img", "zstd")[3]
	for _, verb := range []string{"validate", "verify"} {
		r = w.run(verb, "--all", "--bucket", testBucket)
		r.says(t, exitFailed, "s3://"+testBucket+"/"+key+" is encrypted: no usable gpg", "install GnuPG 2.2 or later")
	}
	w.untagged()
	w.waits(s, "migrated")
	w.ok("verify", "--quick", "--all", "--bucket", testBucket)
	w.again(s)
	w.ok("migrate", "--validate", "--dd", "--all", "--bucket", testBucket)
	w.isValidated(s)
}

// A session key that is malformed or belongs to another message is refused before a
// tag is written or a volume made, and is never repeated.
func TestGPGSessionKeysRefused(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	home := newKeyring(t)
	_, subkey := home.makes("ann", "")
	home.gives("ann", w.keyring, true)
	s := w.noisy(mib, awssim.SnapshotSpec{})
	w.ok("migrate", "--dd", "--all", "--bucket", testBucket, "--gpg-recipient", "ann")
	w.sim.ResetCalls()

	secret := strings.Repeat("C0FFEE", 11)[:64]
	file := filepath.Join(w.dir, "keys.txt")
	writeFile(t, file, []byte("# the key\n9:"+secret+"zz\n"))
	for name, args := range map[string][]string{
		"no number":     {"--gpg-session-key", secret},
		"too short":     {"--gpg-session-key", "9:" + secret[:62]},
		"not hex":       {"--gpg-session-key=9:" + secret[:62] + "xy"},
		"no algorithm":  {"--gpg-session-key", "99:" + secret},
		"the second":    {"--gpg-session-key", "9:" + secret, "--gpg-session-key", secret},
		"in a file":     {"--gpg-session-key-file", file},
		"no such file":  {"--gpg-session-key", "9:" + secret, "--gpg-session-key-file", file + "x"},
		"not a key":     {"--gpg-session-key", ""},
		"unknown flag":  {"--gpg-session-key", "9:" + secret, "--what"},
		"a migration's": {"--gpg-session-key", "9:" + secret},
	} {
		verb := "validate"
		if name == "a migration's" {
			verb = "migrate"
		}
		r := w.run(append([]string{verb, "--all", "--bucket", testBucket}, args...)...)
		if r.code != exitUsage {
			t.Errorf("%s: exit code %d, want %d", name, r.code, exitUsage)
		}
		r.oneLineEach(t)
		w.silent(r, ":"+secret[:40])
	}
	if n := len(w.sim.Calls()); n > 0 {
		t.Errorf("%d calls were made", n)
	}
	for _, more := range [][]string{nil, {"--output", "json", "--log-format", "json"}, {"--verbose"}} {
		r := w.run(append([]string{"validate", "--all", "--bucket", testBucket, "--gpg-session-key", "9:" + secret}, more...)...)
		if r.code != exitFailed || !strings.Contains(r.stdout, s.sealedKeys("img", "zstd")[3]) || !strings.Contains(r.stdout, "encrypted to "+subkey[24:]) {
			t.Errorf("exit code %d, want %d with the object and its key named", r.code, exitFailed)
		}
		w.silent(r, ":"+secret[:40])
		w.waits(s, "migrated")
	}
	w.untagged()
}

// Archives that are encrypted to others than asked for now are left as they are,
// unless they may be overwritten.
func TestGPGOtherRecipientsOnARerun(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	_, ann := w.keyring.makes("ann", "")
	_, bob := w.keyring.makes("bob", "")
	s := w.noisy(mib, awssim.SnapshotSpec{})
	migrate := func(more ...string) []string {
		return append([]string{"migrate", "--dd", "--all", "--bucket", testBucket}, more...)
	}
	w.ok(migrate("--gpg-recipient", "ann")...)
	keys := s.sealedKeys("img", "zstd")
	before := w.state()
	for _, more := range [][]string{{"--gpg-recipient", "bob"}, {"--gpg-recipient", "ann", "--gpg-recipient", "bob"}} {
		w.again(s)
		r := w.run(migrate(more...)...)
		r.says(t, exitFailed, "s3://"+testBucket+"/"+keys[3]+" is there already, but it is encrypted to other keys: "+ann+": left as it is", "--overwrite")
		if w.called("CreateVolume") > 0 || fmt.Sprint(before) != fmt.Sprint(w.state()) {
			t.Error("something was done")
		}
		w.waits(s, "migrate")
	}
	w.again(s)
	w.ok(migrate("--gpg-recipient", "ann", "--gpg-recipient", "bob", "--overwrite")...)
	w.isSealed(s, keys, ann, bob)
	w.isMigrated(s)
	// Without recipients it is another archive, beside the first.
	w.again(s)
	w.ok(migrate("--validate")...)
	if n := len(w.objects()); n != 8 {
		t.Errorf("%d objects, want 8", n)
	}
	w.isValidated(s)
}

// TestGPGHidesSessionKeys runs the program as it is built, and looks at what the
// system shows of it and of its gpg while it is at work.
func TestGPGHidesSessionKeys(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	home := newKeyring(t)
	home.makes("ann", "")
	home.gives("ann", w.keyring, true)
	s := w.noisy(24*mib, awssim.SnapshotSpec{})
	w.ok("migrate", "--dd", "--all", "--bucket", testBucket, "--gpg-recipient", "ann")
	key := home.sessionKey(w.object(s.sealedKeys("img", "zstd")[3]))
	built := filepath.Join(w.dir, "snap-to-s3")
	if out, err := exec.Command("go", "build", "-o", built, "snap-to-s3/cmd/snap-to-s3").CombinedOutput(); err != nil {
		t.Skipf("the program cannot be built here: %v: %s", err, out)
	}
	for _, how := range [][]string{{"--gpg-session-key", key}, {"--gpg-session-key=" + key}} {
		t.Run(how[0][:17], func(t *testing.T) {
			there := w.hold(awssim.Action("DescribeSnapshots"), awssim.Fault{Hang: true}, nil)
			cmd := w.command(slices.Concat([]string{"--validate", "--bucket", testBucket, "--snapshots", s.ID}, how)...)
			cmd.Path = built
			p := w.start(cmd)
			w.reaches(there, p)
			shown, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			_, digits, _ := strings.Cut(key, ":")
			if strings.Contains(string(shown), digits[:8]) || !strings.Contains(string(shown), s.ID) || !strings.Contains(string(shown), "--gpg-session-key") {
				t.Errorf("the system shows %q", shown)
			}
			if all := tool(t, "", "ps", "-eww", "-o", "args"); strings.Contains(all, digits) {
				t.Error("ps shows the key")
			}
			p.sends(syscall.SIGINT)
			r := p.ends()
			if r.code != exitInterrupted {
				t.Errorf("exit code %d", r.code)
			}
			w.silent(r, key)
			w.sim.SetFault(nil)
			w.waits(s, "migrated")
		})
	}
}
