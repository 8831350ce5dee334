package openai

import (
	"context"

	"github.com/coaidev/coai/internal/providers/upstream"
)

// Models implements [providers.Lister]. Azure lists models there too, but not the
// deployments that requests name.
// https://platform.openai.com/docs/api-reference/models/list
func (p *Provider) Models(ctx context.Context) ([]string, error) {
	l := upstream.Listing{
		Page:    upstream.DataPage("after"),
		Refused: func(ex *upstream.Exchange) error { return p.statusError(subject{what: "lists of models"}, ex) },
	}
	if p.locate != nil {
		l.URL = p.locate("models", "")
	}
	return p.client.Names(ctx, l) //nolint:wrapcheck // the provider's own
}
