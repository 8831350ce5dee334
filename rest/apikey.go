package rest

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

func (h *handler) listAPIKeys(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p, err := parsePage(q)
	if err != nil {
		return err
	}
	filter := new(models.APIKeyFilter)
	if filter.Revoked, err = boolParam(q, "revoked"); err != nil {
		return err
	}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().APIKeys(r.Context(), first, after, last, before, p.order, filter)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	var failed error
	view := func(k *models.APIKey) any {
		budgets, err := h.resolver.ApiKey().Budgets(r.Context(), k)
		usage, errUsage := h.resolver.ApiKey().Usage(r.Context(), k)
		failed = errors.Join(failed, err, errUsage)
		return viewAPIKey(k, nil, budgets, usage)
	}
	l, err := viewList(r.Context(), p, page, func(k *models.APIKey) string { return k.ID }, view)
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	return writeJSON(w, l)
}

// writeAPIKey answers with a key, and with its secret when there is one to show.
func (h *handler) writeAPIKey(w http.ResponseWriter, r *http.Request, k *models.APIKey, secret *string) error {
	budgets, err := h.resolver.ApiKey().Budgets(r.Context(), k)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	usage, err := h.resolver.ApiKey().Usage(r.Context(), k)
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	return writeJSON(w, viewAPIKey(k, secret, budgets, usage))
}

func boolParam(q url.Values, name string) (*bool, error) {
	yes, no := true, false
	switch q.Get(name) {
	case "":
		return nil, nil //nolint:nilnil // absent
	case "true":
		return &yes, nil
	case "false":
		return &no, nil
	}
	return nil, models.Invalid(name, "'%s' must be true or false.", name)
}

func (h *handler) createAPIKey(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.CreateAPIKeyInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().CreateAPIKey(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeAPIKey(w, r, done.APIKey, done.Secret)
}

func (h *handler) retrieveAPIKey(w http.ResponseWriter, r *http.Request) error {
	k, err := h.resolver.Query().APIKey(r.Context(), r.PathValue("id"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeAPIKey(w, r, k, nil)
}

func (h *handler) updateAPIKey(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.UpdateAPIKeyInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().UpdateAPIKey(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeAPIKey(w, r, done.APIKey, nil)
}

func (h *handler) rotateAPIKey(w http.ResponseWriter, r *http.Request) error {
	in, err := decodeOptional[models.RotateAPIKeyInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().RotateAPIKey(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeAPIKey(w, r, done.APIKey, done.Secret)
}

func (h *handler) deleteAPIKey(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().DeleteAPIKey(r.Context(), r.PathValue("id")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, deletedView{ID: *done.DeletedAPIKeyID, Object: "api_key", Deleted: true})
}
