package upstream

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/coaidev/coai/internal/providers"
)

const (
	maxList  = 8 << 20 // bytes of a page of a list
	maxPages = 20
)

// Listing reads a list of models that comes in pages.
type Listing struct {
	URL    *url.URL    // of the first page; nil: the base URL was none
	Header http.Header // beside the client's own
	// Page reads a page: the names in it, and the query of the next; nil for none.
	Page func(body []byte) (names []string, next url.Values, err error)
	// Refused is the failure that a status other than 2xx means.
	Refused func(ex *Exchange) error
}

// Names asks for all pages, up to a bound.
func (c *Client) Names(ctx context.Context, l Listing) ([]string, error) {
	if l.URL == nil {
		return nil, &providers.Error{Class: providers.Unavailable, Message: "The channel's base URL is not valid."}
	}
	names, at := []string{}, *l.URL
	for range maxPages {
		page, next, err := c.page(ctx, l, &at)
		if err != nil {
			return nil, err
		}
		names = append(names, page...)
		if next == nil {
			break
		}
		query := l.URL.Query()
		for name, values := range next {
			query[name] = values
		}
		at.RawQuery = query.Encode()
	}
	return names, nil
}

func (c *Client) page(ctx context.Context, l Listing, at *url.URL) ([]string, url.Values, error) {
	ex, err := c.Send(ctx, Request{Method: http.MethodGet, URL: at, Accept: "application/json", Header: l.Header})
	if err != nil {
		return nil, nil, err
	}
	defer ex.Close()
	if ex.Status/100 != 2 {
		return nil, nil, l.Refused(ex)
	}
	body, err := ex.ReadAll(maxList)
	if err != nil {
		return nil, nil, err
	}
	names, next, err := l.Page(body)
	if err != nil {
		return nil, nil, Malformed(ex.Status, "The upstream's list of models could not be read.", err)
	}
	return names, next, nil
}

// DataPage reads a page in the shape that OpenAI and Anthropic share: ids under
// data, and, with has_more, the last of them, after which the next page begins.
func DataPage(after string) func(body []byte) ([]string, url.Values, error) {
	return func(body []byte) ([]string, url.Values, error) {
		var list struct {
			Data []struct {
				ID string `json:"id"`
			} `json:"data"`
			HasMore bool   `json:"has_more"`
			LastID  string `json:"last_id"`
		}
		if err := json.Unmarshal(body, &list); err != nil {
			return nil, nil, err //nolint:wrapcheck // the caller wraps it
		}
		names := make([]string, 0, len(list.Data))
		for _, m := range list.Data {
			names = append(names, m.ID)
		}
		if list.HasMore && list.LastID != "" {
			return names, url.Values{after: {list.LastID}}, nil
		}
		return names, nil, nil
	}
}
