package cost

import (
	"math/big"
	"time"
)

// copies is what snapshots cost where they are moved to.
type copies struct {
	stored             Range
	storage            MoneyRange // a month
	oneTime            OneTime
	minimum, retrieval Money
	noRetrieval        bool
}

func (c copies) plus(o copies) copies {
	return copies{
		stored:      c.stored.plus(o.stored),
		storage:     c.storage.plus(o.storage),
		oneTime:     c.oneTime.plus(o.oneTime),
		minimum:     c.minimum.Plus(o.minimum),
		retrieval:   c.retrieval.Plus(o.retrieval),
		noRetrieval: c.noRetrieval || o.noRetrieval,
	}
}

const (
	archiveDays = 90     // the least that EBS Snapshots Archive bills (EC2 User Guide, "Archive Amazon EBS snapshots")
	maxParts    = 10_000 // of an object
	listed      = 10_000 // blocks that one ListSnapshotBlocks tells of
)

func (c Class) minimumDays() int {
	if c == EBSArchive {
		return archiveDays
	}
	return classOf(string(c)).minimumDays
}

// coldly tells whether an object must be restored before it is read.
func (c Class) coldly() bool { return c == "GLACIER" || c == "DEEP_ARCHIVE" }

// copyOf prices one snapshot of which so many bytes are to be kept in a class;
// false where a price is missing.
func (a *analysis) copyOf(v Volume, s Snapshot, class Class, holds Range) (copies, bool) {
	if class == EBSArchive {
		return a.archived(v.account(), holds)
	}
	c := copies{stored: a.o.Ratio.ofRange(holds)}
	at := func(plain, stored int64) (Estimate, bool) {
		e := a.o.Table.Estimate(MigrationJob{
			Region: v.Region, BucketRegion: v.Region, StorageClass: string(class),
			Size: size(v, s), FullSize: max(1, plain), Stored: max(1, stored), Parts: min(maxParts, ceilDiv(max(1, stored), defaultPart)),
		})
		return e, a.priced(e)
	}
	e, ok := at(holds.Estimate, c.stored.Estimate)
	if !ok {
		return copies{}, false
	}
	c.storage, c.minimum, c.oneTime.Requests = known(e.Storage), e.Minimum, e.Requests
	if !holds.Exact() {
		low, _ := at(holds.Low, c.stored.Low)
		high, _ := at(holds.High, c.stored.High)
		c.storage.Low, c.storage.High = low.Storage, high.Storage
	}
	if ok = a.read(&c.oneTime, v, s, holds.Estimate, e.Volume); !ok {
		return copies{}, false
	}
	c.retrieve(a, v.Region, class)
	return c, true
}

// priced notes what an estimate has no price for, as far as it counts.
func (a *analysis) priced(e Estimate) bool {
	ok := true
	for _, m := range e.missing {
		if a.o.Source == ReadDirect && m.item.name == "ebs:"+volumeType || m.item.name == snapshotItem { // which rate knows
			continue
		}
		a.missing[m.item], ok = true, false
	}
	return ok
}

// read prices the reading of a snapshot, and the hours of the instance.
func (a *analysis) read(o *OneTime, v Volume, s Snapshot, bytes int64, volume Money) bool {
	o.Volumes = volume
	taken := int64(VolumeTime(size(v, s)) / time.Second)
	if a.o.Source == ReadDirect {
		blocks := ceilDiv(bytes, blockSize)
		get, ok1 := a.price(item{v.Region, getItem})
		list, ok2 := a.price(item{v.Region, listItem})
		if !ok1 || !ok2 {
			return false
		}
		perThousand := big.NewInt(1000)
		o.Volumes = 0
		o.Reads = get.share(perThousand, blocks).Plus(list.share(perThousand, ceilDiv(blocks, listed)+1)) // the last page is empty
		taken = int64(VolumeTime(bytes) / time.Second)
	}
	if a.o.Throughput > 0 {
		taken = ceilDiv(bytes, a.o.Throughput)
	}
	o.Instance = a.o.HourlyRate.share(big.NewInt(hour), taken)
	o.Hours = float64(taken) / float64(hour)
	return true
}

// size is that of the temporary volume.
func size(v Volume, s Snapshot) int64 {
	switch {
	case s.VolumeSize > 0:
		return s.VolumeSize
	case v.Size > 0:
		return v.Size
	}
	return s.Full.High
}

// retrieve prices reading it all back once: by the GiB, one request for each
// object, and where it must be restored one more for that.
func (c *copies) retrieve(a *analysis, region string, class Class) {
	names := map[string]int64{class.item() + "-get": 1}
	if class != standard {
		names[class.item()+"-retrieval"] = c.stored.Estimate
	}
	if class.coldly() {
		names[class.item()+"-restore"] = 1
	}
	for name, amount := range names {
		p, ok := a.price(item{region, name})
		per := int64(1000)
		if unitOf(name) == gib {
			per = gibBytes
		}
		c.retrieval = c.retrieval.Plus(p.share(big.NewInt(per), amount))
		c.noRetrieval = c.noRetrieval || !ok
	}
}

// archived prices a snapshot in EBS Snapshots Archive: the whole of it, as it
// is. To archive it costs nothing.
func (a *analysis) archived(of account, holds Range) (copies, bool) {
	p, ok := a.rate(of, archiveItem)
	back, known := a.price(item{of.region, retrievalItem})
	c := copies{stored: holds, storage: a.money(p, holds), noRetrieval: !known}
	c.minimum = c.storage.Estimate.share(big.NewInt(30), archiveDays)
	c.retrieval = back.share(big.NewInt(gibBytes), holds.Estimate)
	return c, ok
}
