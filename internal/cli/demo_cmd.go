package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newDemo(env Env, run func(context.Context, Env) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See a migration happen, with no AWS account",
		Long: `Start a sandbox, show the commands that are run in it, migrate its snapshots,
list the bucket and the tags, and prove that the objects are the disks.
Nothing leaves the machine, and nothing stays on it.`,
		Example: `  snap-to-s3 demo`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), env)
		},
		DisableFlagsInUseLine: true,
		Annotations:           exitStatus(exitDone, exitFailed, exitUsage, exitInterrupted),
	}
	group(cmd, "Flags", func(s *pflag.FlagSet) {
		s.BoolP("help", "h", false, "show this page")
	})
	return cmd
}
