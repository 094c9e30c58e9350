package awssim

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// EC2's limits of tags (EC2 User Guide, "Tag restrictions").
const (
	maxTags     = 50 // a resource, those of aws: aside
	maxTagKey   = 128
	maxTagValue = 256
)

const awsPrefix = "aws:"

// checkNewTags refuses tags that a user may not write.
func checkNewTags(tags []formTag) *apiError {
	seen := map[string]bool{}
	for _, t := range tags {
		switch {
		case t.Key == "":
			return ec2Error("InvalidParameterValue", "Tag key cannot be null or empty.")
		case strings.HasPrefix(strings.ToLower(t.Key), awsPrefix):
			return ec2Error("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		case utf8.RuneCountInString(t.Key) > maxTagKey:
			return ec2Error("InvalidParameterValue", "Tag key exceeds the maximum length of %d characters", maxTagKey)
		case utf8.RuneCountInString(t.Value) > maxTagValue:
			return ec2Error("InvalidParameterValue", "Tag value exceeds the maximum length of %d characters", maxTagValue)
		case !xmlText(t.Key) || !xmlText(t.Value):
			return ec2Error("InvalidParameterValue", "Tag %q has characters that are not allowed", t.Key)
		case seen[t.Key]:
			return ec2Error("InvalidParameterValue", "Duplicate tag key '%s' specified.", t.Key)
		}
		seen[t.Key] = true
	}
	return nil
}

// userTags counts the tags that the limit counts.
func userTags(tags map[string]string) int {
	n := 0
	for k := range tags {
		if !strings.HasPrefix(k, awsPrefix) {
			n++
		}
	}
	return n
}

func withTags(tags map[string]string, more []formTag) (map[string]string, *apiError) {
	out := make(map[string]string, len(tags)+len(more))
	maps.Copy(out, tags)
	for _, t := range more {
		out[t.Key] = t.Value
	}
	if userTags(out) > maxTags {
		return nil, ec2Error("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
	}
	return out, nil
}

func (s *Server) createTags(c *call) (any, *apiError) {
	resources, e := s.taggable(c)
	if e != nil {
		return nil, e
	}
	tags := formTags(c.form, "")
	if len(tags) == 0 {
		return nil, ec2Error("MissingParameter", "The request must contain the parameter Tag")
	}
	if e := checkNewTags(tags); e != nil {
		return nil, e
	}
	changed := make([]map[string]string, len(resources))
	for i, r := range resources { // all or none
		if changed[i], e = withTags(r.ownTags().now, tags); e != nil {
			return nil, e
		}
	}
	for i, r := range resources {
		r.ownTags().set(changed[i], s.ec2.conf.Tags)
	}
	return nil, nil
}

// deleteTags deletes a tag given with a value only if it has that value; all
// of a user's tags if none is given (EC2 API reference, DeleteTags).
func (s *Server) deleteTags(c *call) (any, *apiError) {
	resources, e := s.taggable(c)
	if e != nil {
		return nil, e
	}
	tags := formTags(c.form, "")
	for _, t := range tags {
		if strings.HasPrefix(strings.ToLower(t.Key), awsPrefix) {
			return nil, ec2Error("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		}
	}
	for _, r := range resources {
		left := maps.Clone(r.ownTags().now)
		if len(tags) == 0 {
			maps.DeleteFunc(left, func(k, _ string) bool { return !strings.HasPrefix(k, awsPrefix) })
		}
		for _, t := range tags {
			if v, ok := left[t.Key]; ok && (!t.HasValue || t.Value == v) {
				delete(left, t.Key)
			}
		}
		r.ownTags().set(left, s.ec2.conf.Tags)
	}
	return nil, nil
}

// taggable finds the resources of a tag call; all of them must exist.
func (s *Server) taggable(c *call) ([]resource, *apiError) {
	ids := formList(c.form, "ResourceId")
	if len(ids) == 0 {
		return nil, ec2Error("MissingParameter", "The request must contain the parameter ResourceId")
	}
	if len(ids) > 1000 {
		return nil, ec2Error("InvalidParameterValue", "At most 1000 resources can be tagged in one request.")
	}
	var out []resource
	for _, id := range ids {
		r, e := s.ownResource(id)
		if e != nil {
			return nil, e
		}
		out = append(out, r)
	}
	return out, nil
}

func (s *Server) ownResource(id string) (resource, *apiError) {
	kind, rest, _ := strings.Cut(id, "-")
	missing := map[string]string{"snap": "InvalidSnapshot.NotFound", "vol": "InvalidVolume.NotFound", "i": "InvalidInstanceID.NotFound"}[kind]
	if missing == "" || !hexID(rest) {
		return nil, ec2Error("InvalidID", "The ID '%s' is not valid", id)
	}
	if kind == "vol" {
		return s.findVolume(id)
	}
	r, ok := s.ec2.byID[id]
	if snap, isSnap := r.(*snapshot); isSnap && snap.owner != s.cfg.Account {
		ok = false
	}
	if !ok {
		return nil, ec2Error(missing, "The %s ID '%s' does not exist", map[string]string{"snap": "snapshot", "i": "instance"}[kind], id)
	}
	return r, nil
}

type xmlTagDescription struct {
	ResourceID   string `xml:"resourceId"`
	ResourceType string `xml:"resourceType"`
	Key          string `xml:"key"`
	Value        string `xml:"value"`
	sortKey      string
}

func (s *Server) describeTags(c *call) (any, *apiError) {
	page, e := s.formPage(c, "")
	if e != nil {
		return nil, e
	}
	filters, e := formFilters(c.form, []string{"key", "resource-id", "resource-type", "tag:", "value"})
	if e != nil {
		return nil, e
	}
	s.settleVolumes()
	var all []xmlTagDescription
	for _, r := range s.ec2.byID {
		if snap, ok := r.(*snapshot); ok && snap.owner != s.cfg.Account {
			continue // others' tags are not shown
		}
		for k, v := range r.ownTags().view() {
			all = append(all, xmlTagDescription{r.resourceID(), r.resourceType(), k, v, r.resourceID() + " " + k})
		}
		r.ownTags().look()
	}
	slices.SortFunc(all, func(a, b xmlTagDescription) int { return strings.Compare(a.sortKey, b.sortKey) })
	items, token := cut(page, all, func(t xmlTagDescription) string { return t.sortKey })
	var answer struct {
		Tags      xmlSet[xmlTagDescription] `xml:"tagSet"`
		NextToken string                    `xml:"nextToken,omitempty"`
	}
	answer.NextToken = token
	for _, t := range items {
		if matchAll(filters, t.field) {
			answer.Tags.Items = append(answer.Tags.Items, t)
		}
	}
	return answer, nil
}

func (t xmlTagDescription) field(name string) []string {
	switch name {
	case "key":
		return []string{t.Key}
	case "value":
		return []string{t.Value}
	case "resource-id":
		return []string{t.ResourceID}
	case "resource-type":
		return []string{t.ResourceType}
	case "tag:" + t.Key:
		return []string{t.Value}
	}
	return nil
}

// formTagSpecs reads the tags that a new resource of this type gets.
func formTagSpecs(form url.Values, resourceType string) ([]formTag, *apiError) {
	var out []formTag
	for _, n := range formIndices(form, "TagSpecification") {
		at := fmt.Sprintf("TagSpecification.%d.", n)
		if got := form.Get(at + "ResourceType"); got != resourceType {
			return nil, ec2Error("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", got)
		}
		out = append(out, formTags(form, at)...)
	}
	return out, checkNewTags(out)
}
