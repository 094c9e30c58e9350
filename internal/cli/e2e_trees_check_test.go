package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/snapshot"
)

// How the archives of a disk are proven here: from the plan of the disk and the
// image alone, with the programs that everybody has and docs/format.md.

// treeDisk is a snapshot of a disk that was made by a plan.
type treeDisk struct {
	subject
	plan      treetest.Plan
	codec     string
	raw, skip []int // as the user chose
}

// addDisk makes a snapshot of an image that treetest made by the plan.
func (w *world) addDisk(image string, plan treetest.Plan, spec awssim.SnapshotSpec) treeDisk {
	w.t.Helper()
	spec.Image = image
	if spec.Tags == nil {
		spec.Tags = tagged()
	}
	return treeDisk{subject: w.add(spec), plan: plan, codec: "zstd"}
}

// bareDisk is the plan of an image that is one filesystem.
func bareDisk(holds string, want []treetest.Record) treetest.Plan {
	return treetest.Plan{Sector: 512, Partitions: []treetest.Partition{{Holds: holds, Want: want}}}
}

// treePart is a part of a disk, and what must become of it.
type treePart struct {
	treetest.Partition

	part layout.Part
	fate string // "tar", "img", or why it is skipped
}

func (d treeDisk) parts(t *testing.T) (parts []treePart) {
	t.Helper()
	if d.plan.Table != "" {
		parts = append(parts, treePart{treetest.Partition{Length: mib}, layout.Head, "img"})
	}
	for _, p := range d.plan.Partitions {
		if d.plan.Table == "" {
			p.Length = d.SizeBytes
		}
		part := treePart{p, layout.Part(p.Number), "tar"}
		switch {
		case p.Holds == treetest.Extended:
			continue
		case slices.Contains(d.skip, p.Number):
			part.fate = "asked for"
		case slices.Contains(d.raw, p.Number), p.Holds == treetest.Noise, p.Holds == treetest.LVM:
			part.fate = "img"
		case p.Holds == treetest.Swap:
			part.fate = "swap"
		case p.Holds == treetest.Zero:
			part.fate = "all zeros"
		case filesystem.Supported(p.Holds) != nil:
			part.fate = "img"
		}
		parts = append(parts, part)
	}
	return parts
}

func (p treePart) stored() bool { return p.fate == "tar" || p.fate == "img" }

// partKey is where the archive of a part must stand (docs/format.md, "Keys").
func (d treeDisk) partKey(p treePart) string {
	key := d.prefix()
	if d.Description != "" {
		key += " - " + d.Description
	}
	if p.part != layout.Whole {
		key += "." + p.part.String()
	}
	return key + "." + p.fate + "." + d.codec
}

func (d treeDisk) recordKey() string {
	return "manifests/" + d.prefix() + ".files." + d.codec + ".json"
}

// keys are all objects that the disk must have in the bucket.
func (d treeDisk) keys(t *testing.T) []string {
	t.Helper()
	keys := []string{d.recordKey()}
	for _, p := range d.parts(t) {
		if p.stored() {
			key := d.partKey(p)
			keys = append(keys, key, "manifests/"+key+".entries", "manifests/"+key+".json")
		}
	}
	slices.Sort(keys)
	return keys
}

