package ec2

import (
	"fmt"
	"slices"
	"strings"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
)

// DefaultVolumeType is what a temporary volume is made of where nothing was
// chosen: the only type with a good rate in its price up to the largest
// snapshot.
const DefaultVolumeType = "gp3"

// volumeType is an EBS volume type: the sizes in GiB it can have, and for those
// that are paid by IOPS the bounds of these.
type volumeType struct {
	name             string
	minGiB, maxGiB   int64
	minIOPS, maxIOPS int64
	iopsPerGiB       int64 // 0: IOPS are not given
}

// wantIOPS is what is asked for where IOPS must be named: as many as a gp3
// volume has for nothing. The first read of a block comes out of the snapshot
// and is not made faster by more.
const wantIOPS = 3000

// volumeTypes is the table of EC2's CreateVolume (API reference, "Size", "Iops";
// gp3 to 64 TiB since September 2025). For io2 the older ratio of 500 IOPS a GiB
// is kept, which holds in every region.
func volumeTypes() []volumeType {
	return []volumeType{
		{name: "gp3", minGiB: 1, maxGiB: 65536},
		{name: "gp2", minGiB: 1, maxGiB: 16384},
		{name: "io1", minGiB: 4, maxGiB: 16384, minIOPS: 100, maxIOPS: 64000, iopsPerGiB: 50},
		{name: "io2", minGiB: 4, maxGiB: 65536, minIOPS: 100, maxIOPS: 256000, iopsPerGiB: 500},
		{name: "st1", minGiB: 125, maxGiB: 16384},
		{name: "sc1", minGiB: 125, maxGiB: 16384},
		{name: "standard", minGiB: 1, maxGiB: 1024},
	}
}

func (t volumeType) fits(sizeGiB int64) bool { return t.minGiB <= sizeGiB && sizeGiB <= t.maxGiB }

// withArticle is the name as it is spoken: an io1, an st1, a gp3.
func (t volumeType) withArticle() string {
	switch t.name {
	case "io1", "io2", "st1", "sc1":
		return "an " + t.name
	}
	return "a " + t.name
}

// iops is the number to ask for at this size, 0 where none is given.
func (t volumeType) iops(sizeGiB int64) int32 {
	if t.iopsPerGiB == 0 {
		return 0
	}
	return int32(max(t.minIOPS, min(wantIOPS, t.maxIOPS, t.iopsPerGiB*sizeGiB)))
}

// CheckVolumeType says, without asking EC2, whether a volume of this type can be
// made from the snapshot; "" is the default type.
func CheckVolumeType(name string, s snapshot.Snapshot) error {
	_, err := chooseType(name, s)
	return err
}

func chooseType(name string, s snapshot.Snapshot) (volumeType, error) {
	if name == "" {
		name = DefaultVolumeType
	}
	var known, fit []string
	for _, t := range volumeTypes() {
		known = append(known, t.name)
		if t.fits(s.SizeGiB()) {
			fit = append(fit, t.name)
		}
	}
	i := slices.Index(known, name)
	if i < 0 {
		return volumeType{}, hint.Wrap(fmt.Errorf("there is no volume type %q", name),
			"--volume-type takes one of "+strings.Join(known, ", "))
	}
	t := volumeTypes()[i]
	if !t.fits(s.SizeGiB()) {
		ways := "give --volume-type one of " + strings.Join(fit, ", ")
		if len(fit) == 0 {
			ways = "no EBS volume has this size; see aws ec2 describe-snapshots --snapshot-ids " + string(s.ID)
		}
		return volumeType{}, hint.Wrap(
			fmt.Errorf("%s volume has %d to %d GiB, snapshot %s has %d GiB", t.withArticle(), t.minGiB, t.maxGiB, s.ID, s.SizeGiB()),
			ways)
	}
	return t, nil
}
