package coaitest_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"github.com/coaidev/coai/internal/coaitest"
)

// Answers are valid against OpenAI's published description of its API, where
// that file is to be had beside the repository.
func TestAnswersAreOpenAIs(t *testing.T) {
	path := filepath.Join("..", "..", "..", "shared", "spec", "openai.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("OpenAI's description is not at %s: answers are not checked against it", path)
	}
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	p := coaitest.Start(t, coaitest.Backends{})
	key := p.UserKey(nil)
	tools := object{"tool_choice": "required", "tools": []object{{"type": "function", "function": object{"name": "f", "parameters": object{"type": "object"}}}}}
	for name, c := range map[string]struct {
		method, path string
		body         any
	}{
		"completion":  {"POST", "/v1/chat/completions", ask("echo", nil)},
		"two choices": {"POST", "/v1/chat/completions", ask("echo", object{"n": 2})},
		"tool calls":  {"POST", "/v1/chat/completions", ask("echo", tools)},
		"embeddings":  {"POST", "/v1/embeddings", object{"model": "echo", "input": "x"}},
		"text":        {"POST", "/v1/completions", object{"model": "echo", "prompt": "x"}},
		"images":      {"POST", "/v1/images/generations", object{"model": "echo", "prompt": "x"}},
		"moderation":  {"POST", "/v1/moderations", object{"model": "echo", "input": "x"}},
		"models":      {"GET", "/v1/models", nil},
		"one model":   {"GET", "/v1/models/echo", nil},
	} {
		t.Run(name, func(t *testing.T) {
			res := p.Do(c.method, c.path, key, c.body)
			if res.Status != http.StatusOK {
				t.Fatalf("%d %s", res.Status, res.Body)
			}
			req, err := http.NewRequestWithContext(t.Context(), c.method, "https://api.openai.com"+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			answer := &http.Response{StatusCode: res.Status, Header: res.Header, Body: io.NopCloser(bytes.NewReader(res.Body)), Request: req}
			if ok, errs := v.ValidateHttpResponse(req, answer); !ok {
				for _, e := range errs {
					t.Errorf("%s: %s", e.Message, e.Reason)
					for _, s := range e.SchemaValidationErrors {
						t.Errorf("  %s: %s", s.FieldPath, s.Reason)
					}
				}
			}
		})
	}
}