// hasObjects wants the objects of these disks to stand in the bucket, and nothing
// else.
func (w *world) hasObjects(disks ...treeDisk) {
	w.t.Helper()
	var want, got []string
	for _, d := range disks {
		want = append(want, d.keys(w.t)...)
	}
	for _, o := range w.objects() {
		got = append(got, o.Key)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// isRestored proves that what the bucket holds of a disk is the disk, and that
// its records and entries tell of it; it returns the snapshot record.
func (d treeDisk) isRestored(t *testing.T, view bucketView) layout.SnapshotRecord {
	t.Helper()
	rec, err := layout.DecodeSnapshotRecord(sealed(t, view, d.recordKey()))
	if err != nil {
		t.Fatal(err)
	}
	var archives []layout.ArchiveRecord
	var skipped []layout.Skipped
	var sum layout.RecordTotals
	for _, p := range d.parts(t) {
		if !p.stored() {
			skipped = append(skipped, layout.Skipped{Partition: p.part, Start: p.Start, Size: p.Length, Why: p.fate})
			continue
		}
		a := d.partRestored(t, view, p)
		archives = append(archives, a)
		sum.Archives, sum.PlainSize, sum.StoredSize = sum.Archives+1, sum.PlainSize+a.PlainSize, sum.StoredSize+a.StoredSize
	}
	byKey := cmpopts.SortSlices(func(a, b layout.ArchiveRecord) bool { return a.Key < b.Key })
	if diff := cmp.Diff(archives, rec.Archives, byKey); diff != "" {
		t.Errorf("the snapshot record repeats other archive records (-own +repeated):\n%s", diff)
	}
	byStart := cmpopts.SortSlices(func(a, b layout.Skipped) bool { return a.Start < b.Start })
	if diff := cmp.Diff(skipped, rec.Skipped, byStart, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
	if rec.Totals != sum {
		t.Errorf("totals %+v, want %+v", rec.Totals, sum)
	}
	var choice *layout.Choice
	if len(d.raw)+len(d.skip) > 0 {
		choice = &layout.Choice{Raw: d.raw, Skip: d.skip}
	}
	if diff := cmp.Diff(choice, rec.Choice, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("choice (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(d.Tags, rec.Snapshot.Tags, cmpopts.EquateEmpty()); diff != "" || rec.Snapshot.ID != snapshot.ID(d.ID) ||
		rec.Snapshot.Description != d.Description || rec.Snapshot.Size != d.SizeGiB<<30 {
		t.Errorf("the record is of the snapshot %+v, want %+v", rec.Snapshot, d.SnapshotSpec)
	}
	d.isGeometry(t, rec.Geometry)
	return rec
}

func (d treeDisk) isGeometry(t *testing.T, g *layout.Geometry) {
	t.Helper()
	if g == nil {
		t.Fatal("the record has no geometry")
	}
	table := map[string]layout.TableType{"gpt": layout.TableGPT, "dos": layout.TableMBR, "": layout.TableNone}[d.plan.Table]
	if g.Table != table || g.SectorSize != d.plan.Sector || g.Size != d.SizeBytes || (g.DiskID == "") != (d.plan.Table == "") {
		t.Errorf("geometry: %+v, want table %s, sectors of %d, %d bytes", g, table, d.plan.Sector, d.SizeBytes)
	}
	type place struct {
		Start, Size int64
		Content     string
	}
	want, got := map[layout.Part]place{}, map[layout.Part]place{}
	for _, p := range d.plan.Partitions {
		if d.plan.Table == "" {
			p.Length = d.SizeBytes
		}
		content := p.Holds
		switch content {
		case treetest.LVM:
			content = "LVM2_member"
		case treetest.Noise, treetest.Zero, treetest.Extended:
			content = ""
		}
		want[layout.Part(p.Number)] = place{p.Start, p.Length, content}
	}
	for _, p := range g.Partitions {
		got[p.Number] = place{p.Start, p.Size, p.Content}
		if p.Content != "" && p.ContentUUID == "" {
			t.Errorf("geometry: partition %d has %s without a UUID", p.Number, p.Content)
		}
		if (p.EBR != 0) != (p.Role == layout.Logical) || table == layout.TableMBR && p.Number > 4 && p.Role != layout.Logical {
			t.Errorf("geometry: partition %d has the role %s and its EBR at %d", p.Number, p.Role, p.EBR)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("geometry (-want +got):\n%s", diff)
	}
}

// partRestored proves the archive of one part.
func (d treeDisk) partRestored(t *testing.T, view bucketView, p treePart) layout.ArchiveRecord {
	t.Helper()
	key := d.partKey(p)
	stored, ok := view(key)
	if !ok {
		t.Fatalf("no archive %q", key)
	}
	rec, err := layout.DecodeArchiveRecord(sealed(t, view, "manifests/"+key+".json"))
	if err != nil {
		t.Fatal(err)
	}
	entries, ok := view("manifests/" + key + ".entries")
	if !ok {
		t.Fatalf("no entries of %q", key)
	}
	rows := readRows(t, entries)
	end := rows[len(rows)-1].End
	sum := sha256.Sum256(entries)
	want := layout.ArchiveRecord{
		Format: 1, Type: "archive", Tool: rec.Tool, Run: rec.Run, Key: "manifests/" + key + ".json",
		Snapshot: snapshot.ID(d.ID), Volume: snapshot.VolumeID(d.VolumeID),
		Archive: key, Kind: layout.Kind(p.fate), Partition: p.part, PlainSize: end.PlainSize, StoredSize: int64(len(stored)),
		Codec: d.codec, Level: rec.Level, FrameSize: checkFrame, CRC64NVME: crc64Text(stored), Digest: end.Digest,
		Entries: layout.EntriesRef{Key: "manifests/" + key + ".entries", Size: int64(len(entries)), SHA256: hex.EncodeToString(sum[:])},
		SHA256:  rec.SHA256,
	}
	if p.fate == "tar" {
		want.Files = &end.Files
	} else {
		want.Blocks = &end.Blocks
	}
	if diff := cmp.Diff(want, rec); diff != "" {
		t.Errorf("archive record (-want +got):\n%s", diff)
	}
	header := layout.EntriesHeader{
		Entries: 1, Kind: layout.Kind(p.fate), Archive: key, Snapshot: snapshot.ID(d.ID), Run: rec.Run,
		Codec: d.codec, FrameSize: checkFrame, Name: p.Name, Label: labelOf(p.Holds),
	}
	if p.fate == "img" {
		header.PlainSize, header.BlockSize = p.Length, checkBlock
		d.isImage(t, p, rec, entries, stored)
	} else {
		d.isTree(t, p, rows, stored)
	}
	if diff := cmp.Diff(header, *rows[0].Header); diff != "" {
		t.Errorf("first row of %s (-want +got):\n%s", key, diff)
	}
	return rec
}

// labelOf is the label that a filesystem was made with.
func labelOf(holds string) string {
	if _, err := exec.LookPath("mkfs.vfat"); err == nil && holds == treetest.Vfat {
		return "UEFI"
	}
	return ""
}

func readRows(t *testing.T, entries []byte) (rows []layout.Row) {
	t.Helper()
	for row, err := range layout.ReadEntries(bytes.NewReader(entries)) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// isImage wants the archive to be the bytes of the part, on any disk.
func (d treeDisk) isImage(t *testing.T, p treePart, rec layout.ArchiveRecord, entries, stored []byte) {
	t.Helper()
	part := filepath.Join(t.TempDir(), "part")
	disk, err := os.Open(d.Image)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	at, same := int64(0), false
	decode(t, d.codec, stored, func(plain io.Reader) {
		at, same = compare(t, plain, io.NewSectionReader(disk, p.Start, p.Length))
	})
	if !same {
		t.Errorf("%s is not bytes %d to %d of the disk: first difference near byte %d of it", rec.Archive, p.Start, p.Start+p.Length, at)
	}
	if p.Length > 64*mib {
		return // the rest was proven with smaller ones
	}
	data := make([]byte, p.Length)
	if _, err := disk.ReadAt(data, p.Start); err != nil {
		t.Fatal(err)
	}
	writeFile(t, part, data)
	checkEntries(t, rec, entries, stored, hashDisk(t, part))
}

// decode has the program of the codec decode a stream.
func decode(t *testing.T, program string, stored []byte, use func(io.Reader)) {
	t.Helper()
	treetest.RequirePrograms(t, program)
	cmd := exec.Command(program, "-dc")
	cmd.Stdin = bytes.NewReader(stored)
	plain, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	use(plain)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s -d: %v: %s", program, err, complaint.String())
	}
}

// freeHost is nothingLeft, and wants nothing to be mounted or attached of what the
// sandbox's volumes are: in the mount table, or as a loop device over one of its
// own.
func (w *world) freeHost() {
	w.t.Helper()
	w.nothingLeft()
	w.noMounts()
}

// noMounts wants no mount below the world's folder, and no loop device over one of
// its volumes but the sandbox's own.
func (w *world) noMounts() {
	w.t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, w.dir) {
			w.t.Errorf("left in the mount table: %s", line)
		}
	}
	for _, v := range w.sim.Volumes() {
		if v.Loop == "" {
			continue
		}
		if over := treetest.Loops(w.t, v.Loop); len(over) > 0 {
			w.t.Errorf("left over %s of %s: %v", v.Loop, v.ID, over)
		}
		if strings.Contains(string(table), " "+v.Loop+" ") {
			w.t.Errorf("%s of %s is mounted", v.Loop, v.ID)
		}
	}
}

// partitionArgs are the flags of a choice.
func partitionArgs(raw, skip []int) (args []string) {
	for _, n := range raw {
		args = append(args, "--raw-partition", strconv.Itoa(n))
	}
	for _, n := range skip {
		args = append(args, "--skip-partition", strconv.Itoa(n))
	}
	return args
}

// credentialOfNobody is that of the user with the fewest rights.
func credentialOfNobody(t *testing.T) *syscall.SysProcAttr {
	t.Helper()
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skipf("no user nobody: %v", err)
	}
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}
