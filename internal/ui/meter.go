package ui

import "time"

// rateWindow is how far back a rate looks: long enough to be calm over the
// pauses between parts, short enough to show a stall within a minute.
const rateWindow = 30 * time.Second

// meter tells the rate of the last rateWindow. It is not safe for concurrent
// use; it keeps about one sample a second.
type meter struct{ samples []sample }

type sample struct {
	at   time.Time
	done int64
}

// observe notes that done bytes are through at now and returns bytes a second.
func (m *meter) observe(now time.Time, done int64) float64 {
	if n := len(m.samples); n == 0 || now.Sub(m.samples[n-1].at) >= time.Second {
		m.samples = append(m.samples, sample{now, done})
	}
	drop := 0
	for drop+1 < len(m.samples) && now.Sub(m.samples[drop+1].at) >= rateWindow {
		drop++
	}
	m.samples = m.samples[drop:]
	first := m.samples[0]
	if passed := now.Sub(first.at); passed > 0 {
		return float64(done-first.done) / passed.Seconds()
	}
	return 0
}

// left is how long the rest takes at this rate; 0 when nobody can tell.
func left(done, total int64, rate float64) time.Duration {
	if rate < 1 || done >= total {
		return 0
	}
	return time.Duration(float64(total-done) / rate * float64(time.Second))
}
