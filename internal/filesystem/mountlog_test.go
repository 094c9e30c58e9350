package filesystem

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestKernelRecords(t *testing.T) {
	t.Parallel()
	for record, want := range map[string]string{
		"3,1,2,-;EXT4-fs (loop1): bad geometry\n SUBSYSTEM=block\n":    "EXT4-fs (loop1): bad geometry",
		"4,1,2,-;a warning, of /dev/loop1":                             "a warning, of /dev/loop1",
		"11,1,2,-;loop10 and then loop1":                               "loop10 and then loop1", // of another facility
		"3,1,2,-;EXT4-fs (loop10): bad geometry":                       "",
		"6,1,2,-;loop1: detected capacity change from 0 to 100":        "",
		"3,1,2,-;EXT4-fs (sda1): bad geometry\n DEVICE=loop1\n":        "",
		"3,1,2,-;loop1: a label with \\x1b[2J, \x1b]0;and \xff \u2028": `loop1: a label with \x1b[2J,  ]0;and ?`,
		"3;":                 "",
		"":                   "",
		"loop1":              "",
		"x,1,2,-;loop1: bad": "",
	} {
		if got, ok := aboutDevice(record, "loop1"); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %t, want %q", record, got, ok, want)
		}
	}
}

// Whatever is logged, one short line of it is told, that a terminal can be given.
func FuzzKernelRecord(f *testing.F) {
	f.Add("3,1,2,-;EXT4-fs (loop1): bad geometry\n SUBSYSTEM=block\n")
	f.Add("3,1,2,-;loop10 loop1" + strings.Repeat("ü", 200))
	f.Add("3;loop1\x1b\xff")
	f.Fuzz(func(t *testing.T, record string) {
		got, _ := aboutDevice(record, "loop1")
		if len(got) > longWord+len("…") || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x1b\x00") {
			t.Errorf("%q gives %q", record, got)
		}
	})
}

func TestMountPoints(t *testing.T) {
	t.Parallel()
	const table = `22 1 8:1 / / rw shared:1 - ext4 /dev/root rw
23 22 0:21 / /mnt/a\040b\134c rw - tmpfs tmpfs rw

short line
`
	got, err := mountPoints(strings.NewReader(table))
	if err != nil || strings.Join(got, "|") != `/|/mnt/a b\c` {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := mountPoints(strings.NewReader(strings.Repeat("x", 2<<20))); err == nil {
		t.Error("a line without end is read in silence")
	}
}
