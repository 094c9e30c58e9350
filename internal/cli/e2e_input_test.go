package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
)

// input is something wrong that comes from outside: what was typed, what the
// environment says, what AWS answers.
type input struct {
	name string
	args []string // "$SNAP" is a snapshot's id, "$DIR" a folder; nil: a migration of all that are tagged
	env  []string // name=value; a name alone is taken away
	// answers changes what AWS says; nil: nothing.
	answers func(*testing.T) func(*answer)
	spec    awssim.SnapshotSpec
	code    int
	says    string // in the error
	hint    string // in the next step
	root    bool   // only root gets that far
}

// plain is a migration of all that are tagged, with all calls in the log.
func plain(more ...string) []string {
	return append([]string{"migrate", "--dd", "--bucket", testBucket, "--all", "--verbose"}, more...)
}

// TestBadInput gives it what it was not made for. Each time there must be one line
// that says what is wrong, one with the next step, and the right exit code; and
// nothing may be left behind.
func TestBadInput(t *testing.T) {
	t.Parallel()
	n := 0
	for _, list := range [][]input{typedInput(), environmentInput(), listInput(), volumeInput(), storeInput(), metadataInput(), cleanupInput()} {
		for _, in := range list {
			n++
			t.Run(in.name, func(t *testing.T) {
				t.Parallel()
				in.check(t)
			})
		}
	}
	if n < 60 {
		t.Errorf("only %d cases", n)
	}
}

