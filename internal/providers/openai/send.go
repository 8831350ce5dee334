package openai

import (
	"context"
	"errors"
	"net/http"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

const chatPath = "chat/completions"

// errOptions marks a refusal that names stream_options.
var errOptions = errors.New("the upstream refuses stream_options")

// subject is what a request is about, for the texts of its failures.
type subject struct {
	model string // by the upstream's name
	asked string // by the client's name
	what  string // the endpoint, in words
}

func about(req providers.Request) subject {
	return subject{model: req.Model, asked: req.Input.Model, what: chatWords}
}

const chatWords = "chat completions"

// send posts a request for a chat completion. On success the exchange holds an
// answer of status 2xx.
func (p *Provider) send(ctx context.Context, req providers.Request, streamed bool) (*upstream.Exchange, error) {
	raw := req.Input.Raw
	if raw == nil {
		var err error
		if raw, err = marshalInput(req.Input, p.typed); err != nil {
			return nil, unsendable(err)
		}
	}
	e := edit{model: req.Model, stream: streamOff, quirks: p.quirks}
	r := upstream.Request{Accept: "application/json"}
	if streamed {
		e.stream, r.Accept = streamOn, "text/event-stream"
	}
	return p.sendEdited(ctx, chatPath, about(req), r, raw, e)
}

// sendEdited posts a JSON body with what must change in it. A streamed request
// asks for the usage; an upstream that refuses to be asked is asked once more
// without it.
func (p *Provider) sendEdited(ctx context.Context, path string, s subject, r upstream.Request, raw []byte, e edit) (*upstream.Exchange, error) {
	e.usage = e.stream == streamOn && !p.quirks.NoStreamOptions && !p.noOptions.Load()
	var err error
	if r.Body, err = splice(raw, e); err != nil {
		return nil, unsendable(err)
	}
	ex, err := p.post(ctx, path, s, r)
	if err == nil || !e.usage || !errors.Is(err, errOptions) {
		return ex, err
	}
	e.usage = false
	if r.Body, err = splice(raw, e); err != nil {
		return nil, unsendable(err)
	}
	if ex, err = p.post(ctx, path, s, r); err == nil {
		p.noOptions.Store(true)
	}
	return ex, err
}

func unsendable(cause error) *providers.Error {
	return &providers.Error{
		Class: providers.Rejected, Code: models.CodeInvalidValue,
		Message: "The request cannot be sent to the upstream.", Cause: cause,
	}
}

// post sends a request with the channel's credential. A token that is refused
// is replaced once. On success the exchange holds an answer of status 2xx.
func (p *Provider) post(ctx context.Context, path string, s subject, r upstream.Request) (*upstream.Exchange, error) {
	if p.locate == nil {
		return nil, &providers.Error{Class: providers.Unavailable, Message: "The channel's base URL is not valid."}
	}
	r.URL = p.locate(path, s.model)
	var token string
	for again := false; ; again = true {
		if p.entra != nil {
			var err error
			if token, err = p.entra.token(ctx, token); err != nil {
				return nil, err
			}
			r.Header = http.Header{"Authorization": {"Bearer " + token}}
		}
		ex, err := p.client.Send(ctx, r)
		switch {
		case err != nil:
			return nil, err
		case ex.Status/100 == 2:
			return ex, nil
		}
		failure := p.statusError(s, ex)
		ex.Close()
		if p.entra == nil || again || failure.Status != http.StatusUnauthorized {
			return nil, failure
		}
	}
}
