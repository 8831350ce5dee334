package rest

import (
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/coaidev/coai/models"
)

// schemas makes JSON Schemas of Go types, by the same tags that make the JSON.
type schemas struct {
	components doc
	types      map[string]reflect.Type // of components
	about      map[string]string       // GraphQL's descriptions, by lower-case names
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// input is the schema of a request.
func (s *schemas) input(op operation) any {
	schema := s.of(reflect.TypeOf(op.request), true)
	if len(op.required) == 0 {
		return schema
	}
	// Two routes may read one type and need different parts of it.
	return doc{"allOf": []any{schema, doc{"required": op.required}}}
}

// output is the schema of an answer.
func (s *schemas) output(v any) any {
	if l, ok := v.(listed); ok {
		nullable := doc{"type": []string{"string", "null"}}
		number := doc{"type": "integer"}
		return doc{
			"type": "object", "required": []string{"object", "data", "has_more", "first_id", "last_id", "total", "limit", "offset"},
			"properties": doc{
				"object": doc{"const": "list"}, "data": doc{"type": "array", "items": s.of(reflect.TypeOf(l.of), false)},
				"has_more": doc{"type": "boolean"}, "first_id": nullable, "last_id": nullable, "total": number, "limit": number, "offset": number,
			},
		}
	}
	return s.of(reflect.TypeOf(v), false)
}

// of is the schema of a type: a reference for a struct with a name. in says that
// it is read, not written.
func (s *schemas) of(t reflect.Type, in bool) any {
	if fixed, ok := fixedSchema(t, in); ok {
		return fixed
	}
	if inner, ok := omittableOf(t); ok {
		return nullable(s.of(inner, in))
	}
	switch t.Kind() {
	case reflect.Pointer:
		return nullable(s.of(t.Elem(), in))
	case reflect.Bool:
		return doc{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return doc{"type": "integer"}
	case reflect.Float32, reflect.Float64:
		return doc{"type": "number"}
	case reflect.String:
		return doc{"type": "string"}
	case reflect.Slice, reflect.Array:
		return doc{"type": "array", "items": s.of(t.Elem(), in)}
	case reflect.Map:
		return doc{"type": "object", "additionalProperties": s.of(t.Elem(), in)}
	case reflect.Struct:
		name := s.name(t)
		if name == "" {
			return s.object(t, in)
		}
		if s.components[name] == nil {
			s.components[name] = doc{} // for types that hold themselves
			s.components[name] = s.object(t, in)
		}
		return ref("schemas", name)
	}
	return doc{}
}

func (s *schemas) object(t reflect.Type, in bool) doc {
	properties, required := doc{}, []string{}
	s.fields(t, in, properties, &required, nil)
	out := doc{"type": "object", "properties": properties}
	if !strings.HasSuffix(t.Name(), "Input") && len(required) > 0 {
		slices.Sort(required)
		out["required"] = slices.Compact(required)
	}
	if text := s.about[strings.ToLower(componentName(t))]; text != "" {
		out["description"] = text
	}
	return out
}

// fields adds what a struct has in JSON, but for what a struct around it shadows.
func (s *schemas) fields(t reflect.Type, in bool, into doc, required *[]string, hidden []string) {
	above := slices.Clone(hidden)
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" {
			above = append(above, name)
		}
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if inner := f.Type; f.Anonymous && f.Tag.Get("json") == "" {
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && inner.PkgPath() != "github.com/uptrace/bun/schema" {
				s.fields(inner, in, into, required, above)
			}
		}
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" || !f.IsExported() || name == "-" || name == "" || slices.Contains(hidden, name) {
			continue
		}
		typ := f.Type
		if shown, ok := shownTypes()[t.Name()+"."+name]; ok {
			typ = shown
		}
		schema := s.of(typ, in)
		if text := s.about[strings.ToLower(componentName(t))+"."+strings.ReplaceAll(name, "_", "")]; text != "" {
			if d, ok := schema.(doc); ok && d["$ref"] == nil {
				d["description"] = text
			}
		}
		into[name] = schema
		if !strings.Contains(options, "omit") {
			*required = append(*required, name)
		}
	}
}

