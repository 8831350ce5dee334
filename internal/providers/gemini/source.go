package gemini

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/coaidev/coai/internal/providers/sse"
	"github.com/coaidev/coai/internal/providers/upstream"
)

// events gives the data of server-sent events.
func events(ex *upstream.Exchange, most int) (next func() ([]byte, error), ready func() bool) {
	reader := sse.NewReader(ex, most)
	return func() ([]byte, error) {
		for {
			event, err := reader.Next()
			if err != nil {
				return nil, err //nolint:wrapcheck // compared by stream.end
			}
			data := bytes.TrimSpace(event.Data)
			switch {
			case len(data) == 0:
			case string(data) == "[DONE]": // Gemini has no such thing; proxies add it
				return nil, io.EOF
			case event.Cut && !json.Valid(data):
				return nil, io.ErrUnexpectedEOF
			case data[0] == '[': // an error, told as without alt=sse
				return bytes.TrimSuffix(bytes.TrimPrefix(data, []byte("[")), []byte("]")), nil
			default:
				return data, nil
			}
		}
	}, reader.Ready
}

// elements gives the elements of an array, each as soon as it is there.
func elements(ex *upstream.Exchange, most int) func() ([]byte, error) {
	bound := &bounded{r: ex}
	decoder := json.NewDecoder(bound)
	begun := false
	return func() ([]byte, error) {
		bound.left = most
		if !begun {
			begun = true
			if _, err := decoder.Token(); err != nil {
				return nil, spelled(err)
			}
		}
		if !decoder.More() {
			if _, err := decoder.Token(); err != nil {
				return nil, spelled(err)
			}
			return nil, io.EOF
		}
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return nil, spelled(err)
		}
		return raw, nil
	}
}

// spelled makes bad JSON the upstream's fault; other errors are the transport's.
func spelled(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return upstream.Malformed(0, "The upstream's answer is not an array of JSON objects.", err)
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}

// bounded caps what is read for one element.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, sse.ErrTooLarge
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err //nolint:wrapcheck // a reader's errors are compared
}

// single gives a whole answer.
func single(ex *upstream.Exchange, most int) func() ([]byte, error) {
	read := false
	return func() ([]byte, error) {
		if read {
			return nil, io.EOF
		}
		read = true
		return ex.ReadAll(most)
	}
}
