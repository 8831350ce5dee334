package rest

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/coaidev/coai/models"
)

// unmarshalers decode the types whose JSON is not their Go shape. The types
// have UnmarshalJSON methods too, but those cannot say where inside them a
// mistake is.
var unmarshalers = json.JoinUnmarshalers( //nolint:gochecknoglobals // a constant table; it caches what it learns about types
	json.UnmarshalFromFunc(decodeContent),
	json.UnmarshalFromFunc(decodeStop),
	json.UnmarshalFromFunc(decodeRaw),
	json.UnmarshalFromFunc(decodeTime),
	json.UnmarshalFromFunc(decodeNanos),
	omittable[*string](), omittable[*int](), omittable[*time.Time](),
	omittable[[]string](), omittable[[]models.Scope](),
	omittable[*models.Nanos](), omittable[models.StringMap](), omittable[*models.ChannelStatus](),
	omittable[models.JSON](), omittable[*models.Role](), omittable[*models.Tier](), omittable[*models.UserStatus](),
	omittable[*models.ConversationStatus](), omittable[models.Metadata](),
	omittable[*models.ChannelLimits](), omittable[*models.ChannelSettings](),
)

// marshalers encode times as OpenAI does.
var marshalers = json.MarshalToFunc(func(enc *jsontext.Encoder, t time.Time) error { //nolint:gochecknoglobals // as above
	return enc.WriteToken(jsontext.Int(t.Unix())) //nolint:wrapcheck // json adds the position
})

// omittable tells an absent field from null.
func omittable[T any]() *json.Unmarshalers {
	return json.UnmarshalFromFunc(func(dec *jsontext.Decoder, o *models.Omittable[T]) error {
		var v T
		if err := json.UnmarshalDecode(dec, &v); err != nil {
			return err //nolint:wrapcheck // explainJSON reads it
		}
		*o = models.OmittableOf(v)
		return nil
	})
}

func decodeContent(dec *jsontext.Decoder, c *models.MessageContent) error {
	*c = models.MessageContent{}
	switch dec.PeekKind() {
	case '"':
		return json.UnmarshalDecode(dec, &c.Text) //nolint:wrapcheck // explainJSON reads it
	case '[':
		return json.UnmarshalDecode(dec, &c.Parts) //nolint:wrapcheck // as above
	}
	return wrongType(dec, "a string or an array of content parts")
}

func decodeStop(dec *jsontext.Decoder, s *models.StopSequences) error {
	switch dec.PeekKind() {
	case 'n':
		*s = nil
		return dec.SkipValue() //nolint:wrapcheck // as above
	case '"':
		*s = make(models.StopSequences, 1)
		return json.UnmarshalDecode(dec, &(*s)[0]) //nolint:wrapcheck // as above
	case '[':
		return json.UnmarshalDecode(dec, (*[]string)(s)) //nolint:wrapcheck // as above
	}
	return wrongType(dec, "a string or an array of strings")
}

// decodeRaw keeps the bytes. null is as absent.
func decodeRaw(dec *jsontext.Decoder, j *models.JSON) error {
	v, err := dec.ReadValue()
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	*j = nil
	if v.Kind() != 'n' {
		*j = models.JSON(v.Clone())
	}
	return nil
}

// lastSecond ends the year 9999, the last that RFC 3339 can write.
const lastSecond = 253402300799

// decodeTime reads Unix seconds or RFC 3339.
func decodeTime(dec *jsontext.Decoder, t *time.Time) error {
	const expected = "a time in Unix seconds, or in RFC 3339 such as \"2026-01-31T12:00:00Z\""
	switch dec.PeekKind() {
	case '0':
		tok, err := dec.ReadToken()
		if err != nil {
			return err //nolint:wrapcheck // as above
		}
		f, err := strconv.ParseFloat(tok.String(), 64)
		if err != nil || f != math.Trunc(f) || f < 0 || f > lastSecond {
			return &typeError{expected: expected, got: clip(tok.String(), 40)}
		}
		*t = time.Unix(int64(f), 0).UTC()
		return nil
	case '"':
		tok, err := dec.ReadToken()
		if err != nil {
			return err //nolint:wrapcheck // as above
		}
		s := tok.String()
		if *t, err = time.Parse(time.RFC3339, s); err != nil {
			return &typeError{expected: expected, got: "'" + clip(s, 40) + "'"}
		}
		*t = t.UTC()
		return nil
	}
	return wrongType(dec, expected)
}

