package chat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/sse"
	"github.com/coaidev/coai/models"
)

const (
	maxAnswer   = 64 << 20 // bytes of an answer that is read whole
	maxEvent    = 16 << 20 // bytes of one event
	binaryBytes = 32 << 10 // of a binary answer in one piece
)

// RelayCall is a request to an endpoint beside chat completions. Whoever makes
// it has checked everything but the model.
type RelayCall struct {
	Endpoint    providers.Endpoint
	Operation   models.Operation
	Model       string // as the client named it
	Beta        string // of Messages: the client's Anthropic-Beta header
	ContentType string // of Body; empty: application/json
	Body        []byte // as the client sent it; each provider puts its own name of the model in
	Stream      bool   // the client asked for events
	WantsUsage  bool   // a streamed text completion: the client asked for the usage chunk
	Binary      bool   // an answer that is not JSON passes through as it comes, instead of being read whole
	Attached    int    // bytes of Body that are files

	// Count is the number of prompt tokens, asked for when the upstream tells no
	// numbers; nil: the endpoint is free.
	Count      func() int64
	MaxOutput  *int  // tokens of an answer, as the client bounds them; nil: the model's own bound
	N          *int  // answers or images that are asked for; nil: one
	Characters int64 // of text to be spoken
	AudioMS    int64 // length of audio to be transcribed, unless the upstream tells it

	// Mend brings a whole JSON answer into the form that the client asked for. Its
	// error means that the answer is not in the endpoint's language. Nil: as it is.
	Mend func(raw []byte) ([]byte, error)
	// Translate asks a provider that does not serve the endpoint by other means,
	// such as a chat completion; nil, or a nil result: it cannot be asked.
	Translate func(p providers.Provider) providers.Relayer
}

// relayer is what the provider is asked through; nil: it cannot be asked.
func (c *RelayCall) relayer(p providers.Provider) providers.Relayer {
	if r, ok := p.(providers.Relayer); ok && r.Serves(c.Endpoint) {
		return r
	}
	if c.Translate != nil {
		return c.Translate(p)
	}
	return nil
}

// unserved is the error for a model that exists, but on no channel that has the endpoint.
func (c *RelayCall) unserved() error {
	e := models.ModelNotFound(c.Model)
	e.Message = fmt.Sprintf("The model '%.80s' cannot be used with /v1/%s.", c.Model, c.Endpoint)
	return e
}

// Relay asks the channels that serve the call's model for the call's endpoint,
// in the order and under the rules of chat completions: one usage record for
// each attempt, the next channel after a failure that another may not share, no
// second upstream once the answer has begun. It returns when a whole answer is
// settled, or when the first bytes of a streamed one are there.
//
// Its errors are for clients: a missing scope, an unknown model (KindNotFound,
// also when no channel with the model has the endpoint) or one that the key may
// not use (KindForbidden), an upstream's refusal (KindInvalid), and
// KindUnavailable for all other failures. The answer must be closed.
func (s *Service) Relay(ctx context.Context, v *models.Viewer, call RelayCall) (*Relayed, error) {
	if err := v.Require(models.ScopeChat); err != nil {
		return nil, err
	}
	route, err := s.channels.Plan(v, call.Model)
	if err != nil {
		return nil, err
	}
	r := s.relayed(ctx, v, route, call)
	if err := r.begin(); err != nil {
		return nil, err
	}
	return r, nil
}

// relayed is an answer that nobody was asked for yet: see [Relayed.begin].
func (s *Service) relayed(ctx context.Context, v *models.Viewer, route *channels.Route, call RelayCall) *Relayed {
	if call.ContentType == "" {
		call.ContentType = "application/json"
	}
	route.Serves = func(p providers.Provider) bool { return call.relayer(p) != nil }
	ctx, span := s.measure.start(ctx, call.Operation, route.Model.Name, call.Stream)
	in := &models.ChatCompletionInput{Model: call.Model, MaxCompletionTokens: call.MaxOutput, N: call.N}
	j := s.jobIn(ctx, span, v, in, route, call.Stream)
	j.call = &call
	return &Relayed{job: j, call: &call}
}

