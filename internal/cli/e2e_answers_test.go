package cli

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// answer is what the account gives to one call, on its way to the program.
type answer struct {
	// call is an action of EC2, the path of the metadata service, or for S3 the
	// method and what the query is about: "POST ?uploads".
	call   string
	n      int // of this call, from 1
	status int
	header http.Header
	body   string
}

// rewrites puts a proxy between the program and the account, which change may use
// to give answers that the sandbox never would.
func (w *world) rewrites(change func(*answer)) {
	w.t.Helper()
	var mu sync.Mutex
	calls := map[string]int{}
	through := func(target string, callOf func(*http.Request) string) string {
		to, err := url.Parse(target)
		if err != nil {
			w.t.Fatal(err)
		}
		proxy := &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(to)
				r.Out.Host = r.In.Host // which is signed
				r.Out.Header.Set("Accept-Encoding", "identity")
			},
			ModifyResponse: func(r *http.Response) error {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return err
				}
				a := &answer{call: r.Request.Header.Get(callHeader), status: r.StatusCode, header: r.Header, body: string(body)}
				mu.Lock()
				calls[a.call]++
				a.n = calls[a.call]
				change(a)
				mu.Unlock()
				r.StatusCode, r.Status = a.status, ""
				if r.Request.Method != http.MethodHead {
					r.Body, r.ContentLength = io.NopCloser(strings.NewReader(a.body)), int64(len(a.body))
					r.Header.Set("Content-Length", strconv.Itoa(len(a.body)))
				}
				return nil
			},
			ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		}
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			r.Header.Set(callHeader, callOf(r)) // it is not signed, and so does no harm
			proxy.ServeHTTP(rw, r)
		}))
		w.t.Cleanup(server.Close)
		return server.URL
	}
	w.extra = append(w.extra,
		"AWS_ENDPOINT_URL_EC2="+through(w.sim.Endpoint(), func(r *http.Request) string {
			form, err := io.ReadAll(r.Body)
			if err != nil {
				return ""
			}
			r.Body = io.NopCloser(bytes.NewReader(form))
			values, err := url.ParseQuery(string(form))
			if err != nil {
				return ""
			}
			return values.Get("Action")
		}),
		"AWS_ENDPOINT_URL_S3="+through(w.sim.Endpoint(), func(r *http.Request) string {
			for _, part := range []string{"uploads", "uploadId"} {
				if r.URL.Query().Has(part) {
					return r.Method + " ?" + part
				}
			}
			return r.Method + " ?"
		}),
		"AWS_EC2_METADATA_SERVICE_ENDPOINT="+through(w.sim.MetadataEndpoint(), func(r *http.Request) string { return r.URL.Path }))
}

const callHeader = "X-Test-Call"

// on changes the answers to one call.
func on(call string, change func(*answer)) func(*answer) {
	return func(a *answer) {
		if a.call == call {
			change(a)
		}
	}
}

// says replaces the whole answer.
func says(status int, body string) func(*answer) {
	return func(a *answer) { a.status, a.body = status, body }
}

// between replaces what stands between two words, wherever they stand.
func between(before, after, with string) func(*answer) {
	return func(a *answer) {
		var b strings.Builder
		for rest := a.body; ; {
			head, tail, ok := strings.Cut(rest, before)
			b.WriteString(head)
			if !ok {
				break
			}
			_, rest, ok = strings.Cut(tail, after)
			b.WriteString(before + with)
			if !ok {
				break
			}
			b.WriteString(after)
		}
		a.body = b.String()
	}
}

// drops takes an element out of the answer, wherever it stands.
func drops(element string) func(*answer) {
	return func(a *answer) {
		begin, end := "<"+element+">", "</"+element+">"
		between(begin, end, "")(a)
		a.body = strings.ReplaceAll(a.body, begin+end, "")
	}
}
