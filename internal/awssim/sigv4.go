package awssim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signature version 4 in the Authorization header (AWS IAM user guide, "Create
// a signed AWS API request"; Amazon S3 API reference, "Authenticating Requests:
// Using the Authorization Header").

const (
	sigAlgorithm = "AWS4-HMAC-SHA256"
	sigTime      = "20060102T150405Z"
	maxSkew      = 15 * time.Minute
)

// authorization is a parsed Authorization header.
type authorization struct {
	keyID, date, region, service string
	signed                       []string
	signature                    string
}

func (a authorization) scope() string {
	return a.date + "/" + a.region + "/" + a.service + "/aws4_request"
}

// parseAuthorization reads the header. Its error says which piece is wrong.
func parseAuthorization(header string) (authorization, error) {
	var a authorization
	rest, ok := strings.CutPrefix(header, sigAlgorithm+" ")
	if !ok {
		return a, fmt.Errorf("the algorithm is not %s", sigAlgorithm)
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if _, twice := fields[name]; !ok || twice {
			return a, fmt.Errorf("the field %q is malformed or repeated", name)
		}
		fields[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if fields[name] == "" {
			return a, fmt.Errorf("the field %s is missing", name)
		}
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[4] != "aws4_request" {
		return a, fmt.Errorf("the Credential %q is not <key>/YYYYMMDD/REGION/SERVICE/aws4_request", fields["Credential"])
	}
	a.keyID, a.date, a.region, a.service = scope[0], scope[1], scope[2], scope[3]
	a.signed = strings.Split(fields["SignedHeaders"], ";")
	a.signature = fields["Signature"]
	if !slices.IsSorted(a.signed) {
		return a, fmt.Errorf("the SignedHeaders are not sorted")
	}
	return a, nil
}

// verify checks who signed the call, over payloadHash, and fills region and
// principal. Its errors are those of the call's service.
func (s *Server) verify(c *call, payloadHash string) *apiError {
	refuse := s3AuthError
	switch c.Service {
	case "ec2":
		refuse = ec2AuthError
	case "ebs":
		refuse = ebsAuthError
	}
	header := c.req.Header.Get("Authorization")
	if header == "" {
		return refuse(authMissing, "")
	}
	a, err := parseAuthorization(header)
	if err != nil {
		return refuse(authMalformed, err.Error())
	}
	if a.service != c.Service {
		return refuse(authMalformed, fmt.Sprintf("incorrect service %q. This endpoint belongs to %q", a.service, c.Service))
	}
	c.region = a.region
	known, ok := s.creds.find(a.keyID)
	if !ok || (known.Token != "" && c.req.Header.Get("X-Amz-Security-Token") == "") {
		return refuse(authUnknownKey, a.keyID)
	}
	stamp := c.req.Header.Get("X-Amz-Date")
	signedAt, err := time.Parse(sigTime, stamp)
	if err != nil || !strings.HasPrefix(stamp, a.date) {
		return refuse(authMalformed, "the X-Amz-Date "+stamp+" is no date, or not that of the Credential")
	}
	if c.now.Sub(signedAt).Abs() > maxSkew {
		return refuse(authSkewed, isoTime(signedAt)+" "+isoTime(c.now))
	}
	if names := unsignedHeaders(c.req, a.signed); len(names) > 0 {
		return refuse(authUnsigned, strings.Join(names, ", "))
	}
	canonical := canonicalRequest(c.req, a.signed, payloadHash)
	toSign := strings.Join([]string{sigAlgorithm, stamp, a.scope(), hexSHA256([]byte(canonical))}, "\n")
	if !hmac.Equal([]byte(hex.EncodeToString(sign(signingKey(known.SecretAccessKey, a), toSign))), []byte(a.signature)) {
		return refuse(authMismatch, canonical)
	}
	if token := c.req.Header.Get("X-Amz-Security-Token"); token != known.Token {
		return refuse(authBadToken, "")
	}
	if known.Token != "" && !c.now.Before(known.Expires) {
		return refuse(authExpired, "")
	}
	c.principal = known.principal
	return nil
}

func signingKey(secret string, a authorization) []byte {
	key := []byte("AWS4" + secret)
	for _, part := range []string{a.date, a.region, a.service, "aws4_request"} {
		key = sign(key, part)
	}
	return key
}

func sign(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// unsignedHeaders are those that must be signed where present and are not.
func unsignedHeaders(r *http.Request, signed []string) []string {
	var missing []string
	if !slices.Contains(signed, "host") {
		missing = append(missing, "host")
	}
	for name := range r.Header {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-") && !slices.Contains(signed, name) {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}

func canonicalRequest(r *http.Request, signed []string, payloadHash string) string {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + canonicalPath(r) + "\n" + canonicalQuery(r.URL.RawQuery) + "\n")
	for _, name := range signed {
		b.WriteString(name + ":" + canonicalHeader(r, name) + "\n")
	}
	b.WriteString("\n" + strings.Join(signed, ";") + "\n" + payloadHash)
	return b.String()
}

// canonicalPath is the path encoded once, as S3 wants it; EC2's is only "/".
func canonicalPath(r *http.Request) string {
	path := r.URL.Path
	if path == "" {
		path = "/"
	}
	return awsEscape(path, "/")
}

func canonicalQuery(raw string) string {
	var pairs []string
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		n, errName := url.QueryUnescape(name)
		v, errValue := url.QueryUnescape(value)
		if errName != nil || errValue != nil {
			n, v = name, value // signed over something that is no query: it will not match
		}
		pairs = append(pairs, awsEscape(n, "")+"="+awsEscape(v, ""))
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

func canonicalHeader(r *http.Request, name string) string {
	values := r.Header.Values(name)
	switch {
	case name == "host":
		values = []string{r.Host}
	case name == "content-length" && len(values) == 0:
		values = []string{strconv.FormatInt(r.ContentLength, 10)}
	case name == "transfer-encoding" && len(values) == 0:
		values = r.TransferEncoding
	}
	trimmed := make([]string, len(values))
	for i, v := range values {
		v = strings.Trim(v, " \t")
		for strings.Contains(v, "  ") {
			v = strings.ReplaceAll(v, "  ", " ")
		}
		trimmed[i] = v
	}
	return strings.Join(trimmed, ",")
}

// awsEscape is UriEncode of the signing documents: all but unreserved characters.
func awsEscape(s, keep string) string {
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(unreserved, s[i]) >= 0 || strings.IndexByte(keep, s[i]) >= 0 {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}
