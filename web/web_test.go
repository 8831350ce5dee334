package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/coaidev/coai/web"
)

// TestPageIsWhole: everything that the page and its style sheet name is there, as
// what it is, and nothing comes from elsewhere.
func TestPageIsWhole(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/graphql", web.Page())
	mux.Handle("/graphql/ide/", web.Assets(http.NotFoundHandler()))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	get := func(path, encoding string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", encoding)
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(body)
	}

	res, page := get("/graphql", "identity")
	if policy := res.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "script-src 'self'") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("the policy is %q", policy)
	}
	if strings.Contains(page, "http://") || strings.Contains(page, "https://") {
		t.Error("the page names another server")
	}
	named := regexp.MustCompile(`(?:src|href)="(graphql/ide/[^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(named) != 2 {
		t.Fatalf("the page names %v", named)
	}
	paths := []string{"/graphql/ide/editor.worker.js", "/graphql/ide/json.worker.js", "/graphql/ide/graphql.worker.js"}
	for _, m := range named {
		paths = append(paths, "/"+m[1])
	}
	_, style := get("/graphql/ide/ide.css", "identity")
	for _, m := range regexp.MustCompile(`url\("?\./([^")]+)"?\)`).FindAllStringSubmatch(style, -1) {
		paths = append(paths, "/graphql/ide/"+m[1])
	}
	_, script := get("/graphql/ide/ide.js", "identity")
	for _, m := range regexp.MustCompile(`"\./([\w.-]+\.js)"`).FindAllStringSubmatch(script, -1) {
		paths = append(paths, "/graphql/ide/"+m[1])
	}
	kinds := map[string]string{"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "ttf": "font/ttf"}
	for _, path := range paths {
		res, body := get(path, "identity")
		if want := kinds[path[strings.LastIndex(path, ".")+1:]]; res.StatusCode != http.StatusOK || body == "" || res.Header.Get("Content-Type") != want {
			t.Errorf("%s: %d %s of %d bytes, want %s", path, res.StatusCode, res.Header.Get("Content-Type"), len(body), want)
		}
		if res, packed := get(path, "gzip"); res.Header.Get("Content-Encoding") != "gzip" || len(packed) >= len(body) {
			t.Errorf("%s is not sent compressed", path)
		}
	}
	for _, path := range []string{"/graphql/ide/", "/graphql/ide/nothing.js", "/graphql/ide/..%2fweb.go", "/graphql/ide/ide.js.gz"} {
		if res, _ := get(path, "identity"); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}
