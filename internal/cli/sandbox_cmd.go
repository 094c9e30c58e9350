package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newSandbox(env Env, run func(context.Context, Env, SandboxOptions) error) *cobra.Command {
	var images []string
	var naming string
	cmd := &cobra.Command{
		Use:   "sandbox [FLAGS] [--] [COMMAND ARGS...]",
		Short: "An AWS account of your own, on this machine",
		Long: `Start a small AWS account on the loopback network: EC2, S3 and instance metadata,
with a bucket named demo and snapshots tagged for migration. Nothing leaves the
machine and nothing costs money.

With a command, run it against the account and end with its exit code; without,
stay up and print the environment to use. What was left behind is told at the
end. As root volumes are attached as loop devices, else as plain files, of which
only images can be made (migrate --dd).`,
		Example: `  # A migration, end to end
  snap-to-s3 sandbox -- snap-to-s3 migrate --all --bucket demo

  # With a disk of your own as a snapshot
  snap-to-s3 sandbox --image disk.img -- \
      snap-to-s3 migrate --all --bucket demo

  # An account to play with from another shell
  snap-to-s3 sandbox`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o := SandboxOptions{Images: images, Naming: naming, Command: args}
			for _, path := range images {
				if err := checkImage(path); err != nil {
					return err
				}
			}
			if naming != "nvme" && naming != "xvd" {
				return usagef("", "--naming %q: must be nvme or xvd", naming)
			}
			return run(cmd.Context(), env, o)
		},
		DisableFlagsInUseLine: true,
		Annotations:           exitStatus(exitDone, exitFailed, exitUsage, exitInterrupted),
	}
	group(cmd, "Flags", func(s *pflag.FlagSet) {
		s.StringArrayVar(&images, "image", nil, "raw disk image `FILE` that becomes a snapshot; may be repeated")
		s.StringVar(&naming, "naming", "nvme", "attached volumes appear as `FORM` nvme (nvme1n1) or xvd (xvdf)")
		s.BoolP("help", "h", false, "show this page")
	})
	cmd.Flags().SetInterspersed(false) // the command's flags are its own
	return cmd
}

// sector is the unit of all disks, in bytes.
const sector = 512

func checkImage(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errors.New("not a regular file")
	case info.Size() == 0:
		err = errors.New("the file is empty")
	case info.Size()%sector != 0:
		err = fmt.Errorf("its %d bytes are not a multiple of %d, as those of a disk are", info.Size(), sector)
	}
	if err != nil {
		return usagef("--image takes the path of a raw disk image", "--image %q: %w", path, bare(err))
	}
	return nil
}
