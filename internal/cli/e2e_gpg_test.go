package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/filesystem/treetest"
)

// Either of two recipients opens the archive with everybody's programs, and the
// bucket tells nobody else what is in it.
func TestGPGTwoRecipients(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "tar", "zstd", "lz4", "mkfs.ext4")
	w := newSealedWorld(t)
	ann, bob := newKeyring(t), newKeyring(t)
	_, annKey := ann.makes("Ann Other <ann@example.com>", "")
	_, bobKey := bob.makes("Bob", "")
	ann.gives("Ann Other", w.keyring, true)
	bob.gives("Bob", w.keyring, true)
	for _, c := range []struct {
		codec string
		args  func(id string) []string
	}{
		{"lz4", func(id string) []string { // as the predecessor was called
			return []string{"--migrate", "--gpg-recipient", "Ann Other", "--gpg-recipient=Bob", "--bucket", testBucket, "--snapshots", id}
		}},
		{"zstd", func(id string) []string {
			return []string{"migrate", id, "--bucket", testBucket, "--gpg-recipient", bobKey, "--gpg-recipient", "ann@example.com", "--gpg-recipient", "Ann Other"}
		}},
	} {
		s := w.marked(awssim.SnapshotSpec{Description: "nightly", Tags: tagged("Name", "web-1")})
		r := w.ok(c.args(s.ID)...)
		keys := s.sealedKeys("tar", c.codec)
		rec := w.isSealed(s, keys, annKey, bobKey)
		if rec.Files == nil || rec.Files.Regular != 2 {
			t.Errorf("the record counts %+v", rec.Files)
		}
		if !strings.Contains(r.stdout, keys[3]) {
			t.Error("the output does not name the archive")
		}
		for _, k := range []keyring{ann, bob} {
			names := tool(t, string(k.opensTo(w.object(keys[3]), c.codec)), "tar", "-t")
			if !strings.Contains(names, "./"+markerName+"\n") || !strings.Contains(names, "./noise\n") {
				t.Errorf("tar -t lists %q", names)
			}
			if rows := k.opensTo(w.object(keys[2]), "zstd"); !bytes.Contains(rows, []byte(`"path":"`+markerName+`"`)) {
				t.Errorf("the entries are %.300q", rows)
			}
		}
		w.isMigrated(s)
		w.nothingLeft()
		// The same again is kept, in whatever order the recipients are named.
		w.again(s)
		again := w.ok("migrate", "--all", "--bucket", testBucket, "--compression", c.codec, "--gpg-recipient", "Bob", "--gpg-recipient", annKey)
		if !strings.Contains(again.stdout, "0 migrated, 1 kept") || w.called("CreateVolume") > 0 {
			t.Error("a rerun did not keep the archive")
		}
	}
	w.keyring.idle()
}

// An image comes back byte for byte, and needs no root.
func TestGPGImage(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	_, subkey := w.keyring.makes("SnapToS3Example", "")
	s := w.marked(awssim.SnapshotSpec{})
	w.ok("--migrate", "--validate", "--dd", "--gpg-recipient", "SnapToS3Example", "--bucket", testBucket, "--snapshots", s.ID)
	keys := s.sealedKeys("img", "lz4")
	rec := w.isSealed(s, keys, subkey)
	if rec.PlainSize != s.SizeBytes {
		t.Errorf("plain size %d, want %d", rec.PlainSize, s.SizeBytes)
	}
	want, err := os.ReadFile(s.Image)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(w.keyring.opensTo(w.object(keys[3]), "lz4"), want) {
		t.Error("the archive is not the disk")
	}
	w.isValidated(s)
}

