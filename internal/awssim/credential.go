package awssim

import (
	"fmt"
	"sync"
	"time"
)

// The access key that Env gives out: a made-up long-lived one.
const (
	staticKeyID  = "AKIAAWSSIMSANDBOX000"
	staticSecret = "awssim/not+a+secret/only/for/the/sandbox"
)

// Credential is an access key that the server knows. With a Token it is a
// temporary one: the token must come with each call until Expires.
type Credential struct {
	AccessKeyID, SecretAccessKey string
	Token                        string
	Expires                      time.Time
}

// Env is the environment of a program that holds this credential.
func (c Credential) Env() []string {
	env := []string{"AWS_ACCESS_KEY_ID=" + c.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey}
	if c.Token != "" {
		env = append(env, "AWS_SESSION_TOKEN="+c.Token)
	}
	return env
}

// principal is who a call is from.
type principal struct{ arn string }

type knownCredential struct {
	Credential
	principal principal
}

type credentials struct {
	mu     sync.Mutex
	byID   map[string]knownCredential
	issued int
}

func (k *credentials) add(c Credential, arn string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byID == nil {
		k.byID = map[string]knownCredential{}
	}
	k.byID[c.AccessKeyID] = knownCredential{c, principal{arn}}
}

func (k *credentials) find(id string) (knownCredential, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, ok := k.byID[id]
	return c, ok
}

// TemporaryCredential makes a session of the static user that expires by the
// server's clock.
func (s *Server) TemporaryCredential(life time.Duration) Credential {
	return s.issue(life, s.userARN())
}

// RevokeCredential makes the server forget a key, the static one included.
func (s *Server) RevokeCredential(accessKeyID string) {
	s.creds.mu.Lock()
	defer s.creds.mu.Unlock()
	delete(s.creds.byID, accessKeyID)
}

func (s *Server) issue(life time.Duration, arn string) Credential {
	s.creds.mu.Lock()
	s.creds.issued++
	n := s.creds.issued
	s.creds.mu.Unlock()
	c := Credential{
		AccessKeyID:     fmt.Sprintf("ASIAAWSSIM%010d", n),
		SecretAccessKey: fmt.Sprintf("awssim/session/secret/%018d", n),
		Token:           fmt.Sprintf("awssim//session+token/%d/==", n),
		Expires:         s.clock.time().Add(life).Truncate(time.Second),
	}
	s.creds.add(c, arn)
	return c
}

func (s *Server) userARN() string { return "arn:aws:iam::" + s.cfg.Account + ":user/sandbox" }

func (s *Server) roleARN() string {
	return "arn:aws:sts::" + s.cfg.Account + ":assumed-role/" + s.cfg.Role + "/" + s.cfg.InstanceID
}
