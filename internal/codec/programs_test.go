package codec_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"snap-to-s3/internal/codec"
)

func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("the %s program is not installed", name)
	}
}

func pipe(t *testing.T, in []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(in)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, said.Bytes())
	}
	return out.Bytes()
}

func chunks(p []byte) [][]byte {
	var all [][]byte
	for len(p) > 0 {
		n := min(len(p), codec.FrameSize)
		all = append(all, p[:n])
		p = p[n:]
	}
	return all
}

func TestProgramsReadOurs(t *testing.T) {
	t.Parallel()
	for _, c := range levels() {
		t.Run(label(c), func(t *testing.T) {
			needProgram(t, c.Name())
			for name, plain := range shapesFor(c.Level()) {
				stored := encode(t, c, plain, nil, plain[:len(plain)/3])
				want := append(bytes.Clone(plain), plain[:len(plain)/3]...)
				if got := pipe(t, stored, c.Name(), "-dc"); !bytes.Equal(got, want) {
					t.Errorf("%s: %s -d gives %d bytes, want %d", name, c.Name(), len(got), len(want))
				}
			}
		})
	}
}

func TestWeReadThePrograms(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"lz4 -1", "lz4 -9", "lz4 -1 -B4", "lz4 -1 -BD", "lz4 -9 -BD -B5", "lz4 -1 -BX", "lz4 -1 --no-frame-crc", "lz4 -1 --fast=9", "lz4 -l",
		"zstd -1", "zstd -19", "zstd -3 -T2", "zstd -3 --no-check", "zstd -3 --long=27", "zstd -1 --fast=5", "zstd --ultra -20",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(line)
			needProgram(t, args[0])
			level, _ := strconv.Atoi(strings.Trim(args[len(args)-1], "-"))
			for name, plain := range shapesFor(level) {
				if len(plain) < 40 && len(plain)%13 != 0 {
					continue // a process each: a few will do
				}
				stored := pipe(t, plain, args[0], append(args[1:], "-c")...)
				got, err := decode(args[0], bytes.NewReader(stored))
				if err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s: %d bytes and %v, want %d", name, len(got), err, len(plain))
				}
			}
		})
	}
}

// corpus is text, Go source and a binary, as they are on the machine.
func corpus(t *testing.T) map[string][]byte {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skipf("no Go toolchain to take a corpus from: %v", err)
	}
	root := strings.TrimSpace(string(out))
	const each = 2 << 20
	parts := map[string][]byte{}
	for name, suffix := range map[string]string{"source": ".go", "text": ".txt"} {
		var part []byte
		err := filepath.WalkDir(filepath.Join(root, "src"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, suffix) || len(part) >= each {
				return err
			}
			p, err := os.ReadFile(path)
			part = append(part, p...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		parts[name] = part[:min(len(part), each)]
	}
	binary, err := os.ReadFile(filepath.Join(root, "bin", "go"))
	if err != nil {
		t.Skipf("no binary to compress: %v", err)
	}
	parts["binary"] = binary[:min(len(binary), 2*each)]
	return parts
}

// Each level's ratio is within 3 % of the lz4 program's, and no level is worse than
// the one below it.
func TestLZ4RatioIsThePrograms(t *testing.T) {
	t.Parallel()
	needProgram(t, "lz4")
	parts := corpus(t)
	before := map[string]int{}
	for level := 1; level <= 9; level++ {
		c, err := codec.New("lz4", level)
		if err != nil {
			t.Fatal(err)
		}
		for name, plain := range parts {
			ours := len(encode(t, c, chunks(plain)...))
			theirs := len(pipe(t, plain, "lz4", fmt.Sprintf("-%d", level), "-c"))
			change := float64(ours)/float64(theirs) - 1
			t.Logf("lz4 -%d, %s: %d bytes against %d: %+.2f %%", level, name, ours, theirs, 100*change)
			if math.Abs(change) > 0.03 {
				t.Errorf("lz4 level %d, %s: %d bytes, the program's %d", level, name, ours, theirs)
			}
			if b, ok := before[name]; ok && ours > b {
				t.Errorf("lz4 level %d, %s: %d bytes, more than %d at the level below", level, name, ours, b)
			}
			before[name] = ours
		}
	}
}
