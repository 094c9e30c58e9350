package bill

import (
	"math/big"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseNumber(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "1": 1e9, "-1.5": -15e8, "+.5": 5e8, "5.": 5e9, "0.0000000005": 1, "0.00000000049999": 0, "-0.0000000005": -1,
		"1.6276041666666667E-5": 16276, "1e3": 1e12, "0.000000000000000000000000000001": 0, "1e-99": 0, "0e999": 0,
		"9223372036.854775807": 9223372036854775807, "123456789.12345678901234567890": 123456789123456789, "00000000000000000000001": 1e9,
	} {
		if got, err := parseNumber([]byte(text), 9); got != want || err != nil {
			t.Errorf("%s is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-", ".", "e5", "1e", "1e+", "1x", "1.2.3", "0x1", "NaN", "Inf", "1e9999", " 1", "1,5", "9223372036.854775808", "1e10", "99999999999999999999"} {
		if got, err := parseNumber([]byte(text), 9); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

// A number reads as it does exactly, rounded, however it is written.
func TestNumbersRound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.Float64Range(-1e5, 1e5).Draw(t, "f")
		form := rapid.SampledFrom([]byte{'e', 'f', 'g'}).Draw(t, "form")
		text := strconv.FormatFloat(f, form, rapid.IntRange(-1, 17).Draw(t, "digits"), 64)
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatal(text)
		}
		got, err := parseNumber([]byte(text), 12)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		diff := new(big.Rat).Sub(exact, big.NewRat(got, 1e12))
		// 19 digits are kept; what is cut off of longer ones is less than a unit.
		if limit := big.NewRat(5001, 1e16); diff.Abs(diff).Cmp(limit) > 0 {
			t.Errorf("%s is %d", text, got)
		}
	})
}

// Any number of blocks is found again from what is billed for a day of any month.
func TestStored(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		blocks := rapid.Int64Range(0, 64<<20/512*1024).Draw(t, "blocks") // of a volume of 64 TiB
		day := int32(rapid.IntRange(14000, 30000).Draw(t, "day"))
		months := big.NewRat(blocks, 2048*monthDays(day))
		amount, err := parseNumber([]byte(months.FloatString(10)), unitDecimals)
		if err != nil {
			t.Fatal(err)
		}
		if got, whole := stored(amount, day, 1); got != blocks*blockSize || !whole {
			t.Errorf("%d blocks are %d bytes, whole %t", blocks, got, whole)
		}
	})
	if got, whole := stored(-5, 20000, 1); got != 0 || !whole {
		t.Error(got, whole)
	}
	if got, _ := stored(1<<62, 20000, 31); got <= 0 {
		t.Error(got)
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	want := time.Date(2024, 2, 29, 23, 0, 0, 0, time.UTC).Unix()
	for _, text := range []string{
		"2024-02-29T23:00:00Z", "2024-02-29T23:00:00.000Z", "2024-02-29 23:00:00.123456", "2024-02-29T23:00", "2024-02-29 23:00:00 UTC", "2024-02-29T23:00:00+00:00",
	} {
		if got, ok := parseTime([]byte(text)); got != want || !ok {
			t.Errorf("%s is %d, %t", text, got, ok)
		}
	}
	for _, text := range []string{"", "2024", "2023-02-29", "2024-13-01", "2024-02-30T00:00:00Z", "2024-02-29T25:00:00Z", "2024-02-29T23:00:00+01:00", "2024-02-29X23:00", "1970-01-01", "2024-02-29T2"} {
		if got, ok := parseTime([]byte(text)); ok {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func TestStorageOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]storage{
		"EBS:SnapshotUsage": standardStorage, "USW2-EBS:SnapshotUsage": standardStorage, "USE1-EBS:SnapshotUsage": standardStorage,
		"EUC1-EBS:SnapshotArchiveStorage": archiveStorage, "EBS:SnapshotArchiveRetrieval": archiveOther, "USW2-EBS:SnapshotArchiveEarlyDelete": archiveOther,
		"USW2-EBS:SnapshotUsageUnderBilling": standardOther, "USW2-EBS:SnapshotUsage.outposts": standardOther,
		"": notSnapshot, "EBS:VolumeUsage.gp3": notSnapshot, "USW2-BoxUsage:m5.large": notSnapshot, "USW2-EBS:directAPI.snapshot.Get": notSnapshot,
		"USW2-EBS:FastSnapshotRestore": notSnapshot, "xEBS:SnapshotUsage": notSnapshot, "RDS:SnapshotUsage": notSnapshot,
	} {
		if got := storageOf([]byte(text)); got != want {
			t.Errorf("%q is %d, want %d", text, got, want)
		}
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"snap-0123456789abcdef0", "snap-ffffffffffffffff1", "snap-00000000000000000", "snap-89abcdef", "snap-00000000"} {
		if p, ok := packID([]byte(id)); !ok || string(p.id()) != id {
			t.Errorf("%s is %s, %t", id, p.id(), ok)
		}
	}
	for _, id := range []string{"", "snap-", "snap-0123456789abcdef", "snap-0123456789ABCDEF0", "vol-89abcdef", "snap-89abcdeg"} {
		if _, ok := packID([]byte(id)); ok {
			t.Errorf("%q is an id", id)
		}
	}
	for text, want := range map[string]bool{
		"arn:aws:ec2:us-west-2:123456789012:snapshot/snap-1": true, "arn:aws-us-gov:ec2:us-gov-west-1::snapshot/snap-1": true,
		"arn:aws:ec2:us-west-2:123456789012:volume/vol-1": false, "arn:aws:s3:::x": false, "snap-1": false, "": false,
		"arn:aws:ec2:us west:123456789012:snapshot/snap-1": false, "arn:aws:ec2:us-west-2:12:snapshot/snap-1": false,
	} {
		if _, ok := parseARN([]byte(text)); ok != want {
			t.Errorf("%q: %t", text, ok)
		}
	}
}

func TestWhereabouts(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]where{
		"p/r/20240101-20240201/1/r-1.csv.gz":           {"p/r", "2024-01", "1"},
		"p/r/20240101-20240201/r-Manifest.json":        {"p/r", "2024-01", ""},
		"x/data/BILLING_PERIOD=2024-12/a-b/r-1.csv.gz": {"x/data", "2024-12", "a-b"},
		"x/data/billing_period=2024-12/r.parquet":      {"x/data", "2024-12", ""},
		"p/r/r/year=2024/month=1/r-1.snappy.parquet":   {"p/r/r", "2024-01", ""},
		"p/r/r/year=2024/month=11/r-1.snappy.parquet":  {"p/r/r", "2024-11", ""},
		"p/r/r/year=2024/other/month=11/r-1.parquet":   {"p/r/r/year=2024/other/month=11", "", ""},
		"a.csv": {},
	} {
		if got := whereabouts(name); got != want {
			t.Errorf("%s is %+v, want %+v", name, got, want)
		}
	}
}
