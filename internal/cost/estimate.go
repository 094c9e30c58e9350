package cost

import (
	"math/big"
	"slices"
	"strings"
)

// MigrationJob is one snapshot that is to be migrated by way of a volume.
type MigrationJob struct {
	Region       string // of the snapshot, and of the instance that reads it
	BucketRegion string // "": a store that is not Amazon's, of which no price is known
	Size         int64  // bytes of the volume
	FullSize     int64  // bytes of all blocks of the snapshot; 0: not known, taken as Size
	VolumeType   string // "": gp3
	IOPS         int64  // provisioned, of io1 and io2; 0: 3,000, the most that a volume is made with
	StorageClass string // "": STANDARD
	Stored       int64  // bytes the archive will hardly exceed; 0: FullSize
	Parts        int64  // of the archive at that size; 0: parts of 8 MiB
	Tags         int64  // tags on the archive
	Archives     int64  // objects that Stored is spread over; 0: 1
	Validate     bool   // all that was stored is read back, and the volume once more
}

// Estimate is what one or more snapshots will cost at most, at list prices: to
// migrate, to validate, or both. The amount of something whose price is not known is
// zero here, and Unknown names it.
type Estimate struct {
	Snapshots int64

	// What is paid for once, whether its price is known or not.
	VolumeSeconds  int64 // that temporary volumes live
	RequestCount   int64 // to S3, parts among them
	Parts          int64 // of archives
	LargestArchive int64 // bytes that the largest of them will hardly exceed

	// Once.
	Volume    Money // hours of the temporary volume
	Requests  Money // to S3
	Transfer  Money // to a bucket in another region, or from it
	Retrieval Money // what classes bill by the GiB for being read

	// A month.
	Storage     Money // if nothing can be compressed
	StorageHalf Money // if everything compresses to half
	Snapshot    Money // the EBS snapshot now, if it shares no block with another: up to this

	MinimumDays int   // the class bills at least so many days
	Minimum     Money // Storage of that many days

	missing []absent // sorted, each once
}

// absent is an item without a price.
type absent struct {
	item    item
	oneTime bool
}

// OneTime is what the work itself costs.
func (e Estimate) OneTime() Money {
	return e.Volume.Plus(e.Requests).Plus(e.Transfer).Plus(e.Retrieval)
}

// VolumeHours is how long temporary volumes live, all added up.
func (e Estimate) VolumeHours() float64 { return float64(e.VolumeSeconds) / float64(hour) }

// OneTimeKnown says that OneTime leaves nothing out for want of a price.
func (e Estimate) OneTimeKnown() bool {
	return !slices.ContainsFunc(e.missing, func(a absent) bool { return a.oneTime })
}

