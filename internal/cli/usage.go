package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// checkVerb refuses what is not a verb of this version, before flags are looked
// at: "unknown flag --all" would be no help to one who typed "migrat --all".
func checkVerb(root *cobra.Command, name string) error {
	var verbs []string
	for _, c := range root.Commands() {
		if c.Name() == name {
			return nil
		}
		if c.IsAvailableCommand() {
			verbs = append(verbs, c.Name())
		}
	}
	if name == "help" {
		return nil
	}
	next := "the verbs of this version: " + strings.Join(verbs, ", ")
	if near := nearest(name, verbs); near != "" {
		next = "did you mean " + near + "?"
	}
	return usagef(next, "unknown verb %q", name)
}

// verbFirst puts the verb before the flags that were typed ahead of it. Left to itself
// cobra takes the value of such a flag for the verb, if it is the name of one. Where
// there is no verb, the first flag that only a verb has is what is wrong.
func verbFirst(root *cobra.Command, args []string) ([]string, error) {
	if len(args) == 0 || !strings.HasPrefix(args[0], "-") {
		return args, nil
	}
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		name, isFlag := strings.CutPrefix(args[i], "--")
		switch {
		case isFlag && takesValue(root, name):
			i++
		case !strings.HasPrefix(args[i], "-") && checkVerb(root, args[i]) == nil:
			return slices.Concat(args[i:i+1], args[:i], args[i+1:]), nil
		}
	}
	if err := root.ParseFlags(args); err != nil {
		return nil, flagError(root, err)
	}
	return args, nil
}

// takesValue tells whether the flag of that name, of any verb, is followed by a value.
func takesValue(root *cobra.Command, name string) bool {
	return slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool {
		f := c.Flags().Lookup(name)
		return f != nil && f.NoOptDefVal == ""
	})
}

// flagError turns what pflag says of a flag into a usage error with a next step.
func flagError(cmd *cobra.Command, err error) error {
	help := cmd.CommandPath() + " --help lists the flags"
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		return unknownFlag(cmd, unknown, help)
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return usagef(help, "--%s needs a value", missing.GetFlag().Name)
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return usagef(help, "--%s %q: %w", invalid.GetFlag().Name, invalid.GetValue(), bare(invalid.Unwrap()))
	}
	return usagef(help, "%w", err)
}

// bare strips what strconv puts around its errors: the value is named already.
func bare(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return err
}

func unknownFlag(cmd *cobra.Command, unknown *pflag.NotExistError, help string) error {
	name := unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" {
		return usagef(help, "unknown flag -%s", name)
	}
	next := help
	switch name {
	case "analyze":
		next = "it is a verb: snap-to-s3 analyze FILE"
	case "source":
		next = "this version always reads by a temporary volume"
	default:
		if near := nearest(name, []string{"migrate", "validate", "analyze"}); near != "" && !cmd.HasParent() {
			next = "did you mean --" + near + "?"
		} else if cmd.HasParent() {
			if near := nearest(name, flagNames(cmd)); near != "" {
				next = "did you mean --" + near + "?"
			}
		} else if !strings.HasPrefix(name, "-") {
			next = "start with a verb, as in snap-to-s3 migrate, or with --migrate as of old"
		}
	}
	return usagef(next, "unknown flag --%s", name)
}

func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// nearest returns the word that was begun, or that a slip of the fingers may have
// been meant as, or "": at most two letters wrong, and fewer than half of them.
func nearest(typed string, words []string) string {
	best, found := min(3, (len(typed)+1)/2), ""
	for _, w := range words {
		if len(typed) > 1 && strings.HasPrefix(w, typed) {
			return w
		}
		if d := distance(typed, w); d < best {
			best, found = d, w
		}
	}
	return found
}

// distance is the Levenshtein distance of two words, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// wantVerb refuses arguments that no verb stands before, as after a bare "--".
func wantVerb(args []string) error {
	if len(args) > 0 {
		return usagef("start with a verb, as in snap-to-s3 migrate", "%q stands where a verb is meant", args[0])
	}
	return nil
}

// noArgs refuses arguments of a verb that takes none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("", "%s takes no arguments, not %q", cmd.Name(), args[0])
	}
	return nil
}
