package awssim

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// policy is the one identity-based policy of all who call: actions, with * and
// ?, on every resource.
type policy struct {
	mu      sync.Mutex
	limited bool
	allowed []string
	denied  []string
}

// SetPolicy allows these actions only ("s3:PutObject", "ec2:Describe*"). Nil
// allows all. Resources are not told apart; a Bucket can refuse by itself.
func (s *Server) SetPolicy(actions []string) {
	s.iam.mu.Lock()
	defer s.iam.mu.Unlock()
	s.iam.limited, s.iam.allowed = actions != nil, append([]string(nil), actions...)
}

// DenyActions refuses these actions whatever SetPolicy allows. Nil ends it.
func (s *Server) DenyActions(actions []string) {
	s.iam.mu.Lock()
	defer s.iam.mu.Unlock()
	s.iam.denied = append([]string(nil), actions...)
}

// refusal is why an action is not allowed, "" if it is.
func (p *policy) refusal(action string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case anyMatch(p.denied, action):
		return "with an explicit deny in an identity-based policy"
	case p.limited && !anyMatch(p.allowed, action):
		return "because no identity-based policy allows the " + action + " action"
	}
	return ""
}

// authorize checks one IAM action and returns the service's own kind of error.
func (s *Server) authorize(c *call, action, resource string) *apiError {
	why := s.iam.refusal(action)
	if why == "" {
		return nil
	}
	return accessDenied(c, action, resource, why)
}

// accessDenied has the texts of EC2 and S3 since they began to name user and
// action (AWS IAM user guide, "Troubleshoot access denied error messages").
func accessDenied(c *call, action, resource, why string) *apiError {
	text := fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s %s", c.principal.arn, action, resource, why)
	if c.Service == "ec2" {
		sum := sha256.Sum256([]byte(c.requestID + text))
		return &apiError{
			Status: http.StatusForbidden, Code: "UnauthorizedOperation",
			Message: "You are not authorized to perform this operation. " + text +
				". Encoded authorization failure message: " + strings.Repeat(base64.RawURLEncoding.EncodeToString(sum[:]), 6),
		}
	}
	if c.Service == "ebs" {
		return &apiError{Status: http.StatusForbidden, Code: "AccessDeniedException", Message: text}
	}
	text = strings.Replace(text, resource, `"`+resource+`"`, 1)
	return &apiError{Status: http.StatusForbidden, Code: "AccessDenied", Message: text}
}

func anyMatch(patterns []string, action string) bool {
	for _, p := range patterns {
		if wildcard(strings.ToLower(p), strings.ToLower(action)) {
			return true
		}
	}
	return false
}

// wildcard matches as IAM does: * is any run of characters, ? any one.
func wildcard(pattern, s string) bool {
	for len(pattern) > 0 {
		switch {
		case pattern[0] == '*':
			for i := 0; i <= len(s); i++ {
				if wildcard(pattern[1:], s[i:]) {
					return true
				}
			}
			return false
		case s == "" || pattern[0] != '?' && pattern[0] != s[0]:
			return false
		}
		pattern, s = pattern[1:], s[1:]
	}
	return s == ""
}
