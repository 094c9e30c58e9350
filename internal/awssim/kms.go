package awssim

import (
	"net/http"
	"strings"
	"sync"
)

// KMSKey is a key that S3 can encrypt with.
type KMSKey struct {
	ID       string   // key id
	Region   string   // default Config.Region
	Alias    string   // "alias/…", if any
	Deny     []string // KMS actions that its policy refuses: "kms:GenerateDataKey", "kms:*"
	Disabled bool
}

type keyring struct {
	mu   sync.Mutex
	keys []KMSKey
}

// AddKMSKey makes a key known, or changes the one of that id and region.
func (s *Server) AddKMSKey(k KMSKey) {
	if k.Region == "" {
		k.Region = s.cfg.Region
	}
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	for i, old := range s.keys.keys {
		if old.ID == k.ID && old.Region == k.Region {
			s.keys.keys[i] = k
			return
		}
	}
	s.keys.keys = append(s.keys.keys, k)
}

func (s *Server) kmsARN(region, id string) string {
	if strings.HasPrefix(id, "arn:") {
		return id
	}
	if !strings.HasPrefix(id, "alias/") {
		id = "key/" + id
	}
	return "arn:aws:kms:" + region + ":" + s.cfg.Account + ":" + id
}

// managedKey is the account's own S3 key, which every region has.
const (
	managedKey   = "alias/aws/s3"
	managedKeyID = "00000000-0000-4000-8000-0000000000f3"
)

// useKey checks that the caller may use a key as S3 does for him, and returns
// its ARN. The name is an id, an ARN or an alias; empty is the S3 key.
func (s *Server) useKey(c *call, region, name, action string) (string, *apiError) {
	managed := s.kmsARN(region, managedKeyID)
	if name == "" || name == managedKey || name == managed {
		return managed, nil
	}
	wanted := s.kmsARN(region, name)
	if fields := strings.Split(wanted, ":"); len(fields) != 6 || fields[3] != region {
		return "", &apiError{Status: http.StatusBadRequest, Code: "KMS.NotFoundException", Message: "Invalid arn " + region}
	}
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	for _, k := range s.keys.keys {
		arn := s.kmsARN(k.Region, k.ID)
		if wanted != arn && (k.Alias == "" || wanted != s.kmsARN(k.Region, k.Alias)) {
			continue
		}
		switch {
		case k.Disabled:
			return "", &apiError{Status: http.StatusBadRequest, Code: "KMS.DisabledException", Message: arn + " is disabled."}
		case anyMatch(k.Deny, action):
			return "", kmsDenied(c.principal, action, arn)
		}
		return arn, nil
	}
	return "", &apiError{Status: http.StatusBadRequest, Code: "KMS.NotFoundException", Message: "Key '" + wanted + "' does not exist"}
}

func kmsDenied(p principal, action, arn string) *apiError {
	return &apiError{
		Status: http.StatusForbidden, Code: "AccessDenied",
		Message: "User: " + p.arn + " is not authorized to perform: " + action + " on resource: " + arn +
			" because no resource-based policy allows the " + action + " action",
	}
}
