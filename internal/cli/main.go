// Package cli is the command line: flags, help, what is printed, exit codes. It
// reads what a person asked for, puts the adapters together and runs one use
// case. It holds no logic of the work itself.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/ui"
)

// Env is what a run sees of the process around it. The zero value is the
// process itself.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	// IsTerminal says whether a stream is a terminal.
	IsTerminal func(stream any) bool
	MemInfo    string // path of Linux's account of memory
	Timing     Timing

	out *results // what writes to Stdout, but for commands that get it themselves
}

// Timing shortens waits for tests. Zero values mean what production needs.
type Timing struct {
	ClaimSettle, ClaimRenew          time.Duration
	Poll, PollMax                    time.Duration // between two looks at a volume
	VolumeSettle, VolumeCall         time.Duration // how old EC2's view can be; one call
	VolumeWait, AttachWait           time.Duration
	DeviceWait, DetachWait           time.Duration
	Stall, MaxBackoff                time.Duration // of connections to AWS
	CompletePatience                 time.Duration // with a store that puts an object together
	ProgressInterval, CleanupTimeout time.Duration
}

func (e Env) withDefaults() Env {
	if e.Stdin == nil {
		e.Stdin = os.Stdin
	}
	if e.Stdout == nil {
		e.Stdout = os.Stdout
	}
	if e.Stderr == nil {
		e.Stderr = os.Stderr
	}
	if e.Getenv == nil {
		e.Getenv = os.Getenv
	}
	if e.IsTerminal == nil {
		e.IsTerminal = func(stream any) bool {
			f, ok := stream.(*os.File)
			return ok && term.IsTerminal(int(f.Fd()))
		}
	}
	e.out = &results{to: e.Stdout}
	return e
}

// console is what a command writes to. Log lines and bars stay within what the
// terminal can show.
func (e Env) console(format ui.Format, level slog.Level) *ui.Console {
	return ui.NewConsole(ui.ConsoleOptions{
		Out: e.out, Err: e.Stderr, OutTerm: e.IsTerminal(e.Stdout),
		ErrTerm: e.IsTerminal(e.Stderr) && e.Getenv("TERM") != "dumb",
		Format:  format, Level: level, ReportInterval: e.Timing.ProgressInterval,
	})
}

// Main runs one command line and returns the exit code. args are those after
// the program's name. It returns soon after ctx ends, having cleaned up.
func Main(ctx context.Context, args []string, env Env) int {
	env = env.withDefaults()
	err := run(ctx, args, env, verbs{runMigrate, runVerify, runAnalyze, runCleanup, runSandbox, runDemo})
	if stopped, ok := errors.AsType[Interrupted](context.Cause(ctx)); ok && err != nil && !errors.Is(err, stopped) {
		err = fmt.Errorf("%w (while: %w)", stopped, inOneLine{err})
	}
	code := exitCode(ctx, err)
	if lost := env.out.lost(); lost != nil {
		if !errors.Is(err, env.out.err) { // some verbs say it themselves
			err = errors.Join(err, lost)
		}
		err = hint.Wrap(err, hint.Of(lost))
		if code == exitDone {
			code = exitFailed
		}
	}
	if logsAsJSON(args) {
		explainJSON(ctx, slog.New(ui.NewHandler(env.Stderr, ui.FormatJSON, slog.LevelInfo)), err)
	} else {
		explain(env.Stderr, err)
	}
	return code
}

// verbs are what is done once a command line was understood.
type verbs struct {
	migrate func(context.Context, Env, MigrateOptions) error
	verify  func(context.Context, Env, VerifyOptions) error
	analyze func(context.Context, Env, AnalyzeOptions) error
	cleanup func(context.Context, Env, CleanupOptions) error
	sandbox func(context.Context, Env, SandboxOptions) error
	demo    func(context.Context, Env) error
}

func run(ctx context.Context, args []string, env Env, v verbs) error {
	args, err := translateLegacy(args)
	if err != nil {
		return err
	}
	root := newRoot(env, v)
	if args, err = verbFirst(root, args); err != nil {
		return err
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		if err := checkVerb(root, args[0]); err != nil {
			return err
		}
	}
	root.SetArgs(args)
	root.SetIn(env.Stdin)
	root.SetOut(env.out)
	root.SetErr(env.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if _, ok := errors.AsType[usageError](err); ok {
		return hint.Wrap(err, cmd.CommandPath()+" --help shows how it is called")
	}
	return err
}

func newRoot(env Env, v verbs) *cobra.Command {
	var asked bool // for the version; cobra's own --version has another form than the verb
	root := &cobra.Command{
		Use:   "snap-to-s3 VERB [FLAGS]",
		Short: "Move EBS snapshots to S3",
		Long: `snap-to-s3 moves EBS snapshots to S3: each becomes a compressed tar of every
partition, or an image of the disk, which tar, lz4, zstd and dd bring back with
no need of this program.

The predecessor's command lines (snap-to-s3 --migrate ...) work unchanged.`,
		Example: `  # See it work, with no AWS account
  snap-to-s3 demo

  # What would be done and what it would cost; nothing is touched
  snap-to-s3 migrate --all --bucket backups.example.com --dry-run

  # All that a verb can do
  snap-to-s3 migrate --help`,
		Args: func(_ *cobra.Command, args []string) error { return wantVerb(args) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asked {
				return printVersion(cmd, "text")
			}
			return cmd.Help()
		},
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Annotations:       exitStatus(exitDone, exitFailed, exitUsage, exitDifferent, exitClaimed, exitInterrupted),
	}
	root.DisableFlagsInUseLine = true
	group(root, "Flags", func(s *pflag.FlagSet) {
		s.BoolP("help", "h", false, "show this page; a verb has its own")
		s.BoolVar(&asked, "version", false, "which build this is")
	})
	root.AddCommand(
		newMigrate(env, v.migrate),
		newValidate(env, v.migrate),
		newVerify(env, v.verify),
		newAnalyze(env, v.analyze),
		newCleanup(env, v.cleanup),
		newSandbox(env, v.sandbox),
		newDemo(env, v.demo),
		newVersion(env),
	)
	root.SetHelpFunc(writeHelp)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelp(root))
	return root
}
