package gemini

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/coaidev/coai/internal/providers"
)

// Serves implements [providers.Relayer].
func (p *Provider) Serves(e providers.Endpoint) bool {
	return e == providers.Embeddings || e == providers.Images
}

// Relay implements [providers.Relayer]. The answer is whole when it returns.
func (p *Provider) Relay(ctx context.Context, call providers.Call) (*providers.Reply, error) {
	var body []byte
	var err error
	switch call.Endpoint {
	case providers.Embeddings:
		body, err = p.embed(ctx, call)
	case providers.Images:
		body, err = p.drawing(ctx, call)
	case providers.Completions, providers.Responses, providers.Speech, providers.Transcriptions, providers.Moderations, providers.Messages:
		err = unsupported("", fmt.Sprintf("The model '%s' does not serve %s.", call.Asked, call.Endpoint))
	}
	if err != nil {
		return nil, err
	}
	return &providers.Reply{ContentType: "application/json", Body: io.NopCloser(bytes.NewReader(body))}, nil
}
