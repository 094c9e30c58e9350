package awssim

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// checkParams refuses parameters that an action does not have. (EC2 does, too;
// and what the simulator does not know it must not ignore.)
func checkParams(form url.Values, known []string) *apiError {
	for key := range form {
		top, _, _ := strings.Cut(key, ".")
		switch top {
		case "Action", "Version", "DryRun":
			continue
		}
		if !slices.Contains(known, top) {
			return ec2Error("UnknownParameter", "The parameter %s is not recognized", top)
		}
	}
	return nil
}

// formList returns the values Name.1, Name.2 … in the order of their numbers.
func formList(form url.Values, name string) []string {
	var out []string
	for _, n := range formIndices(form, name) {
		if key := fmt.Sprintf("%s.%d", name, n); form.Has(key) {
			out = append(out, form.Get(key))
		}
	}
	return out
}

// formIndices returns the numbers n for which Name.n or Name.n.… is given.
func formIndices(form url.Values, name string) []int {
	var out []int
	for key := range form {
		rest, ok := strings.CutPrefix(key, name+".")
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, ".")
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || strconv.Itoa(n) != number {
			continue
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func formBool(form url.Values, name string) (bool, *apiError) {
	switch v := form.Get(name); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, ec2Error("InvalidParameterValue", "Invalid value '%s' for %s. Expecting a boolean.", v, name)
	}
}

// formInt returns 0 for a parameter that is not given.
func formInt(form url.Values, name string) (int64, *apiError) {
	if !form.Has(name) {
		return 0, nil
	}
	n, err := strconv.ParseInt(form.Get(name), 10, 32)
	if err != nil {
		return 0, ec2Error("InvalidParameterValue", "Invalid value '%s' for %s. Expecting an integer.", form.Get(name), name)
	}
	return n, nil
}

// formTag is a tag of a request; a tag without a value differs from one whose
// value is empty (DeleteTags).
type formTag struct {
	Key, Value string
	HasValue   bool
}

// formTags reads prefix.Tag.N; prefix is empty or ends with a dot.
func formTags(form url.Values, prefix string) []formTag {
	var out []formTag
	for _, n := range formIndices(form, prefix+"Tag") {
		at := fmt.Sprintf("%sTag.%d.", prefix, n)
		out = append(out, formTag{Key: form.Get(at + "Key"), Value: form.Get(at + "Value"), HasValue: form.Has(at + "Value")})
	}
	return out
}

// required says which of the parameters is missing.
func required(form url.Values, names ...string) *apiError {
	for _, name := range names {
		if form.Get(name) == "" {
			return ec2Error("MissingParameter", "The request must contain the parameter %s", name)
		}
	}
	return nil
}

// checkID tells whether an id has the form of its kind ("snap", "vol", "i").
func checkID(kind, param, id string) *apiError {
	rest, ok := strings.CutPrefix(id, kind+"-")
	if !ok {
		return ec2Error("InvalidParameterValue", "Value (%s) for parameter %s is invalid. Expected: '%s-...'.", id, param, kind)
	}
	if hexID(rest) {
		return nil
	}
	code := map[string]string{"snap": "InvalidSnapshotID.Malformed", "vol": "InvalidVolumeID.Malformed", "i": "InvalidInstanceID.Malformed", "ami": "InvalidAMIID.Malformed"}[kind]
	return ec2Error(code, "Invalid id: %q", id)
}

func hexID(s string) bool {
	return (len(s) == 8 || len(s) == 17) && strings.Trim(s, "0123456789abcdef") == ""
}

// xmlText tells whether XML 1.0 can carry s, for EC2 answers in XML.
func xmlText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		ok := r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000
		if !ok {
			return false
		}
	}
	return true
}

// ec2Summary is the line about a request in the trace: ids, what is asked for,
// filters, tags.
func ec2Summary(form url.Values) string {
	var out []string
	for _, name := range []string{"ResourceId", "SnapshotId", "VolumeId", "InstanceId"} {
		if v := form.Get(name); v != "" {
			out = append(out, v)
		}
		out = append(out, formList(form, name)...)
	}
	for _, name := range []string{"Device", "VolumeType", "AvailabilityZone", "AvailabilityZoneId", "Attribute"} {
		if v := form.Get(name); v != "" {
			out = append(out, v)
		}
	}
	for _, name := range []string{"Size", "Iops", "Throughput", "Encrypted", "KmsKeyId", "MaxResults", "Force"} {
		if v := form.Get(name); v != "" {
			out = append(out, name+"="+v)
		}
	}
	for _, n := range formIndices(form, "Filter") {
		at := fmt.Sprintf("Filter.%d.", n)
		out = append(out, form.Get(at+"Name")+"="+strings.Join(formList(form, at+"Value"), ","))
	}
	tags := formTags(form, "")
	for _, n := range formIndices(form, "TagSpecification") {
		tags = append(tags, formTags(form, fmt.Sprintf("TagSpecification.%d.", n))...)
	}
	for _, t := range tags {
		if t.HasValue {
			out = append(out, t.Key+"="+t.Value)
		} else {
			out = append(out, t.Key)
		}
	}
	if form.Get("NextToken") != "" {
		out = append(out, "(next page)")
	}
	return strings.Join(out, " ")
}

// xmlTag is a tag in an answer.
type xmlTag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

// xmlSet is a list as EC2 writes it: <xSet><item>…</item></xSet>.
type xmlSet[T any] struct {
	Items []T `xml:"item"`
}

// xmlTags sorts tags by key.
func xmlTags(tags map[string]string) xmlSet[xmlTag] {
	var set xmlSet[xmlTag]
	for k, v := range tags {
		set.Items = append(set.Items, xmlTag{k, v})
	}
	slices.SortFunc(set.Items, func(a, b xmlTag) int { return strings.Compare(a.Key, b.Key) })
	return set
}