// The README's first way: the private key is at hand, and its passphrase preset.
func TestGPGValidateWithAPresetPassphrase(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "tar", "zstd", "lz4", "mkfs.ext4")
	const passphrase = "correct horse battery staple"
	w := newSealedWorld(t)
	presetter(t)
	w.keyring.configures("gpg-agent.conf", "allow-preset-passphrase", "s2k-count 65536", "pinentry-program "+filepath.Join(w.dir, "asked"))
	writeFile(t, filepath.Join(w.dir, "asked"), []byte("#!/bin/sh\ntouch "+filepath.Join(w.dir, "pinentry-was-run")+"\nexit 1\n"))
	if err := os.Chmod(filepath.Join(w.dir, "asked"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, subkey := w.keyring.makes("SnapToS3Example", passphrase)
	w.keyring.program("", "gpgconf", "--kill", "gpg-agent") // it has the passphrase from making the key
	s := w.marked(awssim.SnapshotSpec{})
	args := []string{"--migrate", "--validate", "--gpg-recipient", "SnapToS3Example", "--bucket", testBucket, "--snapshots", s.ID}

	r := w.run(args...)
	r.says(t, exitFailed, "the private key is locked", "gpg-preset-passphrase --preset ")
	r.says(t, exitFailed, "the private key is locked", "; or leave --validate out")
	r.oneLineEach(t)
	w.untouched(s)

	w.keyring.presets("SnapToS3Example", passphrase)
	r = w.ok(args...)
	w.silent(r, ":"+passphrase)
	w.isSealed(s, s.sealedKeys("tar", "lz4"), subkey)
	w.isValidated(s)

	// In the new style, of what stands there already.
	w.again(s)
	w.ok("migrate", "--validate", "--compression", "lz4", "--gpg-recipient", "SnapToS3Example", "--bucket", testBucket, "--all")
	w.isValidated(s)
	w.again(s)
	w.ok("validate", "--bucket", testBucket, s.ID)
	w.isValidated(s)
	if _, err := os.Stat(filepath.Join(w.dir, "pinentry-was-run")); err == nil {
		t.Error("somebody was asked for the passphrase")
	}
}

// The README's second way: the private key never leaves a person's own machine,
// which takes the session key from the first 512 KiB of the object.
func TestGPGValidateWithASessionKey(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "tar", "zstd", "lz4", "mkfs.ext4")
	w := newSealedWorld(t)
	home := newKeyring(t)
	_, subkey := home.makes("Nicholas Sherlock", "")
	home.gives("Nicholas Sherlock", w.keyring, true)
	// Who wants to see the session key of each message has it in no log of ours.
	w.keyring.configures("gpg.conf", "show-session-key", "verbose")
	s := w.marked(awssim.SnapshotSpec{})
	w.ok("--migrate", "--keep-temp-volumes", "--gpg-recipient", "Nicholas Sherlock", "--bucket", testBucket, "--snapshots", s.ID)
	keys := s.sealedKeys("tar", "lz4")
	w.isSealed(s, keys, subkey)
	key := home.sessionKey(w.object(keys[3]))

	for _, verb := range [][]string{{"--validate"}, {"validate", "--verbose"}} {
		r := w.ok(append(verb, "--bucket", testBucket, "--snapshots", s.ID, "--gpg-session-key", key)...)
		w.silent(r, key)
		if !strings.Contains(r.stderr, "the entries of s3://"+testBucket+"/"+keys[3]+" cannot be decrypted without their own session key") {
			t.Error("nothing says that the entries were not read")
		}
		w.isValidated(s)
	}
	// With both keys in a file, as gpg prints them, all of it is.
	file := filepath.Join(w.dir, "keys.txt")
	writeFile(t, file, []byte("# of "+s.ID+"\n\n"+key+"\ngpg: session key: '"+home.sessionKey(w.object(keys[2]))+"'\n"))
	w.again(subject{awssim.SnapshotSpec{ID: s.ID, Tags: map[string]string{"snap-to-s3": "migrated"}}})
	r := w.ok("validate", "--bucket", testBucket, "--all", "--gpg-session-key-file", file, "--verbose")
	w.silent(r, key)
	if strings.Contains(r.stderr, "without their own session key") {
		t.Error("the entries were not read")
	}
	w.isValidated(s)
}

