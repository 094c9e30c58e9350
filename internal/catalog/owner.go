package catalog

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// The errors a caller branches on, tested with errors.Is.
var (
	// ErrClaimed: somebody else works on the snapshot, or it is no longer
	// marked for work. Nothing of ours was left on it.
	ErrClaimed = errors.New("claimed elsewhere")
	// ErrLost: a claim that was ours is not any more. Nothing may be committed
	// and no tag be written after it.
	ErrLost = errors.New("claim lost")
)

// MaxValue is the longest value of an EC2 tag in characters (EC2 API reference,
// CreateTags).
const MaxValue = 256

// Identity names one run of this tool on one boot of one machine.
type Identity struct {
	Host string // instance id, or machine id outside EC2
	Boot string // the kernel's boot id
	Run  string
}

// Owner is what the owner tag of a claimed snapshot or a temporary thing says:
// whose it is, when that was last confirmed, and what was there before.
type Owner struct {
	Identity
	Renewed   time.Time // whole seconds; AWS's time
	Before    string    // the value the tag had before
	HadBefore bool      // false: there was no tag
}

// String is the owner tag's value: host/boot/run/renewed/before, where renewed
// is in unix seconds and before is "-" when there was no tag. Slashes in before
// stand as they are, since it is the last; only "%" is written %25, and a value
// that is itself "-" is written %2D.
func (o Owner) String() string {
	before := "-"
	switch {
	case o.HadBefore && o.Before == "-":
		before = "%2D"
	case o.HadBefore:
		before = strings.ReplaceAll(o.Before, "%", "%25")
	}
	return o.Host + "/" + o.Boot + "/" + o.Run + "/" +
		strconv.FormatInt(o.Renewed.Unix(), 10) + "/" + before
}

// ParseOwner reads what Owner.String wrote.
func ParseOwner(s string) (Owner, error) {
	part := strings.SplitN(s, "/", 5)
	if len(part) != 5 {
		return Owner{}, fmt.Errorf("owner %q is not host/boot/run/renewed/before", s)
	}
	o := Owner{Identity: Identity{Host: part[0], Boot: part[1], Run: part[2]}}
	if err := o.Identity.validate(); err != nil {
		return Owner{}, fmt.Errorf("owner %q: %w", s, err)
	}
	unix, err := strconv.ParseInt(part[3], 10, 64)
	if err != nil || unix < 0 {
		return Owner{}, fmt.Errorf("owner %q: %q is not a time in unix seconds", s, part[3])
	}
	o.Renewed = time.Unix(unix, 0).UTC()
	if part[4] == "-" {
		return o, nil
	}
	o.Before, err = url.PathUnescape(part[4])
	if err != nil || !utf8.ValidString(o.Before) {
		return Owner{}, fmt.Errorf("owner %q: %q is not the escaped value of a tag", s, part[4])
	}
	o.HadBefore = true
	return o, nil
}

// validate refuses what would make the owner's text ambiguous.
func (i Identity) validate() error {
	for _, p := range []struct{ name, value string }{{"host", i.Host}, {"boot", i.Boot}, {"run", i.Run}} {
		if p.value == "" {
			return fmt.Errorf("the %s id is empty", p.name)
		}
		if strings.ContainsFunc(p.value, func(r rune) bool { return r <= ' ' || r == '/' || r >= 0x7f }) {
			return fmt.Errorf("the %s id %q has a character other than visible ASCII without /", p.name, p.value)
		}
	}
	return nil
}

// fits tells whether s can be the value of a tag. UTF-16 units are counted: it is
// not documented whether EC2 counts those or code points, and they are the larger.
func fits(s string) bool { return len(utf16.Encode([]rune(s))) <= MaxValue }
