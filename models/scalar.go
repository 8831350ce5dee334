package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/99designs/gqlgen/graphql"
)

// MarshalDateTime writes the GraphQL scalar DateTime: RFC 3339, UTC, to the
// millisecond.
func MarshalDateTime(t time.Time) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) {
		_, _ = io.WriteString(w, strconv.Quote(t.UTC().Format("2006-01-02T15:04:05.999Z07:00")))
	})
}

// UnmarshalDateTime reads the GraphQL scalar DateTime.
func UnmarshalDateTime(v any) (time.Time, error) {
	s, ok := v.(string)
	if !ok {
		return time.Time{}, errors.New("must be a string in RFC 3339 format")
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not a time in RFC 3339 format such as 2026-01-31T12:00:00Z", clip(s, 40))
	}
	return t.UTC(), nil
}

// MarshalDecimal writes the GraphQL scalar Decimal.
func MarshalDecimal(n Nanos) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) { _, _ = io.WriteString(w, strconv.Quote(n.String())) })
}

// UnmarshalDecimal reads the GraphQL scalar Decimal from a string, or, for
// convenience, from a number.
func UnmarshalDecimal(v any) (Nanos, error) {
	switch v := v.(type) {
	case string:
		return ParseNanos(v)
	case json.Number:
		return ParseNanos(v.String())
	case int64:
		return ParseNanos(strconv.FormatInt(v, 10))
	case float64:
		return ParseNanos(strconv.FormatFloat(v, 'f', -1, 64))
	}
	return 0, errors.New("must be a decimal number in a string")
}
