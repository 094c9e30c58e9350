package awssim

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// spoil notes what a fault is about to do to an answer, and shortens a range.
func (x *exchange) spoil(resp *response) {
	switch {
	case x.fault.CutBody > 0:
		x.line.Fault = "cut body"
	case x.fault.HangBody > 0:
		x.line.Fault = "hang body"
	case x.fault.ShortRange > 0 && x.fault.ShortRange < resp.length && resp.status == http.StatusPartialContent && resp.body != nil:
		x.line.Fault = "short range"
		_, size, _ := strings.Cut(resp.header.Get("Content-Range"), "/")
		resp.length = x.fault.ShortRange
		resp.header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%s", resp.from, resp.from+resp.length-1, size))
		resp.body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.body, resp.length), resp.body}
	}
}

// sendSome sends so many bytes of an answer. Then the connection is cut, or hangs.
func (s *Server) sendSome(x *exchange, resp *response, most int64) error {
	if _, err := io.CopyN(x.w, resp.body, most); err != nil {
		return err
	}
	if err := http.NewResponseController(x.w).Flush(); err != nil {
		return err
	}
	if x.fault.CutBody == 0 {
		s.hang(x.req)
	}
	return fmt.Errorf("answer ends after %d bytes on order", most)
}
