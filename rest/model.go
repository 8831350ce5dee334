package rest

import (
	"net/http"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

func modelID(m *models.Model) string { return m.Name }

// listModels gives all models unless the client pages: OpenAI's SDKs do not.
func (h *handler) listModels(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	p, err := parsePage(r.URL.Query())
	if err != nil {
		return err
	}
	if p.order != nil && *p.order == models.OrderDesc {
		return models.Invalid("order", "Models are listed by name: 'order' must be asc.")
	}
	all := !p.given
	if all {
		p.limit = models.MaxPageSize
	}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().Models(ctx, first, after, last, before)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	for next := page; all && next.PageInfo.HasNextPage; {
		limit := models.MaxPageSize
		if next, err = h.resolver.Query().Models(ctx, &limit, next.PageInfo.EndCursor, nil, nil); err != nil {
			return err //nolint:wrapcheck // as above
		}
		page.Edges = append(page.Edges, next.Edges...)
	}
	if all {
		page.PageInfo.HasNextPage = false
		p.limit = len(page.Edges)
	}
	l, err := viewList(ctx, p, page, modelID, viewModel)
	if err != nil {
		return err
	}
	return writeJSON(w, l)
}

func (h *handler) retrieveModel(w http.ResponseWriter, r *http.Request) error {
	m, err := h.resolver.Query().Model(r.Context(), r.PathValue("model"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewModel(m))
}

func (h *handler) importModelPrices(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.ImportModelPricesInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().ImportModelPrices(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, &struct {
		Object   string                `json:"object"`
		Imported int                   `json:"imported"`
		Skipped  []models.SkippedPrice `json:"skipped"`
	}{"model.import", done.Imported, done.Skipped})
}
