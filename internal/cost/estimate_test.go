package cost

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The examples of docs/cost-model.md, worked out by hand there.
func TestExamplesOfTheDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/cost-model.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "list prices as of "+Dated) {
		t.Errorf("docs/cost-model.md does not say that prices are as of %s", Dated)
	}
	table := Builtin()
	t.Run("cost", func(t *testing.T) {
		examples(t, string(doc), "cost", 5, func(set func(job) error) (Estimate, error) {
			var j MigrationJob
			err := set(&j)
			return table.Estimate(j), err
		})
	})
	t.Run("validation", func(t *testing.T) {
		examples(t, string(doc), "validation", 2, func(set func(job) error) (Estimate, error) {
			var j ValidationJob
			err := set(&j)
			return table.Validation(j), err
		})
	})
}

// job is what an example is of.
type job interface {
	set(name, value string) error
}

// examples computes the blocks of one kind, of which there are so many at least.
func examples(t *testing.T, doc, kind string, least int, estimate func(set func(job) error) (Estimate, error)) {
	t.Helper()
	blocks := strings.Split(doc, "```"+kind+"\n")[1:]
	if len(blocks) < least {
		t.Fatalf("%d examples in docs/cost-model.md, want %d or more", len(blocks), least)
	}
	for i, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			want := map[string][]string{}
			e, err := estimate(func(j job) error {
				for line := range strings.Lines(block) {
					name, value, ok := strings.Cut(strings.TrimSpace(line), " = ")
					if !ok {
						return fmt.Errorf("line %q is not a name and a value", line)
					}
					if result, ok := strings.CutPrefix(name, "-> "); ok {
						want[result] = append(want[result], value)
					} else if err := j.set(name, value); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			all := map[string][]string{
				"volume": {e.Volume.Decimal()}, "requests": {e.Requests.Decimal()}, "transfer": {e.Transfer.Decimal()},
				"retrieval": {e.Retrieval.Decimal()}, "one-time": {e.OneTime().Decimal()}, "storage": {e.Storage.Decimal()},
				"storage-half": {e.StorageHalf.Decimal()}, "snapshot": {e.Snapshot.Decimal()},
				"minimum-days": {strconv.Itoa(e.MinimumDays)}, "minimum": {e.Minimum.Decimal()},
				"unknown":        e.Unknown(),
				"volume-seconds": {strconv.FormatInt(e.VolumeSeconds, 10)}, "request-count": {strconv.FormatInt(e.RequestCount, 10)},
			}
			got := map[string][]string{}
			want["unknown"] = append(want["unknown"], []string(nil)...)
			for name := range want {
				got[name] = all[name]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("estimate (-doc +computed):\n%s", diff)
			}
		})
	}
}

func (j *MigrationJob) set(name, value string) error {
	switch name {
	case "region":
		j.Region = value
		return nil
	case "bucket-region":
		j.BucketRegion = value
		return nil
	case "class":
		j.StorageClass = value
		return nil
	case "validate":
		j.Validate = true
		return nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return err
	}
	switch name {
	case "size-gib":
		j.Size = n << 30
	case "full-size-gib":
		j.FullSize = n << 30
	case "parts":
		j.Parts = n
	case "tags":
		j.Tags = n
	default:
		return fmt.Errorf("an example cannot say %q", name)
	}
	return nil
}

func (j *ValidationJob) set(name, value string) (err error) {
	switch name {
	case "region":
		j.Region = value
	case "bucket-region":
		j.BucketRegion = value
	case "archive":
		var a StoredArchive
		_, err = fmt.Sscanf(value, "%s %d MiB", &a.StorageClass, &a.Size)
		a.Size <<= 20
		j.Archives = append(j.Archives, a)
	case "size-gib":
		j.Size, err = strconv.ParseInt(value, 10, 64)
		j.Size <<= 30
	case "entries-mib":
		j.Entries, err = strconv.ParseInt(value, 10, 64)
		j.Entries <<= 20
	case "tries":
		j.Tries, err = strconv.ParseInt(value, 10, 64)
	default:
		return fmt.Errorf("an example cannot say %q", name)
	}
	return err
}

func TestVolumeTime(t *testing.T) {
	for size, want := range map[int64]time.Duration{
		0: time.Minute, 1 << 30: time.Minute, 1 << 40: 4 * time.Hour, 64 << 40: 256 * time.Hour,
		100<<30 + 1: 1421 * time.Second, // 101 GiB × 14.0625 s, rounded up
	} {
		if got := VolumeTime(size); got != want {
			t.Errorf("VolumeTime(%d) = %s, want %s", size, got, want)
		}
	}
}

