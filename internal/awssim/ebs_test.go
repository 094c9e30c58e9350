package awssim_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/smithy-go"

	"snap-to-s3/internal/awssim"
)

const ebsBlock = 512 << 10

// ebsClient is the real client of the EBS direct APIs, without retries.
func (s sandbox) ebsClient(change ...func(*ebs.Options)) *ebs.Client {
	c := s.credentials()
	return ebs.New(ebs.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(s.env("AWS_ENDPOINT_URL_EBS")), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, ""),
	}, change...)
}

// disk is an image of blocks: of each the byte that it is full of, 0 for one
// that is not there.
func disk(fill ...byte) []byte {
	var image []byte
	for _, b := range fill {
		image = append(image, bytes.Repeat([]byte{b}, ebsBlock)...)
	}
	return image
}

func (s sandbox) snapshotOf(spec awssim.SnapshotSpec, image []byte) *string {
	s.t.Helper()
	spec.Reader, spec.SizeBytes = bytes.NewReader(image), int64(len(image))
	id, err := s.AddSnapshot(spec)
	if err != nil {
		s.t.Fatal(err)
	}
	return &id
}

func indexes(blocks []types.Block) []int32 {
	var all []int32
	for _, b := range blocks {
		all = append(all, *b.BlockIndex)
	}
	return all
}

func TestListSnapshotBlocks(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	client := s.ebsClient()
	id := s.snapshotOf(awssim.SnapshotSpec{}, disk(1, 0, 2, 0, 0, 3))
	list := func(in ebs.ListSnapshotBlocksInput) *ebs.ListSnapshotBlocksOutput {
		t.Helper()
		in.SnapshotId = id
		out, err := client.ListSnapshotBlocks(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	one := list(ebs.ListSnapshotBlocksInput{})
	if got := indexes(one.Blocks); !slices.Equal(got, []int32{0, 2, 5}) {
		t.Errorf("blocks %v", got)
	}
	if *one.BlockSize != ebsBlock || *one.VolumeSize != 1 || one.NextToken != nil || time.Until(*one.ExpiryTime) < 6*24*time.Hour {
		t.Errorf("answer %+v", one)
	}
	two := list(ebs.ListSnapshotBlocksInput{StartingBlockIndex: aws.Int32(1), MaxResults: aws.Int32(1)}) // taken for 100
	if got := indexes(two.Blocks); !slices.Equal(got, []int32{2, 5}) {
		t.Errorf("blocks from 1: %v", got)
	}
	if *two.Blocks[0].BlockToken == *one.Blocks[1].BlockToken {
		t.Error("another list has the same tokens of blocks")
	}
}

func TestListsOfBlocksHavePages(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{EBS: awssim.EBSConfig{PageSize: 2, Empty: 1, TokenLife: time.Minute}})
	client := s.ebsClient()
	id := s.snapshotOf(awssim.SnapshotSpec{}, disk(1, 0, 2, 3, 4))
	var got [][]int32
	var token *string
	for {
		out, err := client.ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: id, NextToken: token, StartingBlockIndex: aws.Int32(3)})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, indexes(out.Blocks))
		if token = out.NextToken; token == nil {
			break
		}
	}
	if len(got) != 4 || !slices.Equal(got[1], []int32{3, 4}) || len(got[0])+len(got[2])+len(got[3]) != 0 {
		t.Errorf("pages %v", got)
	}
	out, err := client.ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: id})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.ListChangedBlocks(t.Context(), &ebs.ListChangedBlocksInput{FirstSnapshotId: id, SecondSnapshotId: id, NextToken: out.NextToken})
	wantReason(t, err, "INVALID_PAGE_TOKEN")
	s.SetClock(func() time.Time { return time.Now().Add(2 * time.Minute) })
	_, err = client.ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: id, NextToken: out.NextToken})
	wantReason(t, err, "INVALID_PAGE_TOKEN")
}

func TestListChangedBlocks(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]bool{"gone blocks are not listed": false, "gone blocks are listed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, awssim.Config{EBS: awssim.EBSConfig{ListGone: gone}})
			client := s.ebsClient()
			first := s.snapshotOf(awssim.SnapshotSpec{VolumeID: "vol-00000001"}, disk(1, 1, 1, 0, 1))
			second := s.snapshotOf(awssim.SnapshotSpec{VolumeID: "vol-00000001"}, disk(1, 2, 0, 3, 1))
			out, err := client.ListChangedBlocks(t.Context(), &ebs.ListChangedBlocksInput{FirstSnapshotId: first, SecondSnapshotId: second})
			if err != nil {
				t.Fatal(err)
			}
			got := map[int32][2]bool{}
			for _, b := range out.ChangedBlocks {
				got[*b.BlockIndex] = [2]bool{b.FirstBlockToken != nil, b.SecondBlockToken != nil}
			}
			want := map[int32][2]bool{1: {true, true}, 3: {false, true}}
			if gone {
				want[2] = [2]bool{true, false}
			}
			if len(got) != len(want) {
				t.Errorf("got %v, want %v", got, want)
			}
			for i, w := range want {
				if got[i] != w {
					t.Errorf("block %d: %v, want %v", i, got[i], w)
				}
			}
		})
	}
}

