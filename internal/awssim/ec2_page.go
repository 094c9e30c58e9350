package awssim

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

// ec2MaxPage is the most items that one page has (EC2 API reference, MaxResults).
const ec2MaxPage = 1000

// ec2Page is the part of a listing that a call asks for.
type ec2Page struct {
	after string // the sort key of the last item of the page before
	size  int
	query string // what the token is bound to
	all   bool   // things named by id: no pages
}

// formPage reads MaxResults and NextToken. With ids (their parameter is named)
// there are no pages, and EC2 refuses to hear of them.
func (s *Server) formPage(c *call, ids string) (ec2Page, *apiError) {
	p := ec2Page{size: s.ec2.conf.PageSize, query: queryDigest(c)}
	if ids != "" && len(formList(c.form, ids)) > 0 {
		for _, name := range []string{"MaxResults", "NextToken"} {
			if c.form.Has(name) {
				return p, ec2Error("InvalidParameterCombination", "The parameter %s cannot be used with the parameter %s", ids, name)
			}
		}
		p.all = true
		return p, nil
	}
	if c.form.Has("MaxResults") {
		n, e := formInt(c.form, "MaxResults")
		if e != nil {
			return p, e
		}
		if n < 5 {
			return p, ec2Error("InvalidParameterValue", "Value ( %d ) for parameter maxResults is invalid. Expecting a value greater than 5.", n)
		}
		p.size = min(p.size, int(n))
	}
	if !c.form.Has("NextToken") {
		return p, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(c.form.Get("NextToken"))
	query, after, ok := strings.Cut(string(raw), ":")
	if err != nil || !ok {
		return p, ec2Error("InvalidNextToken", "The token '%s' is invalid", c.form.Get("NextToken"))
	}
	if query != p.query {
		return p, ec2Error("InvalidParameterValue", "The token belongs to a request with other parameters.")
	}
	p.after = after
	return p, nil
}

// cut returns the items of a page, and the token of the next one. The items
// are in ascending order of their keys. Filters come after the cut, as they do
// at EC2 (github.com/boto/boto3 issue 1776): a page can be empty and have a
// next one.
func cut[T any](p ec2Page, items []T, key func(T) string) (page []T, token string) {
	if p.all {
		return items, ""
	}
	from := 0
	if p.after != "" {
		var found bool
		from, found = slices.BinarySearchFunc(items, p.after, func(t T, after string) int { return strings.Compare(key(t), after) })
		if found {
			from++
		}
	}
	to := min(from+p.size, len(items))
	if to < len(items) {
		token = base64.RawURLEncoding.EncodeToString([]byte(p.query + ":" + key(items[to-1])))
	}
	return items[from:to], token
}

// queryDigest names a query without its place in the pages.
func queryDigest(c *call) string {
	q := maps.Clone(c.form)
	q.Del("NextToken")
	q.Del("MaxResults")
	sum := sha256.Sum256([]byte(q.Encode()))
	return hex.EncodeToString(sum[:8])
}
