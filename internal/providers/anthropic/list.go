package anthropic

import (
	"context"

	"github.com/coaidev/coai/internal/providers/upstream"
)

// Models implements [providers.Lister].
// https://platform.claude.com/docs/en/api/models-list
func (p *Provider) Models(ctx context.Context) ([]string, error) {
	l := upstream.Listing{
		Page:    upstream.DataPage("after_id"),
		Refused: func(ex *upstream.Exchange) error { return p.statusError(ex, names{}) },
	}
	if p.url != nil {
		l.URL = p.url.JoinPath("../models")
		query := l.URL.Query()
		query.Set("limit", "1000")
		l.URL.RawQuery = query.Encode()
	}
	return p.client.Names(ctx, l) //nolint:wrapcheck // the provider's own
}
