package rest

import (
	"testing"

	"github.com/coaidev/coai/models"
)

func FuzzReadForm(f *testing.F) {
	f.Add([]byte("--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nabc\r\n--x--\r\n"))
	f.Add([]byte("--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nabc"))
	f.Fuzz(func(t *testing.T, body []byte) {
		in := models.CreateTranscriptionInput{Raw: body, ContentType: "multipart/form-data; boundary=x"}
		if err := readForm(&in); err != nil {
			if _, known := models.AsError(err); !known {
				t.Errorf("an error that clients cannot read: %v", err)
			}
			return
		}
		if in.Size > int64(len(body)) || int64(len(in.Head)) > in.Size || in.AudioMS() < 0 {
			t.Errorf("%d bytes of %d, head of %d, %d ms", in.Size, len(body), len(in.Head), in.AudioMS())
		}
	})
}
