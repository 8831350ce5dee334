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
	"github.com/pb33f/libopenapi-validator/schema_validation"
	"github.com/pb33f/libopenapi/datamodel/high/base"

	"github.com/coaidev/coai/internal/coaitest"
)

// The events of a streamed response are valid against OpenAI's description, too.
func TestEventsAreOpenAIs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "spec", "openai.yaml"))
	if err != nil {
		t.Skip("OpenAI's description is not to be had")
	}
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	model, err := doc.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	schemas := schema_validation.NewSchemaValidator()
	byType := map[string]*base.Schema{}
	for _, variant := range model.Model.Components.Schemas.GetOrZero("ResponseStreamEvent").Schema().AnyOf {
		s := variant.Schema()
		if kind := s.Properties.GetOrZero("type"); kind != nil && len(kind.Schema().Enum) > 0 {
			byType[kind.Schema().Enum[0].Value] = s
		}
	}
	p := coaitest.Start(t, coaitest.Backends{})
	delta := func(d string) string {
		return `{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-test","choices":[{"index":0,"delta":` + d + `,"finish_reason":null}]}`
	}
	p.Channel(coaitest.NewUpstream(t, coaitest.Events(
		coaitest.FirstChunk, delta(`{"reasoning_content":"Hm."}`), coaitest.Chunk("I look."), delta(`{"refusal":"No."}`),
		delta(`{"tool_calls":[{"index":0,"id":"c0","type":"function","function":{"name":"a","arguments":"{}"}}]}`),
		coaitest.FinishChunk, coaitest.UsageChunk, coaitest.Done)), nil)
	events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/responses", p.UserKey(nil), object{"model": "gpt-test", "input": "x", "stream": true})).All()
	if len(events) < 20 {
		t.Errorf("only %d events", len(events))
	}
	for _, e := range events {
		kind := decode[struct{ Type string }](t, e).Type
		if byType[kind] == nil {
			t.Errorf("OpenAI has no event %s", kind)
			continue
		}
		if ok, errs := schemas.ValidateSchemaString(byType[kind], e); !ok {
			for _, err := range errs {
				t.Errorf("%s: %s", kind, err.Reason)
				for _, s := range err.SchemaValidationErrors {
					t.Errorf("  %s: %s", s.FieldPath, s.Reason)
				}
			}
		}
	}
}

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
		"response":    {"POST", "/v1/responses", object{"model": "echo", "input": "Hello", "instructions": "Be kind.", "metadata": object{"k": "v"}}},
		"function calls": {"POST", "/v1/responses", object{"model": "echo", "input": "Hello", "tool_choice": "required", "tools": []object{
			{"type": "function", "name": "f", "parameters": object{"type": "object"}, "strict": false}}}},
		"models":    {"GET", "/v1/models", nil},
		"one model": {"GET", "/v1/models/echo", nil},
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
