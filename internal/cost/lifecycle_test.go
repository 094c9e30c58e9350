package cost

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// The lifecycle rules of docs/lifecycle.md end no upload that is still under
// way, cool archives down, and leave entries and records where they are.
func TestLifecycleRules(t *testing.T) {
	doc, err := os.ReadFile("../../docs/lifecycle.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```json\n")
	text, _, _ := strings.Cut(rest, "```")
	var config struct {
		Rules []struct {
			ID, Status  string
			Filter      struct{ Prefix *string }
			Transitions []struct {
				Days         int
				StorageClass string
			}
			AbortIncompleteMultipartUpload *struct{ DaysAfterInitiation int }
		}
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&config); err != nil {
		t.Fatal(err)
	}
	longest := VolumeTime(64 << 40)
	var aborts, transitions int
	for _, r := range config.Rules {
		if r.Status != "Enabled" || r.Filter.Prefix == nil {
			t.Fatalf("rule %q: status %q, prefix %v", r.ID, r.Status, r.Filter.Prefix)
		}
		prefix := *r.Filter.Prefix
		if a := r.AbortIncompleteMultipartUpload; a != nil {
			aborts++
			if d := time.Duration(a.DaysAfterInitiation) * 24 * time.Hour; prefix != "" || d <= longest {
				t.Errorf("rule %q ends uploads under %q after %s; the longest job takes %s", r.ID, prefix, d, longest)
			}
		}
		for _, tr := range r.Transitions {
			transitions++
			if prefix != "vol-" || Builtin().prices[item{"us-east-1", "s3:" + tr.StorageClass}].amount == 0 {
				t.Errorf("rule %q moves objects under %q to %q", r.ID, prefix, tr.StorageClass)
			}
		}
	}
	if aborts != 1 || transitions != 1 {
		t.Errorf("%d rules for uploads and %d transitions, want 1 and 1", aborts, transitions)
	}
}
