package runstate

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRunIDs(t *testing.T) {
	seen := map[string]bool{}
	form := regexp.MustCompile(`^[0-9]{8}-[0-9]{6}-[a-z2-7]{8}$`)
	before := time.Now().UTC().Format("20060102-150405")
	for range 1000 {
		id := NewRunID()
		if !form.MatchString(id) || len(id) > 24 || !runForm.MatchString(id) {
			t.Fatalf("run id %q", id)
		}
		if seen[id] {
			t.Fatalf("run id %q twice", id)
		}
		if id < before {
			t.Errorf("run id %q sorts before its second, %s", id, before)
		}
		seen[id] = true
	}
}

func TestDefaultDir(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/xdg")
	t.Setenv("HOME", "/home/x")
	t.Setenv(StateDirEnv, "")
	want := "/xdg/snap-to-s3"
	if os.Geteuid() == 0 {
		want = "/var/lib/snap-to-s3"
	}
	if got := DefaultDir(); got != want {
		t.Errorf("DefaultDir() = %q, want %q", got, want)
	}
	if os.Geteuid() != 0 {
		t.Setenv("XDG_STATE_HOME", "relative")
		if got, want := DefaultDir(), "/home/x/.local/state/snap-to-s3"; got != want {
			t.Errorf("DefaultDir() = %q, want %q", got, want)
		}
	}
	t.Setenv(StateDirEnv, "/elsewhere")
	if got := DefaultDir(); got != "/elsewhere" {
		t.Errorf("DefaultDir() = %q with %s set", got, StateDirEnv)
	}
}

func TestMachineID(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const a, b = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
	ofA, ofB := derived(a), derived(b)
	good, other, fresh, none := write("good", a+"\n"), write("other", b), write("fresh", "uninitialized\n"), filepath.Join(dir, "none")
	for _, c := range []struct {
		system []string
		want   string
	}{
		{[]string{good, other}, ofA},
		{[]string{none, other}, ofB},
		{[]string{fresh, other}, ofB},
	} {
		got, err := machineID(c.system, filepath.Join(dir, "state"))
		if err != nil || got != c.want {
			t.Errorf("machineID(%v) = %q, %v; want %q", c.system, got, err, c.want)
		}
	}
	if !regexp.MustCompile(`^m-[0-9a-f]{20}$`).MatchString(ofA) || strings.Contains(ofA, a[:8]) || ofA == ofB {
		t.Errorf("ids %q, %q", ofA, ofB)
	}
	if _, err := os.Stat(filepath.Join(dir, "state")); !os.IsNotExist(err) {
		t.Errorf("an id was kept although the system has one: %v", err)
	}
}

// Of several first runs at once all name the machine alike, and later ones too.
func TestMachineIDIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	ids := make([]string, 8)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			var err error
			if ids[i], err = machineID(nil, dir); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] || id == "" {
			t.Fatalf("ids %q", ids)
		}
	}
	if items, err := os.ReadDir(dir); err != nil || len(items) != 1 {
		t.Errorf("in the folder: %v, %v", items, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "machine-id"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := machineID(nil, dir); err == nil {
		t.Errorf("machineID() = %q from a damaged file", id)
	}
}

func TestBootID(t *testing.T) {
	if _, err := os.Stat("/proc/sys/kernel/random/boot_id"); err != nil {
		t.Skip("no boot id here:", err)
	}
	first, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := BootID(); err != nil || again != first || len(first) != 36 {
		t.Errorf("BootID() = %q, then %q, %v", first, again, err)
	}
	if id, err := bootID(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Errorf("bootID of nothing = %q", id)
	}
}
