package page_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// browser is a Chromium without a window, spoken to by its DevTools protocol over
// a pipe: JSON messages that end in a zero byte
// (https://chromedevtools.github.io/devtools-protocol/). It has no port.
type browser struct {
	t      *testing.T
	to     io.Writer
	from   *bufio.Reader
	id     int
	tab    string
	events []event
}

type event struct {
	Method string
	Params json.RawMessage
}

type answer struct {
	ID     int
	Method string
	Params json.RawMessage
	Result json.RawMessage
	Error  *struct{ Message string }
}

// startBrowser skips the test where there is no Chromium.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Skip("no chromium here (Debian: apt-get install chromium)")
	}
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars",
		"--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // its descriptors 3 and 4
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Skipf("%s does not start: %v", program, err)
	}
	theirIn.Close()
	theirOut.Close()
	b := &browser{t: t, to: ourOut, from: bufio.NewReaderSize(ourIn, 1<<20)}
	limit := time.AfterFunc(3*time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	t.Cleanup(func() {
		limit.Stop()
		b.tab = ""
		_, _ = b.try("Browser.close", nil)
		ourOut.Close()
		_, _ = io.Copy(io.Discard, b.from) // until it has gone, so that its folder can go
		_ = cmd.Wait()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	})
	b.attach()
	return b
}

func (b *browser) attach() {
	b.t.Helper()
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var session struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session)
	b.tab = session.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
}

func (b *browser) try(method string, params any) (json.RawMessage, error) {
	b.id++
	message := map[string]any{"id": b.id, "method": method}
	if params != nil {
		message["params"] = params
	}
	if b.tab != "" {
		message["sessionId"] = b.tab
	}
	text, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	if _, err := b.to.Write(append(text, 0)); err != nil {
		return nil, err
	}
	for {
		a, err := b.next()
		if err != nil {
			return nil, err
		}
		if a.ID != b.id {
			continue
		}
		if a.Error != nil {
			return nil, errors.New(a.Error.Message)
		}
		return a.Result, nil
	}
}

func (b *browser) next() (answer, error) {
	text, err := b.from.ReadBytes(0)
	if err != nil {
		return answer{}, fmt.Errorf("the browser is silent: %w", err)
	}
	var a answer
	if err := json.Unmarshal(text[:len(text)-1], &a); err != nil {
		return answer{}, err
	}
	if a.Method != "" {
		b.events = append(b.events, event{a.Method, a.Params})
	}
	return a, nil
}

func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	raw, err := b.try(method, params)
	if err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	if result == nil {
		return
	}
	if err := json.Unmarshal(raw, result); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
}

// open loads a file and waits for it.
func (b *browser) open(path string) {
	b.t.Helper()
	b.events = nil
	b.call("Page.navigate", map[string]any{"url": "file://" + path}, nil)
	for !b.heard("Page.loadEventFired") {
		if _, err := b.next(); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *browser) heard(method string) bool {
	for _, e := range b.events {
		if e.Method == method {
			return true
		}
	}
	return false
}

// complaints are what the page said on the console, what it threw, and what it
// asked for besides itself.
func (b *browser) complaints(path string) []string {
	var all []string
	for _, e := range b.events {
		text := string(e.Params)
		switch e.Method {
		case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded":
			all = append(all, e.Method+" "+text)
		case "Network.requestWillBeSent":
			var r struct{ Request struct{ URL string } }
			if err := json.Unmarshal(e.Params, &r); err != nil || r.Request.URL != "file://"+path && !strings.HasPrefix(r.Request.URL, "data:,") {
				all = append(all, e.Method+" "+text)
			}
		}
	}
	return all
}

// eval runs an expression in the page; a promise is waited for.
func (b *browser) eval(expression string, result any) {
	b.t.Helper()
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &got)
	if got.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", cut(expression), got.ExceptionDetails)
	}
	if result == nil {
		return
	}
	if err := json.Unmarshal(got.Result.Value, result); err != nil {
		b.t.Fatalf("%s is %s: %v", cut(expression), got.Result.Value, err)
	}
}

func cut(text string) string { return text[:min(len(text), 200)] }

// look is how the page is looked at: CSS pixels, theme and medium.
type look struct {
	Name, Theme, Media string
	Width              int
}

func (b *browser) see(l look) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": l.Width, "height": 900, "deviceScaleFactor": 1, "mobile": l.Width < 600}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{
		"media": l.Media, "features": []map[string]string{{"name": "prefers-color-scheme", "value": l.Theme}},
	}, nil)
}
