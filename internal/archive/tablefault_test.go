package archive

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"snap-to-s3/internal/hint"
)

// filledTable is a table that has spilled rows and links.
func filledTable(t *testing.T, rows int) *Table {
	t.Helper()
	table := NewTable(TableOptions{Folder: t.TempDir(), Memory: 1 << 16})
	t.Cleanup(func() { table.Close() })
	for i := range rows {
		r := &TreeRow{Sum: new([32]byte)}
		r.Path = fmt.Sprintf("%07d", rows-i)
		if i%2 == 1 {
			r.Link, r.Sum = fmt.Sprintf("%07d", rows-i+1), nil
		}
		if err := table.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	if table.rows.file == nil || table.links.file == nil {
		t.Fatal("nothing was spilled")
	}
	return table
}

func TestTableOnADiskThatIsFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no /dev/full: %v", err)
	}
	table := NewTable(TableOptions{Folder: "/somewhere", Memory: 1 << 16})
	t.Cleanup(func() { table.Close() })
	table.rows.file = full
	for i := 0; err == nil && i < 100000; i++ {
		r := &TreeRow{}
		r.Path = fmt.Sprint(i)
		err = table.Add(r)
	}
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "/somewhere") || !strings.Contains(hint.Of(err), "TMPDIR") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
}

func TestTableOnADiskThatLosesTheEnd(t *testing.T) {
	for name, file := range map[string]func(*Table) *os.File{
		"rows":  func(table *Table) *os.File { return table.rows.file },
		"links": func(table *Table) *os.File { return table.links.file },
	} {
		t.Run(name, func(t *testing.T) {
			table := filledTable(t, 5000)
			f := file(table)
			info, err := f.Stat()
			if err == nil {
				err = f.Truncate(info.Size() - 3)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range table.Sorted(t.Context()) {
				err = e
			}
			if err == nil || hint.Of(err) == "" {
				t.Errorf("error %v, hint %q", err, hint.Of(err))
			}
		})
	}
}

// Bytes that changed on the disk end in an error or in other rows, not in a
// panic.
func TestTableOnADiskThatLies(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		table := filledTable(t, 800)
		defer table.Close()
		f := rapid.SampledFrom([]*os.File{table.rows.file, table.links.file}).Draw(rt, "file")
		info, err := f.Stat()
		if err != nil {
			rt.Fatal(err)
		}
		lies := rapid.SliceOfN(rapid.Byte(), 1, 12).Draw(rt, "lies")
		if _, err := f.WriteAt(lies, rapid.Int64Range(0, info.Size()-1).Draw(rt, "at")); err != nil {
			rt.Fatal(err)
		}
		n := 0
		for r := range table.Sorted(rt.Context()) {
			if r != nil {
				n++
			}
		}
		if n > 800+len(lies) {
			rt.Errorf("%d rows of 800", n)
		}
	})
}

// What was written is told from what was not, and comes back the same.
func FuzzDecodeRow(f *testing.F) {
	r := &TreeRow{Sum: &[32]byte{1}, Map: &[32]byte{2}, Link: "a"}
	r.Target, r.Size = "b", 1<<40
	f.Add([]byte("p\x00q"), appendRow(nil, r))
	f.Add([]byte{}, appendRow(nil, &TreeRow{}))
	f.Fuzz(func(t *testing.T, key, fields []byte) {
		row, err := decodeRow(key, fields)
		if err != nil {
			return
		}
		again, err := decodeRow(appendKey(nil, row.Path), appendRow(nil, row))
		if err != nil || fmt.Sprintf("%q", again.Path) != fmt.Sprintf("%q", row.Path) || string(appendRow(nil, again)) != string(appendRow(nil, row)) {
			t.Errorf("%q %x: %v, error %v", key, fields, again, err)
		}
	})
}
