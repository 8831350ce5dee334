package models

import (
	"errors"
	"io"

	"github.com/99designs/gqlgen/graphql"
)

// MarshalUpload writes null: the scalar Upload is for input alone.
func MarshalUpload(Upload) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) { _, _ = io.WriteString(w, "null") })
}

// UnmarshalUpload takes a file that the transport has put into the variables.
func UnmarshalUpload(v any) (Upload, error) {
	switch u := v.(type) {
	case Upload:
		return u, nil
	case *Upload:
		if u != nil {
			return *u, nil
		}
	}
	return Upload{}, errors.New("must be a file of a multipart request: send the request as multipart/form-data with 'operations' and 'map'")
}
