package rest

import (
	"reflect"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// TestEveryRouteIsDescribed: a new route gets a row in operations, with what it
// reads and what it answers.
func TestEveryRouteIsDescribed(t *testing.T) {
	t.Parallel()
	table := operations()
	used := map[string]bool{}
	for _, rt := range routes() {
		op, ok := table[rt.field]
		used[rt.field] = true
		if !ok {
			t.Errorf("%s %s has no row in operations: add %q with its request and its response", rt.method, rt.pattern, rt.field)
			continue
		}
		if op.response == nil && len(op.media) == 0 && !op.redirect {
			t.Errorf("%s answers nothing", rt.field)
		}
	}
	for field, op := range table {
		if !used[field] {
			t.Errorf("operations describes %s, which no route calls", field)
		}
		if op.example == "" {
			continue
		}
		in := reflect.New(reflect.TypeOf(op.request))
		if err := unmarshal([]byte(op.example), in.Interface(), refuseUnknown); err != nil {
			t.Errorf("the example of %s: %v", field, err)
		}
		var given map[string]any
		if err := json.Unmarshal([]byte(op.example), &given); err != nil {
			t.Fatal(err)
		}
		for _, name := range op.required {
			if _, ok := given[name]; !ok {
				t.Errorf("the example of %s lacks %s", field, name)
			}
		}
	}
}

// TestDescriptionIsValid holds it against OpenAPI's own schema, and looks for
// what that does not.
func TestDescriptionIsValid(t *testing.T) {
	t.Parallel()
	d := describe("1.2.3")
	text, err := json.Marshal(d, json.Deterministic(true), jsontext.WithIndent(" "))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(parsed)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, problems := v.ValidateDocument(); !ok {
		for _, p := range problems {
			t.Errorf("%s: %s", p.Message, p.Reason)
			for _, s := range p.SchemaValidationErrors {
				t.Errorf("  %s: %s", s.FieldPath, s.Reason)
			}
		}
	}
	paths := d["paths"].(doc)
	ids := map[any]bool{}
	for _, rt := range routes() {
		item, _ := paths[strings.ReplaceAll(rt.pattern, "...}", "}")].(doc)
		op, _ := item[strings.ToLower(rt.method)].(doc)
		if op == nil || op["summary"] == "" || ids[op["operationId"]] {
			t.Errorf("%s %s: %v", rt.method, rt.pattern, op)
			continue
		}
		ids[op["operationId"]] = true
	}
}
