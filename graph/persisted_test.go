package graph

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/coaidev/coai/models"
)

func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func persisted(hash string) map[string]any {
	return map[string]any{"persistedQuery": map[string]any{"version": 1, "sha256Hash": hash}}
}

// ask posts a body as the admin.
func ask(t *testing.T, srv *httptest.Server, body string) *result {
	t.Helper()
	return do(t, srv, http.MethodPost, "/graphql", body, "Content-Type", "application/json", "Authorization", "Bearer "+adminKey)
}

func TestPersistedQueries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	const query = `{viewer{role}}`
	hash := hashed(query)
	for _, c := range []struct {
		name string
		body map[string]any
		code string
	}{
		{"unknown", map[string]any{"extensions": persisted(hash)}, "PERSISTED_QUERY_NOT_FOUND"},
		{"invalid documents are not kept", map[string]any{"query": "{nothing}", "extensions": persisted(hashed("{nothing}"))}, "GRAPHQL_VALIDATION_FAILED"},
		{"so they stay unknown", map[string]any{"extensions": persisted(hashed("{nothing}"))}, "PERSISTED_QUERY_NOT_FOUND"},
		{"another document's hash", map[string]any{"query": "{viewer{id}}", "extensions": persisted(hash)}, "PERSISTED_QUERY_HASH_MISMATCH"},
		{"sent with its hash", map[string]any{"query": query, "extensions": persisted(hash)}, ""},
		{"by hash", map[string]any{"extensions": persisted(hash)}, ""},
		{"in capitals", map[string]any{"extensions": persisted(strings.ToUpper(hash))}, ""},
		{"by documentId", map[string]any{"documentId": "sha256:" + hash}, ""},
		{"no hash", map[string]any{"extensions": persisted("abc")}, models.CodeInvalidValue},
		{"another version", map[string]any{"extensions": map[string]any{"persistedQuery": map[string]any{"version": 2, "sha256Hash": hash}}}, models.CodeInvalidValue},
		{"another extension", map[string]any{"query": query, "extensions": map[string]any{"tracing": true}}, ""},
		{"neither", map[string]any{"extensions": map[string]any{}}, models.CodeMissingParameter},
	} {
		body, err := json.Marshal(c.body)
		if err != nil {
			t.Fatal(err)
		}
		got := ask(t, srv, string(body))
		if got.code() != c.code || c.code == "" && !got.HasData {
			t.Errorf("%s: %s, want the code %q", c.name, got.Body, c.code)
		}
		if c.code == "PERSISTED_QUERY_NOT_FOUND" && got.Errors[0].Message != "PersistedQueryNotFound" {
			t.Errorf("%s: the message is %q, and Apollo's clients look for another", c.name, got.Errors[0].Message)
		}
	}
	extensions, _ := json.Marshal(persisted(hash))
	got := do(t, srv, http.MethodGet, "/graphql?"+url.Values{"extensions": {string(extensions)}}.Encode(), "", "Authorization", "Bearer "+adminKey)
	if !got.HasData {
		t.Errorf("by hash in the URL: %s", got.Body)
	}
}

func TestTrustedDocuments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const known = `query Role {viewer{role}}`
	manifest, _ := json.Marshal(map[string]string{hashed(known): known})
	trusted, err := TrustedDocuments(manifest)
	if err != nil {
		t.Fatal(err)
	}
	srv := w.serve(w.handler(HandlerConfig{Trusted: trusted}))
	for name, c := range map[string]struct {
		body map[string]any
		code string
	}{
		"by hash":          {map[string]any{"documentId": "sha256:" + hashed(known)}, ""},
		"in full":          {map[string]any{"query": known}, ""},
		"another document": {map[string]any{"query": `{viewer{id}}`}, "DOCUMENT_NOT_TRUSTED"},
		"left by a client": {map[string]any{"query": `{viewer{id}}`, "extensions": persisted(hashed(`{viewer{id}}`))}, "DOCUMENT_NOT_TRUSTED"},
		"another hash":     {map[string]any{"extensions": persisted(hashed("x"))}, "DOCUMENT_NOT_TRUSTED"},
	} {
		body, _ := json.Marshal(c.body)
		if got := ask(t, srv, string(body)); got.code() != c.code || c.code == "" && !got.HasData {
			t.Errorf("%s: %s, want the code %q", name, got.Body, c.code)
		}
	}

	apollo, _ := json.Marshal(map[string]any{
		"format": "apollo-persisted-query-manifest", "version": 1,
		"operations": []map[string]string{{"id": hashed(known), "name": "Role", "type": "query", "body": known}},
	})
	if got, err := TrustedDocuments(apollo); err != nil || got[hashed(known)] != known {
		t.Errorf("Apollo's manifest: %v, %v", got, err)
	}
	deep := strings.Repeat("{a", 100) + strings.Repeat("}", 100)
	for name, text := range map[string]string{
		"no JSON": "{", "no object": "[]", "another format": `{"format":"x"}`,
		"a wrong hash": `{"abc":"{viewer{id}}"}`, "too deep": `{"` + hashed(deep) + `":"` + deep + `"}`,
	} {
		if _, err := TrustedDocuments([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzTrustedDocuments(f *testing.F) {
	f.Add([]byte(`{"` + hashed("{a}") + `":"{a}"}`))
	f.Add([]byte(`{"format":"apollo-persisted-query-manifest","operations":[{"id":"x","body":"{a}"}]}`))
	f.Fuzz(func(t *testing.T, manifest []byte) {
		documents, err := TrustedDocuments(manifest)
		if err != nil {
			return
		}
		for hash, text := range documents {
			if hashed(text) != hash {
				t.Errorf("%q is kept for %q", text, hash)
			}
		}
	})
}

func TestPublishedSchema(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	page := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "a page") })
	open, hidden := w.handler(HandlerConfig{Page: page}), w.handler(HandlerConfig{NoIntrospection: true})
	srv := w.serve(open.Introspection())
	var answer struct {
		Data struct {
			Schema struct{ Types []struct{ Name string } } `json:"__schema"`
		}
	}
	if got := do(t, srv, http.MethodGet, "/", ""); json.Unmarshal([]byte(got.Body), &answer) != nil || len(answer.Data.Schema.Types) < 50 {
		t.Errorf("introspection.json: %.300s", got.Body)
	}
	if got := do(t, srv, http.MethodPost, "/", "{}"); got.Status != http.StatusMethodNotAllowed {
		t.Errorf("POST introspection.json: %d", got.Status)
	}
	for name, h := range map[string]http.Handler{"text": hidden.Schema(), "JSON": hidden.Introspection()} {
		if got := do(t, w.serve(h), http.MethodGet, "/", ""); got.Status != http.StatusNotFound {
			t.Errorf("the hidden schema as %s: %d %.200s", name, got.Status, got.Body)
		}
	}
	if got := post(t, w.serve(hidden), adminKey, "{__schema{types{name}}}", nil); len(got.Errors) == 0 {
		t.Errorf("the hidden schema by a document: %.200s", got.Body)
	}

	api := w.serve(open)
	for accept, isPage := range map[string]bool{
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": true,
		"text/html;q=0, */*":          false,
		"*/*":                         false,
		"application/json, text/html": false,
	} {
		got := do(t, api, http.MethodGet, "/graphql?query="+url.QueryEscape("{viewer{role}}"), "", "Authorization", "Bearer "+adminKey, "Accept", accept)
		if (got.Body == "a page") != isPage {
			t.Errorf("Accept: %s: got %.100s", accept, got.Body)
		}
	}
}
