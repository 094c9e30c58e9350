package awssim

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
)

// The Security Token Service (AWS STS API reference, AssumeRole and
// GetCallerIdentity): roles of this and of other accounts, which see EC2 as that
// account does, and whose credentials are.

type roleList struct {
	mu   sync.Mutex
	arns map[string]bool
}

// AddRole adds a role that all who call may assume: arn:aws:iam::ACCOUNT:role/NAME.
// Who assumes it sees the snapshots of that account as its own.
func (s *Server) AddRole(arn string) {
	s.roles.mu.Lock()
	defer s.roles.mu.Unlock()
	if s.roles.arns == nil {
		s.roles.arns = map[string]bool{}
	}
	s.roles.arns[arn] = true
}

func (r *roleList) known(arn string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.arns[arn]
}

// account is that of whoever calls.
func (c *call) account() string {
	part := strings.Split(c.principal.arn, ":")
	if len(part) < 5 {
		return ""
	}
	return part[4]
}

var (
	roleARN     = regexp.MustCompile(`^arn:aws:iam::([0-9]{12}):role/(?:.*/)?([\w+=,.@-]+)$`)
	sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
)

func (s *Server) admitSTS(c *call) *apiError {
	if e := s.readForm(c); e != nil {
		return e
	}
	switch known := c.form.Get("Version") == "2011-06-15"; {
	case known && c.Action == "GetCallerIdentity":
		return nil // whatever policies say
	case !known || c.Action != "AssumeRole":
		return badRequest("InvalidAction", fmt.Sprintf("Could not find operation %s for version %s", c.Action, c.form.Get("Version")))
	}
	arn := c.form.Get("RoleArn")
	if !s.roles.known(arn) {
		return accessDenied(c, "sts:AssumeRole", arn, "because no role trust policy allows the sts:AssumeRole action")
	}
	return s.authorize(c, "sts:AssumeRole", arn)
}

type xmlAssumed struct {
	XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse"`
	ID      string   `xml:"AssumeRoleResult>AssumedRoleUser>AssumedRoleId"`
	ARN     string   `xml:"AssumeRoleResult>AssumedRoleUser>Arn"`
	KeyID   string   `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
	Secret  string   `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
	Token   string   `xml:"AssumeRoleResult>Credentials>SessionToken"`
	Expires string   `xml:"AssumeRoleResult>Credentials>Expiration"`
	Request string   `xml:"ResponseMetadata>RequestId"`
}

type xmlCaller struct {
	XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	ARN     string   `xml:"GetCallerIdentityResult>Arn"`
	ID      string   `xml:"GetCallerIdentityResult>UserId"`
	Account string   `xml:"GetCallerIdentityResult>Account"`
	Request string   `xml:"ResponseMetadata>RequestId"`
}

func (s *Server) serveSTS(c *call) (*response, *apiError) {
	if c.Action == "GetCallerIdentity" {
		if e := checkParams(c.form, nil); e != nil {
			return nil, e
		}
		return xmlResponse(xmlCaller{ARN: c.principal.arn, ID: "AIDAAWSSIM", Account: c.account(), Request: c.requestID})
	}
	if e := checkParams(c.form, []string{"DurationSeconds", "RoleArn", "RoleSessionName"}); e != nil {
		return nil, e
	}
	role, name := roleARN.FindStringSubmatch(c.form.Get("RoleArn")), c.form.Get("RoleSessionName")
	if role == nil || !sessionName.MatchString(name) {
		return nil, badRequest("ValidationError", "The role or the name of the session is malformed.")
	}
	arn := "arn:aws:sts::" + role[1] + ":assumed-role/" + role[2] + "/" + name
	life := 3600 * time.Second
	if c.form.Has("DurationSeconds") {
		n, e := formInt(c.form, "DurationSeconds")
		if e != nil {
			return nil, e
		}
		if n < 900 || n > 43200 {
			return nil, badRequest("ValidationError", "The duration must be 900 to 43200 seconds.")
		}
		life = time.Duration(n) * time.Second
	}
	got := s.issue(life, arn)
	return xmlResponse(xmlAssumed{
		ID: "AROAAWSSIM:" + name, ARN: arn, KeyID: got.AccessKeyID, Secret: got.SecretAccessKey, Token: got.Token,
		Expires: got.Expires.UTC().Format(time.RFC3339), Request: c.requestID,
	})
}

// stsErrorBody is the error document of STS.
func stsErrorBody(c *call, e *apiError) ([]byte, error) {
	var text bytes.Buffer
	err := xml.NewEncoder(&text).Encode(struct {
		XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
		Type    string   `xml:"Error>Type"`
		Code    string   `xml:"Error>Code"`
		Message string   `xml:"Error>Message"`
		Request string   `xml:"RequestId"`
	}{Type: "Sender", Code: e.Code, Message: e.Message, Request: c.requestID})
	return text.Bytes(), err
}
