// Package web holds the pages that the server answers browsers with, and their
// scripts: nothing is loaded from elsewhere.
package web

import (
	"compress/gzip"
	"embed"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed index.html
var page []byte

// What `npm run build` made of src and of package-lock.json, each file compressed.
//
//go:embed ide/*.gz
var assets embed.FS

// policy lets the page run its own scripts and speak to its own server, and
// nothing else. The editor positions its parts by style attributes.
const policy = "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'; " +
	"font-src 'self' data:; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Page serves the GraphQL IDE's page. It stands at /graphql, beside the API.
func Page() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy)
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if r.Method != http.MethodHead {
			_, _ = w.Write(page)
		}
	})
}

// Assets serves the IDE's scripts and styles by the last part of the path.
// missing answers for what there is not, and for methods other than GET and HEAD.
func Assets(missing http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := path.Base(r.URL.Path)
		f, err := assets.Open("ide/" + name + ".gz")
		if err != nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
			missing.ServeHTTP(w, r)
			return
		}
		defer func() { _ = f.Close() }()
		h := w.Header()
		h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Vary", "Accept-Encoding")
		h.Set("Cache-Control", "no-cache")
		if strings.HasPrefix(name, "chunk-") {
			h.Set("Cache-Control", "public, max-age=31536000, immutable") // its name follows from its content
		}
		var body io.Reader = f
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
		} else if body, err = gzip.NewReader(f); err != nil {
			missing.ServeHTTP(w, r)
			return
		}
		if r.Method != http.MethodHead {
			_, _ = io.Copy(w, body) //nolint:gosec // our own bundle; a client that leaves is its own affair
		}
	})
}
