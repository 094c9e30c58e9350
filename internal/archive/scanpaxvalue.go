package archive

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

type paxText struct {
	set bool
	b   []byte
}

type paxNumber struct {
	set bool
	n   int64
}

type paxTimestamp struct {
	set  bool
	sec  int64
	nsec uint32
}

var (
	errTwice = errors.New("it is there twice")
	errValue = errors.New("its value makes no sense")
)

// eachRecord cuts an extended header into its records: "<length of it all>
// <key>=<value>\n".
func eachRecord(body []byte, add func(key, value []byte) error) error {
	for len(body) > 0 {
		digits, _, found := bytes.Cut(body[:min(len(body), 20)], []byte{' '})
		n, ok := decimal(digits)
		if !found || !ok || n > int64(len(body)) || n < int64(len(digits)+len(" k=\n")) || body[n-1] != '\n' {
			return fmt.Errorf("an extended header with the record %.60q", body)
		}
		record := body[len(digits)+1 : n-1]
		body = body[n:]
		key, value, found := bytes.Cut(record, []byte{'='})
		if !found || len(key) == 0 || bytes.IndexByte(key, 0) >= 0 {
			return fmt.Errorf("an extended header with the record %.60q", record)
		}
		if err := add(key, value); err != nil {
			return fmt.Errorf("an extended header with %.100q: %w", key, err)
		}
	}
	return nil
}

func (t *paxText) take(value []byte) error {
	if t.set {
		return errTwice
	}
	t.set, t.b = true, value
	return nil
}

func (n *paxNumber) take(value []byte, most int64) error {
	if n.set {
		return errTwice
	}
	v, ok := decimal(value)
	if !ok || v > most {
		return fmt.Errorf("%w: %.60q", errValue, value)
	}
	n.set, n.n = true, v
	return nil
}

// take reads what paxTime writes. Nothing has times finer than a nanosecond.
func (t *paxTimestamp) take(value []byte) error {
	if t.set {
		return errTwice
	}
	digits, negative := bytes.CutPrefix(value, []byte{'-'})
	whole, fraction, point := bytes.Cut(digits, []byte{'.'})
	sec, ok := uint64(0), len(whole) > 0 && len(whole) <= 19
	for _, d := range whole {
		ok = ok && d >= '0' && d <= '9'
		sec = sec*10 + uint64(d-'0')
	}
	ok = ok && len(fraction) <= 9 && point == (len(fraction) > 0)
	for i := range 9 {
		d := byte('0')
		if i < len(fraction) {
			d = fraction[i]
		}
		ok = ok && d >= '0' && d <= '9'
		t.nsec = t.nsec*10 + uint32(d-'0')
	}
	t.sec = int64(sec)
	if negative {
		t.sec = -t.sec
		if t.nsec > 0 {
			t.sec, t.nsec = t.sec-1, 1_000_000_000-t.nsec
		}
	}
	if !ok || sec > 1<<63 || sec > math.MaxInt64 && !negative || negative && t.sec > 0 {
		return fmt.Errorf("%w: %.60q", errValue, value)
	}
	t.set = true
	return nil
}

// decimal reads a number without a sign and without leading zeros.
func decimal(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 19 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	n := uint64(0)
	for _, d := range b {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = n*10 + uint64(d-'0')
	}
	return int64(n), n <= math.MaxInt64
}
