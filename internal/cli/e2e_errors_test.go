package cli

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
)

const mib = 1 << 20

// failure is a run that cannot do what it was asked to, and must leave all as
// it found it.
type failure struct {
	name  string
	cfg   awssim.Config
	spec  awssim.SnapshotSpec
	size  int64                  // of the disk; 0: 1 MiB
	setUp func(*world, *subject) // once the snapshot is there
	args  []string               // before the snapshot's id
	whole []string               // instead of all that
	env   []string
	code  int // 0: 1
	says  []string
	hint  string
	never []string // calls that must not be made
	root  string   // why only root can run it; "": anybody can
}

// predecessorsPolicy are the rights that must be enough.
func predecessorsPolicy() []string {
	return []string{
		"s3:PutObject", "s3:PutObjectTagging", "s3:GetObject",
		"ec2:CreateVolume", "ec2:AttachVolume", "ec2:DetachVolume", "ec2:DeleteVolume", "ec2:DescribeSnapshots",
		"ec2:DescribeVolumes", "ec2:DescribeInstanceAttribute", "ec2:CreateTags", "ec2:DescribeTags", "ec2:DeleteTags",
	}
}

// touching are the calls that change something in the account.
func touching() []string {
	return []string{
		"CreateTags", "DeleteTags", "CreateVolume", "AttachVolume", "DetachVolume", "DeleteVolume",
		"PutObject", "CreateMultipartUpload",
	}
}

func TestFailuresLeaveNothing(t *testing.T) {
	for _, list := range [][]failure{
		bucketFailures(), credentialFailures(), instanceFailures(), keyFailures(),
		volumeFailures(), transferFailures(), snapshotFailures(), hostFailures(),
	} {
		for _, f := range list {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				f.check(t)
			})
		}
	}
}

func (f failure) check(t *testing.T) {
	if f.root != "" && os.Geteuid() != 0 {
		t.Skip(f.root)
	}
	w := newWorld(t, f.cfg)
	s := w.noisy(max(f.size, mib), f.spec)
	w.extra = f.env
	if f.setUp != nil {
		f.setUp(w, &s)
	}
	volumes := len(w.sim.Volumes())
	tags := w.sim.Tags(s.ID)
	args := f.whole
	if args == nil {
		args = append([]string{"migrate", "--dd", "--bucket", testBucket}, f.args...)
		args = append(args, s.ID)
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "$DIR", w.dir)
	}
	began := time.Now()
	r := w.run(args...)
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	if f.code == 0 {
		f.code = exitFailed
	}
	for _, text := range f.says {
		r.says(t, f.code, text, f.hint)
	}
	r.oneLineEach(t)
	if now := w.sim.Tags(s.ID); cmp.Diff(tags, now) != "" {
		t.Errorf("tags (-before +after):\n%s", cmp.Diff(tags, now))
	}
	if got := w.sim.Volumes(); len(slices.DeleteFunc(got, func(v awssim.VolumeInfo) bool { return v.State == "deleting" })) > volumes {
		t.Errorf("volumes left: %+v", got)
	}
	for _, o := range w.objects() {
		t.Errorf("there is an object %q", o.Key)
	}
	if left := w.sim.Uploads(testBucket); len(left) > 0 {
		t.Errorf("uploads left: %+v", left)
	}
	if files, err := filepath.Glob(filepath.Join(w.stateDir(), "*")); err != nil || len(files) > 0 {
		t.Errorf("state files %q, %v", files, err)
	}
	for _, c := range w.sim.Calls() {
		if slices.Contains(f.never, c.Action) {
			t.Errorf("a call was made: %v", c)
		}
	}
}

// oneLineEach wants errors of one line, without what only a programmer reads.
func (r result) oneLineEach(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(r.stdout + r.stderr) {
		for _, noise := range []string{"operation error", "https response error", "%!", "0x", "<nil>", "panic", "goroutine ", "api error"} {
			if strings.Contains(line, noise) {
				t.Errorf("a line has %q in it: %s", noise, line)
			}
		}
	}
	if !strings.Contains(r.stderr, "snap-to-s3: ") {
		t.Errorf("no error at the end: %q", r.stderr)
	}
}

