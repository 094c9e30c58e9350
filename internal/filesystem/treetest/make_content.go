//go:build linux

package treetest

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// sizes lie around the ends of a tar block, a page, an EBS block and a frame.
func (m *maker) sizes() {
	m.folder("sizes")
	const kib, mib = 1 << 10, 1 << 20
	for _, n := range [...]int{
		0, 1, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 10239, 10240, 10241,
		512*kib - 1, 512 * kib, 512*kib + 1, 4*mib - 1, 4 * mib, 4*mib + 1, 9 * mib,
	} {
		m.must("sizes", os.WriteFile(m.at("sizes", fmt.Sprint(n)), noise(n, uint64(n)), 0o644))
	}
	m.file(string(make([]byte, 256*kib)), "sizes", "zeros")
	m.file(string(noise(8192, 7))+string(make([]byte, 8192))+"x", "sizes", "zeros within")
}

// sparseFile makes a file of the size with noise in the given places.
func (m *maker) sparseFile(what, p string, size int64, data ...Extent) {
	m.t.Helper()
	f, err := os.Create(p)
	m.must(what, err)
	if err := plainErr(f.Truncate(size)); !m.try(what, err) {
		m.must(what, f.Close())
		m.must(what, os.Remove(p))
		return
	}
	for _, e := range data {
		_, err := f.WriteAt(noise(int(e.Len), uint64(e.Off)), e.Off)
		m.must(what, err)
	}
	m.must(what, f.Close())
}

func (m *maker) sparse() {
	m.folder("sparse")
	const kib, mib, gib = int64(1) << 10, int64(1) << 20, int64(1) << 30
	make1 := func(name string, size int64, data ...Extent) {
		m.sparseFile("sparse "+name, m.at("sparse", name), size, data...)
	}
	make1("hole only", mib)
	make1("hole only odd", 12345)
	make1("hole at start", mib, Extent{mib - 8*kib, 8 * kib})
	make1("hole at end", mib, Extent{0, 8 * kib})
	make1("hole in middle", mib, Extent{0, 4 * kib}, Extent{mib - 4*kib, 4 * kib})
	make1("odd ends", mib+1, Extent{5000, 100}, Extent{70001, 4097}, Extent{mib, 1})
	make1("last block is data", 2*mib+77, Extent{2 * mib, 77})
	make1("3 GiB", 3*gib, Extent{0, 4 * kib}, Extent{gib + 4*kib, 64 * kib}, Extent{2*gib - 4*kib, 8 * kib}, Extent{3*gib - 10, 10})
	// Behind 8 GiB a size does not fit the octal field of a header.
	make1("9 GiB", 9*gib, Extent{8*gib - 4*kib, 8 * kib})

	var many []Extent
	for i := range int64(1500) {
		many = append(many, Extent{i * 8 * kib, 4 * kib})
	}
	make1("1500 pieces", 1500*8*kib, many...)
	m.allocated()
}

// allocated makes files whose blocks exist without having been written: stale
// disk content lies under those, which must read as zeros.
func (m *maker) allocated() {
	const kib, mib = int64(1) << 10, int64(1) << 20
	alloc := func(name string, mode uint32, off, n int64, before func(f *os.File)) {
		m.t.Helper()
		p := m.at("sparse", name)
		f, err := os.Create(p)
		m.must(name, err)
		if before != nil {
			before(f)
		}
		ok := m.try("sparse "+name, unix.Fallocate(int(f.Fd()), mode, off, n))
		m.must(name, f.Close())
		if !ok {
			m.must(name, os.Remove(p))
		}
	}
	write := func(n, off int64) func(*os.File) {
		return func(f *os.File) {
			_, err := f.WriteAt(noise(int(n), uint64(off+1)), off)
			m.must("write", err)
			m.must("sync", f.Sync())
		}
	}
	alloc("unwritten", 0, 0, mib, nil)
	alloc("unwritten then data", 0, 0, mib, write(8*kib, mib-8*kib))
	alloc("unwritten around data", 0, 0, 2*mib, write(4*kib, mib))
	alloc("allocated behind the end", unix.FALLOC_FL_KEEP_SIZE, 0, 4*mib, write(5000, 0))
	alloc("allocated and empty", unix.FALLOC_FL_KEEP_SIZE, 0, mib, nil)
	alloc("punched", unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 64*kib, 64*kib, write(256*kib, 0))
	alloc("punched odd", unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 5001, 50001, write(128*kib, 0))
	alloc("zeroed range", unix.FALLOC_FL_ZERO_RANGE, 32*kib, 64*kib, write(128*kib, 0))
}

// huge files are where reading zeros would never end.
func (m *maker) huge() {
	m.folder("huge")
	const tib = int64(1) << 40
	m.sparseFile("huge 1 TiB", m.at("huge", "1 TiB"), tib, Extent{0, 4096}, Extent{tib / 2, 1 << 20}, Extent{tib - 1, 1})
	m.sparseFile("huge 15 TiB", m.at("huge", "15 TiB"), 15*tib, Extent{15*tib - 4096, 4096})
	m.sparseFile("huge 1 EiB", m.at("huge", "1 EiB"), 1<<60)
}
