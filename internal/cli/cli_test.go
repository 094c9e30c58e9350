package cli

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets a script run this program as snap-to-s3, with short waits.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"snap-to-s3": func() {
			ctx, stop := WithSignals(context.Background())
			code := Main(ctx, os.Args[1:], Env{Timing: shortTiming(), MemInfo: os.Getenv("TEST_MEMINFO")})
			stop()
			os.Exit(code)
		},
		"signal-probe":  signalProbe,
		"without-loops": withoutLoops,
		"predecessor":   predecessor,
	})
}

// settleEnv lengthens the wait between a claim's write and its reading back: where
// many processes share a slow machine, all must write within it.
const settleEnv = "TEST_CLAIM_SETTLE"

func claimSettle() time.Duration {
	if d, err := time.ParseDuration(os.Getenv(settleEnv)); err == nil {
		return d
	}
	return 50 * time.Millisecond
}

// shortTiming is for a sandbox whose states change within milliseconds.
func shortTiming() Timing {
	return Timing{
		ClaimSettle: claimSettle(), ClaimRenew: 5 * time.Second,
		Poll: 5 * time.Millisecond, PollMax: 50 * time.Millisecond,
		VolumeSettle: 200 * time.Millisecond, VolumeCall: 10 * time.Second,
		VolumeWait: 5 * time.Second, AttachWait: 5 * time.Second,
		DeviceWait: 5 * time.Second, DetachWait: 5 * time.Second,
		Stall: 2 * time.Second, MaxBackoff: 20 * time.Millisecond, CompletePatience: 5 * time.Second,
		ProgressInterval: time.Second, CleanupTimeout: 10 * time.Second,
	}
}

// TestScripts runs testdata/*.txtar: what a user types, and what comes of it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup:               setupScript,
		Cmds:                scriptCommands(),
		Condition:           scriptCondition,
	})
}
