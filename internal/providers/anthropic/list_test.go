package anthropic_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/anthropic"
)

func TestModelsAreListedPageByPage(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method != http.MethodGet || r.URL.Path != "/v1/models" || r.Header.Get("X-Api-Key") != "sk-ant" || r.Header.Get("Anthropic-Version") == "" || r.URL.Query().Get("limit") != "1000":
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`)
		case r.URL.Query().Get("after_id") == "":
			_, _ = io.WriteString(w, `{"data":[{"type":"model","id":"claude-a","display_name":"A"},{"type":"model","id":"claude-b"}],"has_more":true,"first_id":"claude-a","last_id":"claude-b"}`)
		default:
			_, _ = io.WriteString(w, `{"data":[{"type":"model","id":"after-`+r.URL.Query().Get("after_id")+`"}],"has_more":false}`)
		}
	}))
	t.Cleanup(srv.Close)
	for _, base := range []string{srv.URL, srv.URL + "/v1"} {
		names, err := anthropic.New(anthropic.Config{BaseURL: base, APIKey: "sk-ant"}, srv.Client()).Models(t.Context())
		if err != nil || !slices.Equal(names, []string{"claude-a", "claude-b", "after-claude-b"}) {
			t.Errorf("%s: %v, %v", base, names, err)
		}
	}
	_, err := anthropic.New(anthropic.Config{BaseURL: srv.URL, APIKey: "wrong"}, srv.Client()).Models(t.Context())
	var e *providers.Error
	if !errors.As(err, &e) || e.Class != providers.Credential {
		t.Errorf("a wrong credential: %v", err)
	}
	if _, err := anthropic.New(anthropic.Config{BaseURL: "nonsense"}, srv.Client()).Models(t.Context()); !errors.As(err, &e) {
		t.Errorf("no base URL: %v", err)
	}
}