func bucketFailures() []failure {
	return []failure{
		{
			name: "bucket missing", whole: []string{"migrate", "--dd", "--bucket", "no-such-bucket", "--all"},
			says: []string{"no such bucket: no-such-bucket"}, hint: "aws s3 mb s3://no-such-bucket",
			never: touching(),
		},
		{
			name: "bucket that cannot be made", whole: []string{"migrate", "--dd", "--bucket", "Not_Valid", "--all"},
			says: []string{"no such bucket: Not_Valid"}, hint: "one to make has 3 to 63 of a to z", never: touching(),
		},
		{
			name:  "bucket forbidden",
			setUp: func(w *world, _ *subject) { w.sim.AddBucket(awssim.Bucket{Name: testBucket, Deny: true}) },
			says:  []string{"access denied, s3:GetObject is needed", testBucket}, hint: "allow s3:GetObject",
			never: []string{"CreateVolume"},
		},
		{
			name: "no right to put objects", setUp: func(w *world, _ *subject) { w.sim.DenyActions([]string{"s3:PutObject"}) },
			says: []string{"access denied, s3:PutObject is needed"}, hint: "allow s3:PutObject",
		},
		{
			name: "no right to tag objects", spec: awssim.SnapshotSpec{Tags: tagged("Name", "web")},
			setUp: func(w *world, _ *subject) { w.sim.DenyActions([]string{"s3:PutObjectTagging"}) },
			says:  []string{"access denied, s3:PutObjectTagging is needed"}, hint: "s3:PutObjectTagging",
		},
	}
}

func credentialFailures() []failure {
	temporary := func(life time.Duration) func(*world, *subject) {
		return func(w *world, _ *subject) { w.extra = w.sim.TemporaryCredential(life).Env() }
	}
	withoutRole := func(w *world, _ *subject) {
		w.sim.SetFault(func(c awssim.Call) awssim.Fault {
			if c.Service == "imds" && strings.Contains(c.Summary, "/iam/") {
				return awssim.Fault{Before: &awssim.Error{Status: http.StatusNotFound, Message: "404 - Not Found"}}
			}
			return awssim.Fault{}
		})
	}
	return []failure{
		{
			name: "credentials expired", setUp: temporary(-time.Hour), never: touching(),
			says: []string{"the AWS credentials have expired (ExpiredToken)"}, hint: "get new credentials",
		},
		{
			name: "credentials expired, called in the old style", setUp: temporary(-time.Hour), never: touching(),
			whole: []string{"--migrate", "--dd", "--all", "--bucket", testBucket},
			says:  []string{"the AWS credentials have expired (ExpiredToken)"}, hint: "get new credentials",
		},
		{
			name: "credentials missing", setUp: withoutRole, never: touching(),
			env:  []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="},
			says: []string{"no AWS credentials were found"}, hint: "set AWS_PROFILE",
		},
		{
			name: "secret wrong", env: []string{"AWS_SECRET_ACCESS_KEY=anotherSecretThatMustNotShow"}, never: touching(),
			says: []string{"AWS does not accept the signature (SignatureDoesNotMatch)"}, hint: "set AWS_PROFILE",
		},
		{
			name: "key unknown", env: []string{"AWS_ACCESS_KEY_ID=AKIAUNKNOWN000000000"}, never: touching(),
			says: []string{"AWS does not accept the credentials (InvalidAccessKeyId)"}, hint: "set AWS_PROFILE",
		},
		{
			name: "no right to look at snapshots", setUp: func(w *world, _ *subject) { w.sim.DenyActions([]string{"ec2:DescribeSnapshots"}) },
			says: []string{"access denied, ec2:DescribeSnapshots is needed"}, hint: "allow ec2:DescribeSnapshots", never: touching(),
		},
		{
			name: "no right to make volumes", setUp: func(w *world, _ *subject) { w.sim.DenyActions([]string{"ec2:CreateVolume"}) },
			says: []string{"access denied, ec2:CreateVolume is needed"}, hint: "allow ec2:CreateVolume",
		},
	}
}

