package models

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// JSON is a JSON value kept as the bytes it came in, so that the order of keys
// survives (property order steers structured output). It is GraphQL's scalar
// JSON.
type JSON json.RawMessage

// MarshalJSON gives the bytes; no value is null.
func (j JSON) MarshalJSON() ([]byte, error) {
	if len(j) == 0 {
		return []byte("null"), nil
	}
	return j, nil
}

// UnmarshalJSON keeps a copy of the bytes.
func (j *JSON) UnmarshalJSON(b []byte) error {
	*j = append((*j)[:0], b...)
	return nil
}

// MarshalGQL writes the bytes.
func (j JSON) MarshalGQL(w io.Writer) {
	b, _ := j.MarshalJSON()
	_, _ = w.Write(b)
}

// UnmarshalGQL takes a value from a GraphQL operation. Variables arrive as JSON
// with their key order; literals in the document lose theirs. A string that is
// the text of a JSON object or array is taken as that, so that a literal can
// keep its order too.
func (j *JSON) UnmarshalGQL(v any) error {
	switch v := v.(type) {
	case JSON:
		*j = v
		return nil
	case string:
		if t := bytes.TrimSpace([]byte(v)); len(t) > 0 && (t[0] == '{' || t[0] == '[') && json.Valid(t) {
			*j = t
			return nil
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("not a JSON value: %w", err)
	}
	*j = b
	return nil
}

// Metadata are OpenAI's free key-value pairs: at most 16, keys of at most 64
// characters, values of at most 512.
// https://platform.openai.com/docs/api-reference/chat/create#chat_create-metadata
type Metadata map[string]string

// MarshalGQL writes the pairs as a JSON object.
func (m Metadata) MarshalGQL(w io.Writer) {
	_ = json.NewEncoder(w).Encode(map[string]string(m))
}

// UnmarshalGQL reads an object whose values are strings.
func (m *Metadata) UnmarshalGQL(v any) error {
	var raw JSON
	if err := raw.UnmarshalGQL(v); err != nil {
		return err
	}
	var pairs map[string]string
	if err := json.Unmarshal(raw, &pairs); err != nil {
		return errors.New("must be an object whose values are strings")
	}
	*m = pairs
	return nil
}

func (m Metadata) validate(param string) error { //nolint:unparam // the path is the caller's to say
	if len(m) > 16 {
		return Invalid(param, "'%s' must have at most 16 pairs; got %d.", param, len(m))
	}
	for k, v := range m {
		if err := validName(param, k, 1, 64); err != nil {
			return err
		}
		if len([]rune(v)) > 512 {
			return Invalid(param+"."+k, "The value of '%s.%s' must have at most 512 characters.", param, k)
		}
	}
	return nil
}

// StringMap is an object whose values are strings, as a GraphQL JSON value.
type StringMap map[string]string

// MarshalGQL writes the object.
func (m StringMap) MarshalGQL(w io.Writer) { Metadata(m).MarshalGQL(w) }

// UnmarshalGQL reads an object whose values are strings.
func (m *StringMap) UnmarshalGQL(v any) error {
	var pairs Metadata
	err := pairs.UnmarshalGQL(v)
	*m = StringMap(pairs)
	return err
}
