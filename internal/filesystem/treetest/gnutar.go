//go:build linux

package treetest

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"testing"
)

// Result is how a program ended.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// untarFlags restore all that GNU tar can. Ids and not names; owners; modes
// whatever the umask; all xattrs, where its default is user.* alone.
var untarFlags = [...]string{
	"-p", "--numeric-owner", "--same-owner", "--acls", "--selinux", "--xattrs", "--xattrs-include=*",
}

// Untar has GNU tar restore the stream into a folder.
func Untar(t testing.TB, stream io.Reader, into string) Result {
	t.Helper()
	Require(t, "tar")
	return pipe(t, stream, "tar", append([]string{"-x", "-C", into, "-f", "-"}, untarFlags[:]...)...)
}

// TarDiff has GNU tar compare the stream with a folder; code 1 is a difference.
// It looks at type, mode, owner, mtime in seconds, size, target, device and
// content. Whatever the flags, it sees no difference in xattrs, ACLs and holes;
// and it reads every hole as zeros, so that large sparse files take long.
func TarDiff(t testing.TB, stream io.Reader, folder string) Result {
	t.Helper()
	Require(t, "tar")
	return pipe(t, stream, "tar", append([]string{"-d", "-C", folder, "-f", "-"}, untarFlags[:]...)...)
}

// BsdtarList has libarchive list the stream: a second reader of the format.
func BsdtarList(t testing.TB, stream io.Reader) Result {
	t.Helper()
	RequirePrograms(t, "bsdtar")
	return pipe(t, stream, "bsdtar", "-t", "-v", "-f", "-")
}

func pipe(t testing.TB, stream io.Reader, name string, args ...string) Result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	// Messages are compared, so they are not in the words of whoever runs the test;
	// libarchive turns names from UTF-8 into what the locale has.
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stream, &out, &errs
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatalf("run %s: %v", name, err)
	}
	return Result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}
