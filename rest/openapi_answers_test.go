package rest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"github.com/coaidev/coai/internal/coaitest"
)

// TestAnswersAreAsDescribed sends requests and holds them and their answers
// against /openapi.json.
func TestAnswersAreAsDescribed(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	described := p.Do("GET", "/openapi.json", "", nil)
	if described.Status != http.StatusOK || described.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", described.Status, described.Header)
	}
	if res := p.Do("POST", "/openapi.json", "", object{}); res.Status != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %s", res.Status, res.Body)
	}
	parsed, err := libopenapi.NewDocument(described.Body)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(parsed)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var key, channel, me, response struct{ ID string }
	p.Do("POST", "/v1/api-keys", coaitest.AdminKey, object{"name": "a", "expires_at": 1893456000, "budgets": object{"daily": 5}}).JSON(t, &key)
	p.Do("POST", "/v1/channels", coaitest.AdminKey, object{"name": "c", "type": "echo", "models": []string{"m"}, "limits": object{"rpm": 10}, "settings": object{"headers": object{"X-A": "b"}}}).JSON(t, &channel)
	p.Do("GET", "/v1/users/me", coaitest.AdminKey, nil).JSON(t, &me)
	p.Do("POST", "/v1/responses", coaitest.AdminKey, object{"model": "echo", "input": "Hello"}).JSON(t, &response)
	for _, c := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"POST", chatPath, object{"model": "echo", "stop": "x", "tools": []object{{"type": "function", "function": object{"name": "f"}}}, "messages": []object{{"role": "user", "content": []object{{"type": "text", "text": "hi"}}}}}, 200},
		{"POST", "/v1/completions", object{"model": "echo", "prompt": "x"}, 200},
		{"POST", "/v1/embeddings", object{"model": "echo", "input": "x"}, 200},
		{"POST", "/v1/images/generations", object{"model": "echo", "prompt": "x"}, 200},
		{"POST", "/v1/moderations", object{"model": "echo", "input": "x"}, 200},
		{"POST", "/v1/messages", object{"model": "echo", "max_tokens": 10, "messages": []object{{"role": "user", "content": "x"}}}, 200},
		{"POST", "/v1/messages/count_tokens", object{"model": "echo", "messages": []object{{"role": "user", "content": "x"}}}, 200},
		{"POST", "/v1/responses", object{"model": "echo", "input": "Hello"}, 200},
		{"GET", "/v1/responses/" + response.ID, nil, 200},
		{"GET", "/v1/responses/" + response.ID + "/input_items", nil, 200},
		{"GET", "/v1/models", nil, 200},
		{"GET", "/v1/models/echo", nil, 200},
		{"GET", "/v1/api-keys?limit=1", nil, 200},
		{"POST", "/v1/api-keys", object{"name": "b", "expires_at": "2030-01-01T00:00:00Z", "scopes": []string{"chat"}}, 200},
		{"GET", "/v1/api-keys/" + key.ID, nil, 200},
		{"PATCH", "/v1/api-keys/" + key.ID, object{"name": "c", "expires_at": nil, "budgets": object{"daily": nil, "monthly": "1.5"}}, 200},
		{"POST", "/v1/api-keys/" + key.ID + "/rotate", object{"grace_seconds": 1}, 200},
		{"DELETE", "/v1/api-keys/" + key.ID, nil, 200},
		{"GET", "/v1/channels", nil, 200},
		{"GET", "/v1/channels/presets", nil, 200},
		{"GET", "/v1/channels/explain?model=echo", nil, 200},
		{"GET", "/v1/channels/" + channel.ID, nil, 200},
		{"POST", "/v1/channels/" + channel.ID + "/test", object{}, 200},
		{"POST", "/v1/channels/" + channel.ID + "/reset", nil, 200},
		{"PATCH", "/v1/channels/" + channel.ID, object{"status": "disabled", "limits": nil}, 200},
		{"DELETE", "/v1/channels/" + channel.ID, nil, 200},
		{"GET", "/v1/users/me", nil, 200},
		{"PATCH", "/v1/users/me", object{"avatar_url": nil}, 200},
		{"GET", "/v1/users/" + me.ID, nil, 200},
		{"PATCH", "/v1/users/" + me.ID + "/budgets", object{"monthly": 500}, 200},
		{"POST", "/v1/users/" + me.ID + "/balance", object{"amount": 1, "note": "n"}, 200},
		{"POST", "/v1/models/import", object{"catalogue": object{"m": object{"input_cost_per_token": 0.000001, "output_cost_per_token": 0.000002}}}, 200},
		{"GET", "/v1/analytics/usage?group_by=model,user&compare=previous_period&limit=3", nil, 200},
		{"GET", "/v1/analytics/audit?start_date=2026-01-01&end_date=2026-01-03", nil, 200},
		{"GET", "/v1/api-keys/key_none", nil, 404},
		{"POST", "/v1/api-keys", object{"name": strings.Repeat("x", 1000)}, 400},
		{"DELETE", "/v1/responses/" + response.ID, nil, 200},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			res := p.Do(c.method, c.path, coaitest.AdminKey, c.body)
			if res.Status != c.status {
				t.Fatalf("%d %s", res.Status, res.Body)
			}
			in, err := json.Marshal(c.body)
			if err != nil {
				t.Fatal(err)
			}
			if c.body == nil {
				in = nil
			}
			req, err := http.NewRequestWithContext(t.Context(), c.method, p.URL+c.path, bytes.NewReader(in))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+coaitest.AdminKey)
			req.Header.Set("Content-Type", "application/json")
			if ok, problems := v.ValidateHttpRequest(req); !ok {
				for _, e := range problems {
					t.Errorf("the request: %s: %s", e.Message, e.Reason)
					for _, s := range e.SchemaValidationErrors {
						t.Errorf("  %s: %s", s.FieldPath, s.Reason)
					}
				}
			}
			answer := &http.Response{StatusCode: res.Status, Header: res.Header, Body: io.NopCloser(bytes.NewReader(res.Body)), Request: req}
			if ok, problems := v.ValidateHttpResponse(req, answer); !ok {
				for _, e := range problems {
					t.Errorf("%s: %s", e.Message, e.Reason)
					for _, s := range e.SchemaValidationErrors {
						t.Errorf("  %s: %s", s.FieldPath, s.Reason)
					}
				}
				t.Logf("%s", res.Body)
			}
		})
	}
}
