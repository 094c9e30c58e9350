package snapshot_test

import (
	"strings"
	"testing"

	"snap-to-s3/internal/snapshot"
)

func TestIDs(t *testing.T) {
	t.Parallel()
	for tail, valid := range map[string]bool{
		"0123456789abcdef0": true, "89abcdef": true, "ffffffff": true,
		"": false, "0": false, "0123456789abcdef": false, "0123456789ABCDEF0": false, "89abcdeg": false, "../../x": false,
		"89abcdef\n": false, "89abcdef ": false, "０１２３４５６７": false, strings.Repeat("0", 1000): false,
	} {
		if got := snapshot.VolumeID("vol-" + tail).Valid(); got != valid {
			t.Errorf("volume id %q is valid: %t", "vol-"+tail, got)
		}
		id, err := snapshot.ParseID("snap-" + tail)
		if (err == nil) != valid || valid && id != snapshot.ID("snap-"+tail) || !valid && id != "" {
			t.Errorf("snapshot id %q is %q, %v", "snap-"+tail, id, err)
		}
	}
	if snapshot.VolumeID("snap-89abcdef").Valid() || snapshot.VolumeID("xvol-89abcdef").Valid() {
		t.Error("what is no volume id is taken for one")
	}
}
