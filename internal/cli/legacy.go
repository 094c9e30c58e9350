package cli

import "strings"

// translateLegacy turns the predecessor's command line into ours; it is the only
// place that knows the old style. What it does not know passes untouched.
//
//	--migrate --dd --bucket b --snapshots snap-a snap-b
//	migrate --compression=lz4 --dd --bucket b -- snap-a snap-b
//
// The old style begins with a flag and has --migrate, --validate or --analyze
// anywhere among its flags. It compresses with lz4 where nothing is said.
// A value after --sse may be left out in both styles.
func translateLegacy(args []string) ([]string, error) {
	if len(args) > 0 && (args[0] == "migrate" || args[0] == "validate") {
		return joinSSE(args), nil
	}
	old, err := isLegacy(args)
	if err != nil && hasFlag(args, "--help") { // help is never refused
		return []string{"--help"}, nil
	}
	if err != nil || !old {
		return args, err
	}
	flags, ids, err := splitLegacy(args)
	if err != nil {
		return nil, err
	}
	out := []string{"migrate"}
	switch {
	case !hasFlag(args, "--migrate"):
		out[0] = "validate"
	case hasFlag(args, "--validate"):
		out = append(out, "--validate")
	}
	if !hasFlag(flags, "--compression") {
		out = append(out, "--compression=lz4")
	}
	out = append(out, joinSSE(flags)...)
	if len(ids) > 0 {
		out = append(append(out, "--"), ids...)
	}
	return out, nil
}

// isLegacy says whether args are in the old style, and refuses its modes that
// this version does not have.
func isLegacy(args []string) (bool, error) {
	if len(args) == 0 || !strings.HasPrefix(args[0], "-") {
		return false, nil
	}
	switch {
	case hasFlag(args, "--analyze"):
		return false, usagef("nothing was touched", "this version cannot analyze cost reports yet")
	}
	return hasFlag(args, "--migrate") || hasFlag(args, "--validate"), nil
}

// splitLegacy drops the modes and gathers the ids: those after --snapshots up to
// the next flag, and all after a "--".
func splitLegacy(args []string) (flags, ids []string, err error) {
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--migrate", arg == "--validate":
		case arg == "--":
			return flags, append(ids, args[i+1:]...), nil
		case arg == "--snapshots":
			start := i + 1
			for i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
				i++
			}
			if i < start {
				return nil, nil, usagef("for example --snapshots snap-0123456789abcdef0", "--snapshots needs at least one snapshot id")
			}
			ids = append(ids, args[start:i+1]...)
		default:
			flags = append(flags, arg)
		}
	}
	return flags, ids, nil
}

// joinSSE binds --sse to the value after it, and gives it the old default where
// there is none: a flag parser takes a value that may be left out only as
// --sse=value.
func joinSSE(args []string) []string {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--":
			return append(out, args[i:]...)
		case args[i] != "--sse":
			out = append(out, args[i])
		case i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") && !strings.HasPrefix(args[i+1], "snap-"):
			i++
			out = append(out, "--sse="+args[i])
		default:
			out = append(out, "--sse=AES256")
		}
	}
	return out
}

// hasFlag says whether name is among the flags, alone or as name=value.
func hasFlag(args []string, name string) bool {
	for _, a := range args {
		if a == "--" {
			return false
		}
		if a == name || strings.HasPrefix(a, name+"=") {
			return true
		}
	}
	return false
}