func (in input) check(t *testing.T) {
	if in.root && os.Geteuid() != 0 {
		t.Skip("only root gets so far")
	}
	w := newWorld(t, awssim.Config{})
	s := w.noisy(mib, in.spec)
	tags := w.sim.Tags(s.ID)
	temporary := w.sim.TemporaryCredential(0) // whose secrets must not show either
	if in.answers != nil {
		w.rewrites(in.answers(t))
	}
	args := in.args
	if args == nil {
		args = plain()
	}
	for i := range args {
		args[i] = strings.NewReplacer("$SNAP", s.ID, "$DIR", w.dir).Replace(args[i])
	}
	cmd := w.command(args...)
	for _, kv := range in.env {
		kv = strings.NewReplacer("$DIR", w.dir, "$TOKEN", temporary.Token).Replace(kv)
		name, _, set := strings.Cut(kv, "=")
		cmd.Env = withoutVariable(cmd.Env, name)
		if set {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	r := w.start(cmd).ends()
	if r.code != in.code {
		t.Errorf("exit code %d, want %d", r.code, in.code)
	}
	if in.code != exitDone {
		r.explains(t, in.says, in.hint)
	}
	r.noProgrammersNoise(t)
	if in.code == exitDone && strings.Contains(r.stdout, "1 migrated") {
		w.isMigrated(s)
		if key := w.archive(s.ID); key == s.key("zstd") { // else the answer had another start in it
			w.isArchived(s, key)
		}
	} else if now := w.sim.Tags(s.ID); cmp.Diff(tags, now) != "" {
		t.Errorf("tags (-before +after):\n%s", cmp.Diff(tags, now))
	}
	for _, v := range w.sim.Volumes() {
		if v.State != "deleting" {
			t.Errorf("volume left: %+v", v)
		}
	}
	if left := w.sim.Uploads(testBucket); len(left) > 0 {
		t.Errorf("uploads left: %+v", left)
	}
	if files, err := filepath.Glob(filepath.Join(w.stateDir(), "*")); err != nil || len(files) > 0 {
		t.Errorf("state files %q, %v", files, err)
	}
}

func withoutVariable(env []string, name string) (rest []string) {
	for _, kv := range env {
		if n, _, _ := strings.Cut(kv, "="); n != name {
			rest = append(rest, kv)
		}
	}
	return rest
}

// explains wants an error with a text in it, and a next step with another.
func (r result) explains(t *testing.T, text, next string) {
	t.Helper()
	lines := strings.Split(r.stdout+r.stderr, "\n")
	told, hinted := false, false
	for _, line := range lines {
		if strings.HasPrefix(line, "debug: ") {
			continue
		}
		if _, step, ok := strings.Cut(line, "hint: "); ok {
			hinted = hinted || strings.Contains(step, next) && step != ""
			continue
		}
		told = told || strings.Contains(line, text)
	}
	if !told || !hinted || !strings.Contains(r.stderr, "snap-to-s3: ") {
		t.Errorf("no error with %q, or no hint with %q", text, next)
	}
}

var noise64 = regexp.MustCompile(`[0-9a-f]{64}`)

// noProgrammersNoise wants no line that only a programmer would understand, and
// nothing that a terminal would obey.
func (r result) noProgrammersNoise(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(r.stdout + r.stderr) {
		words := []string{"%!", "panic", "goroutine ", ".go:"}
		if !strings.Contains(line, "debug: ") {
			words = append(words, "operation error", "https response error", "0x", "<nil>", "api error", "deserialization", "strconv")
		}
		for _, noise := range words {
			if strings.Contains(line, noise) {
				t.Errorf("a line has %q in it: %s", noise, line)
			}
		}
		if strings.ContainsAny(line, "\x00\x07\x1b\x7f") {
			t.Errorf("a line has control characters in it: %q", line)
		}
		if strings.Contains(line, "ignature") && noise64.MatchString(line) {
			t.Errorf("a line has a signature in it: %s", line)
		}
	}
}

// typedInput is what can be wrong with a command line; testdata/usage.txtar has
// more.
func typedInput() []input {
	usage := func(name, says, hint string, args ...string) input {
		return input{name: name, args: args, code: exitUsage, says: says, hint: hint}
	}
	bucket := []string{"migrate", "--dd", "--all", "--bucket"}
	return []input{
		usage("a verb in bytes that are no text", `unknown verb`, "verbs of this version", "\xff\xfe"),
		usage("a verb with an escape", `unknown verb`, "verbs of this version", "\x1b[2Jmigrate"),
		usage("a flag of a megabyte", "unknown flag", "--help", "migrate", "--"+strings.Repeat("x", 100_000)),
		usage("a bucket with a line break", "not a bucket's name", "a to z", append(bucket, "a\nb\nc")...),
		usage("a bucket of 300 letters", "not a bucket's name", "a to z", append(bucket, strings.Repeat("b", 300))...),
		usage("a bucket that is a folder", "an address", "only the bucket's name", append(bucket, "../../etc")...),
		usage("an id in other digits", "is not a snapshot id", "--help", "migrate", "--dd", "--bucket", testBucket, "snap-０１２３４５６７"),
		usage("an id with an escape", "is not a snapshot id", "--help", "migrate", "--dd", "--bucket", testBucket, "snap-\x1b[31m"),
		usage("ids and --all", "in more than one way", "one of --all", "migrate", "--dd", "--bucket", testBucket, "--all", "$SNAP"),
		usage("jobs beyond numbers", "not a whole number", "--help", append(bucket, testBucket, "--jobs", "99999999999999999999")...),
		usage("a part size beyond numbers", "--part-size", "--help", append(bucket, testBucket, "--part-size", "99999999999999999999GiB")...),
		usage("a negative part size", "--part-size", "--help", append(bucket, testBucket, "--part-size=-5MiB")...),
		usage("an endless cost", "--max-cost", "--help", append(bucket, testBucket, "--max-cost", "Inf")...),
		usage("a time that is a date", "not a duration", "--timeout 6h", append(bucket, testBucket, "--timeout", "2026-01-01")...),
		usage("a region that is a path", "not the name of a region", "us-east-1", append(bucket, testBucket, "--region", "../us-east-1")...),
		usage("an endpoint without a host", "not a http or https address", "https://", append(bucket, testBucket, "--endpoint-url", "http://")...),
		usage("an endpoint with a password", "must not hold a user or password", "environment", append(bucket, testBucket, "--endpoint-url", "https://me:hunter2@example.com")...),
		usage("a spool that is a file", "not a folder", "make the folder", append(bucket, testBucket, "--spool", "/dev/null")...),
		usage("a tag that cannot be seen", "cannot be seen", "--help", append(bucket, testBucket, "--tag", "a\u202eb")...),
		usage("the old style with a verb's flag", "unknown flag", "--help", "--migrate", "--dd", "--bucket", testBucket, "--naming", "nvme"),
		usage("the old style without ids", "--snapshots needs", "snap-", "--migrate", "--dd", "--bucket", testBucket, "--snapshots"),
		usage("a sandbox of nothing", "no such file or directory", "--image takes", "sandbox", "--image", "$DIR/none"),
		usage("arguments of the demo", "takes no arguments", "--help", "demo", "quickly"),
		{
			name: "a snapshot that there is not", args: []string{"migrate", "--dd", "--bucket", testBucket, "snap-0fffffffffffffff0"},
			code: exitFailed, says: "snapshot snap-0fffffffffffffff0 does not exist in us-east-1", hint: "check the id",
		},
	}
}

// environmentInput is what the environment can say.
func environmentInput() []input {
	failed := func(name, says, hint string, env ...string) input {
		return input{name: name, env: env, code: exitFailed, says: says, hint: hint}
	}
	return []input{
		failed("a region that is none", "us east/1", "--region", "AWS_REGION=us east/1"),
		failed("a region with an escape", "is not the name of a region", "--region", "AWS_REGION=\x1b[2J"),
		failed("a profile that there is not", "read the AWS configuration", "AWS_PROFILE", "AWS_PROFILE=nobody"),
		failed("a configuration that is garbage", "read the AWS configuration", "AWS_CONFIG_FILE", "AWS_CONFIG_FILE=$DIR/noise-1048576", "AWS_PROFILE=x"),
		failed("a CA bundle that there is not", "read the AWS configuration", "AWS_CA_BUNDLE", "AWS_CA_BUNDLE=$DIR/none.pem"),
		failed("a CA bundle that is garbage", "read the AWS configuration", "AWS_CA_BUNDLE", "AWS_CA_BUNDLE=$DIR/noise-1048576"),
		failed("a retry mode that there is not", "read the AWS configuration", "AWS_", "AWS_RETRY_MODE=sideways"),
		failed("attempts that are no number", "read the AWS configuration", "AWS_", "AWS_MAX_ATTEMPTS=many"),
		failed("a token that is not of the key", "does not accept", "AWS_PROFILE", "AWS_SESSION_TOKEN=$TOKEN"),
		failed("a key with a line break", "the credentials have characters that cannot be sent", "AWS_PROFILE", "AWS_ACCESS_KEY_ID=AKIA\nX-Evil: 1"),
		failed("an endpoint of S3 that is none", "S3 endpoint", "--endpoint-url", "AWS_ENDPOINT_URL_S3=not an address"),
		failed("an endpoint of EC2 that is none", "not a http or https address", "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_EC2=not an address"),
		failed("an endpoint of EC2 where nobody is", "nothing listens at 127.0.0.1:9", "--endpoint-url", "AWS_ENDPOINT_URL_EC2=http://127.0.0.1:9"),
		failed("a metadata service that is none", "metadata service", "run this on an EC2 instance", "AWS_EC2_METADATA_SERVICE_ENDPOINT=:::"),
		failed("a state folder that is a device", "create the state file of this run in /dev/null", "SNAP_TO_S3_STATE_DIR", "SNAP_TO_S3_STATE_DIR=/dev/null"),
		failed("a state folder in /proc", "create the state file of this run in /proc/1/state", "SNAP_TO_S3_STATE_DIR", "SNAP_TO_S3_STATE_DIR=/proc/1/state"),
		failed("a state folder of 5,000 letters", "create the state file of this run in ", "SNAP_TO_S3_STATE_DIR", "SNAP_TO_S3_STATE_DIR=/"+strings.Repeat("x", 5000)),
		failed("a device root that there is not", "no device for volume vol-", "SNAP_TO_S3_DEV_ROOT", "SNAP_TO_S3_DEV_ROOT=$DIR/none"),
		failed("a device root that is a file", "look for a device: ", "SNAP_TO_S3_DEV_ROOT", "SNAP_TO_S3_DEV_ROOT=/dev/null"),
		failed("a root of /sys that is a file", "list block devices: ", "SNAP_TO_S3_SYS_ROOT", "SNAP_TO_S3_SYS_ROOT=/dev/null"),
		failed("a way to mount that there is not", "SNAP_TO_S3_MOUNTS", "plain", "SNAP_TO_S3_MOUNTS=sideways"),
		{name: "a key without its secret, which the role stands in for", env: []string{"AWS_SECRET_ACCESS_KEY"}},
		{name: "no home", env: []string{"HOME"}},
		{name: "a home that there is not", env: []string{"HOME=/nowhere"}},
		{name: "no folder for temporary files", env: []string{"TMPDIR=$DIR/none"}},
		{name: "a terminal of no kind", env: []string{"TERM=\x1b[31m"}},
		{
			name: "a sandbox without a folder for temporary files", args: []string{"sandbox", "--", "true"}, env: []string{"TMPDIR=$DIR/none"},
			code: exitFailed, says: "no such file or directory", hint: "TMPDIR",
		},
		{
			name: "a demo without a folder for temporary files", args: []string{"demo"}, env: []string{"TMPDIR=$DIR/none"},
			code: exitFailed, says: "no such file or directory", hint: "TMPDIR",
		},
	}
}

// page is an answer of EC2 by hand.
func page(action, body string) string {
	return fmt.Sprintf(`<?xml version="1.0"?><%sResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>x</requestId>%s</%sResponse>`, action, body, action)
}

const html = `<!DOCTYPE html><html><head><title>Sign in to the Wi-Fi</title></head><body onload="x()">&nbsp;<br></body></html>`

// answered makes a case of answers to one call that are changed in one way.
func answered(name, call string, change func(*answer), code int, says, hint string) input {
	return input{
		name: name, code: code, says: says, hint: hint,
		answers: func(*testing.T) func(*answer) { return on(call, change) },
	}
}

// listInput is what DescribeSnapshots can say.
func listInput() []input {
	const call = "DescribeSnapshots"
	list := func(name string, change func(*answer), says, hint string) input {
		return answered(name, call, change, exitFailed, says, hint)
	}
	control := []string{"Name", "a\nc\td\u202e", "snap:note", strings.Repeat("é", 250)}
	return []input{
		answered("an empty list", call, says(200, page(call, "<snapshotSet/>")), exitDone, "nothing to do", ""),
		answered("a list without its element", call, says(200, page(call, "")), exitDone, "nothing to do", ""),
		list("HTML with status 200", says(200, html), "list snapshots", "HTTPS_PROXY"),
		list("HTML with status 502", says(502, html), "list snapshots", "health.aws.amazon.com"),
		list("status 500 and nothing else", says(500, ""), "list snapshots", "health.aws.amazon.com"),
		list("status 404 and nothing else", says(404, ""), "list snapshots", "--verbose"),
		list("a body of nothing", says(200, ""), "list snapshots", "HTTPS_PROXY"),
		list("XML that is cut off", func(a *answer) { a.body = a.body[:len(a.body)/2] }, "list snapshots", "HTTPS_PROXY"),
		list("XML of another service", says(200, `<ListBucketResult xmlns="x"><Name>b</Name></ListBucketResult>`), "list snapshots", "HTTPS_PROXY"),
		list("JSON", says(200, `{"snapshots":[]}`), "list snapshots", "HTTPS_PROXY"),
		list("XML a million deep", says(200, page(call, strings.Repeat("<item>", 1_000_000))), "list snapshots", "HTTPS_PROXY"),
		list("a redirect to nowhere", func(a *answer) {
			a.status, a.body = 302, ""
			a.header.Set("Location", "http://127.0.0.1:9/")
		}, "list snapshots", ""),
		list("a page that comes again and again", func(a *answer) {
			a.status, a.body = 200, page(call, "<snapshotSet/><nextToken>again</nextToken>")
		}, "the same page of snapshots again and again", "describe-snapshots"),
		list("no snapshot id", drops("snapshotId"), "read the list of snapshots", ""),
		list("an id with an escape", between("<snapshotId>", "</snapshotId>", "snap-../../x"), "read the list of snapshots", "describe-snapshots"),
		list("no volume id", drops("volumeId"), `is of volume "", which is not the id of one`, "describe-snapshots"),
		list("a volume id that is a path", between("<volumeId>", "</volumeId>", "../../x"), "which is not the id of one", "describe-snapshots"),
		list("no size", drops("volumeSize"), "no size or start time", "describe-snapshots"),
		list("size 0", between("<volumeSize>", "</volumeSize>", "0"), "no size or start time", "describe-snapshots"),
		list("a negative size", between("<volumeSize>", "</volumeSize>", "-8"), "no size or start time", "describe-snapshots"),
		list("a size beyond numbers", between("<volumeSize>", "</volumeSize>", "99999999999999"), "GiB", "no EBS volume has this size"),
		list("the largest size", between("<volumeSize>", "</volumeSize>", "2147483647"), "GiB", "no EBS volume has this size"),
		list("a size in words", between("<volumeSize>", "</volumeSize>", "eight"), "list snapshots", "HTTPS_PROXY"),
		list("no start", drops("startTime"), "no size or start time", "describe-snapshots"),
		list("a start in words", between("<startTime>", "</startTime>", "yesterday"), "list snapshots", "HTTPS_PROXY"),
		answered("a start in the year 9999", call, between("<startTime>", "</startTime>", "9999-12-31T23:59:59.000Z"), exitDone, "", ""),
		list("a start in the year 99999", between("<startTime>", "</startTime>", "99999-12-31T23:59:59.000Z"), "list snapshots", "HTTPS_PROXY"),
		answered("a state that nobody knows", call, between("<status>", "</status>", "levitating"), exitDone, "", ""),
		answered("a full size that is negative", call, between("<fullSnapshotSizeInBytes>", "</fullSnapshotSizeInBytes>", "-1"), exitDone, "", ""),
		{name: "tags with control characters", spec: awssim.SnapshotSpec{Tags: tagged(control...), Description: "x\n../\t\u202e"}},
	}
}

// volumeInput is what EC2 can say of volumes.
func volumeInput() []input {
	volume := func(name, call string, change func(*answer), says, hint string) input {
		return answered(name, call, change, exitFailed, says, hint)
	}
	return []input{
		volume("a volume in HTML", "DescribeVolumes", says(200, html), "look for volumes of", "HTTPS_PROXY"),
		volume("a volume in a state that nobody knows", "DescribeVolumes", between("<status>", "</status>", "levitating"), "levitating", "run the command again"),
		volume("device names in HTML", "DescribeInstanceAttribute", says(200, html), "choose a device name: the answer is not one of AWS's", "run the command again"),
		volume("CreateTags in HTML", "CreateTags", says(200, html), "write the claim on ", "HTTPS_PROXY"),
		answered("an attachment without a device", "DescribeVolumes", drops("device"), exitDone, "", ""),
	}
}

// storeInput is what S3 can say.
func storeInput() []input {
	store := func(name, call string, change func(*answer), says, hint string) input {
		return answered(name, call, change, exitFailed, says, hint)
	}
	return []input{
		store("a bucket in HTML with status 403", "GET ?", says(403, html), "ask for the region of bucket", "HTTPS_PROXY"),
		store("a bucket in HTML with status 502", "GET ?", says(502, html), "bucket", "health.aws.amazon.com"),
		store("a bucket elsewhere and elsewhere", "GET ?", func(a *answer) {
			a.status, a.body = 301, "<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>"
			a.header.Set("X-Amz-Bucket-Region", fmt.Sprintf("eu-west-%d", a.n))
		}, "bucket", ""),
		store("a bucket in a region with an escape", "GET ?", func(a *answer) {
			a.status, a.body = 301, "<Error><Code>PermanentRedirect</Code><Message>\x1b[2J</Message></Error>"
			a.header.Set("X-Amz-Bucket-Region", "e/../\"x")
		}, "bucket", ""),
		answered("puts in HTML with status 503, and done all the same", "PUT ?", func(a *answer) {
			if a.n%2 == 1 {
				a.status, a.body = 503, html
			}
		}, exitDone, "", ""),
		store("a put without ETag, and with another checksum", "PUT ?", func(a *answer) {
			a.header.Del("Etag")
			a.header.Set("X-Amz-Checksum-Crc64nvme", "AAAAAAAAAAA=")
		}, "it is there but damaged", "run the command again"),
	}
}

// metadataInput is what the metadata service can say of the instance.
func metadataInput() []input {
	const document = "/latest/dynamic/instance-identity/document"
	about := func(name string, change func(*answer), says string) input {
		return answered(name, document, change, exitFailed, says, "run this on an EC2 instance")
	}
	return []input{
		about("an identity in HTML", says(200, html), "metadata service"),
		about("an identity of nothing", says(200, ""), "metadata service"),
		about("an identity without its id", says(200, `{"region":"us-east-1","availabilityZone":"us-east-1a"}`), "it tells of no instance, region or zone"),
		about("an id that is a path", says(200, `{"instanceId":"../../i","region":"us-east-1","availabilityZone":"us-east-1a"}`), "it tells of no instance, region or zone"),
		about("an identity of a gigabyte of brackets", says(200, strings.Repeat("[", 10_000_000)), "metadata service"),
	}
}

// cleanupInput is the same for cleanup, which must then say so and touch nothing.
func cleanupInput() []input {
	clean := []string{"cleanup", "--bucket", testBucket, "--yes", "--verbose"}
	with := func(name, call string, change func(*answer), says, hint string) input {
		in := answered(name, call, change, exitFailed, says, hint)
		in.args = slices.Clone(clean)
		return in
	}
	return []input{
		with("cleanup and volumes in HTML", "DescribeVolumes", says(200, html), "the answer is not one of AWS's", "HTTPS_PROXY"),
		with("cleanup and an empty list of nothing", "DescribeVolumes", says(200, ""), "the answer is not one of AWS's", "HTTPS_PROXY"),
		with("cleanup and snapshots in HTML", "DescribeSnapshots", says(200, html), "the answer is not one of AWS's", "HTTPS_PROXY"),
		with("cleanup and uploads in HTML", "GET ?uploads", says(200, html), "the answer is not one of AWS's", "HTTPS_PROXY"),
		with("cleanup and uploads of nothing", "GET ?uploads", says(200, ""), "the answer is not one of AWS's", "HTTPS_PROXY"),
		{
			name: "cleanup in a region that is none", args: slices.Clone(clean), env: []string{"AWS_REGION=us east/1"},
			code: exitFailed, says: "is not the name of a region", hint: "--region",
		},
		{
			name: "cleanup with a name with an escape", args: []string{"cleanup", "\x1b[2J"},
			code: exitUsage, says: "is not the id of a snapshot, volume, upload or run", hint: "without ids",
		},
	}
}
