package rest

import (
	"net/http"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

type planView struct {
	Object string `json:"object"`
	*models.Plan
}

func (h *handler) listPlans(w http.ResponseWriter, r *http.Request) error {
	plans, err := h.resolver.Query().Plans(r.Context())
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	data := make([]any, len(plans))
	for i, p := range plans {
		data[i] = &planView{"plan", p}
	}
	return writeJSON(w, viewAll(data, nil))
}

func (h *handler) updatePlan(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.UpdatePlanInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().UpdatePlan(r.Context(), models.Tier(r.PathValue("tier")), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, &planView{"plan", done.Plan})
}
