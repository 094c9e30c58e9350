package ec2

import (
	"testing"
	"time"

	"snap-to-s3/internal/snapshot"
)

func TestLiteral(t *testing.T) {
	for in, want := range map[string]string{
		"migrate": "migrate", "*": `\*`, "a?b": `a\?b`, `\`: `\\`, `\*`: `\\\*`, "": "", "ü ✓": "ü ✓",
	} {
		if got := literal(in); got != want {
			t.Errorf("literal(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNamed(t *testing.T) {
	const short, long = "snap-01234567", "snap-0123456789abcdef0"
	tests := []struct {
		text string
		id   snapshot.ID
		want bool
	}{
		{"The snapshot 'snap-01234567' does not exist.", short, true},
		{"The snapshot 'snap-0123456789abcdef0' does not exist.", short, false},
		{"The snapshot 'snap-0123456789abcdef0' does not exist.", long, true},
		{"The snapshots 'snap-0123456789abcdef0, snap-01234567' do not exist.", short, true},
		{"snap-01234567", short, true},
		{"", short, false},
	}
	for _, tt := range tests {
		if got := named(tt.text, tt.id); got != tt.want {
			t.Errorf("named(%q, %s) = %t, want %t", tt.text, tt.id, got, tt.want)
		}
	}
}

func TestLetterOf(t *testing.T) {
	for name, want := range map[string]string{
		"/dev/sda1": "a", "/dev/sdf": "f", "/dev/xvdf": "f", "xvdg": "g", "sdh1": "h", "/dev/hdb": "b",
		"/dev/xvdba": "", "/dev/nvme0n1": "", "": "", "ephemeral0": "", "/dev/sdF": "",
	} {
		got := ""
		if found := letterOf.FindStringSubmatch(name); found != nil {
			got = found[1]
		}
		if got != want {
			t.Errorf("letter of %q = %q, want %q", name, got, want)
		}
	}
}

// Whatever ends a clean-up from outside may do so after five minutes, and a
// volume that is stuck must not hold a run up for longer than ten.
func TestOwnLimitsComeFirst(t *testing.T) {
	d := DefaultTiming()
	if d.DetachWait >= 5*time.Minute || d.VolumeWait+d.DetachWait > 10*time.Minute || 2*d.Call >= 5*time.Minute {
		t.Errorf("limits %+v", d)
	}
}
