package awssim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// EBSConfig is how the EBS direct APIs list blocks. The zero value of a field
// means its default.
type EBSConfig struct {
	PageSize  int           // most blocks of a page, whatever MaxResults says; default and maximum 10,000
	Empty     int           // so many empty pages come before each that has blocks
	TokenLife time.Duration // of the token of a page; default 1 h
	// ListGone lists a block that only the first of two snapshots holds as
	// changed. Whether AWS does is not documented.
	ListGone bool
}

const (
	ebsMaxPage   = 10_000 // EBS direct APIs reference, MaxResults
	ebsMinPage   = 100    // less is taken for it
	ebsTokenLife = time.Hour
	ebsBlockLife = 7 * 24 * time.Hour // of the tokens of blocks
	ebsContent   = "application/json"
)

func (c EBSConfig) withDefaults() EBSConfig {
	if c.PageSize <= 0 || c.PageSize > ebsMaxPage {
		c.PageSize = ebsMaxPage
	}
	if c.TokenLife == 0 {
		c.TokenLife = ebsTokenLife
	}
	return c
}

// ebsCall is what a call of the EBS direct APIs is about.
type ebsCall struct {
	snapshot string // in the path
	first    string // with which it is compared
	query    url.Values
}

// admitEBS finds out what a call is by its path (EBS direct APIs reference).
func (s *Server) admitEBS(c *call) *apiError {
	if e := s.verify(c, hexSHA256(nil)); e != nil {
		return e
	}
	if c.region != s.cfg.Region {
		return ebsAuthError(authMismatch, "")
	}
	c.ebs.query = c.req.URL.Query()
	rest, ok := strings.CutPrefix(c.req.URL.Path, "/snapshots/")
	id, list, _ := strings.Cut(rest, "/")
	switch {
	case ok && list == "blocks" && c.req.Method == http.MethodGet:
		c.Action = "ListSnapshotBlocks"
	case ok && list == "changedblocks" && c.req.Method == http.MethodGet:
		c.Action = "ListChangedBlocks"
		c.ebs.first = c.ebs.query.Get("firstSnapshotId")
	default:
		return &apiError{Status: http.StatusNotFound, Code: "UnknownOperationException", Message: "The simulator knows no " + c.req.Method + " of " + c.req.URL.Path}
	}
	c.ebs.snapshot = id
	c.summary = strings.TrimSpace(c.ebs.first + " " + id)
	return s.authorize(c, "ebs:"+c.Action, "arn:aws:ec2:"+s.cfg.Region+"::snapshot/"+id)
}

// ebsBlock is an element of both lists; a token that is absent is not sent.
type ebsBlock struct {
	BlockIndex       int64
	BlockToken       string `json:",omitempty"`
	FirstBlockToken  string `json:",omitempty"`
	SecondBlockToken string `json:",omitempty"`
}

type ebsAnswer struct {
	Blocks        *[]ebsBlock `json:",omitempty"`
	ChangedBlocks *[]ebsBlock `json:",omitempty"`
	ExpiryTime    float64     // seconds since 1970
	VolumeSize    int64       // GiB
	BlockSize     int
	NextToken     string `json:",omitempty"`
}

func (s *Server) serveEBS(c *call) (*response, *apiError) {
	known := []string{"maxResults", "pageToken", "startingBlockIndex"}
	if c.Action == "ListChangedBlocks" {
		known = append(known, "firstSnapshotId")
	}
	page, e := s.ebsPage(c, known)
	if e != nil {
		return nil, e
	}
	snap, e := s.ebsSnapshot(c.ebs.snapshot)
	if e != nil {
		return nil, e
	}
	answer := ebsAnswer{
		ExpiryTime: float64(c.now.Add(ebsBlockLife).UnixMilli()) / 1000, VolumeSize: snap.SizeGiB, BlockSize: imageBlock,
	}
	var blocks []ebsBlock
	if c.Action == "ListChangedBlocks" {
		answer.ChangedBlocks = &blocks
		if blocks, e = s.changedBlocks(c, snap); e != nil {
			return nil, e
		}
	} else {
		answer.Blocks = &blocks
		blocks = snapshotBlocks(snap)
	}
	blocks, answer.NextToken = page.cut(blocks)
	c.tokens(blocks)
	text, err := json.Marshal(answer)
	if err != nil {
		return nil, ebsInternalError(err)
	}
	return &response{
		status: http.StatusOK, header: http.Header{"Content-Type": {ebsContent}}, body: io.NopCloser(bytes.NewReader(text)), length: int64(len(text)),
	}, nil
}

