package models

import (
	"io"

	"github.com/99designs/gqlgen/graphql"
)

// MarshalUpload writes null: the scalar Upload is for input alone.
func MarshalUpload(Upload) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) { _, _ = io.WriteString(w, "null") })
}

// UnmarshalUpload takes a file that the transport has put into the variables.
// Anything else is no file, which [UploadFileInput.Validate] says: who may not
// upload at all is told that first.
func UnmarshalUpload(v any) (Upload, error) {
	switch u := v.(type) {
	case Upload:
		return u, nil
	case *Upload:
		if u != nil {
			return *u, nil
		}
	}
	return Upload{}, nil
}
