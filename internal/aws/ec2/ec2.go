// Package ec2 is the list of snapshots with their tags, and temporary volumes
// made from snapshots, on Amazon EC2. It owns every EC2 call of this tool and
// the search for the device of an attached volume. It needs no more rights than
// CreateVolume, AttachVolume, DetachVolume, DeleteVolume, DescribeSnapshots,
// DescribeVolumes, DescribeInstanceAttribute, CreateTags, DescribeTags and
// DeleteTags; what holds a snapshot it also sees with DescribeImages and
// DescribeLockedSnapshots, where these are allowed. It refuses to decide what is done with a snapshot, and it never
// touches a volume that carries the owner tag of another run, unless it is told that
// this run is no more.
package ec2

import (
	"context"
	"errors"
	"fmt"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"snap-to-s3/internal/aws"
)

// Error codes of the EC2 API that change what is done next (EC2 API reference,
// "Error codes").
const (
	codeVolumeNotFound    = "InvalidVolume.NotFound"
	codeSnapshotNotFound  = "InvalidSnapshot.NotFound"
	codeSnapshotMalformed = "InvalidSnapshotID.Malformed"
	codeDeviceInUse       = "InvalidDevice.InUse"
	codeInvalidValue      = "InvalidParameterValue"
	codeIncorrectState    = "IncorrectState"
	codeVolumeInUse       = "VolumeInUse"
	codeAttachmentLimit   = "AttachmentLimitExceeded"
	codeVolumeLimit       = "VolumeLimitExceeded"
	codeIOPSLimit         = "MaxIOPSLimitExceeded"
	codeTagLimit          = "TagLimitExceeded"
)

func newClient(s *aws.Session) *awsec2.Client { return awsec2.NewFromConfig(s.Config) }

// message is what EC2 wrote beside the code.
func message(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorMessage()
	}
	return ""
}

// unclear tells whether the call may work when it is made again, which also
// means that it may have worked this time: no answer, half of one, a throttle, a
// fault of the service. Everything else is the last word.
func unclear(err error) bool {
	if aws.Status(err) >= 500 {
		return true
	}
	if c := aws.Code(err); c != "" {
		_, throttled := retry.DefaultThrottleErrorCodes[c]
		_, passing := retry.DefaultRetryableErrorCodes[c]
		return throttled || passing
	}
	if _, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		return true
	}
	return errors.Is(err, context.DeadlineExceeded) ||
		retry.RetryableConnectionError{}.IsErrorRetryable(err) == awssdk.TrueTernary
}

// outOfTimeError is the deadline of a context in words that say something to
// people.
type outOfTimeError struct{}

func (outOfTimeError) Error() string { return "the time for it was over" }
func (outOfTimeError) Unwrap() error { return context.DeadlineExceeded }

// ended says why ctx has ended.
func ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	if cause == context.DeadlineExceeded { //nolint:errorlint // with a cause of its own it says more
		return outOfTimeError{}
	}
	return cause
}

// explain says what a failure means. Where ctx has ended, that is the reason and
// not what the SDK made of it.
func explain(ctx context.Context, err error, doing string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, ended(ctx))
	}
	if _, ok := errors.AsType[*smithy.OperationError](err); !ok {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return aws.Explain(err, doing)
}

// literal makes a value match itself alone in a filter, where EC2 takes * for
// any characters and ? for one (EC2 user guide, "List and filter your
// resources").
func literal(value string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(value)
}

func filter(name, value string) types.Filter {
	return types.Filter{Name: &name, Values: []string{value}}
}

func tagMap(tags []types.Tag) map[string]string {
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		if t.Key != nil {
			v := ""
			if t.Value != nil {
				v = *t.Value
			}
			m[*t.Key] = v
		}
	}
	return m
}
