package openai

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
)

// withModelPart copies a form and gives its model the upstream's name. All else
// keeps its bytes and its place. Of several models only one is written, and one
// is added where there is none.
func withModelPart(body []byte, boundary, model string) (out []byte, contentType string, err error) {
	if boundary == "" {
		return nil, "", errors.New("the content type has no boundary")
	}
	buf := bytes.NewBuffer(make([]byte, 0, len(body)+len(model)+512))
	r, w := multipart.NewReader(bytes.NewReader(body), boundary), multipart.NewWriter(buf)
	hasModel := false
	for {
		part, err := r.NextRawPart() // the encoding of its content stays
		if err == io.EOF {           //nolint:errorlint // a form that is cut off wraps it
			break
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, "", fmt.Errorf("read form: %w", err)
		}
		if part.FormName() == "model" {
			if !hasModel {
				hasModel = true
				_ = w.WriteField("model", model) // a buffer takes everything
			}
			continue
		}
		to, err := w.CreatePart(part.Header)
		if err == nil {
			_, err = io.Copy(to, part)
		}
		if err != nil {
			return nil, "", fmt.Errorf("copy form: %w", err)
		}
	}
	if !hasModel {
		_ = w.WriteField("model", model)
	}
	if err := w.Close(); err != nil {
		return nil, "", fmt.Errorf("end form: %w", err)
	}
	return buf.Bytes(), w.FormDataContentType(), nil
}
