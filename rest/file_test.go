package rest

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"testing"

	"github.com/coaidev/coai/models"
)

// A form of a file is read to its end or refused, whatever it holds.
func FuzzFileForm(f *testing.F) {
	for _, s := range []string{
		"--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nxyz\r\n--b\r\nContent-Disposition: form-data; name=\"expires_after[seconds]\"\r\n\r\n3600\r\n--b--\r\n",
		"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nxyz",
		"--b--\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		in := &fileForm{form: multipart.NewReader(bytes.NewReader(body), "b"), seen: map[string]bool{}}
		known := new(models.Error)
		err := in.read()
		if err == nil && in.in.File != nil {
			if _, err = io.Copy(io.Discard, in.in.File.Reader); err == nil {
				err = in.read()
			}
		}
		if err != nil && !errors.As(err, &known) {
			t.Errorf("%v", err)
		}
	})
}
