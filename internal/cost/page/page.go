// Package page makes a page out of a cost.Report: one HTML file that needs
// nothing else, asks nobody, and says everything without its script. Names,
// descriptions and ids come from outside and are shown as text, whatever they are.
package page

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"

	"snap-to-s3/internal/cost"
)

//go:embed page.html
var markup string

//go:embed page.css
var style string

//go:embed page.js
var script string

// HTML writes the report as a page. Errors are those of w, and of a drawing that
// could not be made.
func HTML(w io.Writer, r cost.Report) error {
	t, err := template.New("page").Parse(markup)
	if err != nil {
		return fmt.Errorf("read the template of the page: %w", err)
	}
	v, err := viewOf(r)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	if err := t.Execute(out, v); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// policy lets a browser run and apply what this package wrote, and fetch nothing:
// should a name ever get out of its quotes, it is dead all the same.
func policy() string {
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return fmt.Sprintf("default-src 'none'; style-src %s; script-src %s; img-src data:; base-uri 'none'; form-action 'none'", hash(style), hash(script))
}
