package awssim

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// What x-amz-content-sha256 may say beside a hash.
const (
	unsignedPayload   = "UNSIGNED-PAYLOAD"
	unsignedTrailer   = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	minChunk          = 8 << 10  // 8 KiB; only the last chunk of aws-chunked may be smaller
	maxChunkLine      = 16 << 10 // a chunk's or trailer's line
	incompleteBody    = "You did not provide the number of bytes specified by the Content-Length HTTP header."
	malformedTrailers = "The request contained trailing data that was not well-formed or did not conform to our published schema."
)

// preparePayload sets the call's body reader and length from the headers.
func preparePayload(c *call) *apiError {
	h := c.req.Header
	sum := h.Get("X-Amz-Content-Sha256")
	c.s3.length = c.req.ContentLength
	switch {
	case sum == "":
		return badRequest("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
	case sum == unsignedPayload:
		c.body = c.req.Body
	case sum == unsignedTrailer:
		n, err := strconv.ParseInt(h.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		if err != nil || n < 0 {
			return &apiError{Status: http.StatusLengthRequired, Code: "MissingContentLength", Message: "You must provide the Content-Length HTTP header."}
		}
		c.s3.length = n
		c.body = &chunkedReader{r: bufio.NewReaderSize(c.req.Body, maxChunkLine), want: n, declared: h.Values("X-Amz-Trailer"), trailer: &c.s3.trailer}
	case strings.HasPrefix(sum, "STREAMING-"):
		return &apiError{Status: http.StatusNotImplemented, Code: "NotImplemented", Message: "A header you provided implies functionality that is not implemented: " + sum}
	case len(sum) != 2*sha256.Size:
		return badRequest("InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER or a valid sha256 value.")
	default:
		c.body = &hashedReader{r: c.req.Body, sum: sha256.New(), want: sum}
	}
	return nil
}

func badRequest(code, message string, d ...detail) *apiError {
	return &apiError{Status: http.StatusBadRequest, Code: code, Message: message, Detail: d}
}

// payloadError makes an API error of what reading a body returned.
func payloadError(err error) *apiError {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e
	}
	return badRequest("IncompleteBody", incompleteBody)
}

// hashedReader checks the body against the hash that was signed.
type hashedReader struct {
	r    io.Reader
	sum  hash.Hash
	want string
}

func (h *hashedReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.sum.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if got := hex.EncodeToString(h.sum.Sum(nil)); got != h.want {
			return n, badRequest("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.",
				detail{"ClientComputedContentSHA256", h.want}, detail{"S3ComputedContentSHA256", got})
		}
	}
	return n, err
}

// chunkedReader decodes aws-chunked with trailers (Amazon S3 API reference,
// "Including trailing headers").
type chunkedReader struct {
	r        *bufio.Reader
	left     int64 // of the chunk
	got      int64 // bytes so far
	want     int64
	small    bool // the last chunk was under minChunk
	declared []string
	trailer  *http.Header
	err      error
}

func (c *chunkedReader) Read(p []byte) (int, error) {
	if c.err == nil && c.left == 0 {
		c.err = c.next()
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	c.got += int64(n)
	if err == nil && c.left == 0 {
		err = c.crlf()
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	c.err = err
	return n, nil
}

// next reads a chunk's head, and behind the last chunk the trailers.
func (c *chunkedReader) next() error {
	line, err := c.line()
	if err != nil {
		return err
	}
	size, err := strconv.ParseInt(line, 16, 64)
	if err != nil || size < 0 {
		return badRequest("InvalidRequest", "The chunk size "+strconv.Quote(line)+" is not a number.")
	}
	if size == 0 {
		return c.end()
	}
	if c.small {
		return &apiError{Status: http.StatusForbidden, Code: "InvalidChunkSizeError", Message: "Only the last chunk is allowed to have a size less than 8192 bytes"}
	}
	if c.got+size > c.want {
		return badRequest("IncompleteBody", "The request body is longer than x-amz-decoded-content-length.")
	}
	c.small = size < minChunk
	c.left = size
	return nil
}

func (c *chunkedReader) end() error {
	if c.got != c.want {
		return badRequest("IncompleteBody", incompleteBody)
	}
	trailer := http.Header{}
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return badRequest("MalformedTrailerError", malformedTrailers)
		}
		trailer.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	for _, name := range c.declared {
		if trailer.Get(name) == "" {
			return badRequest("MalformedTrailerError", malformedTrailers)
		}
	}
	if len(trailer) != len(c.declared) {
		return badRequest("MalformedTrailerError", malformedTrailers)
	}
	*c.trailer = trailer
	return io.EOF
}

func (c *chunkedReader) line() (string, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return "", badRequest("IncompleteBody", incompleteBody)
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok {
		return "", badRequest("InvalidRequest", "A chunk's line does not end in CRLF.")
	}
	return text, nil
}

func (c *chunkedReader) crlf() error {
	if line, err := c.line(); err != nil || line != "" {
		return badRequest("IncompleteBody", "A chunk is longer than its size.")
	}
	return nil
}