// wantReason checks that an error is a ValidationException for a reason.
func wantReason(t *testing.T, err error, reason types.ValidationExceptionReason) {
	t.Helper()
	e, ok := errors.AsType[*types.ValidationException](err)
	if !ok || e.Reason != reason {
		t.Errorf("got %v, want reason %s", err, reason)
	}
}

func TestBlocksThatAreNotListed(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	image := disk(1)
	good := s.snapshotOf(awssim.SnapshotSpec{}, image)
	for _, c := range []struct {
		name   string
		id     *string
		first  *string
		change func(*ebs.Options)
		code   string
	}{
		{"malformed", aws.String("snap-x"), nil, nil, "ValidationException"},
		{"missing", aws.String("snap-0123456789abcdef0"), nil, nil, "ResourceNotFoundException"},
		{"pending", s.snapshotOf(awssim.SnapshotSpec{State: "pending"}, image), nil, nil, "ValidationException"},
		{"archived", s.snapshotOf(awssim.SnapshotSpec{Archived: true}, image), nil, nil, "ValidationException"},
		{"public", s.snapshotOf(awssim.SnapshotSpec{OwnerID: "999988887777"}, image), nil, nil, "AccessDeniedException"},
		{"of another volume", good, s.snapshotOf(awssim.SnapshotSpec{}, image), nil, "ValidationException"},
		{"another region", good, nil, func(o *ebs.Options) { o.Region = "eu-west-1" }, "InvalidSignatureException"},
		{"wrong secret", good, nil, func(o *ebs.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider(s.credentials().AccessKeyID, "x", "")
		}, "InvalidSignatureException"},
		{"unknown key", good, nil, func(o *ebs.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider("AKIAX", "x", "")
		}, "UnrecognizedClientException"},
	} {
		var err error
		client := s.ebsClient()
		if c.change != nil {
			client = s.ebsClient(c.change)
		}
		if c.first != nil {
			_, err = client.ListChangedBlocks(t.Context(), &ebs.ListChangedBlocksInput{FirstSnapshotId: c.first, SecondSnapshotId: c.id})
		} else {
			_, err = client.ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: c.id})
		}
		api, ok := errors.AsType[smithy.APIError](err)
		if !ok || api.ErrorCode() != c.code {
			t.Errorf("%s: got %v, want %s", c.name, err, c.code)
		}
	}
	s.DenyActions([]string{"ebs:ListSnapshotBlocks"})
	_, err := s.ebsClient().ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: good})
	if e, ok := errors.AsType[*types.AccessDeniedException](err); !ok || !bytes.Contains([]byte(e.ErrorMessage()), []byte("ebs:ListSnapshotBlocks")) {
		t.Errorf("denied: %v", err)
	}
}

func TestListsOfBlocksAreThrottled(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	id := s.snapshotOf(awssim.SnapshotSpec{}, disk(1))
	s.SetQuota("ebs:ListSnapshotBlocks", awssim.Quota{PerSecond: 0.001, Burst: 1})
	got := map[string]int{}
	for range 5 {
		_, err := s.ebsClient().ListSnapshotBlocks(context.WithoutCancel(t.Context()), &ebs.ListSnapshotBlocksInput{SnapshotId: id})
		code := ""
		if api, ok := errors.AsType[smithy.APIError](err); ok {
			code = api.ErrorCode()
		}
		got[code]++
	}
	if got[""] != 1 || got["ThrottlingException"] != 2 || got["RequestThrottleException"] != 2 {
		t.Errorf("answers %v", got)
	}
}

// What the simulator does not know it refuses.
func TestOtherCallsOfEBS(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	id := s.snapshotOf(awssim.SnapshotSpec{}, disk(1))
	_, err := s.ebsClient().GetSnapshotBlock(t.Context(), &ebs.GetSnapshotBlockInput{SnapshotId: id, BlockIndex: aws.Int32(0), BlockToken: aws.String("x")})
	if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "UnknownOperationException" {
		t.Errorf("GetSnapshotBlock: %v", err)
	}
	for _, query := range []string{"maxResults=x", "maxResults=10001", "startingBlockIndex=-1", "pageToken=x", "what=1"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Endpoint()+"/snapshots/"+*id+"/blocks?"+query, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		s.sign(req, ask{service: "ebs"})
		got, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Body.Close(); err != nil {
			t.Error(err)
		}
		if got.StatusCode != http.StatusBadRequest || got.Header.Get("X-Amzn-Errortype") != "ValidationException" {
			t.Errorf("%s: %s %s", query, got.Status, got.Header.Get("X-Amzn-Errortype"))
		}
	}
}
