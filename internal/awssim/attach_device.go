package awssim

import (
	"fmt"
	"strconv"
	"strings"
)

// deviceName is the place that a device name stands for: /dev/sdf and
// /dev/xvdf are one.
type deviceName struct {
	letters string // f, ba
	number  int    // of /dev/sdf1; 0: none
}

// parseDeviceName takes the names that EC2 takes (EC2 User Guide, device names
// on Linux): sd or xvd with b–z, xvd also with ba–dz, sd also with a number
// 1–15, and the root volume's.
func parseDeviceName(s string) (deviceName, bool) {
	s = strings.TrimPrefix(s, "/dev/")
	rest, xvd := strings.CutPrefix(s, "xvd")
	if !xvd {
		var ok bool
		if rest, ok = strings.CutPrefix(s, "sd"); !ok {
			return deviceName{}, false
		}
	}
	letters := strings.TrimRight(rest, "0123456789")
	name := deviceName{letters: letters}
	if digits := rest[len(letters):]; digits != "" {
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || n > 15 || digits[0] == '0' || xvd {
			return deviceName{}, false
		}
		name.number = n
		if letters == "a" {
			name.number = 0 // sda1 is the root volume, too
		}
	}
	if letters == "" || strings.Trim(letters, "abcdefghijklmnopqrstuvwxyz") != "" {
		return deviceName{}, false
	}
	switch len(letters) {
	case 1:
		return name, true
	case 2:
		return name, xvd && letters[0] >= 'b' && letters[0] <= 'd'
	}
	return deviceName{}, false
}

// node is the name under which the instance sees the device.
func (n deviceName) node(naming string) string {
	if naming == "nvme" {
		return fmt.Sprintf("nvme%dn1", n.nvme())
	}
	name := naming + n.letters // xvd or sd
	if n.number > 0 {
		name += strconv.Itoa(n.number)
	}
	return name
}

// nvme is the controller's number, one for each name. It is not in the order of
// the letters, as on a Nitro instance. 0 and 1 are the instance's own.
func (n deviceName) nvme() int {
	ordinal := 0
	for _, r := range n.letters {
		ordinal = ordinal*27 + int(r-'a'+1)
	}
	if len(n.letters) == 1 && n.number == 0 {
		return 28 - ordinal
	}
	return 28 + ordinal*16 + n.number
}
