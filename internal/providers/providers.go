// Package providers says what an upstream can do, and how it fails. Each
// language that upstreams speak has a package below.
package providers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/coaidev/coai/models"
)

// Provider is one configured upstream. It is safe for concurrent use.
type Provider interface {
	// Complete asks for a whole answer. Cancelling ctx ends the upstream request.
	Complete(ctx context.Context, req Request) (*models.ChatCompletion, error)
	// Stream asks for an answer in chunks. It returns once the upstream has
	// accepted the request; cancelling ctx ends the upstream request, also later.
	Stream(ctx context.Context, req Request) (Stream, error)
}

// Stream is an answer on its way. It is for one goroutine.
type Stream interface {
	// Next waits for the next chunk. It gives io.EOF after an answer that the
	// upstream ended properly, and an *Error when it broke off. The chunk and its
	// bytes are the caller's until the next call: who keeps one keeps [models.ChatCompletionChunk.Owned].
	Next() (*models.ChatCompletionChunk, error)
	// Close gives up the rest and releases the connection. It may be called twice.
	Close() error
}

// Request is what a provider is asked.
type Request struct {
	Input *models.ChatCompletionInput // validated; shared by all attempts: do not change it
	Model string                      // the upstream's name of the model
	// MaxOutputTokens is how long an answer of the model may be by the catalogue, for
	// upstreams that must be told a limit; 0 when unknown.
	MaxOutputTokens int
}

// Lister is a [Provider] whose upstream says which models it has.
type Lister interface {
	// Models are the upstream's names of them, in no order. Errors are *[Error], or
	// hold one.
	Models(ctx context.Context) ([]string, error)
}

// Endpoint is what an upstream may serve beside chat completions. Its value is
// OpenAI's path below /v1, or Anthropic's.
type Endpoint string

// The endpoints.
const (
	Embeddings     Endpoint = "embeddings"
	Completions    Endpoint = "completions" // legacy
	Responses      Endpoint = "responses"
	Images         Endpoint = "images/generations"
	Speech         Endpoint = "audio/speech"
	Transcriptions Endpoint = "audio/transcriptions"
	Moderations    Endpoint = "moderations"
	Messages       Endpoint = "messages" // Anthropic's own
)

// DocumentReader is a [Provider] that may say of its upstream that its models read
// PDF files. To others the text in them is sent.
type DocumentReader interface {
	Provider

	ReadsDocuments() bool
}

// Relayer is a [Provider] that serves other endpoints too. It speaks each of
// them in the endpoint's own language, OpenAI's or Anthropic's, whatever the
// upstream speaks.
type Relayer interface {
	Provider

	// Serves says whether the provider can ask its upstream for the endpoint at all.
	Serves(e Endpoint) bool
	// Relay sends the call, and returns when the head of an answer of status 2xx is
	// there. Cancelling ctx ends the upstream request, also later. Errors are *[Error].
	Relay(ctx context.Context, call Call) (*Reply, error)
}

// Call is a request to an endpoint.
type Call struct {
	Endpoint    Endpoint
	Model       string // the upstream's name of the model; replaces the one in Body
	Asked       string // the client's name of it
	ContentType string // of Body: application/json, or multipart/form-data with its boundary
	Body        []byte // as the client sent it, and checked; do not change it
	Stream      bool   // the client asked for events
	Beta        string // of Messages: what the client asks for by an Anthropic-Beta header
}

// Reply is the answer to a [Call].
type Reply struct {
	ContentType string
	// Body is read under the channel's timeouts. Its read errors are *[Error], and
	// io.EOF at the proper end. It must be closed.
	Body io.ReadCloser
}

// Class says what a failure means for routing.
type Class int

// The classes.
const (
	Unavailable Class = iota // could not be reached, broke off, or 5xx: try elsewhere, counts against the channel
	Rejected                 // the request itself is at fault: no upstream would take it
	Credential               // the channel's credential is refused: try elsewhere, counts against the channel
	RateLimited              // the channel is over a limit: try elsewhere, is no failure of the channel
	NoModel                  // the upstream does not know the model: try elsewhere
	Timeout                  // silence for too long: try elsewhere, counts against the channel
	Malformed                // the answer is not in the upstream's own language: try elsewhere, counts against the channel
	Unusable                 // the model answered this request with what is no answer: try elsewhere, is no failure of the channel
	Canceled                 // our own context ended
)

// Error is a failure at an upstream. Its message may be shown to clients: it
// never holds a credential, a URL or an address.
type Error struct {
	Class   Class
	Status  int           // HTTP status of the upstream, 0 without one
	Code    string        // of Rejected: the code for the client, one of the models.Code constants
	Param   string        // of Rejected: the JSON path of the culprit, if the upstream named one
	Message string        // for people
	Retry   time.Duration // when above zero: the upstream's Retry-After
	Cause   error         // for the log only
}

func (e *Error) Error() string {
	s := e.Message
	if e.Status != 0 {
		s = fmt.Sprintf("%s (HTTP %d)", s, e.Status)
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Elsewhere says whether another channel may succeed.
func (e *Error) Elsewhere() bool { return e.Class != Rejected && e.Class != Canceled }

// Blames says whether the failure counts against the channel's health.
func (e *Error) Blames() bool {
	switch e.Class {
	case Unavailable, Credential, Timeout, Malformed:
		return true
	case Rejected, RateLimited, NoModel, Unusable, Canceled:
	}
	return false
}

// AsError finds the *Error in err's chain; any other error is [Unavailable],
// or [Canceled] when it comes from a context.
func AsError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled):
		return &Error{Class: Canceled, Message: "The request was cancelled.", Cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Class: Timeout, Message: "The upstream took too long.", Cause: err}
	}
	return &Error{Class: Unavailable, Message: "The upstream could not be reached.", Cause: err}
}