// Unknown names what no price is known for, sorted; each is one phrase, for
// example "gp3 volumes in eu-west-1".
func (e Estimate) Unknown() []string {
	var names []string
	for _, a := range e.missing {
		names = append(names, a.item.words())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Add is the estimate of both together. Its size depends on the number of
// regions and classes, not on that of snapshots.
func (e Estimate) Add(o Estimate) Estimate {
	missing := slices.Concat(e.missing, o.missing)
	slices.SortFunc(missing, absent.compare)
	return Estimate{
		Snapshots: e.Snapshots + o.Snapshots,

		VolumeSeconds:  e.VolumeSeconds + o.VolumeSeconds,
		RequestCount:   e.RequestCount + o.RequestCount,
		Parts:          e.Parts + o.Parts,
		LargestArchive: max(e.LargestArchive, o.LargestArchive),

		Volume:      e.Volume.Plus(o.Volume),
		Requests:    e.Requests.Plus(o.Requests),
		Transfer:    e.Transfer.Plus(o.Transfer),
		Retrieval:   e.Retrieval.Plus(o.Retrieval),
		Storage:     e.Storage.Plus(o.Storage),
		StorageHalf: e.StorageHalf.Plus(o.StorageHalf),
		Snapshot:    e.Snapshot.Plus(o.Snapshot),
		MinimumDays: max(e.MinimumDays, o.MinimumDays),
		Minimum:     e.Minimum.Plus(o.Minimum),
		missing:     slices.Compact(missing),
	}
}

func (a absent) compare(b absent) int {
	if c := strings.Compare(a.item.region+" "+a.item.name, b.item.region+" "+b.item.name); c != 0 || a.oneTime == b.oneTime {
		return c
	}
	if a.oneTime {
		return -1
	}
	return 1
}

// The assumptions of an estimate; docs/cost-model.md gives their reasons.
const (
	month         = 30 * 24 * 3600 // seconds
	ioSize        = 128 << 10      // bytes of one read of a magnetic volume
	defaultPart   = 8 << 20        // bytes
	blockSize     = 512 << 10      // bytes
	entryPerBlock = 64             // bytes of entries for a block of data
	records       = 16 << 10       // bytes of both records, and of entries of no block
	lookups       = 10             // requests that look for the objects of an archive, before and after
	extraRequests = 2              // beside the parts: create and complete
	kib           = 1 << 10        // bytes
	gibBytes      = int64(1) << 30 // bytes
	tibGiB        = 1024           // GiB
	hour          = int64(3600)    // seconds
	standard      = "STANDARD"     // class of entries and records, and the default
	defaultIOPS   = 3000
	volumeType    = "gp3" // the default
)

// storageClass is what a class bills beside its rate (S3 User Guide,
// "Understanding and managing storage classes").
type storageClass struct {
	minimumDays int
	minimumSize int64 // bytes that are billed at least
	overhead    int64 // bytes billed at the class's rate, beside the object
	overheadStd int64 // bytes billed at STANDARD's rate
	partsAtStd  bool  // all requests of an upload but the last cost what STANDARD's do
	monitored   bool  // a fee for each object and month
	retrieval   bool  // reading it is billed by the GiB. (GLACIER and DEEP_ARCHIVE bill the thaw.)
}

func classOf(name string) storageClass {
	switch name {
	case "INTELLIGENT_TIERING":
		return storageClass{monitored: true}
	case "STANDARD_IA", "ONEZONE_IA":
		return storageClass{minimumDays: 30, minimumSize: 128 * kib, retrieval: true}
	case "GLACIER_IR":
		return storageClass{minimumDays: 90, minimumSize: 128 * kib, retrieval: true}
	case "GLACIER":
		return storageClass{minimumDays: 90, overhead: 32 * kib, overheadStd: 8 * kib, partsAtStd: true}
	case "DEEP_ARCHIVE":
		return storageClass{minimumDays: 180, overhead: 32 * kib, overheadStd: 8 * kib, partsAtStd: true}
	}
	return storageClass{}
}

// Estimate says what one snapshot will cost. It depends on nothing but the
// table and j.
func (t *Table) Estimate(j MigrationJob) Estimate {
	j = j.filled()
	b := &bill{table: t, Estimate: Estimate{Snapshots: 1}}
	b.oneTime = true
	b.volume(j.Region, j.temporaryVolume())
	b.upload(j)
	if j.Validate {
		b.readBack(j.validation())
	}
	b.oneTime = false
	b.storage(j)
	b.Snapshot = b.of(item{j.Region, "ebs:snapshot"}, j.FullSize)
	return b.Estimate
}

func (j MigrationJob) filled() MigrationJob {
	if j.FullSize == 0 {
		j.FullSize = j.Size
	}
	if j.Stored == 0 {
		j.Stored = j.FullSize
	}
	if j.Parts == 0 {
		j.Parts = ceilDiv(j.Stored, defaultPart)
	}
	if j.Archives == 0 {
		j.Archives = 1
	}
	if j.VolumeType == "" {
		j.VolumeType = volumeType
	}
	if j.IOPS == 0 {
		j.IOPS = defaultIOPS
	}
	if j.StorageClass == "" {
		j.StorageClass = standard
	}
	return j
}

// entries bounds the bytes of entries and records.
func (j MigrationJob) entries() int64 {
	return ceilDiv(j.FullSize, blockSize)*entryPerBlock + records
}

// bill is an estimate being made.
type bill struct {
	Estimate
	table   *Table
	oneTime bool
}

// absent notes that an item has no price.
func (b *bill) absent(i item) {
	b.missing = append(b.missing, absent{i, b.oneTime})
	slices.SortFunc(b.missing, absent.compare)
	b.missing = slices.Compact(b.missing)
}

// of prices so many units of an item, or notes that it has no price. A unit of
// GiB or GiB-month takes bytes.
func (b *bill) of(i item, amount int64) Money {
	return b.per(1, i, amount)
}

// per is of, multiplied by the factors and divided by per.
func (b *bill) per(per int64, i item, amount int64, factors ...int64) Money {
	p, ok := b.table.prices[i]
	if !ok {
		b.absent(i)
		return 0
	}
	divisor := big.NewInt(per)
	switch p.unit {
	case gib, gibMonth:
		divisor.Mul(divisor, big.NewInt(gibBytes))
	case thousand:
		divisor.Mul(divisor, big.NewInt(1000))
	case million:
		divisor.Mul(divisor, big.NewInt(1_000_000))
	}
	return p.amount.share(divisor, append(factors, amount)...)
}

func (b *bill) upload(j MigrationJob) {
	parts := j.Parts + j.Archives - 1 // the last part of each is not full
	archive := parts + extraRequests*j.Archives
	// Entries and a record of each, and the record of the snapshot.
	small := ceilDiv(j.entries(), defaultPart) + j.Archives - 1 + (extraRequests+1)*j.Archives + 1
	looks := lookups * j.Archives
	b.Parts, b.RequestCount, b.LargestArchive = parts, archive+small+looks, j.Stored
	if j.BucketRegion == "" {
		b.absent(item{"", "store:"})
		return
	}
	put := item{j.BucketRegion, "s3:" + j.StorageClass + "-put"}
	std := item{j.BucketRegion, "s3:" + standard + "-put"}
	if classOf(j.StorageClass).partsAtStd {
		b.Requests = b.of(put, j.Archives).Plus(b.of(std, archive-j.Archives))
	} else {
		b.Requests = b.of(put, archive)
	}
	b.Requests = b.Requests.Plus(b.of(std, small)).
		Plus(b.of(item{j.BucketRegion, "s3:" + j.StorageClass + "-get"}, looks))
	if j.BucketRegion != j.Region {
		b.Transfer = b.of(item{j.Region, "transfer:" + j.BucketRegion}, j.Stored+j.entries())
	}
}

func (b *bill) storage(j MigrationJob) {
	if j.BucketRegion == "" {
		return // said once, by upload
	}
	c := classOf(j.StorageClass)
	rate := item{j.BucketRegion, "s3:" + j.StorageClass}
	fixed := b.of(item{j.BucketRegion, "s3:" + standard}, c.overheadStd+j.entries())
	if j.Tags > 0 {
		fixed = fixed.Plus(b.of(item{j.BucketRegion, "s3:tag"}, j.Tags))
	}
	if c.monitored {
		fixed = fixed.Plus(b.of(item{j.BucketRegion, rate.name + "-monitoring"}, 1))
	}
	at := func(stored int64) Money {
		return fixed.Plus(b.of(rate, max(stored, c.minimumSize)+c.overhead))
	}
	b.Storage, b.StorageHalf = at(j.Stored), at(ceilDiv(j.Stored, 2))
	b.MinimumDays = c.minimumDays
	b.Minimum = b.Storage.share(big.NewInt(30), int64(c.minimumDays))
}

func ceilDiv(a, b int64) int64 {
	if a > 0 && a%b != 0 {
		return a/b + 1
	}
	return a / b
}
