package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is the width of help texts: 80 columns, on any screen, so that the
// manual pages and the tests see what a person sees.
const helpWidth = 80

// groupKey marks a flag with the heading it stands under in the help.
const groupKey = "group"

// exitKey marks a command with its table of exit codes.
const exitKey = "exit-status"

// group puts the flags defined by define under one heading.
func group(cmd *cobra.Command, heading string, define func(f *pflag.FlagSet)) {
	set := pflag.NewFlagSet(heading, pflag.ContinueOnError)
	set.SortFlags = false // the order of definition is the order of the help
	define(set)
	set.VisitAll(func(f *pflag.Flag) {
		f.Annotations = map[string][]string{groupKey: {heading}}
	})
	cmd.Flags().SortFlags = false
	cmd.Flags().AddFlagSet(set)
}

// exitStatus is the table of exit codes that a command can end with.
func exitStatus(codes ...int) map[string]string {
	meaning := map[int]string{
		exitDone:        "all is done, or there was nothing to do",
		exitFailed:      "something failed; standard error says what",
		exitUsage:       "the command line is wrong; nothing was touched",
		exitDifferent:   "an archive is not what it should be; each difference was named",
		exitClaimed:     "another run has the snapshot (--all passes over such ones)",
		exitInterrupted: "interrupted; what was begun was taken back, or is named",
	}
	var b strings.Builder
	for _, c := range codes {
		fmt.Fprintf(&b, "%5d  %s\n", c, meaning[c])
	}
	return map[string]string{exitKey: b.String()}
}

// writeHelp is the help of every command: what it is, how it is called, examples,
// flags by heading, exit codes.
func writeHelp(cmd *cobra.Command, _ []string) {
	var b strings.Builder
	about := cmd.Long
	if about == "" {
		about = cmd.Short
	}
	fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n", about, cmd.UseLine())
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nVerbs:\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-10s %s\n", sub.Name(), sub.Short)
			}
		}
	}
	for _, g := range flagGroups(cmd) {
		if !g.set.HasAvailableFlags() { // all are taken and not shown
			continue
		}
		fmt.Fprintf(&b, "\n%s:\n%s", g.heading, g.set.FlagUsagesWrapped(helpWidth))
	}
	if table := cmd.Annotations[exitKey]; table != "" {
		fmt.Fprintf(&b, "\nExit status:\n%s", table)
	}
	// If nobody reads the help there is nothing else to do about it.
	_, _ = fmt.Fprint(cmd.OutOrStdout(), b.String())
}

type flagGroup struct {
	heading string
	set     *pflag.FlagSet
}

// flagGroups returns the flags of cmd by heading, in the order of definition.
func flagGroups(cmd *cobra.Command) []flagGroup {
	var groups []flagGroup
	cmd.LocalFlags().SortFlags = false
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		heading := "Other"
		if names := f.Annotations[groupKey]; len(names) > 0 {
			heading = names[0]
		}
		for _, g := range groups {
			if g.heading == heading {
				g.set.AddFlag(f)
				return
			}
		}
		set := pflag.NewFlagSet(heading, pflag.ContinueOnError)
		set.SortFlags = false
		set.AddFlag(f)
		groups = append(groups, flagGroup{heading, set})
	})
	return groups
}

// newHelp is "help [verb]": cobra's own would end 0 for a verb that does not exist.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [VERB]",

		DisableFlagsInUseLine: true,
		Short:                 "Show what a verb does, its flags, and examples",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return root.Help()
			}
			if err := checkVerb(root, args[0]); err != nil {
				return err
			}
			verb, _, err := root.Find(args[:1])
			if err != nil {
				return fmt.Errorf("find the help of %s: %w", args[0], err)
			}
			return verb.Help()
		},
	}
}
