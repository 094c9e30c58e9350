package aws

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

const (
	dialTimeout = 10 * time.Second
	idleTimeout = 30 * time.Second // at most, and half of the stall time: no idle connection stalls

	// How long a connection may be silent. A large body may have to be stored in
	// several places before there is an answer.
	usualStall = 30 * time.Second
	largeStall = time.Minute
	largeBody  = 1 << 20 // bytes
)

// newHTTPClient makes the client of all services. No request has a time-out of
// its own, since a part of 5 GiB takes what it takes; instead a connection that
// moves no byte in either direction for stall is given up.
//
// It speaks HTTP/1.1 only (as S3 and EC2 do): one connection serves one request
// at a time, and so its silence is that request's. It stays the SDK's own client type,
// which AWS_CA_BUNDLE needs.
func newHTTPClient(stall time.Duration) *awshttp.BuildableClient {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return awshttp.NewBuildableClient().
		// The SDK's read time-out would end an upload: it heeds reads only.
		WithReadTimeout(0).
		WithTransportOptions(func(t *http.Transport) {
			t.ForceAttemptHTTP2 = false
			t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
			t.MaxIdleConnsPerHost = 64
			t.IdleConnTimeout = min(idleTimeout, stall/2)
			t.WriteBufferSize = 64 << 10 // plainBodies makes bodies be copied through it
			t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return newRollingConn(conn, stall), nil
			}
		})
}

// plainBodies hides the WriteTo of request bodies. The SDK (smithy-go v1.28.8,
// ClientHandler.Handle) closes a body as soon as the answer begins; its WriteTo
// then returns io.EOF to net/http, which may just be looking for more of it,
// takes that for a failed write, and cuts the connection under the answer.
//
// And it gives large bodies their own stall time.
type plainBodies struct {
	awssdk.HTTPClient
	stall time.Duration // for requests with a large body
}

// Do implements awssdk.HTTPClient.
func (p plainBodies) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		ctx := r.Context()
		if r.ContentLength >= largeBody {
			ctx = Patient(ctx, p.stall)
		}
		r = r.Clone(ctx)
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return p.HTTPClient.Do(r)
}

// Patient lets the requests made with the returned context wait longer for a
// silent server: a store may be busy putting an object's parts together.
func Patient(ctx context.Context, stall time.Duration) context.Context {
	var used atomic.Pointer[rollingConn]
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			conn := info.Conn
			if wrapped, ok := conn.(*tls.Conn); ok {
				conn = wrapped.NetConn()
			}
			if rolling, ok := conn.(*rollingConn); ok {
				rolling.setStall(max(stall, rolling.usual))
				used.Store(rolling)
			}
		},
		PutIdleConn: func(error) {
			if rolling := used.Load(); rolling != nil {
				rolling.setStall(rolling.usual)
			}
		},
	})
}
