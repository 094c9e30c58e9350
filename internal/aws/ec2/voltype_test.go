package ec2

import (
	"strings"
	"testing"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
)

func TestCheckVolumeType(t *testing.T) {
	tests := []struct {
		name    string
		sizeGiB int64
		err     string // part of the error, "" for none
		fits    string // part of the hint
	}{
		{"", 1, "", ""},
		{"", 65536, "", ""},
		{"gp3", 65536, "", ""},
		{"gp2", 16384, "", ""},
		{"gp2", 16385, "a gp2 volume has 1 to 16384 GiB, snapshot snap-0123456789abcdef0 has 16385 GiB", "gp3, io2"},
		{"standard", 1024, "", ""},
		{"standard", 1025, "1 to 1024 GiB", "gp3, gp2, io1, io2, st1, sc1"},
		{"io1", 2, "an io1 volume has", ""},
		{"sc1", 2, "an sc1 volume has", ""},
		{"st1", 124, "125 to 16384 GiB", "gp3, gp2, io1, io2, standard"},
		{"sc1", 125, "", ""},
		{"io1", 3, "4 to 16384 GiB", "gp3, gp2, standard"},
		{"io2", 65536, "", ""},
		{"gp4", 8, `no volume type "gp4"`, "gp3, gp2, io1, io2, st1, sc1, standard"},
		{"GP3", 8, `no volume type "GP3"`, "gp3"},
	}
	for _, tt := range tests {
		err := CheckVolumeType(tt.name, snapshot.Snapshot{ID: "snap-0123456789abcdef0", Size: tt.sizeGiB << 30})
		switch {
		case tt.err == "" && err != nil:
			t.Errorf("%s with %d GiB: %v", tt.name, tt.sizeGiB, err)
		case tt.err != "" && err == nil:
			t.Errorf("%s with %d GiB: no error, want %q", tt.name, tt.sizeGiB, tt.err)
		case tt.err != "" && (!strings.Contains(err.Error(), tt.err) || !strings.Contains(hint.Of(err), tt.fits)):
			t.Errorf("%s with %d GiB: %q, hint %q; want %q, hint with %q", tt.name, tt.sizeGiB, err, hint.Of(err), tt.err, tt.fits)
		}
	}
}

func TestIOPSWithinTheRatio(t *testing.T) {
	for _, typ := range volumeTypes() {
		for size := typ.minGiB; size <= typ.maxGiB; size = size*2 + 1 {
			got := int64(typ.iops(size))
			switch {
			case typ.iopsPerGiB == 0 && got != 0:
				t.Errorf("%s takes no IOPS, got %d", typ.name, got)
			case typ.iopsPerGiB != 0 && (got < typ.minIOPS || got > typ.maxIOPS || got > size*typ.iopsPerGiB):
				t.Errorf("%s of %d GiB: %d IOPS are out of %d to %d, at most %d a GiB", typ.name, size, got, typ.minIOPS, typ.maxIOPS, typ.iopsPerGiB)
			}
		}
	}
}