// Every class and volume type has a price in us-east-1, and the parts that only
// some of them have are counted.
func TestEveryClassAndType(t *testing.T) {
	table := Builtin()
	job := MigrationJob{Region: "us-east-1", BucketRegion: "us-east-1", Size: 720 << 30, Tags: 10}
	for _, class := range []string{"STANDARD", "INTELLIGENT_TIERING", "STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"} {
		j := job
		j.StorageClass = class
		if e := table.Estimate(j); e.Unknown() != nil || !e.OneTimeKnown() || e.Storage <= e.StorageHalf || e.StorageHalf == 0 {
			t.Errorf("%s: %+v", class, e)
		}
	}
	// 720 GiB live 10,125 s: 1/256 of a month.
	for volume, want := range map[string]Money{
		"gp3": 225_000_000, "gp2": 281_250_000, "st1": 126_562_500, "sc1": 42_187_500,
		"io1":      351_562_500 + 761_718_750, // 3,000 IOPS × 0.065 / 256
		"io2":      351_562_500 + 761_718_750,
		"standard": 140_625_000 + 294_912_000, // 5,898,240 reads
	} {
		j := job
		j.VolumeType = volume
		if got := table.Estimate(j).Volume; got != want {
			t.Errorf("%s volume: %s, want %s", volume, got.Decimal(), want.Decimal())
		}
	}
}

// A store that is not Amazon's has no prices, and that is said.
func TestOtherStore(t *testing.T) {
	e := Builtin().Estimate(MigrationJob{Region: "us-east-1", Size: 1 << 30})
	if diff := cmp.Diff([]string{"the store at this endpoint"}, e.Unknown()); diff != "" {
		t.Errorf("unknown (-want +got):\n%s", diff)
	}
	if e.OneTimeKnown() || e.Storage != 0 || e.Volume == 0 || e.RequestCount != 128+2+5+10 || e.VolumeHours() != 1./60 {
		t.Errorf("estimate: %+v", e)
	}
}

// A transfer between regions without a price is named, not taken for nothing.
func TestUnknownTransfer(t *testing.T) {
	e := Builtin().Estimate(MigrationJob{Region: "us-east-1", BucketRegion: "eu-west-1", Size: 1 << 30})
	want := []string{
		"S3 GET requests of STANDARD in eu-west-1", "S3 PUT requests of STANDARD in eu-west-1", "S3 STANDARD in eu-west-1",
		"data transfer from us-east-1 to eu-west-1",
	}
	if diff := cmp.Diff(want, e.Unknown()); diff != "" {
		t.Errorf("unknown (-want +got):\n%s", diff)
	}
	if e.OneTimeKnown() {
		t.Error("the one-time cost is said to be known")
	}
}

// Only a missing monthly price leaves the one-time cost known.
func TestOneTimeKnown(t *testing.T) {
	e := Builtin().Estimate(MigrationJob{Region: "us-west-2", BucketRegion: "us-west-2", Size: 1 << 30, Tags: 1})
	if diff := cmp.Diff([]string{"object tags in us-west-2"}, e.Unknown()); diff != "" {
		t.Errorf("unknown (-want +got):\n%s", diff)
	}
	if !e.OneTimeKnown() {
		t.Error("the one-time cost is said to be unknown")
	}
}

// Ten thousand snapshots add up exactly, and their sum is no larger than one.
func TestTenThousand(t *testing.T) {
	table := Builtin()
	var sum Estimate
	for i := range 10_000 {
		region := []string{"us-east-1", "eu-west-2"}[i%2]
		sum = sum.Add(table.Estimate(MigrationJob{Region: region, BucketRegion: region, Size: 1 << 40}))
	}
	one := table.Estimate(MigrationJob{Region: "us-east-1", BucketRegion: "us-east-1", Size: 1 << 40})
	if sum.Snapshots != 10_000 || sum.Volume != 5000*one.Volume || sum.Storage != 5000*one.Storage {
		t.Errorf("sum of 10,000: %+v, of which half are %+v", sum, one)
	}
	if sum.Parts != 10_000*one.Parts || sum.RequestCount != 10_000*one.RequestCount || sum.VolumeHours() != 40_000 || sum.LargestArchive != one.LargestArchive {
		t.Errorf("amounts of 10,000: %+v, of one: %+v", sum, one)
	}
	if len(sum.missing) != 4 {
		t.Errorf("%d missing prices are remembered, want 4: %v", len(sum.missing), sum.Unknown())
	}
}

func TestHugeJobStops(t *testing.T) {
	e := Builtin().Estimate(MigrationJob{
		Region: "us-east-1", BucketRegion: "us-west-2", Size: 64 << 40, FullSize: math.MaxInt64, Stored: math.MaxInt64 / 2,
	})
	if e.Transfer <= 0 || e.OneTime() <= 0 || e.Snapshot <= 0 {
		t.Errorf("an amount turned over: %+v", e)
	}
}

func TestParseTable(t *testing.T) {
	for name, text := range map[string]string{
		"a price that is none": "r,ebs:gp3,GiB-month,free,x\n",
		"twice":                "r,ebs:gp3,GiB-month,1,x\nr,ebs:gp3,GiB-month,1,x\n",
		"wrong unit":           "r,s3:STANDARD-put,GiB-month,1,x\n",
		"too few columns":      "r,ebs:gp3\n",
	} {
		if _, err := parseTable(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for item, p := range Builtin().prices {
		if p.amount <= 0 || p.source == "" || RegionCurrency(item.region) != USD {
			t.Errorf("%s in %s: price %s of source %q", item.name, item.region, p.amount.Decimal(), p.source)
		}
	}
}

func BenchmarkEstimate(b *testing.B) {
	table := Builtin()
	for b.Loop() {
		table.Estimate(MigrationJob{Region: "us-east-1", BucketRegion: "us-west-2", Size: 1 << 40, Tags: 10})
	}
}
