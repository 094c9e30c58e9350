package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/s3"
)

// Prices are Amazon's where the bucket is, whoever names the endpoint.
func TestWhosePrices(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_CONFIG_FILE": "/dev/null",
		"AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL_S3": "", "AWS_ENDPOINT_URL": "",
	} {
		t.Setenv(name, value)
	}
	store := func(name string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Server", name)
			w.Header().Set("X-Amz-Bucket-Region", "eu-west-1") // others do that too
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `<Error><Code>NoSuchKey</Code><Message>none</Message></Error>`)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	amazon, other := store("AmazonS3"), store("VERSITYGW")
	for name, c := range map[string]struct {
		flag, env string
		asked     bool
		want      bool
	}{
		"Amazon's own":                      {want: true},
		"Amazon's, by the flag":             {flag: "https://s3.us-east-1.amazonaws.com", want: true},
		"another store, by the environment": {env: other, asked: true},
		"another store, by the flag":        {flag: other, asked: true},
		"a proxy of S3, by the flag":        {flag: amazon, asked: true},
		"a proxy of S3, by the environment": {env: amazon, asked: true, want: true},
		"a proxy of S3 that was not asked":  {env: amazon},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_ENDPOINT_URL_S3", c.env)
			session, err := aws.Load(t.Context(), aws.Options{Region: "us-east-1", S3Endpoint: c.flag})
			if err != nil {
				t.Fatal(err)
			}
			s, err := s3.New(session, testBucket, s3.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if c.asked {
				if _, err := s.Region(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := amazonsPrices(s, MigrateOptions{EndpointURL: c.flag}); got != c.want {
				t.Errorf("Amazon's prices: %v, want %v", got, c.want)
			}
		})
	}
}
