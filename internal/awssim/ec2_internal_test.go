package awssim

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDeviceNames(t *testing.T) {
	for in, want := range map[string]string{
		"/dev/sdf": "xvdf", "/dev/xvdf": "xvdf", "sdz": "xvdz", "/dev/sdf1": "xvdf1", "/dev/sdf15": "xvdf15", "/dev/xvdba": "xvdba", "/dev/xvddz": "xvddz", "/dev/sda1": "xvda",
		"/dev/sdf16": "", "/dev/sdf0": "", "/dev/sdf01": "", "/dev/xvdf1": "", "/dev/sdba": "", "/dev/xvdea": "", "/dev/xvdaa": "", "/dev/hdf": "", "/dev/sd": "", "/dev/sdF": "", "": "", "/dev/sdé": "", "/dev/xvdbaa": "",
	} {
		n, ok := parseDeviceName(in)
		got := ""
		if ok {
			got = n.node("xvd")
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestNVMeNumbersDiffer(t *testing.T) {
	seen := map[int]string{0: "the root volume", 1: "the instance storage"}
	for _, prefix := range []string{"", "b", "c", "d"} {
		for c := 'a'; c <= 'z'; c++ {
			for n := range 16 {
				d := deviceName{letters: prefix + string(c), number: n}
				if prefix == "" && c == 'a' || prefix != "" && n > 0 {
					continue
				}
				if other := seen[d.nvme()]; other != "" {
					t.Fatalf("%v and %s are both nvme%d", d, other, d.nvme())
				}
				seen[d.nvme()] = fmt.Sprint(d)
			}
		}
	}
}

func TestZoneIDs(t *testing.T) {
	for zone, want := range map[string]string{
		"us-east-1a": "use1-az1", "us-west-2c": "usw2-az3", "eu-central-1b": "euc1-az2", "ap-northeast-1a": "apne1-az1",
		"ap-southeast-2b": "apse2-az2", "eu-north-1a": "eun1-az1", "eu-south-1a": "eus1-az1", "us-gov-west-1a": "usgw1-az1", "": "", "a": "",
	} {
		if got := zoneID(zone); got != want {
			t.Errorf("%q: got %q, want %q", zone, got, want)
		}
	}
}

func TestSummary(t *testing.T) {
	form := url.Values{
		"Action": {"CreateTags"}, "ResourceId.1": {"snap-1"}, "Tag.1.Key": {"snap-to-s3"}, "Tag.1.Value": {"migrating"}, "Tag.2.Key": {"x"},
		"Filter.1.Name": {"status"}, "Filter.1.Value.1": {"a"}, "Filter.1.Value.2": {"b"}, "Size": {"3"}, "NextToken": {"t"},
		"TagSpecification.1.Tag.1.Key": {"k"}, "TagSpecification.1.Tag.1.Value": {""},
	}
	want := "snap-1 Size=3 status=a,b snap-to-s3=migrating x k= (next page)"
	if got := ec2Summary(form); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// filterRegexp is another way to say what a filter's value matches.
func filterRegexp(pattern string) *regexp.Regexp {
	var re strings.Builder
	re.WriteString(`(?s)\A`)
	escaped := false
	for i, r := range []rune(pattern) {
		switch {
		case escaped:
			re.WriteString(regexp.QuoteMeta(string(r)))
			escaped = false
		case r == '\\' && i+1 < len([]rune(pattern)):
			escaped = true
		case r == '*':
			re.WriteString(".*")
		case r == '?':
			re.WriteString(".")
		default:
			re.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return regexp.MustCompile(re.String() + `\z`)
}

func FuzzFilterMatch(f *testing.F) {
	for _, s := range [][2]string{{"a*b", "aXb"}, {"*", ""}, {"?", "é"}, {`\*`, "*"}, {`a\`, `a\`}, {"a**?c", "abc"}, {"", ""}, {"*ab*ab", "ababab"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		pattern, s = strings.ToValidUTF8(pattern, "x"), strings.ToValidUTF8(s, "x")
		if got, want := filterMatch(pattern, s), filterRegexp(pattern).MatchString(s); got != want {
			t.Errorf("%q matches %q: %t, want %t", pattern, s, got, want)
		}
	})
}

func FuzzEC2Form(f *testing.F) {
	for _, s := range []string{
		"Filter.1.Name=status&Filter.1.Value.1=x&Tag.1.Key=a&Tag.1.Value=", "Tag.99999999999999999999.Key=x", "Tag.-1.Key=x&Tag.01.Key=y",
		"TagSpecification.1.ResourceType=volume&TagSpecification.1.Tag.2.Key=a", "SnapshotId.1=snap-1&MaxResults=x", "Filter.0.Name=tag:",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		form, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		filters, e := formFilters(form, snapshotFilters())
		if e == nil && len(filters) > len(form) {
			t.Errorf("%d filters of %d parameters", len(filters), len(form))
		}
		if tags := formTags(form, ""); len(tags) > len(form) {
			t.Errorf("%d tags of %d parameters", len(tags), len(form))
		}
		if tags, e := formTagSpecs(form, "volume"); e == nil && checkNewTags(tags) != nil {
			t.Errorf("tags that were not checked: %v", tags)
		}
		if s := ec2Summary(form); len(s) > 64+8*len(text) {
			t.Errorf("a summary of %d bytes of a form of %d", len(s), len(text))
		}
	})
}

// A volume's image is the snapshot's, whatever is a hole in it.
func TestImageCopy(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 3<<20).Draw(t, "size")
		device := size + rapid.Int64Range(0, 1<<20).Draw(t, "more")
		want := make([]byte, device)
		path := filepath.Join(dir, "image")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		blocks := map[int64]bool{}
		for range rapid.IntRange(0, 5).Draw(t, "runs") {
			off := rapid.Int64Range(0, size-1).Draw(t, "off")
			p := bytes.Repeat([]byte{byte(rapid.IntRange(0, 2).Draw(t, "byte"))}, int(min(size-off, rapid.Int64Range(1, 200<<10).Draw(t, "length"))))
			copy(want[off:], p)
			if _, err := f.WriteAt(p, off); err != nil {
				t.Fatal(err)
			}
		}
		for i, b := range want {
			if b != 0 {
				blocks[int64(i)/imageBlock] = true
			}
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		spec := SnapshotSpec{Image: path}
		if rapid.Bool().Draw(t, "reader") {
			spec = SnapshotSpec{Reader: bytes.NewReader(want[:size]), SizeBytes: size}
		}
		im, err := openDiskImage(spec)
		if err != nil {
			t.Fatal(err)
		}
		defer im.close()
		to := filepath.Join(dir, "copy")
		if err := im.copyTo(to, device, 0); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(to)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("the copy differs (%v)", err)
		}
		if got, want := im.fullSize(device), int64(len(blocks))*imageBlock; got != want {
			t.Fatalf("full size %d, want %d", got, want)
		}
		if err := os.Remove(to); err != nil {
			t.Fatal(err)
		}
	})
}

// Random calls, in any order, by a client that knows nothing: states follow
// each other as at EC2, nothing is at odds, and a client can always clean up.
func TestVolumeStateMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "awssim-states-") //nolint:usetesting // rapid's T has no TempDir, and each case needs its own
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		s, err := Start(Config{Dir: dir, EC2: EC2Config{MaxVolumes: 4, NewVolume: Lag{Reads: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		snap, err := s.AddSnapshot(SnapshotSpec{SizeBytes: 4096})
		if err != nil {
			t.Fatal(err)
		}
		do := func(action string, params ...string) *apiError {
			form := url.Values{}
			for i := 0; i < len(params); i += 2 {
				form.Set(params[i], params[i+1])
			}
			_, e := s.serveEC2(&call{Service: "ec2", Action: action, form: form, now: time.Now()})
			return e
		}
		before := map[string]string{}
		step := func() {
			for _, v := range s.Volumes() {
				now := v.State + v.Attachment
				if was := before[v.ID]; was != now && !slices.Contains(nextStates(was), now) {
					t.Fatalf("%s goes from %q to %q", v.ID, was, now)
				}
				before[v.ID] = now
			}
			if err := s.Invariants(); err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { step() },
			"create": func(*rapid.T) {
				do("CreateVolume", "SnapshotId", snap, "AvailabilityZone", "us-east-1a")
				s.ec2.work.Wait()
			},
			"look": func(*rapid.T) { do("DescribeVolumes") },
			"attach": func(t *rapid.T) {
				do("AttachVolume", "VolumeId", anyVolume(t, before), "InstanceId", s.cfg.InstanceID, "Device", rapid.SampledFrom([]string{"/dev/sdf", "/dev/xvdf", "/dev/sdg"}).Draw(t, "device"))
			},
			"detach": func(t *rapid.T) {
				do("DetachVolume", "VolumeId", anyVolume(t, before), "Force", fmt.Sprint(rapid.Bool().Draw(t, "force")))
			},
			"delete": func(t *rapid.T) { do("DeleteVolume", "VolumeId", anyVolume(t, before)) },
		})
		for range 12 {
			for _, v := range s.Volumes() {
				do("DescribeVolumes")
				step()
				do("DetachVolume", "VolumeId", v.ID, "Force", "true")
				step()
				do("DeleteVolume", "VolumeId", v.ID)
				step()
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// nextStates are the states (of volume and attachment) that a look later can
// find, with a state in between that nobody saw.
func nextStates(state string) []string {
	switch state {
	case "":
		return []string{"creating"}
	case "creating":
		return []string{"available"}
	case "available":
		return []string{"in-useattaching", "deleting"}
	case "in-useattaching":
		return []string{"in-useattached", "in-usedetaching"}
	case "in-useattached":
		return []string{"in-usedetaching"}
	case "in-usedetaching":
		return []string{"available"}
	}
	return nil
}

func anyVolume(t *rapid.T, known map[string]string) string {
	ids := []string{"vol-00000000"}
	for id := range known {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return rapid.SampledFrom(ids).Draw(t, "volume")
}
