package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"snap-to-s3/internal/codec"
)

// versionInfo is what a report of a fault needs to name.
type versionInfo struct {
	V        int    `json:"v"` // of this JSON form
	Type     string `json:"type"`
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a changed tree
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Zstd     string `json:"zstd"` // "libzstd", or "go" in a build without cgo
}

func newVersion(_ Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "version [FLAGS]",
		Short:   "Which build this is",
		Example: "  snap-to-s3 version --output json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printVersion(cmd, output)
		},
		DisableFlagsInUseLine: true,
		Annotations:           exitStatus(exitDone, exitUsage),
	}
	group(cmd, "Flags", func(s *pflag.FlagSet) {
		s.StringVar(&output, "output", "text", "`FORM` text or json")
		s.BoolP("help", "h", false, "show this page")
	})
	return cmd
}

func printVersion(cmd *cobra.Command, output string) error {
	v, err := buildVersion()
	if err != nil {
		return err
	}
	switch output {
	case "text":
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "snap-to-s3 %s\n%s %s, zstd: %s\n", v.Version, v.Go, v.Platform, v.Zstd)
	case "json":
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(v)
	default:
		return usagef("", "--output %q: must be text or json", output)
	}
	if err != nil {
		return fmt.Errorf("write the version: %w", err)
	}
	return nil
}

// version is this build's version, as Go's toolchain stamped it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func buildVersion() (versionInfo, error) {
	v := versionInfo{
		V: 1, Type: "version", Version: version(), Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Zstd: "libzstd",
	}
	c, err := codec.New("zstd", 1)
	if err != nil {
		return v, fmt.Errorf("look at the build's zstd: %w", err)
	}
	if c.Note() != "" { // a build that maps levels has no libzstd
		v.Zstd = "go"
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Revision = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	return v, nil
}
