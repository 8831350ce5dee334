package upstream

import (
	"errors"
	"io"

	"github.com/coaidev/coai/internal/providers"
)

// Body is the rest of the answer for one who passes it on as it is. Its read
// errors are *[providers.Error], and io.EOF at the proper end; closing it closes
// the exchange. limit is how many bytes it may have, 0 for any number.
func (ex *Exchange) Body(limit int) io.ReadCloser { return &body{ex: ex, limit: limit} }

type body struct {
	ex    *Exchange
	limit int
	n     int
	err   error // sticky
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.ex.Read(p)
	b.n += n
	switch {
	case b.limit > 0 && b.n > b.limit:
		n, b.err = 0, Malformed(b.ex.Status, "The upstream's answer is too large.", nil)
	case errors.Is(err, io.EOF):
		b.err = io.EOF
	case err != nil && !b.ex.Ended():
		b.err = BrokeOff(err)
	case err != nil:
		b.err = b.ex.Failure(err)
	}
	return n, b.err
}

func (b *body) Close() error {
	if b.err == nil {
		b.err = &providers.Error{Class: providers.Canceled, Message: "The answer was closed."}
	}
	b.ex.Close()
	return nil
}
