package block

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func fakeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestHolderInFakeSystem(t *testing.T) {
	t.Parallel()
	info, err := os.Stat(os.DevNull) // any device with a number: 1:3
	if err != nil {
		t.Fatal(err)
	}
	const partition = "sys/dev/block/1:3/sdf1/"
	for _, x := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"nobody", nil, ""},
		{"mounted", map[string]string{"proc/self/mountinfo": "30 1 1:3 / /mnt/a\\040b rw - ext4 /dev/sdf rw\n"}, "mounted at /mnt/a b"},
		{"by source", map[string]string{"proc/self/mountinfo": "30 1 0:44 / /mnt rw shared:1 - btrfs /dev/sdf rw\n"}, "mounted at /mnt"},
		{"partition mounted", map[string]string{
			"proc/self/mountinfo":   "29 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 1 1:99 / /data rw shared:3 master:1 - xfs /dev/sdf1 rw\n",
			partition + "partition": "1\n", partition + "dev": "1:99\n",
		}, "mounted at /data"},
		{"device mapper", map[string]string{"sys/dev/block/1:3/holders/dm-0/x": ""}, "held by dm-0"},
		{"partition in md", map[string]string{
			partition + "partition": "1\n", partition + "dev": "1:99\n",
			"sys/dev/block/1:99/holders/md127/x": "",
		}, "held by md127"},
		{"loop", map[string]string{"sys/block/loop3/loop/backing_file": "/dev/sdf\n"}, "below /dev/loop3"},
		{"loop, deleted node", map[string]string{"sys/block/loop3/loop/backing_file": "/dev/sdf (deleted)\n"}, "below /dev/loop3"},
		{"loop over another", map[string]string{"sys/block/loop3/loop/backing_file": "/dev/sdg\n"}, ""},
	} {
		root := fakeFiles(t, x.files)
		got := view{filepath.Join(root, "proc"), filepath.Join(root, "sys")}.holder("/dev/sdf", info)
		if got != x.want {
			t.Errorf("%s: got %q, want %q", x.name, got, x.want)
		}
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue")
	f.Add("- - - - - - - -")
	f.Fuzz(func(t *testing.T, line string) {
		m, ok := parseMount(line)
		if !ok {
			return
		}
		fields := strings.Fields(line)
		if diff := cmp.Diff(m, mount{fields[2], unescapeMount(fields[4]), m.source}, cmp.AllowUnexported(mount{})); diff != "" || m.source == "" {
			t.Errorf("%q: %s", line, diff)
		}
	})
}
