package awssim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const maxTokenLife = 6 * time.Hour // AWS EC2 user guide, "Use IMDSv2"

// imdsState is the instance metadata service: tokens given out, and the role's
// credentials.
type imdsState struct {
	mu     sync.Mutex
	tokens map[string]time.Time // until when they hold
	issued int
	role   Credential
	since  time.Time // the role's credentials are from then
}

// serveIMDS speaks IMDSv2 only, to the programs on one instance: a request without
// a token is refused.
func (s *Server) serveIMDS(instance string, w http.ResponseWriter, r *http.Request) {
	now := s.clock.time()
	line := Call{Service: "imds", Action: r.Method, Summary: r.URL.Path, Time: now, Region: s.cfg.Region}
	line.N = s.trace.number("imds", r.Method)
	fault := s.faults.ask(line)
	s.pause(r, fault.Delay)
	switch {
	case fault.Hang, fault.HangAfter:
		s.hang(r)
		s.cutIMDS(line, "hang")
	case fault.CutBefore, fault.LoseAnswer:
		s.cutIMDS(line, "cut")
	}
	status, text := s.answerIMDS(instance, w, r, now)
	if e := fault.Before; e != nil {
		line.Fault, status, text = "before", e.Status, e.Message
	}
	line.Status = status
	s.record(line)
	h := w.Header()
	h.Set("Date", httpDate(now))
	h.Set("Server", "EC2ws")
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "text/plain")
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	if _, err := w.Write([]byte(text)); err != nil {
		s.log.Debug("simulated answer not sent", "service", "imds", "err", err)
	}
}

func (s *Server) cutIMDS(line Call, how string) {
	line.Fault = how
	s.record(line)
	panic(http.ErrAbortHandler)
}

const tokenHeader = "X-Aws-Ec2-Metadata-Token"

func (s *Server) answerIMDS(instance string, w http.ResponseWriter, r *http.Request, now time.Time) (int, string) {
	if r.URL.Path == "/latest/api/token" {
		return s.newToken(w, r, now)
	}
	if r.Method != http.MethodGet {
		return http.StatusMethodNotAllowed, "405 - Method Not Allowed"
	}
	s.imdsData.mu.Lock()
	until, ok := s.imdsData.tokens[r.Header.Get(tokenHeader)]
	s.imdsData.mu.Unlock()
	if !ok || !now.Before(until) {
		return http.StatusUnauthorized, "401 - Unauthorized"
	}
	text, ok := s.metadata(instance, r.URL.Path, now)
	if !ok {
		return http.StatusNotFound, "404 - Not Found"
	}
	if strings.HasPrefix(text, "{") {
		w.Header().Set("Content-Type", "application/json")
	}
	return http.StatusOK, text
}

func (s *Server) newToken(w http.ResponseWriter, r *http.Request, now time.Time) (int, string) {
	ttl, err := strconv.Atoi(r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
	life := time.Duration(ttl) * time.Second
	switch {
	case r.Method != http.MethodPut:
		return http.StatusMethodNotAllowed, "405 - Method Not Allowed"
	case r.Header.Get("X-Forwarded-For") != "":
		return http.StatusForbidden, "403 - Forbidden"
	case err != nil || life < time.Second || life > maxTokenLife:
		return http.StatusBadRequest, "400 - Bad Request"
	}
	m := &s.imdsData
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tokens == nil {
		m.tokens = map[string]time.Time{}
	}
	m.issued++
	token := fmt.Sprintf("AWSSIM-IMDS-%044d==", m.issued)
	m.tokens[token] = now.Add(life)
	w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", strconv.Itoa(ttl))
	return http.StatusOK, token
}

// metadata is the text under a path.
func (s *Server) metadata(instance, path string, now time.Time) (string, bool) {
	c := s.cfg
	const role = "/latest/meta-data/iam/security-credentials/"
	switch path {
	case "/latest/dynamic/instance-identity/document":
		return s.identityDocument(instance), true
	case "/latest/meta-data/instance-id":
		return instance, true
	case "/latest/meta-data/instance-type":
		return instanceType, true
	case "/latest/meta-data/local-ipv4":
		return privateIP, true
	case "/latest/meta-data/placement/region":
		return c.Region, true
	case "/latest/meta-data/placement/availability-zone":
		return c.Zone, true
	case "/latest/meta-data/services/domain":
		return "amazonaws.com", true
	case "/latest/meta-data/services/partition":
		return "aws", true
	case "/latest/meta-data/iam/info":
		return mustJSON(map[string]string{
			"Code": "Success", "LastUpdated": httpTime(now),
			"InstanceProfileArn": "arn:aws:iam::" + c.Account + ":instance-profile/" + c.Role, "InstanceProfileId": "AIPAAWSSIM",
		}), true
	case role, strings.TrimSuffix(role, "/"):
		return c.Role, true
	case role + c.Role:
		return s.roleCredentials(now), true
	}
	return "", false
}

const (
	instanceType = "m6i.large"
	privateIP    = "10.0.0.10"
)

// identityDocument has the members of the real one (AWS EC2 user guide,
// "Instance identity documents").
func (s *Server) identityDocument(instance string) string {
	return mustJSON(map[string]any{
		"accountId": s.cfg.Account, "architecture": "x86_64", "availabilityZone": s.cfg.Zone, "billingProducts": nil,
		"devpayProductCodes": nil, "marketplaceProductCodes": nil, "imageId": "ami-0123456789abcdef0", "instanceId": instance,
		"instanceType": instanceType, "kernelId": nil, "pendingTime": "2026-01-01T00:00:00Z", "privateIp": privateIP,
		"ramdiskId": nil, "region": s.cfg.Region, "version": "2017-09-30",
	})
}

// roleCredentials are given out again until five minutes before they expire.
func (s *Server) roleCredentials(now time.Time) string {
	m := &s.imdsData
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Before(m.since) || now.Add(5*time.Minute).After(m.role.Expires) {
		m.role, m.since = s.issue(s.cfg.RoleLife, s.roleARN()), now
	}
	return mustJSON(map[string]string{
		"Code": "Success", "LastUpdated": httpTime(m.since), "Type": "AWS-HMAC", "AccessKeyId": m.role.AccessKeyID,
		"SecretAccessKey": m.role.SecretAccessKey, "Token": m.role.Token, "Expiration": httpTime(m.role.Expires),
	})
}

func httpTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// mustJSON marshals maps of strings, which cannot fail.
func mustJSON(v any) string {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic("awssim: marshal metadata: " + err.Error())
	}
	return string(text)
}
