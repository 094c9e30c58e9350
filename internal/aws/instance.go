package aws

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"snap-to-s3/internal/hint"
)

// Instance is the EC2 instance this program runs on.
type Instance struct {
	ID      string // i-…
	Region  string
	Zone    string
	Account string
}

// instanceForm is that of an instance id (EC2 user guide, "Resource IDs").
var instanceForm = regexp.MustCompile(`^i-[0-9a-f]+$`)

const instanceTimeout = 5 * time.Second

// Instance asks the instance metadata service (version 2 only) who this is. It
// takes a few seconds at most and is asked once: the answer cannot change.
func (s *Session) Instance(ctx context.Context) (Instance, error) {
	s.instanceMu.Lock()
	defer s.instanceMu.Unlock()
	if s.instance != (Instance{}) {
		return s.instance, nil
	}
	ctx, cancel := context.WithTimeout(ctx, instanceTimeout)
	defer cancel()
	client := imds.NewFromConfig(s.Config, func(o *imds.Options) {
		o.EnableFallback = awssdk.FalseTernary
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = 2 })
	})
	answer, err := client.GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		why := brief(err)
		if _, after, ok := strings.Cut(why, "getToken, "); ok {
			why = after // the SDK hides the reason in an error of its own that does not unwrap
		}
		return Instance{}, hint.Wrap(
			&explained{"ask the instance metadata service: not on an EC2 instance, or the service is blocked: " + why, err},
			"run this on an EC2 instance; in a container allow the metadata service two hops"+
				" (aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2), and leave AWS_EC2_METADATA_DISABLED unset")
	}
	found := Instance{
		ID: answer.InstanceID, Region: answer.Region, Zone: answer.AvailabilityZone, Account: answer.AccountID,
	}
	if !instanceForm.MatchString(found.ID) || !IsRegion(found.Region) || !IsRegion(found.Zone) {
		return Instance{}, hint.Wrap(
			fmt.Errorf("ask the instance metadata service: it tells of no instance, region or zone: id %q, region %q, zone %q", found.ID, found.Region, found.Zone),
			"run this on an EC2 instance; something else answers at the address of its metadata service")
	}
	s.instance = found
	return found, nil
}
