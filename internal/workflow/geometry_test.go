package workflow

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/partition"
)

// The command of docs/format.md makes the table of a disk again from a snapshot
// record, where the head has a damaged one, or none.
func TestTableFromGeometry(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"sh", "jq", "sfdisk"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs the program " + program)
		}
	}
	doc, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?s)jq -r '\.geometry.*?' \| sfdisk --wipe never /dev/xvdf`).FindString(string(doc))
	if command == "" {
		t.Fatal("docs/format.md has no command that makes a table")
	}
	for name, script := range map[string]string{
		"gpt":     "label: gpt\nstart=2048, size=4096, type=21686148-6449-6E6F-744E-656564454649\n7 : start=8192, size=20480, type=linux\n",
		"mbr":     "label: dos\nstart=2048, size=4096, type=83, bootable\n3 : start=8192, size=20480, type=82\n",
		"logical": "label: dos\nstart=2048, size=4096, type=83\nstart=8192, size=65536, type=5\nstart=10240, size=4096, type=83\nstart=20480, size=8192, type=82\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			was := tableMadeBy(t, script+"\n", filepath.Join(dir, "disk"), "sfdisk -q disk")
			record, err := json.Marshal(layout.SnapshotRecord{Geometry: geometryOf(was)})
			if err != nil {
				t.Fatal(err)
			}
			is := tableMadeBy(t, string(record), filepath.Join(dir, "again"), strings.Replace(command, "/dev/xvdf", "again", 1))
			// The first EBR of a chain may be anywhere in it.
			if diff := cmp.Diff(geometryOf(was), geometryOf(is), cmpopts.IgnoreFields(layout.Partition{}, "EBR")); diff != "" {
				t.Errorf("the table (-was +is):\n%s", diff)
			}
		})
	}
}

// tableMadeBy is the table of a new disk, which a command makes.
func tableMadeBy(t *testing.T, input, path, command string) partition.Table {
	t.Helper()
	disk, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	if err := disk.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Dir, cmd.Stdin = filepath.Dir(path), strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	src, err := block.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	table, err := partition.Read(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	return table
}
