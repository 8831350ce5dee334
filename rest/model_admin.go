package rest

import (
	"net/http"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

// The catalogue's models are named in paths, as clients name them: resolvers take
// names where they take ids.

func (h *handler) createModel(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.SaveModelInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().CreateModel(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewModel(done.Model))
}

func (h *handler) updateModel(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.UpdateModelInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().UpdateModel(r.Context(), r.PathValue("model"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewModel(done.Model))
}

// saveModel takes the name from the path; the body may repeat it.
func (h *handler) saveModel(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.SaveModelInput](h, w, r)
	if err != nil {
		return err
	}
	name := r.PathValue("model")
	if in.Name != "" && in.Name != name {
		return models.Invalid("name", "'name' must be the one in the path, or absent.")
	}
	in.Name = name
	done, err := graph.Outcome(h.resolver.Mutation().SaveModel(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewModel(done.Model))
}

func (h *handler) deleteModel(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().DeleteModel(r.Context(), r.PathValue("model")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, deletedView{ID: *done.DeletedModelID, Object: "model", Deleted: true})
}
