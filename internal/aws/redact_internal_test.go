package aws

import (
	"strings"
	"testing"
)

// Whatever a service says, one line comes out, without what signs requests.
func FuzzRedact(f *testing.F) {
	f.Add("x-amz-security-token:", "T0KEN", "\nhost:s3")
	f.Add("?X-Amz-Signature=", "abcdef", "&X-Amz-Date=1")
	f.Add("Encoded authorization failure message: ", "4uTx", "")
	f.Fuzz(func(t *testing.T, before, token, after string) {
		if strings.ContainsAny(redact(before+token+after), "\n\r") {
			t.Errorf("more than one line of %q", before+token+after)
		}
	})
	for _, text := range []string{
		"canonical: x-amz-security-token:T0KEN host:s3", "GET /?X-Amz-Security-Token=T0KEN&x=1",
		"Authorization: T0KEN", "encoded authorization failure message: T0KEN", "X-Amz-Credential=T0KEN",
	} {
		if got := redact(text); strings.Contains(got, "T0KEN") {
			f.Errorf("%q became %q", text, got)
		}
	}
}