// decodeNanos reads dollars: a number, a string that holds one, or an object as
// answers have it, {"value": 0.5, "currency": "usd"}.
func decodeNanos(dec *jsontext.Decoder, n *models.Nanos) error {
	const expected = "an amount of dollars with at most nine decimal places, or {\"value\": 0.5, \"currency\": \"usd\"}"
	if dec.PeekKind() == '{' {
		var m struct {
			Value    models.Nanos `json:"value"`
			Currency string       `json:"currency"`
		}
		if err := json.UnmarshalDecode(dec, &m); err != nil {
			return err //nolint:wrapcheck // explainJSON reads it
		}
		if m.Currency != "" && !strings.EqualFold(m.Currency, "usd") {
			return &typeError{expected: "the currency usd", got: "'" + clip(m.Currency, 10) + "'"}
		}
		*n = m.Value
		return nil
	}
	if k := dec.PeekKind(); k != '0' && k != '"' {
		return wrongType(dec, expected)
	}
	tok, err := dec.ReadToken()
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	if *n, err = models.ParseNanos(tok.String()); err != nil {
		return &typeError{expected: expected, got: "'" + clip(tok.String(), 40) + "'"}
	}
	return nil
}

// typeError says what was expected where something else was.
type typeError struct{ expected, got string }

func (e *typeError) Error() string { return "expected " + e.expected + ", but got " + e.got }

// wrongType consumes the value, so that the decoder knows where it is.
func wrongType(dec *jsontext.Decoder, expected string) error {
	kind := dec.PeekKind()
	if err := dec.SkipValue(); err != nil {
		return err //nolint:wrapcheck // a syntax error comes first
	}
	return &typeError{expected: expected, got: kindName(kind)}
}

// explainJSON says in the API's words what was wrong with a body.
func explainJSON(err error) error {
	if err == nil {
		return nil
	}
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.As(err, &syntax):
		return explainSyntax(syntax)
	case errors.As(err, &semantic):
		return explainType(semantic)
	}
	return invalidJSON("The body is not valid JSON: it ends early.")
}

func explainSyntax(e *jsontext.SyntacticError) error {
	at := jsonPath(e.JSONPointer)
	if errors.Is(e, jsontext.ErrDuplicateName) {
		out := invalidJSON("The name '%s' occurs twice in one object.", clip(at, 100))
		out.Param = clip(at, 200)
		return out
	}
	reason := strings.TrimPrefix(e.Err.Error(), "jsontext: ")
	return invalidJSON("The body is not valid JSON: %s, after byte %d.", strings.ToValidUTF8(clip(reason, 100), "\uFFFD"), e.ByteOffset)
}

func explainType(e *json.SemanticError) error {
	at := clip(jsonPath(e.JSONPointer), 200)
	if errors.Is(e.Err, json.ErrUnknownName) {
		return &models.Error{
			Kind: models.KindInvalid, Code: models.CodeUnsupportedParameter, Param: at,
			Message: fmt.Sprintf("Unknown parameter: '%s'.", at),
		}
	}
	t := &typeError{expected: typeName(e.GoType), got: kindName(e.JSONKind)}
	var own *typeError
	switch {
	case errors.As(e.Err, &own):
		t = own
	case len(e.JSONValue) > 0 && e.JSONKind == '0':
		t.got = clip(string(e.JSONValue), 40)
	}
	if at == "" {
		return models.Invalid("", "Invalid type for the body: %s.", t)
	}
	return models.Invalid(at, "Invalid type for '%s': %s.", at, t)
}

// jsonPath spells a JSON pointer as OpenAI does: messages[2].content.
func jsonPath(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		if _, err := strconv.ParseUint(token, 10, 32); err == nil {
			b.WriteString("[" + token + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(token)
	}
	return b.String()
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{', '}':
		return "an object"
	case '[', ']':
		return "an array"
	}
	return "something else"
}

func typeName(t reflect.Type) string {
	if t == nil {
		return "something else"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "an integer"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "an array"
	}
	return "an object"
}
