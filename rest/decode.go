package rest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/coaidev/coai/models"
)

const (
	// bodyTimeout bounds how slowly a client may send its request.
	bodyTimeout = 60 * time.Second
	// firstRead is how much memory a client gets on its mere word.
	firstRead = 1 << 20
	// maxDepth is how deep objects and arrays may nest. Tool schemas need about 20.
	maxDepth = 100
)

// strictness says what happens to fields that the product does not know.
type strictness bool

const (
	refuseUnknown strictness = true  // they are a mistake
	passUnknown   strictness = false // they are for the upstream
)

// decode reads a JSON object into a T.
func decode[T any](h *handler, w http.ResponseWriter, r *http.Request) (T, error) {
	var in T
	body, err := h.readBody(w, r)
	if err != nil {
		return in, err
	}
	if len(body) == 0 {
		return in, emptyBody()
	}
	return in, unmarshal(body, &in, refuseUnknown)
}

// decodeOptional is decode where no body is nil.
func decodeOptional[T any](h *handler, w http.ResponseWriter, r *http.Request) (*T, error) {
	body, err := h.readBody(w, r)
	if err != nil || len(body) == 0 {
		return nil, err
	}
	in := new(T)
	return in, unmarshal(body, in, refuseUnknown)
}

func emptyBody() error {
	return invalidJSON("The request has no body. Send a JSON object.")
}

func invalidJSON(format string, args ...any) *models.Error {
	return &models.Error{Kind: models.KindInvalid, Code: models.CodeInvalidJSON, Message: fmt.Sprintf(format, args...)}
}

// readBody reads the whole JSON body, of at most MaxBody bytes and within a minute.
func (h *handler) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	return readBody(w, r, h.cfg.MaxBody, checkContentType)
}

// readBody reads the whole body, of at most limit bytes and within a minute.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, check func(http.Header) error) ([]byte, error) {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	if err := check(r.Header); err != nil {
		return nil, err
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout)) // a writer without deadlines is one in a test
	body, err := readAll(http.MaxBytesReader(innermost(w), r.Body, limit), r.ContentLength)
	if err != nil {
		var over *http.MaxBytesError
		switch {
		case errors.As(err, &over):
			return nil, tooLarge(limit)
		case errors.Is(err, os.ErrDeadlineExceeded):
			w.Header().Set("Connection", "close")
			return nil, invalidJSON("The body did not arrive within %d seconds.", int(bodyTimeout.Seconds()))
		case r.Context().Err() != nil:
			return nil, fmt.Errorf("read body: %w", r.Context().Err())
		}
		w.Header().Set("Connection", "close")
		return nil, invalidJSON("The body ended early.")
	}
	// The server watches the connection for the client's leaving while the answer
	// is on its way: a deadline would look like that.
	_ = rc.SetReadDeadline(time.Time{})
	return body, nil
}

// innermost is net/http's own writer, which MaxBytesReader tells to close the
// connection so that the client can read the answer while it still sends.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = outer.Unwrap()
	}
}

func tooLarge(limit int64) error {
	return &models.Error{
		Kind: models.KindTooLarge, Code: models.CodeRequestTooLarge,
		Message: fmt.Sprintf("The body must have at most %d bytes.", limit),
	}
}

// readAll reads to the end, into one buffer of the declared size (below zero:
// unknown) unless that is large.
func readAll(r io.Reader, declared int64) ([]byte, error) {
	const unknown = 4 << 10
	size := int64(unknown)
	if declared >= 0 {
		size = min(declared, firstRead)
	}
	buf := make([]byte, 0, size)
	for {
		if len(buf) == cap(buf) {
			if int64(len(buf)) == declared {
				return buf, nil // net/http gives no more than was declared
			}
			next := 2 * int64(cap(buf))
			if declared >= 0 {
				next = min(next, declared)
			}
			buf = append(make([]byte, 0, next), buf...)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err //nolint:wrapcheck // readBody tells them apart
		}
	}
}

func checkContentType(h http.Header) error {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return unsupportedMedia("Bodies with a Content-Encoding are not accepted.")
	}
	given := h.Get("Content-Type")
	if given == "application/json" {
		return nil
	}
	t, params, err := mime.ParseMediaType(given)
	charset := params["charset"]
	if err != nil || t != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return unsupportedMedia("The Content-Type must be application/json in UTF-8.")
	}
	return nil
}

func unsupportedMedia(message string) error {
	return &models.Error{Kind: models.KindUnsupportedMedia, Code: models.CodeUnsupportedMediaType, Message: message}
}

// unmarshal decodes a JSON object strictly: no repeated names, no invalid
// UTF-8, nothing behind it.
func unmarshal(body []byte, into any, s strictness) error {
	if start := bytes.TrimLeft(body, " \t\r\n"); len(start) == 0 {
		return emptyBody()
	} else if start[0] != '{' && jsontext.Value(body).IsValid() {
		return models.Invalid("", "The body must be a JSON object; got %s.", kindName(jsontext.Value(start).Kind()))
	}
	if tooDeep(body) {
		return invalidJSON("Objects and arrays may nest at most %d deep.", maxDepth)
	}
	err := json.Unmarshal(body, into, json.WithUnmarshalers(unmarshalers), json.RejectUnknownMembers(bool(s)))
	return explainJSON(err)
}

// tooDeep says whether brackets nest beyond maxDepth. It is one pass, before
// the decoder recurses.
func tooDeep(b []byte) bool {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			if depth++; depth > maxDepth {
				return true
			}
		case '}', ']':
			depth--
		case '"':
			i = stringEnd(b, i+1)
		}
	}
	return false
}

// stringEnd is the index of the quote that ends the string that begins at i,
// or the length of b.
func stringEnd(b []byte, i int) int {
	for {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return len(b)
		}
		end := i + n
		backslashes := 0
		for end-1-backslashes >= i && b[end-1-backslashes] == '\\' {
			backslashes++
		}
		if backslashes%2 == 0 {
			return end
		}
		i = end + 1
	}
}