// Event is one server-sent event of an endpoint's answer.
type Event struct {
	Type string // the name from its event: line; may be empty
	Data []byte // JSON; stays valid
}

// Relayed is an endpoint's answer on its way to one client: a whole JSON text,
// events, or other bytes. The usage record is settled before the end of it goes
// out. It is for one goroutine.
type Relayed struct {
	ContentType string
	ChannelID   string // the channel that answers; set for admins only

	job    *job
	call   *RelayCall
	body   io.ReadCloser
	sse    *sse.Reader // nil: no events
	ended  bool        // an event has said that the answer is complete
	held   []Event     // events that end the answer, until it is settled
	ready  []Event
	out    []byte // bytes for Read
	outBuf []byte // where events are put for it
	hold   []byte // the last byte of a binary answer, until it is settled
	buf    []byte
	done   bool
	err    error // sticky: io.EOF after the end

	saidDone bool // Read has given the [DONE]
}

// Streams says whether the answer is events, see [Relayed.Next].
func (r *Relayed) Streams() bool { return r.sse != nil }

// JSON is a whole answer, nil when it is events or other bytes.
func (r *Relayed) JSON() []byte {
	if r.body != nil {
		return nil
	}
	return r.out
}

// Usage is what was accounted for; nil until the record is settled.
func (r *Relayed) Usage() *models.Usage {
	if !r.done {
		return nil
	}
	return r.job.read.usage
}

// Close gives up what is left: it cancels the upstream and accounts for what
// was produced. It may be called twice.
func (r *Relayed) Close() error {
	if r.done {
		return nil
	}
	r.job.cancel()
	err := r.job.settle(context.Canceled)
	r.finish(errors.New("the answer was closed"))
	return err
}

// finish releases everything. What is ready may still be read.
func (r *Relayed) finish(err error) {
	r.done, r.err, r.held = true, err, nil
	if r.body != nil {
		_ = r.body.Close()
	}
	r.job.close()
}

// begin asks channels until one begins to answer. When it fails there is nothing
// to close.
func (r *Relayed) begin() error {
	err := r.connect()
	if err != nil {
		err = r.job.end(err)
		r.finish(err)
	}
	return err
}

func (r *Relayed) connect() error {
	j := r.job
	for {
		if err := j.next(); err != nil {
			return err
		}
		began := time.Now()
		err := r.open(began)
		if err == nil {
			return nil
		}
		if r.body != nil {
			_ = r.body.Close()
			r.body, r.sse = nil, nil
		}
		if err := j.failed(err); err != nil {
			return err
		}
	}
}

// open asks the channel of the attempt, and reads as much of the answer as it
// takes to know that it is one.
func (r *Relayed) open(began time.Time) error {
	j := r.job
	if err := r.ask(began); err != nil {
		j.waited += time.Since(began)
		j.read.accepted = j.read.accepted && j.ctx.Err() != nil
		return err
	}
	if j.viewer.IsAdmin() {
		r.ChannelID = j.attempt.ChannelID
	}
	return nil
}

func (r *Relayed) ask(began time.Time) error {
	j := r.job
	reply, err := r.call.relayer(j.attempt.Provider).Relay(j.ctx, providers.Call{
		Endpoint: r.call.Endpoint, Model: j.attempt.Model, Asked: r.call.Model,
		ContentType: r.call.ContentType, Body: r.call.Body, Stream: r.call.Stream, Beta: r.call.Beta,
	})
	if err != nil {
		return err //nolint:wrapcheck // the provider's own
	}
	j.read.accepted = true
	r.body, r.ContentType = reply.Body, reply.ContentType
	mediaType, _, _ := mime.ParseMediaType(reply.ContentType)
	switch {
	case mediaType == "text/event-stream" && r.call.Stream:
		r.sse = sse.NewReader(r.body, maxEvent)
		event, err := r.pull()
		if ended(err) {
			err = malformed("The upstream answered nothing.")
		}
		if err != nil {
			return err
		}
		r.firstByte(began)
		r.take(event)
		if r.done && len(r.ready) == 0 && !errors.Is(r.err, io.EOF) {
			return r.err // nothing is out: it may have its own status
		}
		return nil
	case mediaType == "text/event-stream":
		return malformed("The upstream answered with events that were not asked for.")
	case r.call.Stream && (r.call.Endpoint == providers.Messages || r.call.Endpoint == providers.Responses):
		return malformed("The upstream's answer is not an event stream.")
	case r.call.Binary && !isJSON(mediaType):
		return r.askBinary(began)
	}
	return r.askWhole(began, mediaType)
}

