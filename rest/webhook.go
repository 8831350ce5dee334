package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

type webhookView struct {
	Object string `json:"object"`
	*models.Webhook
	DisabledAt        *time.Time `json:"disabled_at"`
	FailingSince      *time.Time `json:"failing_since"`
	PausedUntil       *time.Time `json:"paused_until"`
	PreviousExpiresAt *time.Time `json:"previous_expires_at"`
	CreatedAt         time.Time  `json:"created_at"`
	UpdatedAt         time.Time  `json:"updated_at"`
	Secret            *string    `json:"secret,omitzero"` // when it is made or rotated
}

func viewWebhook(w *models.Webhook, secret *string) any {
	return &webhookView{
		Object: "webhook", Webhook: w, DisabledAt: w.DisabledAt, FailingSince: w.FailingSince, PausedUntil: w.PausedUntil,
		PreviousExpiresAt: w.PreviousExpiresAt, CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt, Secret: secret,
	}
}

type webhookSecretView struct {
	Object            string     `json:"object"`
	ID                string     `json:"id"` // the endpoint's
	Secret            string     `json:"secret"`
	PreviousSecret    *string    `json:"previous_secret"`
	PreviousExpiresAt *time.Time `json:"previous_expires_at"`
}

type eventTypeView struct {
	Object      string          `json:"object"`
	Type        string          `json:"type"`
	Description string          `json:"description"`
	ForAdmins   bool            `json:"for_admins"`
	Schema      json.RawMessage `json:"schema"`
	Example     json.RawMessage `json:"example"`
}

type deliveryView struct {
	Object string `json:"object"`
	*models.WebhookDelivery
	NextAttemptAt *time.Time `json:"next_attempt_at"`
	CompletedAt   *time.Time `json:"completed_at"`
	CreatedAt     time.Time  `json:"created_at"`
	UpdatedAt     time.Time  `json:"updated_at"`

	// Of a single delivery.
	Attempts []any           `json:"attempts,omitzero"`
	Event    json.RawMessage `json:"event,omitzero"`
}

func viewDelivery(d *models.WebhookDelivery) *deliveryView {
	return &deliveryView{
		Object: "webhook.delivery", WebhookDelivery: d, NextAttemptAt: d.NextAttemptAt(), CompletedAt: d.CompletedAt,
		CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
}

type attemptView struct {
	Object string `json:"object"`
	*models.WebhookAttempt
	StartedAt time.Time `json:"started_at"`
}

type redeliveryView struct {
	Object  string `json:"object"`
	Count   int    `json:"count"`
	HasMore bool   `json:"has_more"`
}

func (h *handler) listWebhooks(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p, err := parsePage(q)
	if err != nil {
		return err
	}
	filter := &models.WebhookFilter{Event: stringParam(q, "event")}
	if filter.Enabled, err = boolParam(q, "enabled"); err != nil {
		return err
	}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().Webhooks(r.Context(), first, after, last, before, p.order, filter)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	l, err := viewList(r.Context(), p, page, func(x *models.Webhook) string { return x.ID },
		func(x *models.Webhook) any { return viewWebhook(x, nil) })
	if err != nil {
		return err
	}
	return writeJSON(w, l)
}

func (h *handler) createWebhook(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.CreateWebhookInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().CreateWebhook(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewWebhook(done.Webhook, done.Secret))
}

func (h *handler) retrieveWebhook(w http.ResponseWriter, r *http.Request) error {
	x, err := h.resolver.Query().Webhook(r.Context(), r.PathValue("id"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewWebhook(x, nil))
}

func (h *handler) updateWebhook(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.UpdateWebhookInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().UpdateWebhook(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewWebhook(done.Webhook, nil))
}

func (h *handler) deleteWebhook(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().DeleteWebhook(r.Context(), r.PathValue("id")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, deletedView{ID: *done.DeletedWebhookID, Object: "webhook", Deleted: true})
}

func (h *handler) retrieveWebhookSecret(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	s, err := h.resolver.Query().WebhookSecret(r.Context(), id)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, webhookSecretView{"webhook.secret", id, s.Secret, s.Previous, s.PreviousExpiresAt})
}

func (h *handler) rotateWebhookSecret(w http.ResponseWriter, r *http.Request) error {
	in, err := decodeOptional[models.RotateWebhookSecretInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().RotateWebhookSecret(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewWebhook(done.Webhook, done.Secret))
}

func (h *handler) testWebhook(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().TestWebhook(r.Context(), r.PathValue("id")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeDelivery(w, r, done.Delivery)
}

// writeDelivery answers with a delivery, its event and its attempts.
func (h *handler) writeDelivery(w http.ResponseWriter, r *http.Request, d *models.WebhookDelivery) error {
	resolver := h.resolver.WebhookDelivery()
	attempts, err := resolver.Attempts(r.Context(), d)
	event, errEvent := resolver.Event(r.Context(), d)
	if err = errors.Join(err, errEvent); err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	v := viewDelivery(d)
	v.Attempts = make([]any, len(attempts))
	for i, a := range attempts {
		v.Attempts[i] = &attemptView{"webhook.attempt", a, a.StartedAt}
	}
	v.Event = json.RawMessage("null")
	if event != nil {
		if v.Event, err = event.Body(); err != nil {
			return err //nolint:wrapcheck // says enough
		}
	}
	return writeJSON(w, v)
}

func (h *handler) listWebhookEvents(w http.ResponseWriter, r *http.Request) error {
	events, err := h.resolver.Query().WebhookEvents(r.Context())
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	data := make([]any, len(events))
	for i, e := range events {
		data[i] = &eventTypeView{
			"event_type", string(e.Type), e.Description, e.ForAdmins, json.RawMessage(e.Schema), json.RawMessage(e.Example),
		}
	}
	return writeJSON(w, viewAll(data, nil))
}

func (h *handler) listWebhookDeliveries(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p, err := parsePage(q)
	if err != nil {
		return err
	}
	filter := &models.WebhookDeliveryFilter{Event: stringParam(q, "event"), Status: (*models.WebhookDeliveryStatus)(stringParam(q, "status"))}
	if filter.Since, err = timeParam(q, "since"); err != nil {
		return err
	}
	if filter.Until, err = timeParam(q, "until"); err != nil {
		return err
	}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().WebhookDeliveries(r.Context(), r.PathValue("id"), first, after, last, before, p.order, filter)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	l, err := viewList(r.Context(), p, page, func(d *models.WebhookDelivery) string { return d.ID },
		func(d *models.WebhookDelivery) any { return viewDelivery(d) })
	if err != nil {
		return err
	}
	return writeJSON(w, l)
}

func (h *handler) retrieveWebhookDelivery(w http.ResponseWriter, r *http.Request) error {
	d, err := h.resolver.Query().WebhookDelivery(r.Context(), r.PathValue("id"), r.PathValue("delivery"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeDelivery(w, r, d)
}

func (h *handler) redeliverWebhook(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().RedeliverWebhook(r.Context(), r.PathValue("id"), r.PathValue("delivery")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewDelivery(done.Delivery))
}

func (h *handler) redeliverWebhooks(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.RedeliverWebhooksInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().RedeliverWebhooks(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, redeliveryView{"webhook.redelivery", *done.Count, done.HasMore})
}
