package rest

import (
	"net/http"
	"slices"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

func (h *handler) listChannels(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p, err := parsePage(q)
	if err != nil {
		return err
	}
	filter := new(models.ChannelFilter)
	if t := models.ChannelType(q.Get("type")); slices.Contains(models.ChannelTypes(), t) {
		filter.Type = &t
	} else if t != "" {
		return models.Invalid("type", "'type' must be a type of channel, such as openai.")
	}
	if m := q.Get("model"); m != "" {
		if !validCursor(m) {
			return models.Invalid("model", "'model' must be the name of a model.")
		}
		filter.Model = &m
	}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().Channels(r.Context(), first, after, last, before, p.order, filter)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	l, err := viewList(r.Context(), p, page, func(c *models.Channel) string { return c.ID }, viewChannel)
	if err != nil {
		return err
	}
	return writeJSON(w, l)
}

type presetView struct {
	Object string `json:"object"`
	*models.ChannelPreset
}

func (h *handler) listChannelPresets(w http.ResponseWriter, r *http.Request) error {
	presets, err := h.resolver.Query().ChannelPresets(r.Context())
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	views := make([]any, len(presets))
	for i := range presets {
		views[i] = presetView{Object: "channel.preset", ChannelPreset: presets[i]}
	}
	return writeJSON(w, viewAll(views, func(i int) string { return presets[i].ID }))
}

func (h *handler) createChannel(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.CreateChannelInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().CreateChannel(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewChannel(done.Channel))
}

func (h *handler) retrieveChannel(w http.ResponseWriter, r *http.Request) error {
	c, err := h.resolver.Query().Channel(r.Context(), r.PathValue("id"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewChannel(c))
}

func (h *handler) updateChannel(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.UpdateChannelInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().UpdateChannel(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewChannel(done.Channel))
}

func (h *handler) deleteChannel(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().DeleteChannel(r.Context(), r.PathValue("id")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, deletedView{ID: *done.DeletedChannelID, Object: "channel", Deleted: true})
}

func (h *handler) testChannel(w http.ResponseWriter, r *http.Request) error {
	in, err := decodeOptional[models.TestChannelInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().TestChannel(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, done.Result)
}

func (h *handler) resetChannelHealth(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().ResetChannelHealth(r.Context(), r.PathValue("id")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewChannel(done.Channel))
}

func (h *handler) explainRoute(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	model := q.Get("model")
	if model == "" {
		return models.Missing("model")
	}
	var key *string
	if id := q.Get("api_key_id"); id != "" {
		key = &id
	}
	e, err := h.resolver.Query().ExplainRoute(r.Context(), model, key)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, &explanationView{Object: "route.explanation", RouteExplanation: e})
}
