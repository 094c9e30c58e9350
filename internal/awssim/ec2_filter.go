package awssim

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// ec2Filter is one filter of a Describe call: any of its values must match.
type ec2Filter struct {
	Name   string
	Values []string
}

// maxFilterValues is EC2's limit of values over all filters of a call (API
// reference, Filter: 200).
const maxFilterValues = 200

// formFilters reads the filters of a call and checks their names against those
// that the call knows; "tag:" stands for tag:<key>.
func formFilters(form url.Values, known []string) ([]ec2Filter, *apiError) {
	var out []ec2Filter
	values := 0
	for _, n := range formIndices(form, "Filter") {
		at := fmt.Sprintf("Filter.%d.", n)
		f := ec2Filter{Name: form.Get(at + "Name"), Values: formList(form, at+"Value")}
		key, isTag := strings.CutPrefix(f.Name, "tag:")
		switch {
		case isTag && key != "" && slices.Contains(known, "tag:"):
		case f.Name != "tag:" && slices.Contains(known, f.Name):
		default:
			return nil, ec2Error("InvalidParameterValue", "The filter '%s' is invalid", f.Name)
		}
		if len(f.Values) == 0 {
			return nil, ec2Error("InvalidParameterValue", "The filter '%s' has no values", f.Name)
		}
		values += len(f.Values)
		out = append(out, f)
	}
	if values > maxFilterValues {
		return nil, ec2Error("FilterLimitExceeded", "The maximum number of filter values specified on a single call is %d", maxFilterValues)
	}
	return out, nil
}

// matchAll tells whether a resource passes all filters. field gives the values
// that it has under a filter's name.
func matchAll(filters []ec2Filter, field func(name string) []string) bool {
	for _, f := range filters {
		has := field(f.Name)
		if !slices.ContainsFunc(f.Values, func(pattern string) bool {
			return slices.ContainsFunc(has, func(v string) bool { return filterMatch(pattern, v) })
		}) {
			return false
		}
	}
	return true
}

// tagFields answers the filters tag:<key> and tag-key.
func tagFields(tags map[string]string, name string) []string {
	if key, ok := strings.CutPrefix(name, "tag:"); ok {
		if v, ok := tags[key]; ok {
			return []string{v}
		}
		return nil
	}
	var keys []string
	if name == "tag-key" {
		for k := range tags {
			keys = append(keys, k)
		}
	}
	return keys
}

// filterMatch matches as EC2's filters do: * any characters, ? one of them,
// a backslash takes the meaning from what follows. Case counts.
func filterMatch(pattern, s string) bool {
	p, t := []rune(pattern), []rune(s)
	i, j := 0, 0
	star, mark := -1, 0 // after the last *, and where in t it was tried
	for j < len(t) {
		if i < len(p) && p[i] == '*' {
			i++
			star, mark = i, j
			continue
		}
		if width, ok := matchRune(p[i:], t[j]); ok {
			i += width
			j++
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		i, j = star, mark
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// matchRune matches the head of a pattern, which is not a star, with one rune.
func matchRune(p []rune, r rune) (width int, ok bool) {
	switch {
	case len(p) == 0:
		return 0, false
	case p[0] == '\\' && len(p) > 1:
		return 2, p[1] == r
	case p[0] == '?':
		return 1, true
	default:
		return 1, p[0] == r
	}
}
