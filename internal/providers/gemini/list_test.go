package gemini_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/gemini"
)

func listing(t *testing.T, page func(token string) string) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method != http.MethodGet || r.URL.Path != "/v1beta/models" || r.Header.Get("X-Goog-Api-Key") != "key" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}`)
			return
		}
		_, _ = io.WriteString(w, page(r.URL.Query().Get("pageToken")))
	}))
	t.Cleanup(srv.Close)
	return srv
}

func TestModelsAreListedPageByPage(t *testing.T) {
	t.Parallel()
	srv := listing(t, func(token string) string {
		if token == "" {
			return `{"models":[{"name":"models/gemini-a","supportedGenerationMethods":["generateContent","countTokens"]},{"name":"models/aqa","supportedGenerationMethods":["generateAnswer"]}],"nextPageToken":"two"}`
		}
		return `{"models":[{"name":"models/embed","supportedGenerationMethods":["embedContent"]}]}`
	})
	names, err := gemini.New(gemini.Config{BaseURL: srv.URL, APIKey: "key"}, srv.Client()).Models(t.Context())
	if err != nil || !slices.Equal(names, []string{"gemini-a", "embed"}) {
		t.Errorf("%v, %v", names, err)
	}
	_, err = gemini.New(gemini.Config{BaseURL: srv.URL, APIKey: "wrong"}, srv.Client()).Models(t.Context())
	var e *providers.Error
	if !errors.As(err, &e) {
		t.Errorf("a wrong credential: %v", err)
	}
	// An upstream that never ends its list is left after some pages.
	pages := 0
	endless := listing(t, func(string) string {
		pages++
		return `{"models":[{"name":"models/again"}],"nextPageToken":"on"}`
	})
	if names, err = gemini.New(gemini.Config{BaseURL: endless.URL, APIKey: "key"}, endless.Client()).Models(t.Context()); err != nil || pages > 50 || len(names) != pages {
		t.Errorf("%d pages, %v", pages, err)
	}
}

func FuzzModels(f *testing.F) {
	f.Add(`{"models":[{"name":"models/gemini-a","supportedGenerationMethods":["generateContent"]}]}`)
	f.Add(`{"models":[{"name":1}]}`)
	f.Add(`[`)
	f.Add(``)
	var body string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
	f.Cleanup(srv.Close)
	p := gemini.New(gemini.Config{BaseURL: srv.URL}, srv.Client())
	f.Fuzz(func(t *testing.T, page string) {
		body = page
		names, err := p.Models(t.Context())
		var e *providers.Error
		if err != nil && (!errors.As(err, &e) || names != nil) {
			t.Errorf("%v, %v", names, err)
		}
	})
}
