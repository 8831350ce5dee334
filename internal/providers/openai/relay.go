package openai

import (
	"context"
	"mime"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// Serves implements [providers.Relayer].
func (p *Provider) Serves(e providers.Endpoint) bool { return p.serves[e] }

// Relay implements [providers.Relayer]. Of the body only the model is changed;
// a streamed legacy completion is asked for its usage too. The answer is passed
// on as bytes.
func (p *Provider) Relay(ctx context.Context, call providers.Call) (*providers.Reply, error) {
	if !p.serves[call.Endpoint] {
		return nil, &providers.Error{Class: providers.NoModel, Message: "The upstream does not serve this endpoint."}
	}
	s := subject{model: call.Model, asked: call.Asked, what: words(call.Endpoint)}
	ex, err := p.relay(ctx, s, call)
	if err != nil {
		return nil, err
	}
	if ex.MediaType() == "text/html" {
		ex.Close()
		return nil, upstream.Malformed(ex.Status, "The upstream's answer is a web page.", nil)
	}
	limit := p.client.MaxBytes()
	if call.Stream {
		limit = 0
	}
	return &providers.Reply{ContentType: ex.Header.Get("Content-Type"), Body: ex.Body(limit)}, nil
}

func (p *Provider) relay(ctx context.Context, s subject, call providers.Call) (*upstream.Exchange, error) {
	r := upstream.Request{Accept: accept(call)}
	mediaType, params, err := mime.ParseMediaType(call.ContentType)
	if err == nil && mediaType == "multipart/form-data" {
		r.Body, r.ContentType, err = withModelPart(call.Body, params["boundary"], call.Model)
		if err != nil {
			return nil, &providers.Error{
				Class: providers.Rejected, Code: models.CodeInvalidValue,
				Message: "The request's body is not multipart/form-data.", Cause: err,
			}
		}
		return p.post(ctx, string(call.Endpoint), s, r)
	}
	e := edit{model: call.Model}
	if call.Endpoint == providers.Completions {
		e.stream = streamOff
		if call.Stream {
			e.stream = streamOn
		}
	}
	return p.sendEdited(ctx, string(call.Endpoint), s, r, call.Body, e)
}

// accept is what the client of a call can read.
func accept(call providers.Call) string {
	switch {
	case call.Stream && call.Endpoint == providers.Speech: // events, or audio as it is made
		return "*/*"
	case call.Stream:
		return "text/event-stream"
	case call.Endpoint == providers.Speech, call.Endpoint == providers.Transcriptions:
		return "*/*"
	}
	return "application/json"
}

// words name an endpoint in the text of a failure.
func words(e providers.Endpoint) string {
	switch e {
	case providers.Embeddings:
		return "embeddings"
	case providers.Completions:
		return "completions"
	case providers.Responses:
		return "responses"
	case providers.Images:
		return "image generations"
	case providers.Speech:
		return "speech"
	case providers.Transcriptions:
		return "transcriptions"
	case providers.Moderations:
		return "moderations"
	case providers.Messages:
	}
	return "such endpoint"
}
