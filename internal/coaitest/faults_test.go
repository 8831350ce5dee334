package coaitest_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
)

// wellFormed checks what every error has, on every path.
func wellFormed(t *testing.T, e coaitest.Endpoint, res *coaitest.Response, status int, code string) {
	t.Helper()
	if res.Status != status {
		t.Errorf("got %d %s; want %d %s", res.Status, res.Body, status, code)
	}
	var body struct {
		Type  string
		Error struct {
			Message, Type, Code string
			RequestID           string `json:"request_id"`
		}
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal(res.Body, &body); err != nil || body.Error.Message == "" || body.Error.Type == "" {
		t.Fatalf("no error envelope: %v in %q", err, res.Body)
	}
	id := body.Error.RequestID
	if body.Type == "error" { // Anthropic's shape has no codes
		id = body.RequestID
	} else if body.Error.Code != code {
		t.Errorf("got the code %s, want %s: %s", body.Error.Code, code, res.Body)
	}
	if id == "" || id != res.Header.Get("X-Request-Id") {
		t.Errorf("request id %q in the body, %q in the header", id, res.Header.Get("X-Request-Id"))
	}
	if res.Header.Get("Content-Type") != "application/json" || res.Header.Get("X-Ratelimit-Remaining") == "" {
		t.Errorf("headers %v", res.Header)
	}
	if strings.Contains(string(res.Body), "goroutine") || strings.Contains(string(res.Body), ".go:") {
		t.Errorf("the answer shows code: %s", res.Body)
	}
}

// anyScope are fields that ask for no scope: what they give is everybody's.
func anyScope() []string { return []string{"Query.plans"} }

// makers are fields that make what the path names when it is not there.
func makers() []string { return []string{"Mutation.saveModel"} }

// TestFaultsOfEveryRoute makes each mistake at each route that /openapi.json has.
func TestFaultsOfEveryRoute(t *testing.T) {
	t.Parallel()
	const most = 64 << 10
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_MAX_BODY=64KiB")
	endpoints := p.Endpoints(t)
	if len(endpoints) < 35 {
		t.Fatalf("only %d routes are described", len(endpoints))
	}
	// Each is good for something else: no route may take both.
	narrow := []string{p.UserKey(object{"scopes": []string{"models:read"}}), p.UserKey(object{"scopes": []string{"webhooks"}})}
	for _, tier := range []string{"FREE", "ENTERPRISE"} { // there are many requests to come
		in := `mutation { updatePlan(tier: ` + tier + `, input: {requestsPerMinute: 1000000, requestsPerHour: 1000000, requestsPerDay: 1000000}) { userErrors { message } } }`
		if errs := p.GraphQL(coaitest.AdminKey, in, nil, nil); len(errs) > 0 {
			t.Fatal(errs)
		}
	}
	allowed := map[string][]string{}
	for _, e := range endpoints {
		allowed[e.Path] = append(allowed[e.Path], e.Method)
	}
	for _, e := range endpoints {
		t.Run(e.Method+" "+e.Path, func(t *testing.T) {
			at := e.At("nope")
			var body any
			if e.JSON {
				body = `{}`
				if e.Example != nil {
					body = string(e.Example)
				}
			}
			res := p.Do("BREW", at, coaitest.AdminKey, nil)
			wellFormed(t, e, res, http.StatusMethodNotAllowed, "method_not_allowed")
			for _, m := range allowed[e.Path] {
				if !slices.Contains(strings.Split(res.Header.Get("Allow"), ", "), m) {
					t.Errorf("Allow: %s lacks %s", res.Header.Get("Allow"), m)
				}
			}
			bare, _, _ := strings.Cut(at, "?")
			if !strings.HasPrefix(bare, "/v1/models") { // whose names may have slashes
				wellFormed(t, e, p.Do(e.Method, bare+"/nothing/there", coaitest.AdminKey, body), http.StatusNotFound, "unknown_endpoint")
			}
			wellFormed(t, e, p.Do(e.Method, bare+"%00", coaitest.AdminKey, body), http.StatusNotFound, "unknown_endpoint")
			if !e.Public {
				wellFormed(t, e, p.Do(e.Method, at, "", body), http.StatusUnauthorized, "missing_api_key")
				wellFormed(t, e, p.Do(e.Method, at, "sk-coai-wrong", body), http.StatusUnauthorized, "invalid_api_key")
				refused := func(key string) bool {
					status := p.Do(e.Method, at, key, body).Status
					return status == http.StatusForbidden || status == http.StatusNotFound && strings.Contains(e.Path, "{")
				}
				if !e.Form && !slices.Contains(anyScope(), e.Field) && !slices.ContainsFunc(narrow, refused) {
					res := p.Do(e.Method, at, narrow[0], body)
					t.Errorf("no scope is asked for: %d %s", res.Status, res.Body)
				}
			}
			if strings.Contains(e.Path, "{") && e.Method != http.MethodPost && !slices.Contains(makers(), e.Field) {
				if res := p.Do(e.Method, at, coaitest.AdminKey, body); res.Status != http.StatusNotFound {
					t.Errorf("an unknown id: %d %s", res.Status, res.Body)
				}
			}
			if !e.JSON {
				return
			}
			wellFormed(t, e, p.Do(e.Method, at, coaitest.AdminKey, `{"`), http.StatusBadRequest, "invalid_json")
			wellFormed(t, e, p.Do(e.Method, at, coaitest.AdminKey, "{\"\xff\":1}"), http.StatusBadRequest, "invalid_json")
			wellFormed(t, e, p.Do(e.Method, at, coaitest.AdminKey, `{"a":`+strings.Repeat("[", 200)), http.StatusBadRequest, "invalid_json")
			wellFormed(t, e, p.Do(e.Method, at, coaitest.AdminKey, strings.Repeat(" ", most+1)), http.StatusRequestEntityTooLarge, "request_too_large")
			wellFormed(t, e, p.Do(e.Method, at, coaitest.AdminKey, `{}`, "Content-Type", "text/plain"), http.StatusUnsupportedMediaType, "unsupported_media_type")
		})
	}
	if log := p.Logs.String(); strings.Contains(log, `"stack"`) {
		t.Errorf("something panicked: %s", log)
	}
}

// A request id that came is kept when it is harmless, also on errors.
func TestRequestIDsOnErrors(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	for _, path := range []string{"/v1/models", "/v1/nothing", "/nothing", "/graphql"} {
		if res := p.Do("DELETE", path, "", nil, "X-Request-Id", "mine-1"); res.Header.Get("X-Request-Id") != "mine-1" || !strings.Contains(string(res.Body), "mine-1") {
			t.Errorf("%s: %v %s", path, res.Header, res.Body)
		}
		if res := p.Do("DELETE", path, "", nil, "X-Request-Id", strings.Repeat("x", 200)); !strings.HasPrefix(res.Header.Get("X-Request-Id"), "req_") {
			t.Errorf("%s: a long id is kept", path)
		}
	}
}
