package ui

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Format is how log lines are written.
type Format string

// The two formats: for a person, and for a program (one JSON object a line).
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// NewHandler returns the handler that writes log records to w in the format,
// from level up. A record is one Write. The attribute "snapshot" stands in front
// of the text form: `[snap-0123] volume attached device=/dev/sdf`.
func NewHandler(w io.Writer, format Format, level slog.Leveler) slog.Handler {
	if format == FormatJSON {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: jsonAttr})
	}
	return &textHandler{out: w, mu: new(sync.Mutex), level: level}
}

// jsonAttr gives durations a unit a reader of JSON can see: slog would write
// nanoseconds under a bare name.
func jsonAttr(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.Float64(a.Key+"_seconds", a.Value.Duration().Seconds())
	}
	return a
}

// textHandler writes records for people. It leaves the time out: bars and lines
// are read as they appear, and whoever keeps them has --log-format json.
type textHandler struct {
	out      io.Writer
	mu       *sync.Mutex // one for all handlers derived from one
	level    slog.Leveler
	group    string // prefix of keys: "outer.inner."
	snapshot string // who the line is about; "" for none
	attrs    string // " key=value" of all WithAttrs
}

// Enabled is part of slog.Handler.
func (h *textHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle is part of slog.Handler.
func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	line := textLine{snapshot: h.snapshot}
	r.Attrs(func(a slog.Attr) bool { line.add(h.group, a); return true })

	var b strings.Builder
	if line.snapshot != "" {
		b.WriteString("[" + line.snapshot + "] ")
	}
	switch {
	case r.Level >= slog.LevelError:
		b.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		b.WriteString("warning: ")
	case r.Level < slog.LevelInfo:
		b.WriteString("debug: ")
	}
	b.WriteString(Visible(r.Message) + h.attrs + line.text.String() + "\n")

	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.out, b.String())
	return err
}

// WithAttrs is part of slog.Handler.
func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	line := textLine{snapshot: h.snapshot}
	for _, a := range attrs {
		line.add(h.group, a)
	}
	derived := *h
	derived.snapshot = line.snapshot
	derived.attrs += line.text.String()
	return &derived
}

// WithGroup is part of slog.Handler.
func (h *textHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	derived := *h
	derived.group += name + "."
	return &derived
}

// textLine gathers the attributes of one line.
type textLine struct {
	snapshot string
	text     strings.Builder
}

func (l *textLine) add(group string, a slog.Attr) {
	a.Value = a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
	case a.Value.Kind() == slog.KindGroup:
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, member := range a.Value.Group() {
			l.add(group, member)
		}
	case group == "" && a.Key == "snapshot":
		l.snapshot = Visible(a.Value.String())
	default:
		l.text.WriteString(" " + Visible(group+a.Key) + "=" + textValue(a))
	}
}

// textValue writes a value so that the line can be taken apart again: quoted
// where it holds more than one plain word. Bytes and durations are for people.
func textValue(a slog.Attr) string {
	s := a.Value.String()
	switch a.Value.Kind() {
	case slog.KindInt64:
		if a.Key == "bytes" || strings.HasSuffix(a.Key, "_bytes") {
			return strings.ReplaceAll(Bytes(a.Value.Int64()), " ", "")
		}
		if strings.HasSuffix(a.Key, "bytes_per_second") {
			return strings.ReplaceAll(Bytes(a.Value.Int64()), " ", "") + "/s"
		}
	case slog.KindDuration:
		return Duration(a.Value.Duration())
	case slog.KindTime:
		return a.Value.Time().UTC().Format(time.RFC3339)
	}
	if s == "" || strings.ContainsAny(s, " \"=") || !clean(s) {
		return strconv.Quote(s)
	}
	return s
}
