// Package aws is this tool's way to AWS: configuration, one retry policy and
// one connection policy for all clients, AWS's time, who this instance is, and
// errors that a person can act on. It makes no call of EC2 or S3 itself: its
// sub-packages do, with the clients they make from a Session.
package aws

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"

	"snap-to-s3/internal/hint"
)

// Options says how AWS is reached. What is left empty comes from where the AWS
// CLI takes it: environment, profile, instance role.
type Options struct {
	Region     string
	Profile    string // of the shared configuration files
	RoleARN    string // a role that is assumed with the credentials found
	S3Endpoint string // URL of another S3; S3 clients take it from the Session
	Log        *slog.Logger

	// Stall is how long a connection may move no byte before it is given up.
	// 0: half a minute, and a minute for a request with a large body.
	Stall time.Duration
	// MaxBackoff bounds the wait before a retry. 0: 20 seconds.
	MaxBackoff time.Duration
}

// Session is what all clients of a run share. It is safe for concurrent use.
type Session struct {
	// Config is for making clients of services: it carries the policies.
	Config awssdk.Config
	// S3Endpoint is the URL given in Options, or "".
	S3Endpoint string

	log       *slog.Logger
	stall     time.Duration // of calls without a large body
	bodyStall time.Duration // of those with one
	retryer   *retryer
	clock     clock

	instanceMu sync.Mutex
	instance   Instance // once known
}

// Load reads the configuration. It asks the network for nothing, unless neither
// options nor environment nor profile name a region: then the instance's own is
// taken.
func Load(ctx context.Context, o Options) (*Session, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	bodyStall := o.Stall
	if o.Stall == 0 {
		o.Stall, bodyStall = usualStall, largeStall
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = 20 * time.Second
	}
	s := &Session{S3Endpoint: o.S3Endpoint, log: o.Log, stall: o.Stall, bodyStall: bodyStall}
	s.retryer = newRetryer(o.MaxBackoff, s.again)
	load := []func(*config.LoadOptions) error{
		config.WithHTTPClient(newHTTPClient(o.Stall)),
		config.WithAPIOptions([]func(*middleware.Stack) error{s.observe}),
		config.WithLogger(sdkLogger(o.Log)),
	}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(o.Profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, hint.Wrap(&explained{"read the AWS configuration: " + strconvNoise.ReplaceAllString(redact(err.Error()), ""), err},
			"check AWS_PROFILE, AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE, AWS_CA_BUNDLE, and what else of AWS_... the error names")
	}
	// Set here and not while loading: AWS_CA_BUNDLE needs the SDK's own client.
	cfg.HTTPClient = plainBodies{cfg.HTTPClient, bodyStall}
	// Likewise: there it would hide AWS_MAX_ATTEMPTS.
	cfg.Retryer = func() awssdk.Retryer { return s.retryer }
	s.Config = cfg
	if cfg.Region == "" {
		instance, err := s.Instance(ctx)
		if err != nil {
			return nil, hint.Wrap(fmt.Errorf("no AWS region is configured, and this instance's is unknown: %v", err),
				"name it: --region, AWS_REGION, or region in the profile")
		}
		s.Config.Region = instance.Region
	}
	if !IsRegion(s.Config.Region) {
		return nil, hint.Wrap(fmt.Errorf("%q is not the name of a region", s.Config.Region), hintRegion)
	}
	if o.RoleARN != "" {
		s.Config.Credentials = awssdk.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(s.Config), o.RoleARN,
			func(r *stscreds.AssumeRoleOptions) { r.RoleSessionName = "snap-to-s3" }))
	}
	return s, nil
}

// AccountID is the account that the credentials say they are of; empty where
// they do not say: those of a user, in most cases.
func (s *Session) AccountID(ctx context.Context) (string, error) {
	c, err := s.Config.Credentials.Retrieve(ctx)
	if err != nil {
		return "", Explain(err, "get credentials for AWS")
	}
	return c.AccountID, nil
}

// AskAccountID asks AWS whose the credentials are. It needs no right (AWS STS API
// reference, GetCallerIdentity).
func (s *Session) AskAccountID(ctx context.Context) (string, error) {
	caller, err := sts.NewFromConfig(s.Config).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", Explain(err, "ask whose the credentials are")
	}
	return awssdk.ToString(caller.Account), nil
}

// strconvNoise is what Go's parsers put before what they found.
var strconvNoise = regexp.MustCompile(`strconv\.[A-Za-z]+: `)

// Retries is how many attempts of this session's calls were repetitions.
func (s *Session) Retries() int64 { return s.retryer.count.Load() }

// sdkLogger passes what the SDK has to say to the debug log: by default it
// writes to stderr, through progress bars and JSON alike.
func sdkLogger(log *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(_ logging.Classification, format string, v ...any) {
		log.Debug("aws sdk", "text", redact(fmt.Sprintf(format, v...)))
	})
}
