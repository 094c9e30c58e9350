package cli

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// printFlags say how results and log lines look, as they were typed.
type printFlags struct {
	output, logFormat string
	verbose           bool
}

func (f *printFlags) printed(cmd *cobra.Command, verbose string) {
	group(cmd, "What is printed", func(s *pflag.FlagSet) {
		s.StringVar(&f.output, "output", "text", "results as `FORM` text or json (one JSON object a line)")
		s.StringVar(&f.logFormat, "log-format", "text", "log lines as `FORM` text or json")
		s.BoolVarP(&f.verbose, "verbose", "v", false, verbose)
		s.BoolP("help", "h", false, "show this page")
	})
}
