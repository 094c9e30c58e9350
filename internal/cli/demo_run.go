package cli

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/ui"
)

// runDemo migrates two snapshots on the sandbox, one in each style of command
// line, and proves that what is in the bucket is the disks. One is stored as
// files, where this process may mount.
func runDemo(ctx context.Context, env Env) (err error) {
	say := func(format string, args ...any) { fmt.Fprintf(env.out, format+"\n", args...) }
	started := time.Now()
	s, err := openSandbox("nvme")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.add(awssim.SnapshotSpec{
		Image: s.demo, Description: "before the upgrade", VolumeID: "vol-0a1b2c3d4e5f60718",
		Start: time.Date(2026, 7, 1, 2, 0, 0, 0, time.UTC), Tags: map[string]string{"Name": "demo"},
	}); err != nil {
		return err
	}
	devices := "loop devices"
	if os.Geteuid() != 0 {
		devices = "image files (as root: loop devices)"
	}
	say("# A sandbox of AWS on this machine: two snapshots of a 1 GiB disk with a partition and an ext4")
	say("# filesystem, a bucket named %s. Volumes are %s. Nothing leaves 127.0.0.1.", sandboxBucket, devices)

	first := []string{"migrate", "--all", "--bucket", sandboxBucket}
	if filesystem.Usable() == nil {
		say("\n# The first snapshot is tagged snap-to-s3=migrate. As new users write it; its files become a tar:")
	} else {
		say("\n# The first snapshot is tagged snap-to-s3=migrate. As new users write it (as root: without --dd, its files become a tar):")
		first = slices.Insert(first, 1, "--dd")
	}
	if err := s.show(ctx, env, first...); err != nil {
		return err
	}
	say("\n# The second has no tag and is named. Its disk becomes an image. As users of the first snap-to-s3 write it, still:")
	if err := s.show(ctx, env, "--migrate", "--dd", "--snapshots", s.ids[1], "--bucket", sandboxBucket); err != nil {
		return err
	}
	say("\n# The bucket now:")
	archives := s.list(env.out)
	say("\n# The snapshots' tags now:")
	for _, id := range s.ids {
		say("%s  %s", id, pairs(s.sim.Tags(id)))
	}
	say("\n# Is what is in the bucket the disk? Asked of the programs that everybody has:")
	for _, o := range archives {
		if err := s.prove(ctx, env, o); err != nil {
			return err
		}
	}
	if err := s.sim.Close(); err != nil {
		return err
	}
	say("\n# Left behind: no volume, no upload, no device, no tag. All of it in %s.", time.Since(started).Round(100*time.Millisecond))
	return nil
}

// show prints a command line of ours and runs it.
func (s *sandbox) show(ctx context.Context, env Env, args ...string) error {
	argv := append([]string{"snap-to-s3"}, args...)
	fmt.Fprintf(env.out, "$ %s\n", strings.Join(argv, " "))
	return s.run(ctx, env, argv)
}

// list prints the bucket and returns the archives.
func (s *sandbox) list(w io.Writer) []awssim.Object {
	var archives []awssim.Object
	for _, o := range s.sim.Objects(sandboxBucket) {
		fmt.Fprintf(w, "%10s  %s\n", ui.Bytes(o.Size), o.Key)
		if strings.HasPrefix(o.Key, layout.Manifests) {
			continue
		}
		archives = append(archives, o)
		tags := map[string]string{}
		for _, t := range o.Tags {
			tags[t.Key] = t.Value
		}
		fmt.Fprintf(w, "%10s  tags      %s\n", "", pairs(tags))
		fmt.Fprintf(w, "%10s  metadata  %s\n", "", pairs(o.Metadata))
	}
	return archives
}

func pairs(m map[string]string) string {
	var out []string
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return strings.Join(out, "  ")
}

// prove fetches an archive, and compares an image with the disk, or has tar list
// the files: by the programs that everybody has, or by our own decoder where they
// are missing.
func (s *sandbox) prove(ctx context.Context, env Env, o awssim.Object) error {
	program := strings.TrimPrefix(filepath.Ext(o.Key), ".")
	if err := s.fetch(o); err != nil {
		return err
	}
	file, disk := filepath.Join(sandboxBucket, o.Key), filepath.Base(s.demo)
	needs, check := "cmp", fmt.Sprintf("cmp - %s && echo equal", disk)
	switch {
	case strings.HasSuffix(o.Key, ".tar."+program):
		needs, check = "tar", "tar -tv"
	case strings.HasSuffix(o.Key, ".0.img."+program): // what lies before the first partition
		check = fmt.Sprintf("cmp -n %s - %s && echo equal", o.Metadata[layout.MetaUncompressed], disk)
	}
	for _, name := range []string{"sh", needs, program} {
		if _, err := exec.LookPath(name); err != nil {
			return s.proveOurselves(env, file, program, name)
		}
	}
	line := fmt.Sprintf("%s -dc %s | %s", program, hint.Quote(file), check)
	fmt.Fprintf(env.out, "$ %s\n", line)
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, env.Stdout, env.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s is not the disk: %w", o.Key, err)
	}
	return nil
}

// fetch copies an object to a file under the sandbox's folder.
func (s *sandbox) fetch(o awssim.Object) (err error) {
	key, from := o.Key, o.Open()
	defer func() { err = errors.Join(err, from.Close()) }()
	path := filepath.Join(s.dir, sandboxBucket, key)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("fetch %s: %w", key, err)
	}
	to, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", key, err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if _, err := io.Copy(to, from); err != nil {
		return fmt.Errorf("fetch %s: %w", key, err)
	}
	return nil
}

func (s *sandbox) proveOurselves(env Env, file, program, missing string) (err error) {
	fmt.Fprintf(env.out, "# %s is not installed here: our own decoder reads %s\n", missing, file)
	if strings.HasSuffix(file, ".tar."+program) {
		return s.listOurselves(env, file, program)
	}
	stored, err := os.Open(filepath.Join(s.dir, file))
	if err != nil {
		return fmt.Errorf("open the archive: %w", err)
	}
	defer func() { err = errors.Join(err, stored.Close()) }()
	disk, err := os.Open(s.demo)
	if err != nil {
		return fmt.Errorf("open the demo disk: %w", err)
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	plain, err := codec.NewReader(program, stored)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	want, got := sha256.New(), sha256.New()
	n, err := io.Copy(got, plain)
	if err != nil {
		return fmt.Errorf("decode %s: %w", file, err)
	}
	if _, err := io.CopyN(want, disk, n); err != nil {
		return fmt.Errorf("read the demo disk: %w", err)
	}
	if !bytes.Equal(want.Sum(nil), got.Sum(nil)) {
		return fmt.Errorf("%s is not the disk", file)
	}
	fmt.Fprintf(env.out, "equal, by SHA-256 %x\n", got.Sum(nil))
	return nil
}

// listOurselves prints the names in a tar.
func (s *sandbox) listOurselves(env Env, file, program string) (err error) {
	stored, err := os.Open(filepath.Join(s.dir, file))
	if err != nil {
		return fmt.Errorf("open the archive: %w", err)
	}
	defer func() { err = errors.Join(err, stored.Close()) }()
	plain, err := codec.NewReader(program, stored)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	for names := tar.NewReader(plain); ; {
		h, err := names.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		fmt.Fprintf(env.out, "%10d  %s\n", h.Size, ui.Visible(h.Name))
	}
}
