package rest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	"github.com/pb33f/libopenapi-validator/schema_validation"

	"github.com/coaidev/coai/internal/coaitest"
)

// openAISchema gives a check of JSON against a schema of OpenAI's published
// description, which may lie beside the repository.
func openAISchema(t *testing.T, name string) func(t *testing.T, payload string) {
	t.Helper()
	file := filepath.Join("..", "..", "shared", "spec", "openai.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("OpenAI's description is not at %s: answers are not checked against it", file)
	}
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	model, err := doc.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	proxy, ok := model.Model.Components.Schemas.Get(name)
	if !ok {
		t.Fatalf("the description has no schema %s", name)
	}
	schema, err := proxy.BuildSchema()
	if err != nil {
		t.Fatal(err)
	}
	const version = 3.0 // the description says 3.1, but uses 3.0's nullable
	v := schema_validation.NewSchemaValidator()
	return func(t *testing.T, payload string) {
		t.Helper()
		if ok, errs := v.ValidateSchemaStringWithVersion(schema, payload, version); !ok {
			for _, e := range errs {
				t.Errorf("%s in %s", e.Reason, payload)
				for _, s := range e.SchemaValidationErrors {
					t.Errorf("  %s: %s", s.FieldPath, s.Reason)
				}
			}
		}
	}
}

func TestChunksAreOpenAIs(t *testing.T) {
	valid := openAISchema(t, "CreateChatCompletionStreamResponse")
	p := coaitest.Start(t, coaitest.Backends{})
	messages := []object{{"role": "user", "content": "some words"}}
	for name, in := range map[string]object{
		"plain":       {},
		"usage":       {"stream_options": object{"include_usage": true}},
		"two choices": {"n": 2},
		"tool calls":  {"tool_choice": "required", "tools": []object{{"type": "function", "function": object{"name": "f", "parameters": object{"type": "object"}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			in["model"], in["stream"], in["messages"] = "echo", true, messages
			all := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", chatPath, coaitest.AdminKey, in)).All()
			for _, chunk := range all[:len(all)-1] {
				// OpenAI sends this null, but the description has its nullable beside a $ref, where it means nothing.
				valid(t, strings.Replace(chunk, `,"usage":null}`, `}`, 1))
			}
			if len(all) < 3 || all[len(all)-1] != "[DONE]" {
				t.Errorf("%d events, the last is %q", len(all), all[len(all)-1])
			}
		})
	}
}

func TestErrorsAreOpenAIs(t *testing.T) {
	valid := openAISchema(t, "ErrorResponse")
	p := coaitest.Start(t, coaitest.Backends{})
	for name, res := range map[string]*coaitest.Response{
		"no key":         p.Do("GET", "/v1/models", "", nil),
		"a wrong key":    p.Do("GET", "/v1/models", "sk-nonsense", nil),
		"a bad request":  p.Do("POST", chatPath, coaitest.AdminKey, `{"model":1}`),
		"no such model":  p.Do("GET", "/v1/models/nope", coaitest.AdminKey, nil),
		"no such path":   p.Do("GET", "/v1/nope", coaitest.AdminKey, nil),
		"no such method": p.Do("DELETE", "/v1/models", coaitest.AdminKey, nil),
	} {
		t.Run(name, func(t *testing.T) {
			if res.Status < 400 {
				t.Errorf("status %d", res.Status)
			}
			valid(t, string(res.Body))
		})
	}
}
