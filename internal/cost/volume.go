package cost

import "time"

// The assumptions about temporary volumes; docs/cost-model.md gives their reasons.
const (
	hoursPerTiB       = 4           // a fresh volume read with many reads in flight: about 73 MiB/s
	againMiBPerSecond = 125         // one whose blocks are loaded
	minVolumeTime     = time.Minute // what a volume is billed at least
)

// VolumeTime is how long the temporary volume of a snapshot of size bytes is
// taken to live.
func VolumeTime(size int64) time.Duration {
	seconds := ceilDiv(ceilDiv(size, gibBytes)*hoursPerTiB*hour, tibGiB)
	return max(time.Duration(seconds)*time.Second, minVolumeTime)
}

// againTime is how long a volume of size bytes that was read is read once more.
func againTime(size int64) time.Duration {
	return time.Duration(ceilDiv(ceilDiv(size, gibBytes)*1024, againMiBPerSecond)) * time.Second
}

// temporaryVolume is a volume that is made for a job, and what is done with it.
type temporaryVolume struct {
	size     int64 // bytes
	typ      string
	iops     int64
	lifetime time.Duration
	reads    int64 // how often all of it is read
}

func (j MigrationJob) temporaryVolume() temporaryVolume {
	v := temporaryVolume{j.Size, j.VolumeType, j.IOPS, VolumeTime(j.Size), 1}
	if j.Validate {
		v.lifetime, v.reads = v.lifetime+againTime(j.Size), 2
	}
	return v
}

func (b *bill) volume(region string, v temporaryVolume) {
	seconds := int64(v.lifetime / time.Second)
	whole := ceilDiv(v.size, gibBytes) * gibBytes // EBS makes volumes of whole GiB
	b.VolumeSeconds = seconds
	b.Volume = b.per(month, item{region, "ebs:" + v.typ}, whole, seconds)
	switch v.typ {
	case "io1", "io2":
		b.Volume = b.Volume.Plus(b.per(month, item{region, "ebs:" + v.typ + "-iops"}, v.iops, seconds))
	case "standard":
		b.Volume = b.Volume.Plus(b.per(1, item{region, "ebs:standard-io"}, ceilDiv(whole, ioSize), v.reads))
	}
}
