package cli

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
)

// What AWS does now and then must not keep anything from being done.
func TestRoughSeas(t *testing.T) {
	for _, c := range []struct {
		name  string
		cfg   awssim.Config
		spec  awssim.SnapshotSpec
		fault func() func(awssim.Call) awssim.Fault
		says  string
	}{
		{
			name: "twenty calls are throttled", says: "retries: 20\n",
			fault: func() func(awssim.Call) awssim.Fault {
				// Every second of each kind, so that none of them gives up.
				return awssim.Times(20, func(c awssim.Call) bool { return c.Service != "imds" && c.N%2 == 1 }, awssim.Fault{Throttle: true})
			},
		},
		{
			name: "each call fails once before it is carried out",
			fault: func() func(awssim.Call) awssim.Fault {
				return func(c awssim.Call) awssim.Fault {
					if c.Service != "imds" && c.N == 1 {
						return awssim.Fault{Before: &awssim.Error{Status: 500, Code: "InternalError"}}
					}
					return awssim.Fault{}
				}
			},
		},
		{
			name: "each call's first answer is lost",
			fault: func() func(awssim.Call) awssim.Fault {
				return func(c awssim.Call) awssim.Fault {
					// A CreateMultipartUpload whose answer is lost leaves an upload
					// without parts that only a listing could find.
					return awssim.Fault{LoseAnswer: c.Service != "imds" && c.N == 1 && c.Action != "CreateMultipartUpload"}
				}
			},
		},
		{
			name: "each call's first answer is cut off",
			fault: func() func(awssim.Call) awssim.Fault {
				return func(c awssim.Call) awssim.Fault {
					if c.Service != "imds" && c.N == 1 && c.Action != "CreateMultipartUpload" {
						return awssim.Fault{CutBody: 20}
					}
					return awssim.Fault{}
				}
			},
		},
		{
			name: "EC2's views are old",
			cfg: awssim.Config{EC2: awssim.EC2Config{
				NewVolume: awssim.Lag{Reads: 3}, Creating: awssim.Lag{Reads: 4}, Attaching: awssim.Lag{Reads: 3}, Detaching: awssim.Lag{Reads: 3},
				DeviceDelay: 300 * time.Millisecond,
			}},
		},
		{
			name: "an upload takes long to complete", cfg: awssim.Config{CompleteTime: 3 * time.Second},
		},
		{
			name: "a device is slow to appear", spec: awssim.SnapshotSpec{Fault: awssim.VolumeFault{DeviceDelay: time.Second}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.cfg)
			s := w.noisy(12*mib, c.spec)
			if c.fault != nil {
				w.sim.SetFault(c.fault())
			}
			r := w.ok("migrate", "--dd", "--bucket", testBucket, "--part-size", "5MiB", "--all")
			if !strings.Contains(r.stdout, c.says) {
				t.Errorf("it does not say %q", c.says)
			}
			w.isMigrated(s)
			w.isArchived(s, s.key("zstd"))
			w.nothingLeft()
		})
	}
}

// A machine whose clock is wrong is told so, or works by AWS's time.
func TestClockSkew(t *testing.T) {
	for name, skew := range map[string]time.Duration{"behind": 2 * time.Hour, "ahead": -2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{})
			w.sim.SetClock(func() time.Time { return time.Now().Add(skew) })
			s := w.noisy(mib, awssim.SnapshotSpec{})
			var owner atomic.Pointer[string]
			w.sim.SetFault(func(c awssim.Call) awssim.Fault {
				if text := w.sim.Tags(s.ID)["snap-to-s3-owner"]; c.Action == "CreateVolume" && text != "" {
					owner.Store(&text)
				}
				return awssim.Fault{}
			})
			w.ok("migrate", "--dd", "--bucket", testBucket, "--all")
			w.isMigrated(s)
			w.isArchived(s, s.key("zstd"))
			w.nothingLeft()
			text := owner.Load()
			if text == nil {
				t.Fatal("there was no owner tag")
			}
			renewed := strings.Split(*text, "/")[3]
			if off := time.Now().Add(skew).Unix() - number(t, renewed); off < -60 || off > 60 {
				t.Errorf("the owner was renewed %d seconds ago by AWS's time", off)
			}
		})
	}
}

