package echo

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/models"
)

const (
	maxSchema      = 32 << 10 // bytes of the schema; a larger one is not read
	maxSchemaDepth = 16
	maxSchemaNodes = 500
	maxSchemaBytes = 1 << 20 // of the value: over it, strings become null
)

// sample writes a value that follows a JSON Schema, as far as a plain reading
// of it goes. Schemas may refer to themselves: depth and size are bounded.
type sample struct {
	root     gjson.Result
	text     string // of all strings
	required bool   // leave out what no object requires
	nodes    int
	out      []byte
}

// fromSchema is a value that follows the schema, whose strings are text; without
// properties it is an object that has text under the key.
func fromSchema(schema models.JSON, text, key string, required bool) string {
	if len(schema) > maxSchema {
		return object(key, text)
	}
	s := &sample{root: gjson.ParseBytes(schema), text: text, required: required}
	if !s.root.IsObject() || len(s.resolve(s.root).Get("properties").Map()) == 0 {
		return object(key, text)
	}
	if required && len(s.resolve(s.root).Get("required").Array()) == 0 {
		return object(key, text)
	}
	s.value(s.root, 0)
	return string(s.out)
}

func object(key, text string) string {
	out := gjson.AppendJSONString([]byte{'{'}, key)
	return string(append(gjson.AppendJSONString(append(out, ':'), text), '}'))
}

func (s *sample) value(schema gjson.Result, depth int) {
	if s.nodes++; s.nodes > maxSchemaNodes || depth > maxSchemaDepth || len(s.out) > maxSchemaBytes {
		s.raw("null")
		return
	}
	schema = s.resolve(schema)
	if c := schema.Get("const"); c.Exists() {
		s.raw(c.Raw)
		return
	}
	if e := schema.Get("enum.0"); e.Exists() {
		s.raw(e.Raw)
		return
	}
	for _, of := range []string{"anyOf.0", "oneOf.0", "allOf.0"} {
		if first := schema.Get(of); first.IsObject() {
			s.value(first, depth+1)
			return
		}
	}
	switch typeOf(schema) {
	case "object":
		s.object(schema, depth)
	case "array":
		s.array(schema, depth)
	case "number", "integer":
		if least := schema.Get("minimum"); least.Type == gjson.Number {
			s.raw(least.Raw)
			return
		}
		s.raw("0")
	case "boolean":
		s.raw("false")
	case "null":
		s.raw("null")
	default:
		s.out = gjson.AppendJSONString(s.out, s.text)
	}
}

// typeOf is the schema's type, or the first of several; without one it follows
// from what else the schema says.
func typeOf(schema gjson.Result) string {
	t := schema.Get("type")
	if t.IsArray() {
		t = t.Get("0")
	}
	switch {
	case t.Str != "":
		return t.Str
	case schema.Get("properties").IsObject():
		return "object"
	case schema.Get("items").IsObject():
		return "array"
	}
	return "string"
}

func (s *sample) object(schema gjson.Result, depth int) {
	wanted := map[string]bool{}
	for _, name := range schema.Get("required").Array() {
		wanted[name.Str] = true
	}
	s.raw("{")
	first := true
	schema.Get("properties").ForEach(func(key, property gjson.Result) bool {
		if s.required && !wanted[key.Str] {
			return true
		}
		if !first {
			s.raw(",")
		}
		first = false
		s.raw(key.Raw)
		s.raw(":")
		s.value(property, depth+1)
		return true
	})
	s.raw("}")
}

func (s *sample) array(schema gjson.Result, depth int) {
	s.raw("[")
	for i := range min(max(schema.Get("minItems").Int(), 0), 100) {
		if i > 0 {
			s.raw(",")
		}
		s.value(schema.Get("items"), depth+1)
	}
	s.raw("]")
}

// resolve follows references inside the schema.
func (s *sample) resolve(schema gjson.Result) gjson.Result {
	for range maxSchemaDepth {
		ref := schema.Get("$ref")
		if ref.Str == "" {
			return schema
		}
		target := s.root
		for name := range strings.SplitSeq(strings.TrimPrefix(ref.Str, "#"), "/") {
			if name != "" {
				target = target.Get(escape(name))
			}
		}
		schema = target
	}
	return gjson.Result{}
}

// escape makes a JSON pointer's token a gjson path that means just that key.
func escape(token string) string {
	return gjson.Escape(strings.NewReplacer("~1", "/", "~0", "~").Replace(token))
}

func (s *sample) raw(json string) { s.out = append(s.out, json...) }
