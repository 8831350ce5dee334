package anthropic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// Serves implements [providers.Relayer]: Anthropic has its own endpoint only.
func (p *Provider) Serves(e providers.Endpoint) bool { return e == providers.Messages }

// Relay implements [providers.Relayer]. The bytes are passed on as they are, but
// for the model's name.
func (p *Provider) Relay(ctx context.Context, call providers.Call) (*providers.Reply, error) {
	if !p.Serves(call.Endpoint) {
		return nil, &providers.Error{
			Class: providers.Rejected, Status: http.StatusBadRequest, Code: models.CodeUnsupportedParameter,
			Message: fmt.Sprintf("The model's upstream does not serve %s.", call.Endpoint),
		}
	}
	body, err := withModel(call.Body, call.Model)
	if err != nil {
		return nil, &providers.Error{
			Class: providers.Rejected, Code: models.CodeInvalidValue,
			Message: "The request cannot be sent to the upstream.", Cause: err,
		}
	}
	ex, err := p.send(ctx, body, call.Stream, call.Beta, names{upstream: call.Model, asked: call.Asked})
	if err != nil {
		return nil, err
	}
	mediaType := ex.MediaType()
	switch {
	case call.Stream && mediaType != "text/event-stream":
		ex.Close()
		return nil, upstream.Malformed(ex.Status, "The upstream's answer is not an event stream.", nil)
	case !call.Stream && !upstream.JSONType(mediaType):
		ex.Close()
		return nil, upstream.Malformed(ex.Status, "The upstream's answer is not JSON.", nil)
	}
	reply := &providers.Reply{ContentType: ex.Header.Get("Content-Type"), Body: &relayed{ex: ex, streamed: call.Stream, max: p.client.MaxBytes()}}
	return reply, nil
}

// withModel replaces the model in a request. Everything else keeps its bytes and
// its place; of several models only one is left.
func withModel(body []byte, model string) ([]byte, error) {
	root := gjson.ParseBytes(body)
	if !root.IsObject() {
		return nil, errors.New("the request is not a JSON object")
	}
	out := append(make([]byte, 0, len(body)+len(model)+16), `{"model":`...)
	out = gjson.AppendJSONString(out, model)
	root.ForEach(func(key, value gjson.Result) bool {
		if key.Str != "model" {
			out = append(append(append(append(out, ','), key.Raw...), ':'), value.Raw...)
		}
		return true
	})
	return append(out, '}'), nil
}

// lastEvent is in every stream that ended properly, and, unescaped, nowhere else.
const lastEvent = `"message_stop"`

// relayed is the body of an answer that is passed on.
type relayed struct {
	ex       *upstream.Exchange
	streamed bool
	max      int // bytes of an answer that is not streamed

	size  int
	tail  []byte // the end of what was read, in which the last event may be cut
	ended bool   // the last event has come
	err   error  // sticky
}

// Read implements [io.Reader]. Its errors are io.EOF and *[providers.Error].
func (r *relayed) Read(b []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.ex.Read(b)
	if r.streamed {
		r.watch(b[:n])
	} else if r.size += n; r.size > r.max {
		r.err = upstream.Malformed(r.ex.Status, "The upstream's answer is too large.", nil)
		return 0, r.err
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF) && (r.ended || !r.streamed):
		r.err = io.EOF
	case errors.Is(err, io.EOF):
		r.err = upstream.BrokeOff(err)
	case r.ended && !r.ex.Abandoned():
		r.err = io.EOF // everything was said
	default:
		r.err = r.ex.Failure(err)
	}
	return n, r.err
}

// watch looks for the last event.
func (r *relayed) watch(read []byte) {
	if r.ended || len(read) == 0 {
		return
	}
	r.tail = append(r.tail, read[:min(len(read), len(lastEvent))]...)
	r.ended = bytes.Contains(r.tail, []byte(lastEvent)) || bytes.Contains(read, []byte(lastEvent))
	if len(read) > len(lastEvent) {
		r.tail = append(r.tail[:0], read[len(read)-len(lastEvent):]...)
	}
	r.tail = r.tail[max(0, len(r.tail)-len(lastEvent)):]
}

// Close implements [io.Closer].
func (r *relayed) Close() error {
	r.ex.Close()
	return nil
}
