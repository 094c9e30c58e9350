package cost

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// What a store that is not Amazon's costs is not known, and is said once.
func TestValidationElsewhere(t *testing.T) {
	j := ValidationJob{Region: "us-east-1", Size: 1 << 30, Archives: []StoredArchive{{Size: 1 << 20}, {Size: 1 << 20}}}
	e := Builtin().Validation(j)
	if diff := cmp.Diff([]string{"the store at this endpoint"}, e.Unknown()); diff != "" || e.OneTimeKnown() || e.Requests != 0 || e.RequestCount != 56+2+2*14 || e.Volume == 0 {
		t.Errorf("%+v\n%s", e, diff)
	}
	j.BucketRegion, j.Archives[0].StorageClass = "us-east-1", "OF_TOMORROW"
	if diff := cmp.Diff([]string{"S3 GET requests of OF_TOMORROW in us-east-1"}, Builtin().Validation(j).Unknown()); diff != "" {
		t.Errorf("unknown (-want +got):\n%s", diff)
	}
}

// All classes can be read back at a known price, and those that bill by the GiB are
// counted so.
func TestValidationOfEveryClass(t *testing.T) {
	for class, want := range map[string]string{
		"": "0", "STANDARD": "0", "INTELLIGENT_TIERING": "0", "STANDARD_IA": "0.01", "ONEZONE_IA": "0.01", "GLACIER_IR": "0.03",
		"GLACIER": "0", "DEEP_ARCHIVE": "0", // thawed
	} {
		e := Builtin().Validation(ValidationJob{Region: "us-east-1", BucketRegion: "us-east-1", Archives: []StoredArchive{{class, 1 << 30}}})
		if got := e.Retrieval.Decimal(); got != want || e.Unknown() != nil || e.Requests == 0 || e.Volume != 0 {
			t.Errorf("%s: retrieval %s, want %s: %+v", class, got, want, e)
		}
	}
}

// A migration that validates costs more than one that does not, and less than it and a
// validation of what it has stored at most: its volume serves both.
func TestValidateAfterMigrate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := MigrationJob{
			Region: "us-east-1", BucketRegion: rapid.SampledFrom([]string{"us-east-1", "us-west-2"}).Draw(t, "bucket"),
			Size: rapid.Int64Range(1, 64<<40).Draw(t, "size"), Archives: rapid.Int64Range(1, 9).Draw(t, "archives"),
			VolumeType: rapid.SampledFrom([]string{"gp3", "io2", "standard"}).Draw(t, "type"),
		}
		alone := Builtin().Estimate(j)
		v := j.filled().validation()
		v.Size, v.VolumeType = j.Size, j.VolumeType
		apart := alone.Add(Builtin().Validation(v))
		j.Validate = true
		both := Builtin().Estimate(j)
		if both.Snapshots != 1 || both.Requests != apart.Requests || both.Transfer != apart.Transfer && j.BucketRegion == "us-east-1" || both.Storage != alone.Storage ||
			both.VolumeSeconds <= alone.VolumeSeconds || both.VolumeSeconds > apart.VolumeSeconds || both.Volume > apart.Volume.Plus(2) {
			t.Errorf("alone %+v\napart %+v\nboth %+v", alone, apart, both)
		}
	})
}