func (r *Relayed) firstByte(began time.Time) {
	r.job.waited += time.Since(began)
	r.job.firstByte()
}

// askWhole reads a whole answer, and settles it.
func (r *Relayed) askWhole(began time.Time, mediaType string) error {
	j := r.job
	raw, err := io.ReadAll(io.LimitReader(r.body, maxAnswer+1))
	switch {
	case err != nil:
		return err //nolint:wrapcheck // the provider's own
	case len(raw) > maxAnswer:
		return malformed("The upstream's answer is too large.")
	case len(raw) == 0:
		return malformed("The upstream's answer is empty.")
	}
	_ = r.body.Close()
	r.body = nil
	textual := r.call.Endpoint == providers.Transcriptions && !isJSON(mediaType)
	if textual {
		j.read.produced.Write(raw)
	} else if raw, err = r.checkWhole(raw); err != nil {
		return err
	}
	r.firstByte(began)
	if err := j.settle(nil); err != nil {
		return err
	}
	if !textual {
		if raw, err = j.read.priced(j.rename(raw), r.call.Endpoint); err != nil {
			internal, _ := models.AsError(err) // settled: no other channel may be asked
			return internal
		}
	}
	if r.call.Stream && r.call.Endpoint == providers.Completions { // an upstream that cannot stream
		r.sse = sse.NewReader(strings.NewReader(""), maxEvent)
		r.ready, r.ContentType = []Event{{Data: raw}}, "text/event-stream"
	} else {
		r.out = raw
	}
	r.finish(io.EOF)
	return nil
}

// checkWhole checks that the answer is a JSON object that reports no failure,
// and reads its usage.
func (r *Relayed) checkWhole(raw []byte) ([]byte, error) {
	root := gjson.ParseBytes(raw)
	if !root.IsObject() || !gjson.ValidBytes(raw) {
		return nil, malformed("The upstream's answer is not a JSON object, or cut short.")
	}
	if root.Get("error").IsObject() && (!root.Get("id").Exists() || r.call.Endpoint == providers.Responses) {
		return nil, &providers.Error{Class: providers.Unavailable, Message: "The upstream failed."}
	}
	if r.call.Binary {
		return nil, malformed("The upstream's answer is JSON, which was not asked for.")
	}
	if r.call.Mend != nil {
		mended, err := r.call.Mend(raw)
		if err != nil {
			return nil, &providers.Error{Class: providers.Malformed, Message: "The upstream's answer is not what was asked for.", Cause: err}
		}
		raw = mended
	}
	r.job.read.relayedWhole(raw, r.call.Endpoint)
	return raw, nil
}

// askBinary waits for the first bytes.
func (r *Relayed) askBinary(began time.Time) error {
	r.buf = make([]byte, binaryBytes)
	n, err := r.body.Read(r.buf)
	for n == 0 && err == nil {
		n, err = r.body.Read(r.buf)
	}
	switch {
	case n == 0 && ended(err):
		return malformed("The upstream's answer is empty.")
	case n == 0:
		return err //nolint:wrapcheck // the provider's own
	}
	r.firstByte(began)
	r.takeBytes(n, err)
	return nil
}

func malformed(message string) error {
	return &providers.Error{Class: providers.Malformed, Message: message}
}

func isJSON(mediaType string) bool {
	return mediaType == "application/json" || strings.HasSuffix(mediaType, "+json")
}