// shownTypes are the types behind fields that are any.
func shownTypes() map[string]reflect.Type {
	return map[string]reflect.Type{
		"apiKeyView.budgets":      typeOf[[]budgetView](),
		"userView.budgets":        typeOf[[]budgetView](),
		"signedInView.user":       typeOf[userView](),
		"channelSyncView.channel": typeOf[channelView](),
		"deliveryView.attempts":   typeOf[[]attemptView](),
		"deliveryView.event":      typeOf[models.JSON](),
		"eventTypeView.schema":    typeOf[models.JSON](),
		"eventTypeView.example":   typeOf[models.JSON](),
		"usagePageView.data":      typeOf[[]usageBucketView](),
		"usagePageView.totals":    typeOf[usageResultView](),
		"usagePageView.groups":    typeOf[[]usageResultView](),
		"usagePeriodView.totals":  typeOf[usageResultView](),
		"usagePeriodView.groups":  typeOf[[]usageResultView](),
		"usageBucketView.results": typeOf[[]usageResultView](),
	}
}

// fixedSchema is for types whose JSON is not their Go shape.
func fixedSchema(t reflect.Type, in bool) (any, bool) {
	text, texts := doc{"type": "string"}, doc{"type": "array", "items": doc{"type": "string"}}
	switch t {
	case typeOf[time.Time]():
		if in {
			return doc{"description": "Unix seconds, or RFC 3339.", "oneOf": []any{doc{"type": "integer"}, doc{"type": "string", "format": "date-time"}}}, true
		}
		return doc{"type": "integer", "description": "Unix seconds."}, true
	case typeOf[models.Nanos]():
		if in {
			return doc{"description": "US dollars.", "oneOf": []any{doc{"type": "number"}, doc{"type": "string"}, doc{"type": "object"}}}, true
		}
		return doc{"type": "number", "description": "US dollars."}, true
	case typeOf[models.JSON](), typeOf[any]():
		return doc{}, true
	case typeOf[models.StopSequences]():
		return doc{"oneOf": []any{text, texts, doc{"type": "null"}}}, true
	case typeOf[models.MessageContent]():
		return doc{"oneOf": []any{text, doc{"type": "array", "items": doc{"type": "object"}}}}, true
	}
	return nil, false
}

// omittableOf is the type inside an Omittable.
func omittableOf(t reflect.Type) (reflect.Type, bool) {
	if !strings.HasPrefix(t.Name(), "Omittable[") {
		return nil, false
	}
	m, ok := t.MethodByName("Value")
	if !ok {
		return nil, false
	}
	return m.Type.Out(0), true
}

// nullable is a schema that takes null too.
func nullable(schema any) any {
	d, ok := schema.(doc)
	if !ok || len(d) == 0 {
		return schema
	}
	if kind, ok := d["type"].(string); ok {
		d["type"] = []string{kind, "null"}
		return d
	}
	if _, ok := d["type"].([]string); ok {
		return d
	}
	return doc{"anyOf": []any{d, doc{"type": "null"}}}
}

// name is that of a struct's component. Two types of one name both have one.
func (s *schemas) name(t reflect.Type) string {
	name := componentName(t)
	if name == "" {
		return ""
	}
	if other := s.types[name]; other != nil && other != t {
		name = string(unicode.ToUpper(rune(t.Name()[0]))) + t.Name()[1:]
	}
	s.types[name] = t
	return name
}

// componentName is the name of a struct in the description: apiKeyView is ApiKey.
func componentName(t reflect.Type) string {
	name := strings.TrimSuffix(t.Name(), "View")
	if name == "" || strings.ContainsRune(name, '[') {
		return ""
	}
	return string(unicode.ToUpper(rune(name[0]))) + name[1:]
}