func instanceFailures() []failure {
	return []failure{
		{
			name: "not on EC2", env: []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:9"}, never: touching(),
			says: []string{"not on an EC2 instance, or the service is blocked"}, hint: "run this on an EC2 instance",
		},
		{
			name: "metadata switched off", env: []string{"AWS_EC2_METADATA_DISABLED=true"}, never: touching(),
			says: []string{"not on an EC2 instance, or the service is blocked"}, hint: "run this on an EC2 instance",
		},
		{
			name: "instance in another region", args: []string{"--region", "eu-west-1"}, never: touching(),
			says: []string{"this instance is in us-east-1, the snapshots are looked for in eu-west-1"}, hint: "run this on an instance in eu-west-1",
		},
		{
			name: "attachment limit", cfg: awssim.Config{EC2: awssim.EC2Config{MaxAttachments: 1}},
			setUp: func(w *world, _ *subject) {
				_, err := w.sim.AddVolume(awssim.VolumeSpec{SizeGiB: 1, Instance: "i-0123456789abcdef0", Device: "/dev/sdb"})
				if err != nil {
					w.t.Fatal(err)
				}
			},
			says: []string{"the instance cannot have more volumes (AttachmentLimitExceeded"}, hint: "fewer --jobs",
		},
	}
}

func keyFailures() []failure {
	const key = "11111111-2222-3333-4444-000000000001"
	const arn = "arn:aws:kms:us-east-1:111122223333:key/" + key
	denied := func(fate awssim.VolumeFate) awssim.Config {
		return awssim.Config{EC2: awssim.EC2Config{DeniedKeys: map[string]awssim.VolumeFate{key: fate}}}
	}
	encrypted := awssim.SnapshotSpec{Encrypted: true, KMSKeyID: key}
	deny := func(actions ...string) func(*world, *subject) {
		return func(w *world, _ *subject) { w.sim.AddKMSKey(awssim.KMSKey{ID: key, Deny: actions}) }
	}
	sse := []string{"--sse", "aws:kms", "--sse-kms-key-id", key}
	return []failure{
		{
			name: "the snapshot's key is refused, the volume fails", cfg: denied(awssim.VolumeFails), spec: encrypted,
			says: []string{"state error", arn + " could not be used"}, hint: "kms:CreateGrant",
		},
		{
			name: "the snapshot's key is refused, the volume vanishes", cfg: denied(awssim.VolumeVanishes), spec: encrypted,
			says: []string{"it vanished while it was being made", arn + " could not be used"}, hint: "kms:CreateGrant",
		},
		{
			name: "the bucket's key is refused", args: sse, setUp: deny("kms:GenerateDataKey"),
			says: []string{"KMS refuses the use of key " + key}, hint: "allow kms:GenerateDataKey",
		},
		{
			name: "the bucket's key is refused, several parts", args: append(slices.Clone(sse), "--part-size", "5MiB"), size: 12 * mib, setUp: deny("kms:GenerateDataKey"),
			says: []string{"KMS refuses the use of key " + key}, hint: "allow kms:GenerateDataKey",
		},
		{
			name: "the bucket's key may not decrypt, several parts", args: append(slices.Clone(sse), "--part-size", "5MiB"), size: 12 * mib, setUp: deny("kms:Decrypt"),
			says: []string{"KMS refuses the use of key " + key}, hint: "kms:Decrypt",
		},
		{
			name: "the bucket's key is disabled", args: sse, setUp: func(w *world, _ *subject) { w.sim.AddKMSKey(awssim.KMSKey{ID: key, Disabled: true}) },
			says: []string{"KMS refuses the use of key " + key, "is disabled"}, hint: "the key is enabled",
		},
		{
			name: "the bucket's key is unknown", args: sse,
			says: []string{"KMS refuses the use of key " + key, "does not exist"}, hint: "no such key in the bucket's region: check --sse-kms-key-id",
		},
		{
			name: "the bucket's own default key is refused", setUp: func(w *world, s *subject) {
				deny("kms:*")(w, s)
				w.sim.AddBucket(awssim.Bucket{Name: testBucket, DefaultKMSKey: key})
			},
			says: []string{"KMS refuses the use of the bucket's default key", arn}, hint: "allow kms:GenerateDataKey",
		},
	}
}

