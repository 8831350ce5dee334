package graph

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/coaidev/coai/models"
)

// Whatever a form holds, it is read within its limits, and what is wrong with it
// is the client's.
func FuzzMultipartRequest(f *testing.F) {
	for _, s := range []string{
		"--b\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n{\"query\":\"{viewer}\"}\r\n--b\r\nContent-Disposition: form-data; name=\"map\"\r\n\r\n{\"0\":[\"variables.a\"],\"1\":[\"variables.b.0\"]}\r\n" +
			"--b\r\nContent-Disposition: form-data; name=\"1\"; filename=\"x\"\r\n\r\nxyz\r\n--b\r\nContent-Disposition: form-data; name=\"0\"; filename=\"y\"\r\n\r\n123\r\n--b--\r\n",
		"--b\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n[]\r\n--b--\r\n",
		"--b\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		in := &form{parts: multipart.NewReader(bytes.NewReader(body), "b"), dir: t.TempDir(), most: 100}
		defer in.close()
		req, err := in.request(10_000)
		known := new(models.Error)
		if err != nil {
			if !errors.As(err, &known) {
				t.Errorf("%v", err)
			}
			return
		}
		values := map[string]any{"a": nil, "b": []any{nil}}
		if req.place(values) != nil {
			return
		}
		for _, v := range []any{values["a"], values["b"].([]any)[0]} {
			u, ok := v.(*models.Upload)
			if !ok {
				continue
			}
			b, err := io.ReadAll(u.Reader)
			if err != nil && !errors.As(err, &known) || len(b) > len(body) || strings.Contains(u.Filename(), "/") {
				t.Errorf("%d bytes of %q, %v", len(b), u.Filename(), err)
			}
		}
	})
}
