package cli

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/runstate"
)

// remains is a run after which something stays, since AWS does not take it back.
type remains struct {
	name  string
	spec  awssim.SnapshotSpec
	setUp func(*world, *subject)
	args  []string
	env   []string
	says  []string
	done  bool              // the archive is there and the tag says so
	held  bool              // the tag could not be given back
	stays map[string]string // by kind: what the command in the state file must match
}

const (
	deleteVolume = `^aws ec2 delete-volume --region us-east-1 --volume-id vol-[0-9a-f]{17}$`
	detachFirst  = `^aws ec2 detach-volume --region us-east-1 --volume-id (vol-[0-9a-f]{17})` +
		`; aws ec2 wait volume-available --region us-east-1 --volume-ids (vol-[0-9a-f]{17})` +
		` && aws ec2 delete-volume --region us-east-1 --volume-id (vol-[0-9a-f]{17})$`
	detachVolume = `^aws ec2 detach-volume --region us-east-1 --volume-id vol-[0-9a-f]{17}$`
	abortUpload  = `^aws s3api abort-multipart-upload --bucket backups\.example\.com --key 'vol-[^']*\.img\.zstd' --upload-id \S+` +
		` --endpoint-url http://127\.0\.0\.1:\d+ --region us-east-1$`
	giveBack = `^aws ec2 create-tags --region us-east-1 --resources snap-[0-9a-f]{17} --tags Key=snap-to-s3,Value=migrate` +
		` && aws ec2 delete-tags --region us-east-1 --resources snap-[0-9a-f]{17} --tags Key=snap-to-s3-id Key=snap-to-s3-owner$`
)

func TestWhatStaysIsNamed(t *testing.T) {
	parts := []string{"--part-size", "5MiB"}
	// from is a fault of all calls that match, from a trigger on.
	from := func(trigger, match func(awssim.Call) bool, f awssim.Fault) func(*world, *subject) {
		return func(w *world, _ *subject) {
			var on atomic.Bool
			w.sim.SetFault(func(c awssim.Call) awssim.Fault {
				if trigger(c) {
					on.Store(true)
				}
				if on.Load() && match(c) {
					return f
				}
				return awssim.Fault{}
			})
		}
	}
	action := awssim.Action
	part2 := func(c awssim.Call) bool { return c.Action == "UploadPart" && c.Part == 2 }
	s3 := func(c awssim.Call) bool { return c.Service == "s3" }
	anything := func(c awssim.Call) bool { return c.Service != "imds" }
	refused := func(code string) awssim.Fault {
		return awssim.Fault{Before: &awssim.Error{Status: http.StatusForbidden, Code: code}}
	}
	for _, r := range []remains{
		{
			name: "S3 is gone for good", args: parts, setUp: from(part2, s3, awssim.Fault{CutBefore: true}),
			says: []string{"upload part 2 of vol-"}, stays: map[string]string{"upload": abortUpload},
		},
		{
			name: "S3 hangs for good", args: parts, env: []string{"AWS_MAX_ATTEMPTS=2"}, setUp: from(part2, s3, awssim.Fault{Hang: true}),
			says: []string{"upload part 2 of vol-", "the connection hangs"}, stays: map[string]string{"upload": abortUpload},
		},
		{
			name: "no right to abort uploads", args: parts,
			setUp: func(w *world, s *subject) {
				w.sim.SetPolicy(predecessorsPolicy())
				from(part2, action("UploadPart"), awssim.Fault{CutBefore: true})(w, s)
			},
			says:  []string{"upload part 2 of vol-", "access denied, s3:AbortMultipartUpload is needed", "its parts are billed until it is removed"},
			stays: map[string]string{"upload": abortUpload},
		},
		{
			name: "credentials expire", args: parts, setUp: from(part2, anything, refused("ExpiredToken")), held: true,
			says:  []string{"the AWS credentials have expired (ExpiredToken)", "get new credentials"},
			stays: map[string]string{"upload": abortUpload, "volume": detachFirst, "attachment": detachVolume, "claim": giveBack},
		},
		{
			name: "credentials are withdrawn", args: parts, held: true,
			setUp: func(w *world, _ *subject) {
				c := w.sim.TemporaryCredential(6 * 3600e9)
				w.extra = c.Env()
				w.sim.SetFault(func(call awssim.Call) awssim.Fault {
					if part2(call) {
						w.sim.RevokeCredential(c.AccessKeyID)
					}
					return awssim.Fault{}
				})
			},
			says:  []string{"AWS does not accept the credentials (InvalidAccessKeyId)", "AWS does not accept the credentials (AuthFailure)"},
			stays: map[string]string{"upload": abortUpload, "volume": detachFirst, "attachment": detachVolume, "claim": giveBack},
		},
		{
			name: "stuck in creating", spec: awssim.SnapshotSpec{Fault: awssim.VolumeFault{Stuck: "creating"}},
			says:  []string{"is still creating after 5s", "what may stay costs money until you run: aws ec2 delete-volume", "AWS Health"},
			stays: map[string]string{"volume": deleteVolume},
		},
		{
			name: "stuck in detaching", spec: awssim.SnapshotSpec{Fault: awssim.VolumeFault{Stuck: "detaching"}}, done: true,
			says:  []string{"migrated", "it is still detaching after 5s", "what may stay costs money until you run: aws ec2 detach-volume"},
			stays: map[string]string{"volume": detachFirst, "attachment": detachVolume},
		},
		{
			name: "no right to delete volumes", setUp: func(w *world, _ *subject) { w.sim.DenyActions([]string{"ec2:DeleteVolume"}) }, done: true,
			says:  []string{"access denied, ec2:DeleteVolume is needed", "what may stay costs money until you run: "},
			stays: map[string]string{"volume": deleteVolume}, // it is detached
		},
		{
			name: "tags can no longer be written", held: true, spec: awssim.SnapshotSpec{Fault: awssim.VolumeFault{NoDevice: true}},
			setUp: from(action("AttachVolume"), func(c awssim.Call) bool {
				return c.Action == "CreateTags" || c.Action == "DeleteTags"
			}, refused("UnauthorizedOperation")),
			says:  []string{"tag snap-to-s3 of snap-", "could not be given back", "aws ec2 create-tags"},
			stays: map[string]string{"claim": giveBack},
		},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			r.check(t)
		})
	}
}