func volumeFailures() []failure {
	fault := func(f awssim.VolumeFault) awssim.SnapshotSpec { return awssim.SnapshotSpec{Fault: f} }
	return []failure{
		{
			name: "volume limit", cfg: awssim.Config{EC2: awssim.EC2Config{MaxVolumes: 1}},
			setUp: func(w *world, _ *subject) {
				if _, err := w.sim.AddVolume(awssim.VolumeSpec{SizeGiB: 1}); err != nil {
					w.t.Fatal(err)
				}
			},
			says: []string{"the account's quota of gp3 storage in us-east-1 is used up (VolumeLimitExceeded"}, hint: "Service Quotas",
		},
		{
			name: "volume type too large for the snapshot", args: []string{"--volume-type", "st1"}, never: touching(),
			says: []string{"st1 volume has 125 to 16384 GiB, snapshot ", " has 1 GiB"}, hint: "--volume-type one of gp3, gp2, standard",
		},
		{
			name: "volume type too small for the snapshot", args: []string{"--volume-type", "standard"}, never: touching(),
			spec: awssim.SnapshotSpec{SizeGiB: 2000},
			says: []string{"standard volume has 1 to 1024 GiB, snapshot "}, hint: "gp3",
		},
		{
			name: "volume cannot be read", spec: fault(awssim.VolumeFault{ReadErrorAt: 6 * mib}), size: 12 * mib,
			args: []string{"--part-size", "5MiB"},
			says: []string{"copy vol-", "at offset "}, hint: "run the command again",
			root: "only a loop device fails to be read, which needs root",
		},
		{
			name: "volume cannot be read from its start", spec: fault(awssim.VolumeFault{ReadErrorAt: 4096}),
			says: []string{"copy vol-", "at offset "}, hint: "run the command again",
			root: "only a loop device fails to be read, which needs root",
		},
		{
			name: "device never appears", spec: fault(awssim.VolumeFault{NoDevice: true}),
			says: []string{"no device for volume vol-", "within 5s"}, hint: "see lsblk and dmesg",
		},
		{
			name: "stuck in attaching", spec: fault(awssim.VolumeFault{Stuck: "attaching"}),
			says: []string{"is still attaching at /dev/sd", "after 5s"}, hint: "stopped and started",
		},
	}
}

