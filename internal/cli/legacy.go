package cli

import "strings"

// translateLegacy turns the predecessor's command line into ours; it is the only
// place that knows the old style. What it does not know passes untouched.
//
//	--migrate --dd --bucket b --snapshots snap-a snap-b
//	migrate --compression=lz4 --dd --bucket b -- snap-a snap-b
//	--analyze report.csv.gz
//	analyze report.csv.gz
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
	if hasFlag(args, "--analyze") {
		return append([]string{"analyze"}, withoutAnalyze(args)...), nil
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

// isLegacy says whether args are in the old style, and refuses modes that cannot be
// together.
func isLegacy(args []string) (bool, error) {
	if len(args) == 0 || !strings.HasPrefix(args[0], "-") {
		return false, nil
	}
	work := hasFlag(args, "--migrate") || hasFlag(args, "--validate")
	if hasFlag(args, "--analyze") {
		if work {
			return false, usagef("run it once for each", "--analyze stands for itself: neither --migrate nor --validate can be beside it")
		}
		return true, nil
	}
	return work, nil
}

// withoutAnalyze drops the mode; a file that is bound to it becomes an argument.
func withoutAnalyze(args []string) []string {
	var out []string
	for i, arg := range args {
		file, bound := strings.CutPrefix(arg, "--analyze=")
		switch {
		case arg == "--":
			return append(out, args[i:]...)
		case arg == "--analyze":
		case bound && len(file) > 1 && file[0] == '-': // no flag
			out = append(out, "./"+file)
		case bound:
			out = append(out, file)
		default:
			out = append(out, arg)
		}
	}
	return out
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
