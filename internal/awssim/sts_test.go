package awssim_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"snap-to-s3/internal/awssim"
)

// Whoever calls is told who he is, whatever policies say.
func TestGetCallerIdentity(t *testing.T) {
	s := start(t, awssim.Config{Account: "444455556666"})
	s.SetPolicy([]string{})
	ask := func(more string) answer {
		return s.send(ask{
			service: "sts", method: http.MethodPost, path: "/", body: "Action=GetCallerIdentity&Version=2011-06-15" + more,
			header: map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
		})
	}
	if a := ask(""); a.status != http.StatusOK || !strings.Contains(a.body, "<Account>444455556666</Account>") || !strings.Contains(a.body, "<Arn>arn:aws:iam::444455556666:user/") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := ask("&Name=x"); !strings.Contains(a.body, "<Code>UnknownParameter</Code>") {
		t.Errorf("what nobody knows: %d %s", a.status, a.body)
	}
}

// A role that is known can be assumed, and sees its own account's snapshots alone.
func TestAssumeRole(t *testing.T) {
	s := start(t, awssim.Config{})
	const role = "arn:aws:iam::444455556666:role/audit"
	s.AddRole(role)
	theirs := addSnapshot(t, s.Server, awssim.SnapshotSpec{OwnerID: "444455556666", Tags: map[string]string{"k": "v"}})
	addSnapshot(t, s.Server, awssim.SnapshotSpec{})
	asForm := map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
	assume := func(change func(url.Values)) answer {
		form := url.Values{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {role}, "RoleSessionName": {"audit-1"}}
		change(form)
		return s.send(ask{service: "sts", method: http.MethodPost, path: "/", body: form.Encode(), header: asForm})
	}
	for name, c := range map[string]struct {
		change func(url.Values)
		code   string
	}{
		"an unknown role":   {func(f url.Values) { f.Set("RoleArn", role+"s") }, "AccessDenied"},
		"another action":    {func(f url.Values) { f.Set("Action", "GetFederationToken") }, "InvalidAction"},
		"no session":        {func(f url.Values) { f.Del("RoleSessionName") }, "ValidationError"},
		"a short life":      {func(f url.Values) { f.Set("DurationSeconds", "1") }, "ValidationError"},
		"what nobody knows": {func(f url.Values) { f.Set("Policy", "{}") }, "UnknownParameter"},
	} {
		if a := assume(c.change); !strings.Contains(a.body, "<Code>"+c.code+"</Code>") {
			t.Errorf("%s: %d %s, want %s", name, a.status, a.body, c.code)
		}
	}
	s.DenyActions([]string{"sts:AssumeRole"})
	if a := assume(func(url.Values) {}); a.status != http.StatusForbidden {
		t.Errorf("denied: %d %s", a.status, a.body)
	}
	s.DenyActions(nil)
	a := assume(func(url.Values) {})
	part := func(name string) string {
		_, rest, _ := strings.Cut(a.body, "<"+name+">")
		value, _, _ := strings.Cut(rest, "</"+name+">")
		return value
	}
	if a.status != http.StatusOK || part("Arn") != "arn:aws:sts::444455556666:assumed-role/audit/audit-1" {
		t.Fatalf("assumed: %d %s", a.status, a.body)
	}
	got := awssim.Credential{AccessKeyID: part("AccessKeyId"), SecretAccessKey: part("SecretAccessKey"), Token: part("SessionToken")}
	list := s.send(ask{
		service: "ec2", method: http.MethodPost, path: "/", cred: got, body: "Action=DescribeSnapshots&Owner.1=self&Version=2016-11-15",
		header: asForm,
	})
	if text := list.body; strings.Count(text, "<snapshotId>") != 1 || !strings.Contains(text, theirs) || !strings.Contains(text, "<key>k</key>") {
		t.Errorf("snapshots of the role: %s", text)
	}
	volumes := s.send(ask{
		service: "ec2", method: http.MethodPost, path: "/", cred: got, body: "Action=DescribeVolumes&Version=2016-11-15",
		header: asForm,
	})
	if text := volumes.body; volumes.status != http.StatusOK || strings.Contains(text, "vol-") {
		t.Errorf("volumes of the role: %d %s", volumes.status, text)
	}
}
