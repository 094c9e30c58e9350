package s3

import (
	"fmt"
	"regexp"
	"strings"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
)

// explain is for errors of any call on the bucket.
func (s *Store) explain(err error, doing string) error {
	if err == nil {
		return nil
	}
	if aws.Code(err) == "NoSuchBucket" {
		next := "check --bucket and --endpoint-url, or make it: aws s3 mb " + quote("s3://"+s.bucket)
		if !newBucket.MatchString(s.bucket) {
			next = "check --bucket: only buckets made before March 2018 have such a name; one to make has 3 to 63 of a to z, 0 to 9, dot and dash, with a letter or digit at each end"
		}
		return hint.Wrap(fmt.Errorf("%s: %w: %s", doing, ErrNoBucket, s.bucket), next)
	}
	if region := otherRegion(err); region != "" {
		return fmt.Errorf("%s: the bucket is in region %s, which could not be used: %w", doing, region,
			aws.ExplainWith(err, "S3 says", "name the region: --region "+region))
	}
	return aws.Explain(err, doing)
}

// newBucket is the rule for the names of buckets today (S3 user guide, "General purpose
// bucket naming rules").
var newBucket = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// explain is for errors of writing the object: it knows what was asked for.
func (u *upload) explain(err error, doing string) error {
	if err == nil {
		return nil
	}
	doing = doing + " in bucket " + u.store.bucket
	if aboutKMS(err) {
		next := "allow kms:GenerateDataKey and, for objects of several parts, kms:Decrypt on that key" +
			" (in these credentials' policy and in the key's own), and check that the key is enabled and in the bucket's region"
		if aws.Code(err) == "KMS.NotFoundException" {
			next = "no such key in the bucket's region: check --sse-kms-key-id, where a key of another account needs its ARN; aws kms list-keys shows this account's"
		}
		return fmt.Errorf("%s: KMS refuses the use of %s: %w", doing, u.kmsKey(), aws.ExplainWith(err, "S3 says", next))
	}
	switch aws.Code(err) {
	case "NoSuchUpload":
		return hint.Wrap(fmt.Errorf("%s: the upload %s is gone", doing, u.id),
			"somebody or a lifecycle rule (AbortIncompleteMultipartUpload) removed it: give that rule more days than the longest job takes, and run the command again")
	case "AccessDenied":
		if len(u.options.Tags) > 0 && !strings.Contains(err.Error(), "not authorized to perform") {
			return aws.ExplainWith(err, doing,
				"allow s3:PutObject and, for the object's tags, s3:PutObjectTagging on "+u.store.bucket+"/*")
		}
	case "InvalidStorageClass":
		return aws.ExplainWith(err, doing, "choose a --storage-class that this store has")
	}
	return u.store.explain(err, doing)
}

func (u *upload) kmsKey() string {
	switch {
	case u.options.Encryption.KMSKeyID != "":
		return "key " + u.options.Encryption.KMSKeyID
	case u.options.Encryption.Mode == "aws:kms":
		return "the account's key for S3 (aws/s3)"
	default:
		return "the bucket's default key"
	}
}

// aboutKMS finds refusals of the key service, which S3 passes on under a code
// of its own ("KMS.DisabledException") or as AccessDenied with its text.
func aboutKMS(err error) bool {
	code := aws.Code(err)
	return strings.HasPrefix(code, "KMS.") || code == "AccessDenied" && kmsRefusal.MatchString(err.Error())
}

// The second is how S3 says it without naming an action.
var kmsRefusal = regexp.MustCompile(`\bkms:[A-Z][A-Za-z]+|refers to a customer master key`)

// look is the command that shows the object.
func (u *upload) look() string {
	return "aws s3api head-object --bucket " + quote(u.store.bucket) + " --key " + quote(u.key) + u.where()
}

// where is what a command needs to reach the bucket as we do.
func (u *upload) where() string {
	options := u.store.client.Load().Options()
	where := ""
	if options.BaseEndpoint != nil {
		where = " --endpoint-url " + quote(*options.BaseEndpoint)
	}
	return where + " --region " + quote(options.Region)
}

// leftUpload says that an upload stays and is paid for, and how to end it.
func (u *upload) leftUpload(err error) error {
	command := "aws s3api abort-multipart-upload --bucket " + quote(u.store.bucket) +
		" --key " + quote(u.key) + " --upload-id " + quote(u.id) + u.where()
	return &objstore.LeftBehindError{
		Thing:   fmt.Sprintf("multipart upload %s of %s in bucket %s", u.id, u.key, u.store.bucket),
		Command: command,
		Err:     aws.ExplainWith(err, "abort it", "its parts are billed until it is removed: "+command),
	}
}

// quote makes one word of a POSIX shell.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