// ebsSnapshot finds a snapshot whose blocks can be listed (EBS user guide, "Read
// snapshots with EBS direct APIs": completed, in the standard tier, not public).
func (s *Server) ebsSnapshot(id string) (*snapshot, *apiError) {
	if rest, ok := strings.CutPrefix(id, "snap-"); !ok || !hexID(rest) {
		return nil, ebsInvalid("INVALID_SNAPSHOT_ID", "The snapshot id '%s' is malformed.", id)
	}
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	snap, ok := s.ec2.byID[id].(*snapshot)
	switch {
	case !ok:
		return nil, &apiError{
			Status: http.StatusNotFound, Code: "ResourceNotFoundException", Message: "The snapshot '" + id + "' does not exist.",
			Detail: []detail{{"Reason", "SNAPSHOT_NOT_FOUND"}},
		}
	case snap.owner != s.cfg.Account:
		return nil, &apiError{
			Status: http.StatusForbidden, Code: "AccessDeniedException", Message: "The account may not read the snapshot '" + id + "'.",
			Detail: []detail{{"Reason", "UNAUTHORIZED_ACCOUNT"}},
		}
	case snap.State != "completed":
		return nil, ebsInvalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is not in the 'completed' state.", id)
	case snap.Archived:
		return nil, ebsInvalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is archived.", id)
	}
	return snap, nil
}

func ebsInvalid(reason, format string, args ...any) *apiError {
	return &apiError{
		Status: http.StatusBadRequest, Code: "ValidationException", Message: fmt.Sprintf(format, args...), Detail: []detail{{"Reason", reason}},
	}
}

func ebsInternalError(err error) *apiError {
	return &apiError{Status: http.StatusInternalServerError, Code: "InternalServerException", Message: err.Error()}
}

// ebsThrottled has both codes and their reasons (EBS user guide, "Error retries").
func ebsThrottled(n int) *apiError {
	if n%2 == 1 {
		return &apiError{
			Status: http.StatusBadRequest, Code: "ThrottlingException", Message: "Rate exceeded", Detail: []detail{{"Reason", "ACCOUNT_THROTTLED"}},
		}
	}
	return &apiError{
		Status: http.StatusBadRequest, Code: "RequestThrottleException", Message: "Rate exceeded", Detail: []detail{{"Reason", "RESOURCE_LEVEL_THROTTLE"}},
	}
}

// ebsAuthError has the codes that the REST services have in common (EBS direct
// APIs reference, "Common Errors").
func ebsAuthError(p authProblem, _ string) *apiError {
	forbidden := func(code, message string) *apiError {
		return &apiError{Status: http.StatusForbidden, Code: code, Message: message}
	}
	switch p {
	case authMissing:
		return forbidden("MissingAuthenticationTokenException", "Missing Authentication Token")
	case authMalformed, authUnsigned:
		return forbidden("IncompleteSignatureException", "The signature is incomplete.")
	case authUnknownKey, authBadToken:
		return forbidden("UnrecognizedClientException", "The security token included in the request is invalid.")
	case authExpired:
		return forbidden("ExpiredTokenException", "The security token included in the request is expired")
	case authSkewed:
		return forbidden("InvalidSignatureException", "Signature expired: it is not of now")
	default:
		return forbidden("InvalidSignatureException", "The request signature we calculated does not match the signature you provided.")
	}
}

func ebsErrorBody(_ *call, e *apiError) ([]byte, error) {
	body := map[string]string{"Message": e.Message}
	for _, d := range e.Detail {
		body[d.Name] = d.Value
	}
	return json.Marshal(body)
}
