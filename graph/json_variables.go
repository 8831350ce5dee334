package graph

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/coaidev/coai/models"
)

// jsonScalar is the schema's scalar whose values keep their bytes.
const jsonScalar = "JSON"

// variables decodes variables by the types that the operation gives them. It
// does three things that gqlparser and gqlgen leave out: values of the scalar
// JSON keep their bytes, and so the order of their keys, which steers structured
// output; enum values must match exactly, where gqlgen would turn a wrong case
// into an empty value; and @oneOf inputs must have exactly one field.
type variables struct{ schema *ast.Schema }

func newVariables(schema *ast.Schema) *variables { return &variables{schema: schema} }

// decode reads the JSON object text, which [decodeObject] has accepted. Without
// an operation everything is decoded as plain JSON: the executor will say what
// is wrong with the document. A bad value is reported beside the values, so that
// mistakes in the document come first.
func (vs *variables) decode(op *ast.OperationDefinition, text []byte) (map[string]any, *gqlerror.Error) {
	if len(text) == 0 {
		return nil, nil
	}
	types := make(map[string]*ast.Type)
	if op != nil {
		for _, def := range op.VariableDefinitions {
			types[def.Variable] = def.Type
		}
	}
	d := &variableDecoder{
		schema: vs.schema,
		// The text has been checked already.
		Decoder: jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)),
		path:    ast.Path{ast.PathName("variable")},
	}
	values, err := d.object(func(name string) *ast.Type { return types[name] })
	if err != nil {
		return nil, d.fail("is not valid JSON")
	}
	return values, d.bad
}

type variableDecoder struct {
	*jsontext.Decoder
	schema *ast.Schema
	path   ast.Path
	bad    *gqlerror.Error // the first value that its type does not allow
}

// value reads a value of type t; nil is a type that is not known.
func (d *variableDecoder) value(t *ast.Type) (any, error) {
	kind := d.PeekKind()
	if t == nil || kind == jsontext.KindNull {
		return d.plain(kind)
	}
	if t.Elem != nil {
		if kind == jsontext.KindBeginArray {
			return d.array(t.Elem)
		}
		one, err := d.value(t.Elem) // a single value counts as a list of one
		return []any{one}, err
	}
	def := d.schema.Types[t.NamedType]
	switch {
	case def == nil:
	case def.Kind == ast.Scalar && def.Name == jsonScalar:
		raw, err := d.ReadValue()
		return models.JSON(raw.Clone()), err
	case def.Kind == ast.Enum && kind == jsontext.KindString:
		token, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		name := token.String()
		if def.EnumValues.ForName(name) == nil {
			d.reject("is not one of the values of the enum %s", def.Name)
		}
		return name, nil
	case def.Kind == ast.InputObject && kind == jsontext.KindBeginObject:
		return d.input(def)
	}
	return d.plain(kind)
}

func (d *variableDecoder) input(def *ast.Definition) (any, error) {
	values, err := d.object(func(name string) *ast.Type {
		if field := def.Fields.ForName(name); field != nil {
			return field.Type
		}
		return nil
	})
	if err == nil && def.Directives.ForName("oneOf") != nil && !exactlyOne(values) {
		d.reject("must have exactly one field of %s, and not null", def.Name)
	}
	return values, err
}

func exactlyOne(values map[string]any) bool {
	for _, v := range values {
		return len(values) == 1 && v != nil
	}
	return false
}

func (d *variableDecoder) object(typeOf func(name string) *ast.Type) (map[string]any, error) {
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	values := make(map[string]any)
	for d.PeekKind() == jsontext.KindString {
		token, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		name := token.String()
		d.path = append(d.path, ast.PathName(name))
		if values[name], err = d.value(typeOf(name)); err != nil {
			return nil, err
		}
		d.path = d.path[:len(d.path)-1]
	}
	_, err := d.ReadToken()
	return values, err
}

func (d *variableDecoder) array(elem *ast.Type) (any, error) {
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	values := []any{}
	for kind := d.PeekKind(); kind != jsontext.KindEndArray && kind != jsontext.KindInvalid; kind = d.PeekKind() {
		d.path = append(d.path, ast.PathIndex(len(values)))
		v, err := d.value(elem)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
		d.path = d.path[:len(d.path)-1]
	}
	_, err := d.ReadToken()
	return values, err
}

// plain reads a value of no particular type, numbers with all their digits.
func (d *variableDecoder) plain(kind jsontext.Kind) (any, error) {
	switch kind {
	case jsontext.KindBeginObject:
		return d.object(func(string) *ast.Type { return nil })
	case jsontext.KindBeginArray:
		return d.array(nil)
	}
	token, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case jsontext.KindTrue, jsontext.KindFalse:
		return token.Bool(), nil
	case jsontext.KindString:
		return token.String(), nil
	case jsontext.KindNumber:
		return json.Number(token.String()), nil
	}
	return nil, nil
}

func (d *variableDecoder) reject(format string, args ...any) {
	if d.bad == nil {
		d.bad = d.fail(format, args...)
	}
}

func (d *variableDecoder) fail(format string, args ...any) *gqlerror.Error {
	path := append(ast.Path(nil), d.path...)
	err := gqlerror.ErrorPathf(path, "%s %s", path, fmt.Sprintf(format, args...))
	errcode.Set(err, errcode.ValidationFailed)
	return err
}
