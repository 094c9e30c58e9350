package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// A file is written whole, or what was there stays and nothing is left beside it.
func TestWriteWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	say := func(text string, err error) func(io.Writer) error {
		return func(w io.Writer) error {
			_, werr := io.WriteString(w, text)
			return errors.Join(werr, err)
		}
	}
	is := func(want string) {
		t.Helper()
		if got := read(t, path); got != want {
			t.Errorf("it holds %q, want %q", got, want)
		}
		names, err := os.ReadDir(dir)
		info, statErr := os.Lstat(link)
		if err != nil || len(names) != 2 || statErr != nil || info.Mode().Type() != os.ModeSymlink {
			t.Errorf("beside it: %v, %v, %v", names, err, statErr)
		}
	}
	if err := writeWhole(path, say("one", nil)); err != nil {
		t.Fatal(err)
	}
	is("one")
	broken := errors.New("broken")
	if err := writeWhole(path, say("two", broken)); !errors.Is(err, broken) {
		t.Errorf("a writer that fails: %v", err)
	}
	is("one")
	if err := writeWhole(link, say("three", nil)); err != nil {
		t.Fatal(err)
	}
	is("three")
	if err := writeWhole(filepath.Join(dir, "no", "file"), say("", nil)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}
