package cli

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts' surroundings, their commands and their conditions: all in this file.

// setupScript gives a script an environment that leads to no real account.
func setupScript(env *testscript.Env) error {
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("XDG_STATE_HOME", env.WorkDir+"/state")
	env.Setenv("AWS_CONFIG_FILE", os.DevNull)
	env.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	env.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	return nil
}

func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"exits":   scriptExits,
		"refuses": scriptRefuses,
	}
}

func scriptCondition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// scriptExits runs a command and wants its exit code: exits 2 snap-to-s3 ...
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGS...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := exitOf(ts, args[1:])
	if got != want {
		ts.Fatalf("%s ended with exit code %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func exitOf(ts *testscript.TestScript, argv []string) int {
	// Exec keeps the output for the script's stdout and stderr commands.
	err := ts.Exec(argv[0], argv[1:]...)
	if err == nil {
		return 0
	}
	code, ok := err.(interface{ ExitCode() int })
	if !ok {
		ts.Fatalf("run %s: %v", argv[0], err)
	}
	return code.ExitCode()
}

// scriptRefuses reads a file of command lines, each with what its error must
// say behind " => ", and wants exit code 2, one line of error, a hint, and
// nothing on standard output.
func scriptRefuses(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: refuses FILE")
	}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		command, want, ok := strings.Cut(line, " => ")
		if !ok {
			ts.Fatalf("%s: no => in %q", args[0], line)
		}
		refuses(ts, command, want)
	}
}

func refuses(ts *testscript.TestScript, command, want string) {
	if code := exitOf(ts, strings.Fields(command)); code != 2 {
		ts.Fatalf("%s: exit code %d, want 2", command, code)
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("%s: printed %q", command, out)
	}
	lines := bytes.Split([]byte(strings.TrimSuffix(ts.ReadFile("stderr"), "\n")), []byte("\n"))
	if len(lines) != 2 || string(lines[0]) != "snap-to-s3: "+want || !bytes.HasPrefix(lines[1], []byte("hint: ")) {
		ts.Fatalf("%s: error %q, want %q and a hint", command, lines, want)
	}
}
