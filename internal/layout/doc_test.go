package layout

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

// docSection is the part of docs/format.md under a heading, up to the next.
func docSection(t *testing.T, heading string) string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("docs/format.md has no %q", heading)
	}
	section, _, _ := strings.Cut(rest, "\n#")
	return section
}

// docTable is the first column of the table in a section.
func docTable(t *testing.T, heading string) []string {
	t.Helper()
	var names []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(docSection(t, heading), -1) {
		names = append(names, m[1])
	}
	return names
}

// members lists the JSON members of a type, those of members and of elements as
// "a.b". Archive records in a snapshot record have a table of their own.
func members(typ reflect.Type, prefix string) []string {
	var names []string
	for f := range typ.Fields() {
		if f.Anonymous {
			names = append(names, members(f.Type, prefix)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, prefix+name)
		sub := f.Type
		if sub.Kind() == reflect.Pointer || sub.Kind() == reflect.Slice && sub.Elem() != reflect.TypeFor[ArchiveRecord]() {
			sub = sub.Elem()
		}
		if sub.Kind() == reflect.Struct {
			names = append(names, members(sub, prefix+name+".")...)
		}
	}
	return names
}

// The tables of docs/format.md name exactly the members that are written.
func TestTablesOfTheDocs(t *testing.T) {
	tests := []struct {
		heading string
		of      any
	}{
		{"### Members of the archive record", ArchiveRecord{}},
		{"### Members of the snapshot record", SnapshotRecord{}},
		{"### Members of the rows of a tar's entries", treeRow{}},
		{"### Members of the header row", headerRow{}},
		{"### Members of the end row", EntriesEnd{}},
		{"### Members of the trailer's rows", indexRow{}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(members(reflect.TypeOf(tt.of), ""), docTable(t, tt.heading)); diff != "" {
			t.Errorf("%s (-type +doc):\n%s", tt.heading, diff)
		}
	}
	var meta []string
	for name := range Metadata(Name{Snapshot: sample()}, 1, "r") {
		meta = append(meta, name)
	}
	inDoc := docTable(t, "## Metadata")
	slices.Sort(meta)
	slices.Sort(inDoc)
	if diff := cmp.Diff(meta, inDoc); diff != "" {
		t.Errorf("metadata (-written +doc):\n%s", diff)
	}
}

// docExample is the code block of a section, as the bytes of a file.
func docExample(t *testing.T, heading string) []byte {
	t.Helper()
	_, rest, _ := strings.Cut(docSection(t, heading), "```json\n")
	text, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatalf("%s has no example", heading)
	}
	return []byte(text)
}

// The example records of docs/format.md are what this package writes: their
// seals hold, and writing them again gives the same bytes.
func TestExamplesOfTheDocs(t *testing.T) {
	data := docExample(t, "### Example archive record")
	archive, err := DecodeArchiveRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := EncodeRecord(&archive)
	if diff := cmp.Diff(string(data), string(again)); diff != "" || err != nil {
		t.Errorf("archive record: %v (-doc +written):\n%s", err, diff)
	}
	data = docExample(t, "### Example snapshot record")
	snap, err := DecodeSnapshotRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err = EncodeRecord(&snap)
	if diff := cmp.Diff(string(data), string(again)); diff != "" || err != nil {
		t.Errorf("snapshot record: %v (-doc +written):\n%s", err, diff)
	}
	if diff := cmp.Diff([]ArchiveRecord{archive}, snap.Archives); diff != "" {
		t.Errorf("the two examples differ (-archive +snapshot):\n%s", diff)
	}
}

// The example of choice, geometry and skipped is what is written of them.
func TestGeometryOfTheDocs(t *testing.T) {
	s := sampleTrees(t)
	type part struct {
		Choice   *Choice   `json:"choice"`
		Geometry *Geometry `json:"geometry"`
		Skipped  []Skipped `json:"skipped"`
	}
	want, err := json.MarshalIndent(part{s.Choice, s.Geometry, s.Skipped}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	heading := "### Example of `choice`, `geometry` and `skipped`"
	if diff := cmp.Diff(string(want)+"\n", string(docExample(t, heading))); diff != "" {
		t.Errorf("%s (-written +doc):\n%s", heading, diff)
	}
}

// The rows of a tar that docs/format.md shows are entries as this package writes
// them, and so are those of an image, but for the hashes that are left out.
func TestRowsOfTheDocs(t *testing.T) {
	blocks := regexp.MustCompile("(?s)\n```\n(\\{\"entries\".*?)```").FindAllStringSubmatch(docSection(t, "## Entries"), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d examples of rows under Entries, want 2", len(blocks))
	}
	rows := blocks[1][1]
	var again bytes.Buffer
	var w *EntriesWriter
	for row, err := range ReadEntries(bytes.NewReader(pack(t, rows))) {
		switch {
		case err != nil:
			t.Fatal(err)
		case row.Header != nil:
			w = NewEntriesWriter(&again, *row.Header)
		case row.Entry != nil:
			err = w.Entry(*row.Entry)
		case row.Frames != nil:
			err = w.Frame(row.Frames.First)
		case row.End != nil:
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(rows, string(unpack(t, again.Bytes()))); diff != "" {
		t.Errorf("rows of a tar (-doc +written):\n%s", diff)
	}
	hashes := regexp.MustCompile("<Base64 of ([0-9]+) bytes>")
	for _, line := range strings.Split(strings.TrimSpace(blocks[0][1]), "\n") {
		line = hashes.ReplaceAllStringFunc(line, func(m string) string {
			n, err := strconv.Atoi(hashes.FindStringSubmatch(m)[1])
			if err != nil {
				t.Fatal(err)
			}
			return base64.StdEncoding.EncodeToString(make([]byte, n))
		})
		if _, known, err := parseRow([]byte(line)); !known || err != nil {
			t.Errorf("row %s: known: %t, %v", line, known, err)
		}
	}
}

// The command line that docs/format.md gives for the digest of a tar computes what
// the entries' writer computes from hashes of frames.
func TestTarDigestByHand(t *testing.T) {
	for _, program := range []string{"sh", "zstd", "jq", "tail", "head", "openssl", "sha256sum"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs the program " + program)
		}
	}
	command := regexp.MustCompile("(?m)^zstd -dc .* jq .*$").FindString(docSection(t, "## Digests"))
	if command == "" {
		t.Fatal("docs/format.md has no command with jq under Digests")
	}
	var entries bytes.Buffer
	w := NewEntriesWriter(&entries, tarHeader())
	err := w.Entry(TreeEntry{Type: Folder})
	var stored []byte
	f := codec.Frame{PlainLen: codec.FrameSize}
	for _, frame := range []string{"first", "again", "again", "last, and short"} {
		f.StoredOff, f.StoredLen, f.Hash = int64(len(stored)), int64(len(frame)), sum256([]byte(frame))
		if frame == "last, and short" {
			f.PlainLen = 10240
		}
		err = errors.Join(err, w.Frame(f))
		f.PlainOff += f.PlainLen
		stored = append(stored, frame...)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	end, err := w.End()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := errors.Join(
		os.WriteFile(dir+"/archive.tar.zstd", stored, 0o600),
		os.WriteFile(dir+"/archive.tar.zstd.entries", entries.Bytes(), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if got, _, _ := strings.Cut(string(out), " "); err != nil || got != end.Digest {
		t.Errorf("%s\ngives %q, %v, the writer %s", command, out, err, end.Digest)
	}
}

// The command line that docs/format.md gives for the digest computes what the
// entries' writer computes from hashes of blocks and frames.
func TestDigestByHand(t *testing.T) {
	for _, program := range []string{"sh", "zstd", "split", "openssl", "sha256sum"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs the program " + program)
		}
	}
	command := regexp.MustCompile("(?m)^zstd -dc .*$").FindString(docSection(t, "## Digests"))
	if command == "" {
		t.Fatal("docs/format.md has no command under Digests")
	}
	plain := bytes.Repeat([]byte("plain bytes "), 900_000) // 2 frames and a part of one, the last block short
	im := newImage(int64(len(plain)), func(int64) byte { return 'd' })
	for n := range im.sums {
		from := n * block.Size
		im.sums[n] = sum256(plain[from:min(from+block.Size, len(plain))])
	}
	for i := range im.frames {
		var hashes []byte
		for n := i * blocksPerFrame; n < min((i+1)*blocksPerFrame, len(im.sums)); n++ {
			hashes = append(hashes, im.sums[n][:]...)
		}
		im.frames[i].Hash = sum256(hashes)
	}
	w := NewEntriesWriter(&bytes.Buffer{}, entriesOf(im.size))
	im.write(t, w)
	end, err := w.End()
	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	var stored []byte
	for off := 0; off < len(plain); off += codec.FrameSize {
		stored = enc.EncodeAll(plain[off:min(off+codec.FrameSize, len(plain))], stored)
	}
	if err := os.WriteFile(dir+"/archive.img.zstd", stored, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if got, _, _ := strings.Cut(string(out), " "); err != nil || got != end.Digest {
		t.Errorf("%s\ngives %q, %v, the writer %s", command, out, err, end.Digest)
	}
}
