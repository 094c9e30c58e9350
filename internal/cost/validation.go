package cost

// ValidationJob is one snapshot whose archives are to be read back and compared
// with a volume of it.
type ValidationJob struct {
	Region       string // of the snapshot, and of the instance that reads it
	BucketRegion string // "": a store that is not Amazon's, of which no price is known
	Size         int64  // bytes of the volume that is made for it; 0: one that was kept is read
	VolumeType   string // "": gp3
	IOPS         int64  // as in MigrationJob
	Archives     []StoredArchive
	Entries      int64 // bytes of the entries of all archives
	Tries        int64 // requests that it may take to find archives of which no record tells
}

// StoredArchive is an archive as it stands in the bucket.
type StoredArchive struct {
	StorageClass string // "": STANDARD
	Size         int64  // bytes
}

// The assumptions about reading back; docs/cost-model.md gives their reasons.
const (
	archiveRange = 4 << 20 // bytes that one request asks for
	entriesRange = 1 << 20 // bytes, of entries

	// Requests for records of a snapshot, in eight codings: three for each, two for when
	// it was made, and two for archives without one, in place of which there may be a
	// list, which costs less.
	recordLooks  = 8 * (3 + 2 + 2)
	archiveLooks = 13 // for an archive: three times for it, its entries and its record; twice for the keys of two objects
)

// Validation says what it will cost to validate one snapshot. It depends on nothing
// but the table and j.
func (t *Table) Validation(j ValidationJob) Estimate {
	b := &bill{table: t, oneTime: true, Estimate: Estimate{Snapshots: 1}}
	if j.Size > 0 {
		m := MigrationJob{Size: j.Size, VolumeType: j.VolumeType, IOPS: j.IOPS}.filled()
		b.volume(j.Region, m.temporaryVolume())
	}
	b.readBack(j)
	return b.Estimate
}

// validation is the reading back that follows a migration.
func (j MigrationJob) validation() ValidationJob {
	v := ValidationJob{
		Region: j.Region, BucketRegion: j.BucketRegion, Entries: j.entries(),
		Archives: make([]StoredArchive, j.Archives),
	}
	for i := range v.Archives { // how Stored is spread does not matter
		v.Archives[i].StorageClass = j.StorageClass
	}
	v.Archives[0].Size = j.Stored
	return v
}

// readBack adds what it costs to read archives from the bucket.
func (b *bill) readBack(j ValidationJob) {
	n := int64(len(j.Archives))
	small := recordLooks + j.Tries + ceilDiv(j.Entries, entriesRange) + n // the last range of each is not full
	b.RequestCount += small
	if j.BucketRegion == "" {
		b.absent(item{"", "store:"})
	} else {
		b.Requests = b.Requests.Plus(b.of(item{j.BucketRegion, "s3:" + standard + "-get"}, small))
	}
	transferred := j.Entries
	for _, a := range j.Archives {
		gets := max(1, ceilDiv(a.Size, archiveRange)) + archiveLooks
		b.RequestCount += gets
		transferred += a.Size
		if j.BucketRegion == "" {
			continue
		}
		class := "s3:" + a.StorageClass
		if a.StorageClass == "" {
			class = "s3:" + standard
		}
		b.Requests = b.Requests.Plus(b.of(item{j.BucketRegion, class + "-get"}, gets))
		if classOf(a.StorageClass).retrieval {
			b.Retrieval = b.Retrieval.Plus(b.of(item{j.BucketRegion, class + "-retrieval"}, a.Size))
		}
	}
	if j.BucketRegion != "" && j.BucketRegion != j.Region {
		b.Transfer = b.Transfer.Plus(b.of(item{j.BucketRegion, "transfer:" + j.Region}, transferred))
	}
}