func transferFailures() []failure {
	parts := []string{"--part-size", "5MiB"}
	on := func(match func(awssim.Call) bool, f awssim.Fault) func(*world, *subject) {
		return func(w *world, _ *subject) {
			w.sim.SetFault(func(c awssim.Call) awssim.Fault {
				if match(c) {
					return f
				}
				return awssim.Fault{}
			})
		}
	}
	part := func(from int) func(awssim.Call) bool {
		return func(c awssim.Call) bool { return c.Action == "UploadPart" && c.Part >= from }
	}
	down := &awssim.Error{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable"}
	return []failure{
		{
			name: "connection cut at each part", size: 24 * mib, args: parts, setUp: on(part(3), awssim.Fault{CutBefore: true}),
			says: []string{"upload part 3 of vol-", "8 times in a row"}, hint: "",
		},
		{
			name: "connection cut at each part, several streams", size: 24 * mib, args: append(slices.Clone(parts), "--upload-streams", "4"),
			setUp: on(part(2), awssim.Fault{CutBefore: true}),
			says:  []string{"upload part ", "8 times in a row"}, hint: "",
		},
		{
			name: "parts are refused", size: 24 * mib, args: parts, setUp: on(part(2), awssim.Fault{Before: down}),
			says: []string{"upload part 2 of vol-", "ServiceUnavailable", "8 times in a row"}, hint: "health.aws.amazon.com",
		},
		{
			name: "parts hang", size: 24 * mib, args: parts, env: []string{"AWS_MAX_ATTEMPTS=2"}, setUp: on(part(2), awssim.Fault{Hang: true}),
			says: []string{"upload part 2 of vol-", "the connection hangs: no byte moved for 2s, 2 times in a row"}, hint: "--endpoint-url",
		},
		{
			name: "throttled without end", size: 24 * mib, args: parts, setUp: on(part(2), awssim.Fault{Throttle: true}),
			says: []string{"AWS throttles, 8 times in a row"}, hint: "fewer --jobs",
		},
		{
			name: "an object cannot be completed", size: 12 * mib, args: parts, setUp: on(awssim.Action("CompleteMultipartUpload"), awssim.Fault{Before: down}),
			says: []string{"complete the upload of vol-", "ServiceUnavailable"}, hint: "health.aws.amazon.com",
		},
		{
			name: "a small object cannot be stored", setUp: on(awssim.Action("PutObject"), awssim.Fault{CutBefore: true}),
			says: []string{"store vol-"}, hint: "",
		},
		{
			name: "EC2 hangs", env: []string{"AWS_MAX_ATTEMPTS=2"}, setUp: on(awssim.Action("CreateVolume"), awssim.Fault{Hang: true}),
			says: []string{"create a gp3 volume of 1 GiB from snap-", "the connection hangs"}, hint: "--region",
		},
		{
			name: "EC2 has made the volume and never says so", env: []string{"AWS_MAX_ATTEMPTS=1"},
			setUp: func(w *world, s *subject) {
				on(func(c awssim.Call) bool { return c.Action == "CreateVolume" || c.Action == "AttachVolume" }, awssim.Fault{HangAfter: true})(w, s)
				w.sim.SetVolumeFault(s.ID, awssim.VolumeFault{NoDevice: true})
			},
			says: []string{"no device for volume vol-"}, hint: "see lsblk",
		},
	}
}

// smallDisk mounts a filesystem in memory, for the time of the test.
func smallDisk(t *testing.T, dir, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	tool(t, "", "mount", "-t", "tmpfs", "-o", options, "tmpfs", dir)
	t.Cleanup(func() { tool(t, "", "umount", dir) })
	return dir
}

// Not even the log of all calls has a credential in it, nor what AWS repeats of
// a request that it refuses.
func TestNoSecretsInLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	s := w.noisy(12*mib, awssim.SnapshotSpec{})
	c := w.sim.TemporaryCredential(time.Hour)
	for _, format := range []string{"text", "json"} {
		args := []string{"migrate", "--dd", "--bucket", testBucket, "--part-size", "5MiB", "-v", "--log-format", format, "--all"}
		w.again(s)
		w.extra = append(c.Env(), "AWS_SECRET_ACCESS_KEY=anotherSecretThatMustNotShow")
		w.run(args...).says(t, exitFailed, "SignatureDoesNotMatch", "")
		w.extra = c.Env()
		r := w.ok(append(args, "--overwrite")...)
		if !strings.Contains(r.stderr, "aws call") || !strings.Contains(r.stderr, "UploadPart") {
			t.Error("the log does not have the calls in it")
		}
		for name, value := range map[string]string{"secret": c.SecretAccessKey, "token": c.Token} {
			if strings.Contains(r.stdout+r.stderr, value) {
				t.Errorf("the %s is in the output", name)
			}
		}
	}
	w.isMigrated(s)
}
