package gemini

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/coaidev/coai/internal/providers/upstream"
)

// Models implements [providers.Lister]: the models that answer, embed or draw,
// without the "models/" in front of their names.
// https://ai.google.dev/api/models#method:-models.list
func (p *Provider) Models(ctx context.Context) ([]string, error) {
	l := upstream.Listing{
		Page:    listPage,
		Refused: func(ex *upstream.Exchange) error { return p.statusError(names{}, ex) },
	}
	if p.base != nil {
		l.URL = p.base.JoinPath("models")
		query := l.URL.Query()
		query.Set("pageSize", "1000")
		l.URL.RawQuery = query.Encode()
	}
	return p.client.Names(ctx, l) //nolint:wrapcheck // the provider's own
}

// listPage reads a page of the list.
func listPage(body []byte) (found []string, next url.Values, err error) {
	var list struct {
		Models []struct {
			Name    string   `json:"name"`
			Methods []string `json:"supportedGenerationMethods"`
		} `json:"models"`
		Next string `json:"nextPageToken"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, nil, err //nolint:wrapcheck // the caller wraps it
	}
	for _, m := range list.Models {
		if len(m.Methods) == 0 || slices.ContainsFunc(m.Methods, usableMethod) {
			found = append(found, strings.TrimPrefix(m.Name, "models/"))
		}
	}
	if list.Next != "" {
		next = url.Values{"pageToken": {list.Next}}
	}
	return found, next, nil
}

func usableMethod(name string) bool {
	return name == "generateContent" || name == "embedContent" || name == "predict"
}
