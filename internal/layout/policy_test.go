package layout

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// actions reads the rights out of a policy in docs, sorted.
func actions(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile("../../docs/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var policy struct {
		Version   string
		Statement []struct {
			Effect   string
			Action   stringOrList
			Resource stringOrList
		}
	}
	if err := json.Unmarshal(data, &policy); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var all []string
	for _, s := range policy.Statement {
		if s.Effect != "Allow" || len(s.Resource) == 0 {
			t.Errorf("%s: statement %+v", file, s)
		}
		all = append(all, s.Action...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// stringOrList is JSON of IAM, where a list of one may be written without it.
type stringOrList []string

func (l *stringOrList) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*l = stringOrList{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(l))
}

// What the predecessor's users have attached: these, and no more, suffice.
func TestPredecessorsPolicy(t *testing.T) {
	want := []string{
		"ec2:AttachVolume", "ec2:CreateTags", "ec2:CreateVolume", "ec2:DeleteTags", "ec2:DeleteVolume",
		"ec2:DescribeInstanceAttribute", "ec2:DescribeSnapshots", "ec2:DescribeTags", "ec2:DescribeVolumes",
		"ec2:DetachVolume", "s3:GetObject", "s3:PutObject", "s3:PutObjectTagging",
	}
	if diff := cmp.Diff(want, actions(t, "iam-policy-predecessor.json")); diff != "" {
		t.Errorf("docs/iam-policy-predecessor.json (-want +got):\n%s", diff)
	}
}

// Who may read alone can have all that analyze tells.
func TestAnalyzePolicy(t *testing.T) {
	for _, action := range actions(t, "iam-policy-analyze.json") {
		if !readsAlone.MatchString(action) {
			t.Errorf("docs/iam-policy-analyze.json allows %s", action)
		}
	}
}

var readsAlone = regexp.MustCompile(`^(ec2:Describe|s3:Get|s3:List)`)

// docs/iam.md says of each right in the policy what it is for; what it calls
// needed, the predecessor's policy has.
func TestRightsOfTheDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/iam.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed, needed []string
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9]+:[A-Za-z]+)` \\| [^|]+ \\| ([^|]+) \\| [^|]+ \\| ")
	for _, m := range row.FindAllStringSubmatch(string(doc), -1) {
		listed = append(listed, m[1])
		if m[2] == "yes" {
			needed = append(needed, m[1])
		}
	}
	slices.Sort(listed)
	slices.Sort(needed)
	if diff := cmp.Diff(actions(t, "iam-policy.json"), listed); diff != "" {
		t.Errorf("rights (-docs/iam-policy.json +docs/iam.md):\n%s", diff)
	}
	old := slices.DeleteFunc(actions(t, "iam-policy-predecessor.json"), func(a string) bool { return a == "ec2:DescribeTags" })
	if diff := cmp.Diff(old, needed); diff != "" {
		t.Errorf("needed rights (-the predecessor's, but DescribeTags +docs/iam.md):\n%s", diff)
	}
}