// A bucket in another region is found by the redirect, and its traffic has a price.
func TestBucketInAnotherRegion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	const far = "far.example.com"
	w.sim.AddBucket(awssim.Bucket{Name: far, Region: "us-west-2"})
	s := w.noisy(12*mib, awssim.SnapshotSpec{FullSize: 500 << 30, SizeGiB: 1000})
	near := w.ok("migrate", "--dd", "--bucket", testBucket, "--all", "--dry-run")
	if !strings.Contains(near.stdout, "transfer $0.00)") {
		t.Error("transfer within a region is said to cost something")
	}
	// 505 GiB and a little for zeros, at 0.02 dollars a GiB.
	r := w.ok("migrate", "--dd", "--bucket", far, "--all", "--dry-run")
	if !strings.Contains(r.stdout, "transfer $10.1") {
		t.Errorf("no price of the transfer")
	}
	planned := w.ok("migrate", "--dd", "--bucket", far, "--all", "--dry-run", "--output", "json")
	for _, line := range planned.jsonLines(t) {
		cost, ok := line["cost"].(map[string]any)
		if !ok || cost["transfer"].(float64) < 10 || cost["transfer"].(float64) > 11 {
			t.Errorf("%s: cost %v", line.kind(), cost)
		}
	}
	tooDear := w.run("migrate", "--dd", "--bucket", far, "--all", "--max-cost", "10")
	tooDear.says(t, exitFailed, "--max-cost", "")
	w.sim.ResetCalls()
	done := w.ok("migrate", "--dd", "--bucket", far, "--all", "--output", "json")
	for _, line := range done.jsonLines(t) {
		if cost, ok := line["cost"].(map[string]any); line.kind() == "summary" && (!ok || cost["transfer"].(float64) < 10) {
			t.Errorf("summary: cost %v", cost)
		}
	}
	w.isMigrated(s)
	if _, ok := w.sim.Object(far, s.key("zstd")); !ok {
		t.Errorf("no archive: %+v", w.sim.Objects(far))
	}
	for _, c := range w.sim.Calls() {
		if c.Service == "s3" && c.Action == "PutObject" && c.Region != "us-west-2" {
			t.Errorf("an object went to %s", c.Region)
		}
	}
}

// Under --all a snapshot that somebody else takes first is passed over.
func TestAllPassesOverWhatOthersTake(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	taken := w.noisy(mib, awssim.SnapshotSpec{})
	ours := w.noisy(mib, awssim.SnapshotSpec{VolumeID: "vol-0f1e2d3c4b5a69788"})
	w.leftovers = true // the other's claim
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		// After the lists, and before the claim's own first look.
		if c.Action == "DescribeSnapshots" && c.Target == taken.ID && w.sim.Tags(taken.ID)["snap-to-s3"] == "migrate" {
			if err := w.sim.SetTags(taken.ID, otherRuns(time.Now())); err != nil {
				t.Error(err)
			}
		}
		return awssim.Fault{}
	})
	r := w.ok("migrate", "--dd", "--bucket", testBucket, "--all")
	if !strings.Contains(r.stdout, taken.ID+"  skipped") || !strings.Contains(r.stdout, "1 migrated, 0 kept, 0 failed, 1 skipped") {
		t.Error("it does not say what was skipped")
	}
	w.isMigrated(ours)
	w.nothingLeft()
	if got := w.sim.Tags(taken.ID)["snap-to-s3-owner"]; !strings.HasPrefix(got, "i-0fedcba9876543210/") {
		t.Errorf("the other's owner tag is %q", got)
	}
}
