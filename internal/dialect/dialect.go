// Package dialect holds what the languages below it share: reading a request
// piece by piece, with errors that name the piece, and writing JSON. The
// languages turn foreign requests into chat completions and the answers back.
// Nothing here does I/O.
package dialect

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/models"
)

// Value is a piece of a request, with the path by which errors name it.
type Value struct {
	gjson.Result

	Path string
}

// Of is the value at the top of a request's field. No JSON is as null.
func Of(path string, j models.JSON) Value {
	if len(j) == 0 {
		return Value{Path: path}
	}
	return Value{Result: gjson.ParseBytes(j), Path: path}
}

// Get is a member of an object; absent members are as null.
func (v Value) Get(key string) Value {
	path := key
	if v.Path != "" {
		path = v.Path + "." + key
	}
	if !v.IsObject() {
		return Value{Path: path}
	}
	return Value{Result: v.Result.Get(key), Path: path}
}

// Given says whether there is a value other than null.
func (v Value) Given() bool { return v.Exists() && v.Type != gjson.Null }

// Is says whether the value is a string.
func (v Value) Is() bool { return v.Type == gjson.String }

// Kind is the member "type", empty when it is no string.
func (v Value) Kind() string {
	if t := v.Get("type"); t.Is() {
		return t.Str
	}
	return ""
}

// Bytes is the value's JSON without white space around and inside it.
func (v Value) Bytes() models.JSON {
	var b bytes.Buffer
	if stdjson.Compact(&b, []byte(v.Raw)) != nil {
		return models.JSON(v.Raw)
	}
	return b.Bytes()
}

// Reader reads values and keeps the first mistake. After one it reads on, and
// what it gives then counts for nothing.
type Reader struct{ err *models.Error }

// Fail notes a mistake.
func (r *Reader) Fail(e *models.Error) {
	if r.err == nil {
		r.err = e
	}
}

// Failed says whether there was a mistake.
func (r *Reader) Failed() bool { return r.err != nil }

// Err is the first mistake, nil when there was none.
func (r *Reader) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// Text reads a required member that is a string.
func (r *Reader) Text(v Value, key string) string {
	m := v.Get(key)
	if !m.Given() {
		r.Fail(models.Missing(m.Path))
		return ""
	}
	return r.Plain(m)
}

// Name is Text that must not be empty.
func (r *Reader) Name(v Value, key string) string {
	s := r.Text(v, key)
	if s == "" {
		r.Fail(models.Invalid(v.Get(key).Path, "'%s' must not be empty.", v.Get(key).Path))
	}
	return s
}

// Plain reads a string, without the character that no upstream takes.
func (r *Reader) Plain(v Value) string {
	if !v.Is() {
		r.WrongType(v, "a string")
		return ""
	}
	if strings.IndexByte(v.Str, 0) >= 0 {
		r.Fail(models.Invalid(v.Path, "'%s' must not contain the NUL character (\\u0000).", v.Path))
	}
	return v.Str
}

// Optional reads a member that may be absent.
func (r *Reader) Optional(v Value, key string) *string {
	m := v.Get(key)
	if !m.Given() {
		return nil
	}
	s := r.Plain(m)
	return &s
}

// Bool reads a member that may be absent.
func (r *Reader) Bool(v Value, key string) *bool {
	m := v.Get(key)
	if !m.Given() {
		return nil
	}
	if m.Type != gjson.True && m.Type != gjson.False {
		r.WrongType(m, "a boolean")
	}
	b := m.Type == gjson.True
	return &b
}

// List reads an array of at most most values; none for a value that is absent.
func (r *Reader) List(v Value, most int) []Value {
	if !v.Given() {
		return nil
	}
	if !v.IsArray() {
		r.WrongType(v, "an array")
		return nil
	}
	var list []Value
	v.ForEach(func(_, item gjson.Result) bool {
		if len(list) == most {
			r.Fail(models.Invalid(v.Path, "'%s' must have at most %d entries.", v.Path, most))
			return false
		}
		list = append(list, Value{Result: item, Path: v.Path + "[" + strconv.Itoa(len(list)) + "]"})
		return true
	})
	return list
}

// Object checks that the value is an object.
func (r *Reader) Object(v Value) bool {
	if !v.IsObject() {
		r.WrongType(v, "an object")
		return false
	}
	return true
}

// WrongType notes that something else was expected.
func (r *Reader) WrongType(v Value, expected string) {
	got := "something else"
	switch {
	case !v.Exists(), v.Type == gjson.Null:
		got = "null"
	case v.IsObject():
		got = "an object"
	case v.IsArray():
		got = "an array"
	case v.Type == gjson.String:
		got = "a string"
	case v.Type == gjson.Number:
		got = "a number"
	case v.IsBool():
		got = "a boolean"
	}
	r.Fail(models.Invalid(v.Path, "Invalid type for '%s': expected %s, but got %s.", v.Path, expected, got))
}

// Unsupported notes something that cannot be translated for other upstreams.
func (r *Reader) Unsupported(path, format string, args ...any) {
	r.Fail(&models.Error{
		Kind: models.KindInvalid, Code: models.CodeUnsupportedParameter, Param: path, Message: fmt.Sprintf(format, args...),
	})
}

// Between checks a number.
func Between[T int | float64](r *Reader, path string, n *T, least, most T) {
	if n != nil && (*n < least || *n > most) {
		r.Fail(models.Invalid(path, "'%s' must be between %v and %v; got %v.", path, least, most, *n))
	}
}

// FunctionName reads the name of a tool, which must be one that every upstream
// takes.
func (r *Reader) FunctionName(v Value, key string) string {
	const most = 64
	s := r.Name(v, key)
	bad := func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-')
	}
	if len(s) > most || strings.ContainsFunc(s, bad) {
		at := v.Get(key).Path
		r.Fail(models.Invalid(at, "'%s' must have at most %d of the characters a-z, A-Z, 0-9, _ and -.", at, most))
	}
	return s
}

// Schema reads a member that is a JSON Schema, if it is there.
func (r *Reader) Schema(v Value, key string) models.JSON {
	m := v.Get(key)
	if !m.Given() || !r.Object(m) {
		return nil
	}
	return models.JSON(m.Raw)
}

// Encode writes JSON. Invalid UTF-8 becomes replacement characters. What cannot
// be written, which is JSON inside v that is none, gives an error.
func Encode(v any) (models.JSON, error) {
	b, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return b, nil
}

// Clip shortens a text that an error quotes.
func Clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