// With several snapshots the one whose key is missing is named, and stays as it
// was; the others are validated.
func TestGPGSessionKeysOfSeveral(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "tar", "zstd", "mkfs.ext4")
	w := newSealedWorld(t)
	home := newKeyring(t)
	home.makes("ann", "")
	home.gives("ann", w.keyring, true)
	var all []subject
	var lines []string
	for _, volume := range []string{"vol-0a1b2c3d4e5f60711", "vol-0a1b2c3d4e5f60712"} {
		all = append(all, w.marked(awssim.SnapshotSpec{VolumeID: volume}))
	}
	w.ok("migrate", "--all", "--jobs", "2", "--bucket", testBucket, "--gpg-recipient", "ann")
	for _, s := range all {
		keys := s.sealedKeys("tar", "zstd")
		lines = append(lines, home.sessionKey(w.object(keys[3])), home.sessionKey(w.object(keys[2])))
	}
	file := filepath.Join(w.dir, "keys.txt")
	writeFile(t, file, []byte(strings.Join(lines[:2], "\n")+"\n"))
	w.sim.ResetCalls()
	r := w.run("validate", "--all", "--bucket", testBucket, "--gpg-session-key-file", file)
	r.says(t, exitFailed, "s3://"+testBucket+"/"+all[1].sealedKeys("tar", "zstd")[3]+": none of the 2 session keys fits", "--gpg-session-key 9:HEX")
	w.silent(r, lines...)
	if n := w.called("CreateVolume"); n != 1 {
		t.Errorf("%d volumes were made for one snapshot that can be validated", n)
	}
	w.isValidated(all[0])
	w.waits(all[1], "migrated")

	writeFile(t, file, []byte(strings.Join(lines, "\n")+"\n"))
	w.ok("validate", "--all", "--bucket", testBucket, "--gpg-session-key-file", file)
	w.isValidated(all[1])
}

// What verify says of an encrypted archive depends on the keys at hand.
func TestGPGVerify(t *testing.T) {
	treetest.Require(t, "tar", "zstd", "mkfs.ext4")
	w := newSealedWorld(t)
	home := newKeyring(t)
	_, subkey := home.makes("ann", "")
	home.gives("ann", w.keyring, true)
	s := w.marked(awssim.SnapshotSpec{})
	w.ok("migrate", "--all", "--bucket", testBucket, "--gpg-recipient", "ann")
	keys := s.sealedKeys("tar", "zstd")
	address := "s3://" + testBucket + "/" + keys[3]
	key, entriesKey := home.sessionKey(w.object(keys[3])), home.sessionKey(w.object(keys[2]))
	other := "9:" + strings.Repeat("5A", 32)

	for _, args := range [][]string{{address}, {"--all", "--bucket", testBucket}, {"--sample", "50%", address}, {address, "--gpg-session-key", other}} {
		r := w.run(append([]string{"verify"}, args...)...)
		r.says(t, exitFailed, address, "(aws s3 cp '"+address+"' - | head -c 524288 | gpg --decrypt --show-session-key >/dev/null) and give it as --gpg-session-key 9:HEX")
		if !strings.Contains(r.stdout, "encrypted to "+subkey[24:]) || !strings.Contains(r.stdout, "0 verified, 0 different, 1 failed") {
			t.Error("it does not say which key is missing")
		}
		w.silent(r, other)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--quick", address}, "(size and checksum are as recorded, its entries are whole; not read)"},
		{[]string{address, "--gpg-session-key", other, "--gpg-session-key", key}, "its entries were not decrypted"},
		{[]string{address, "--gpg-session-key", key, "--gpg-session-key", entriesKey}, "(all of it, 4 names)"},
	} {
		r := w.ok(append([]string{"verify"}, c.args...)...)
		w.silent(r, key, entriesKey, other)
		if !strings.Contains(r.stdout, c.says) {
			t.Errorf("verify %v does not say %q", c.args[:1], c.says)
		}
	}
	w.extra = []string{home.env()}
	if r := w.ok("verify", "--all", "--bucket", testBucket); !strings.Contains(r.stdout, "(all of it, 4 names)") {
		t.Error("with the private key not all was proven")
	}
	// A flipped bit is a difference, not a missing key.
	damaged := w.object(keys[3])
	damaged[len(damaged)/2] ^= 4
	o, _ := w.sim.Object(testBucket, keys[3])
	w.put(keys[3], damaged, o.Metadata)
	if r := w.run("verify", address); r.code != exitDifferent {
		t.Errorf("a damaged archive: exit code %d", r.code)
	}
	w.extra = []string{w.keyring.env()}
	w.keyring.configures("gpg.conf", "show-session-key", "verbose")
	r := w.run("verify", address, "--verbose", "--gpg-session-key", key)
	if r.code != exitDifferent {
		t.Errorf("a damaged archive, by its session key: exit code %d", r.code)
	}
	w.silent(r, key)
	home.idle()
	w.keyring.idle()
}
