package bill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"snap-to-s3/internal/hint"
)

// ReaderAt is a file with random access. Its caller closes it.
type ReaderAt interface {
	io.ReaderAt
	io.Closer
}

// Input is a file of a bill, a manifest, or a folder of both, wherever it is
// stored. [File] and [Stream] make those of this host.
type Input struct {
	// Name is for messages: a path, "s3://bucket/key", "standard input". In a
	// folder it decides, by its elements, which billing period and assembly a file
	// belongs to.
	Name     string
	Size     int64     // bytes; -1 unknown
	Modified time.Time // zero unknown

	// Open reads from the start. It is called once, by the goroutine that calls
	// Read; the reader is read and closed by others. nil for a folder.
	Open func(ctx context.Context) (io.ReadCloser, error)
	// OpenAt is random access, which Parquet and zip need; nil where there is none:
	// such files are then copied to a temporary file without a name.
	OpenAt func(ctx context.Context) (ReaderAt, error)
	// Files are those below a folder, at any depth and in any order; nil for a file.
	Files func(ctx context.Context) iter.Seq2[Input, error]
	// Beside finds the file that a manifest names by the key it was delivered
	// under; fs.ErrNotExist where it is not there. nil: nothing is beside.
	Beside func(ctx context.Context, key string) (Input, error)

	endless bool  // its reads cannot be interrupted: nobody waits for them
	trouble error // why it cannot be read, if it is in a folder and no file
}

// File is a file or folder of this host.
func File(path string) (Input, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Input{}, fmt.Errorf("read bill: %w", err)
	}
	if info.IsDir() {
		return Input{Name: path, Size: -1, Files: folderFiles(path)}, nil
	}
	return file(path, info), nil
}

func file(path string, info fs.FileInfo) Input {
	in := Input{
		Name: path, Size: info.Size(), Modified: info.ModTime(),
		Open:   func(context.Context) (io.ReadCloser, error) { return os.Open(path) },
		Beside: func(_ context.Context, key string) (Input, error) { return fileBeside(path, key) },
	}
	if info.Mode().IsRegular() {
		in.OpenAt = func(context.Context) (ReaderAt, error) { return os.Open(path) }
	} else {
		in.Size, in.endless = -1, true // a pipe
	}
	return in
}

// Stream is what comes from r, which can be read once: standard input. If the
// context of Read ends, or its content is refused, a read of r that hangs is left behind.
func Stream(name string, r io.Reader) Input {
	return Input{
		Name: name, Size: -1, endless: true,
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(r), nil },
	}
}

// folderFiles walks a folder; it follows no symbolic links to folders, but reads
// files that links name. What is no file it yields with why that cannot be read.
func folderFiles(root string) func(context.Context) iter.Seq2[Input, error] {
	return func(ctx context.Context) iter.Seq2[Input, error] {
		return func(yield func(Input, error) bool) {
			err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err == nil {
					err = ctx.Err()
				}
				if err != nil {
					return err
				}
				if !d.IsDir() && !yield(found(path), nil) {
					return fs.SkipAll
				}
				return nil
			})
			if err != nil {
				yield(Input{}, fmt.Errorf("list %s: %w", root, err))
			}
		}
	}
}

// found is what is in a folder, and no folder.
func found(path string) Input {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Input{Name: path, trouble: errors.New("a link to nothing")}
	case err != nil:
		return Input{Name: path, trouble: err}
	case info.IsDir():
		return Input{Name: path, trouble: errors.New("a link to a folder, which is not followed")}
	case !info.Mode().IsRegular():
		return Input{Name: path, trouble: errors.New("no regular file")}
	}
	return file(path, info)
}

// fileBeside looks for key below the folder of a manifest and the folders above
// it, as much of the key's end as is there: a copy of a bucket may begin
// anywhere. The name alone counts only in the manifest's own folder: elsewhere
// it may be of another assembly.
func fileBeside(manifest, key string) (Input, error) {
	elements := strings.Split(strings.Trim(key, "/"), "/")
	if slices.Contains(elements, "..") {
		return Input{}, fs.ErrNotExist // no key of AWS's
	}
	dir := filepath.Dir(manifest)
	const levels = 8 // prefixes of prefixes
	for level := range levels {
		for i := range elements {
			name := filepath.Join(elements[i:]...)
			if !filepath.IsLocal(name) || level > 0 && i == len(elements)-1 && i > 0 {
				continue
			}
			path := filepath.Join(dir, name)
			info, err := os.Stat(path)
			if err == nil && info.Mode().IsRegular() {
				return file(path, info), nil
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
				return Input{}, err
			}
		}
		up := filepath.Join(dir, "..")
		if up == dir {
			break
		}
		dir = up
	}
	return Input{}, fs.ErrNotExist
}

// spool copies an input that has no random access to a file without a name.
func spool(ctx context.Context, name string, r io.Reader) (ReaderAt, int64, error) {
	f, err := os.CreateTemp("", "snap-to-s3-bill-")
	if err != nil {
		return nil, 0, fmt.Errorf("keep a copy of %s: %w", name, err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("keep a copy of %s: %w", name, err)
	}
	n, err := io.Copy(f, &interruptible{ctx.Err, r})
	if err != nil {
		f.Close()
		err = fmt.Errorf("keep a copy of %s in %s: %w", name, os.TempDir(), err)
		return nil, 0, hint.Wrap(err, "is there room? TMPDIR names another folder; a file given by its path needs no copy")
	}
	return f, n, nil
}

// interruptible ends reads once stop tells of an error.
type interruptible struct {
	stop func() error
	r    io.Reader
}

func (i *interruptible) Read(p []byte) (int, error) {
	if err := i.stop(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}