func (f remains) check(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.leftovers = true
	s := w.noisy(12*mib, f.spec)
	w.extra = f.env
	if f.setUp != nil {
		f.setUp(w, &s)
	}
	before := w.sim.Tags(s.ID)
	r := w.run(append(append([]string{"migrate", "--dd", "--bucket", testBucket}, f.args...), s.ID)...)
	for _, text := range f.says {
		r.says(t, exitFailed, text, "")
	}
	r.oneLineEach(t)
	w.kept(r, f.stays)
	switch now := w.sim.Tags(s.ID); {
	case f.done:
		w.isMigrated(s)
		w.isArchived(s, s.key("zstd"))
	case f.held:
		if now["snap-to-s3"] != "migrating" {
			t.Errorf("tags %v: given back after all", now)
		}
	case len(now) != len(before) || now["snap-to-s3"] != "migrate":
		t.Errorf("tags %v, were %v", now, before)
	}
	if !f.done && len(w.objects()) > 0 {
		t.Errorf("there are objects: %+v", w.objects())
	}
	// The next run takes it away, or names it again; it has another snapshot to do.
	w.sim.SetFault(nil)
	w.sim.SetPolicy(nil)
	w.sim.DenyActions(nil)
	w.extra = nil
	other := w.noisy(mib, awssim.SnapshotSpec{VolumeID: "vol-0f1e2d3c4b5a69788"})
	again := w.ok("migrate", "--dd", "--bucket", testBucket, other.ID)
	word := `took away what an earlier run left`
	stuck := f.spec.Fault.Stuck != "" // for good
	if stuck {
		word = `left behind by an earlier run`
	}
	for kind := range f.stays {
		if !regexp.MustCompile(word + `.* kind=` + kind + ` `).MatchString(again.stderr) {
			t.Errorf("the next run has no word of the %s:\n%s", kind, again.stderr)
		}
	}
	if stuck {
		if !strings.Contains(again.stderr, `command="aws ec2 `) {
			t.Errorf("no command is named:\n%s", again.stderr)
		}
		return
	}
	w.nothingLeft()
	if now := w.sim.Tags(s.ID); !f.done && !maps.Equal(now, before) {
		t.Errorf("after the next run tags %v, were %v", now, before)
	}
}

// kept wants the state file of the one run to name exactly these kinds of things,
// each with a reason and its command, and the run to have said the command.
func (w *world) kept(r result, stays map[string]string) {
	w.t.Helper()
	var kinds []string
	for _, e := range w.stateFile().Left {
		kinds = append(kinds, e.Kind)
		want, ok := stays[e.Kind]
		if !ok {
			w.t.Errorf("the state file names %+v", e)
			continue
		}
		if !regexp.MustCompile(want).MatchString(e.Command) || e.Reason == "" {
			w.t.Errorf("%s: reason %q, command\n%s\nwant\n%s", e.Kind, e.Reason, e.Command, want)
		}
		if !strings.Contains(r.stdout, e.Command) {
			w.t.Errorf("%s: the command was not said on standard output: %s", e.Kind, e.Command)
		}
	}
	for kind := range stays {
		if !slices.Contains(kinds, kind) {
			w.t.Errorf("the state file does not name the %s: %q", kind, kinds)
		}
	}
	if len(w.sim.Volumes()) == 0 && slices.Contains(kinds, "volume") || len(w.sim.Uploads(testBucket)) == 0 && slices.Contains(kinds, "upload") {
		w.t.Errorf("volumes %+v, uploads %+v, and yet %q are named", w.sim.Volumes(), w.sim.Uploads(testBucket), kinds)
	}
}

// stateFile is the one that there must be.
func (w *world) stateFile() runstate.Run {
	w.t.Helper()
	runs, err := runstate.List(w.stateDir())
	if err != nil || len(runs) != 1 || runs[0].Err != nil || runs[0].Live {
		w.t.Fatalf("state files %+v, %v; want one, of a run that has ended", runs, err)
	}
	return runs[0]
}
