package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/cost/bill/billtest"
)

// TestAnalyzeNamedCredentials: those that were named and do not work end with an
// error, with the report written; those that nobody named are a note.
func TestAnalyzeNamedCredentials(t *testing.T) {
	t.Parallel()
	a := oneVolume(40, 2)
	w := newBilled(t, a)
	file := w.bill(a, billtest.FocusCSV, billtest.Daily, "b.csv")
	w.profiles("audit")
	const role = "arn:aws:iam::444455556666:role/audit"
	for form, end := range map[string]string{"text": "\nTotal: ", "json": `"type":"total"`, "csv": string(a.Volumes[0].Snapshots[1].ID)} {
		args := []string{"analyze", file, "--output", form}
		for says, named := range map[string][]string{
			"profile nobody": {"--profile", "nobody"},
			"role " + role:   {"--profile", "audit", "--role-arn", role},
		} {
			r := w.run(append(args, named...)...)
			if r.code != exitFailed || !strings.Contains(r.stderr, "snap-to-s3: the report lacks what was asked for: EC2 was not asked with "+says) ||
				!strings.Contains(r.stdout, end) {
				t.Errorf("%s, %v: exit code %d", form, named, r.code)
			}
		}
	}
	w.extra = append(w.extra, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_EC2_METADATA_DISABLED=true")
	if r := w.ok("analyze", file); !strings.Contains(r.stdout, "EC2 was not asked with the credentials of this run") {
		t.Error("it is not said that there are no credentials")
	}
}

// TestAnalyzeNothing: where there is nothing it is said where that is, and whose.
func TestAnalyzeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{Account: "444455556666"})
	if r := w.ok("analyze", "--live"); !strings.Contains(r.stdout, "no snapshots in us-east-1 of account 444455556666; --region names other regions\n") {
		t.Error("it is not said where there are none")
	}
	if r := w.ok("analyze", "--live", "--tag-plan"); !strings.Contains(r.stdout, "nothing to tag: there are no snapshots\n") {
		t.Error("it is not said why nothing is to be tagged")
	}
}

// TestAnalyzePlanOfAccounts: each snapshot is named with its account, and for each
// account and region there is the command that moves what is tagged.
func TestAnalyzePlanOfAccounts(t *testing.T) {
	t.Parallel()
	a, b := oneVolume(40, 2), oneVolume(40, 2)
	b.ID = "444455556666"
	for i := range b.Volumes[0].Snapshots {
		b.Volumes[0].Snapshots[i].ID = "snap-b" + b.Volumes[0].Snapshots[i].ID[6:]
	}
	w := newBilled(t, a)
	w.holds(b)
	const role = "arn:aws:iam::444455556666:role/audit"
	w.sim.AddRole(role)
	args := []string{
		"analyze", w.bill(a, billtest.FocusCSV, billtest.Daily, "a.csv"), w.bill(b, billtest.FocusCSV, billtest.Daily, "b.csv"),
		"--role-arn", role, "--storage-class", "DEEP_ARCHIVE", "--ratio", "4:1", "--tag-plan",
	}
	command := func(account string) string {
		return "  account " + account + ": snap-to-s3 migrate --all --region us-east-1 --storage-class DEEP_ARCHIVE --bucket NAME\n"
	}
	would := w.ok(args...).stdout
	for _, says := range []string{"would tag    " + a.ID + "  snap-", "would tag    " + b.ID + "  snap-b", command(a.ID), command(b.ID)} {
		if !strings.Contains(would, says) {
			t.Errorf("it does not say %q", says)
		}
	}
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		if c.Action == "CreateTags" && strings.HasPrefix(c.Target, "snap-b") {
			return awssim.Fault{Before: &awssim.Error{Status: 403, Code: "UnauthorizedOperation"}}
		}
		return awssim.Fault{}
	})
	r := w.run(append(args, "--yes")...)
	if r.code != exitFailed || !strings.Contains(r.stdout, "2 tagged snap-to-s3=migrate, 0 passed over, 2 failed\n") ||
		!strings.Contains(r.stdout, command(a.ID)) || strings.Contains(r.stdout, command(b.ID)) {
		t.Errorf("exit code %d: the commands are not those for what is tagged", r.code)
	}
}

// TestAnalyzePipe: who reads the report may have enough of it, as head has.
func TestAnalyzePipe(t *testing.T) {
	t.Parallel()
	a := oneVolume(40, 2)
	w := newBilled(t, a)
	file := w.bill(a, billtest.FocusCSV, billtest.Daily, "b.csv")
	for _, form := range []string{"text", "json", "csv"} {
		cmd := w.command("analyze", file, "--output", form)
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		in.Close()
		var complaint bytes.Buffer
		cmd.Stdout, cmd.Stderr = out, &complaint
		err = cmd.Run()
		out.Close()
		if err != nil || complaint.Len() > 0 {
			t.Errorf("%s: %v, %s", form, err, complaint.String())
		}
	}
}

// TestAnalyzePolicy runs analyze under exactly the rights of its policy, of which none
// is for nothing.
func TestAnalyzePolicy(t *testing.T) {
	a := oneVolume(40, 2)
	w := newBilled(t, a)
	w.put("bills/b.csv", []byte(read(t, w.bill(a, billtest.FocusCSV, billtest.Daily, "b.csv"))), nil)
	args := []string{"analyze", "s3://" + testBucket + "/bills/"}
	rights := policyActions(t, "iam-policy-analyze.json")
	refused := func() string {
		for _, c := range w.sim.Calls() {
			if c.Status == 403 {
				return c.String()
			}
		}
		return ""
	}
	w.sim.SetPolicy(rights)
	w.sim.ResetCalls()
	want := w.ok(args...).stdout
	w.ok("analyze", "--live")
	if call := refused(); call != "" {
		t.Errorf("refused: %s", call)
	}
	for _, right := range rights {
		w.sim.DenyActions([]string{right})
		if r := w.run(args...); r.code == 0 && r.stdout == want {
			t.Errorf("%s is allowed for nothing", right)
		} else if !strings.Contains(r.stdout+r.stderr, right) {
			t.Errorf("it is not said that %s is missing", right)
		}
	}
}
