package ollama

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
)

const maxTags = 1 << 20 // bytes

// Models are the names of the models that the server has at hand.
// https://github.com/ollama/ollama/blob/main/docs/api.md#list-local-models
func (p *Provider) Models(ctx context.Context) ([]string, error) {
	if p.base == nil {
		return nil, &providers.Error{Class: providers.Unavailable, Message: "The channel's base URL is not valid."}
	}
	ex, err := p.client.Send(ctx, upstream.Request{Method: http.MethodGet, URL: p.base.JoinPath("api", "tags"), Accept: "application/json"})
	if err != nil {
		return nil, fmt.Errorf("list models: %w", err)
	}
	defer ex.Close()
	if ex.Status != http.StatusOK {
		return nil, fmt.Errorf("list models: %w", p.statusError(ex, "", ""))
	}
	raw, err := ex.ReadAll(maxTags)
	if err != nil {
		return nil, fmt.Errorf("list models: %w", err)
	}
	var tags struct {
		Models []struct {
			Name string `json:"name"`
		} `json:"models"`
	}
	if err := json.Unmarshal(raw, &tags); err != nil {
		return nil, fmt.Errorf("decode models: %w", err)
	}
	names := make([]string, 0, len(tags.Models))
	for _, m := range tags.Models {
		names = append(names, m.Name)
	}
	return names, nil
}
