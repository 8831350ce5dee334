package webhooks

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// What the sealed columns are sealed for.
const (
	sealedSecret  = "webhook_endpoints.secret"
	sealedHeaders = "webhook_endpoints.headers"
)

// Webhooks lists the viewer's endpoints. Scope: webhooks.
func (s *Service) Webhooks(ctx context.Context, v *models.Viewer, args models.PageArgs, f *models.WebhookFilter) (*models.Connection[models.Webhook], error) {
	if err := v.Require(models.ScopeWebhooks); err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	list, err := storage.List(ctx, s.db.Read(), page, "id", func(w *models.Webhook) string { return w.ID },
		func(q *bun.SelectQuery) *bun.SelectQuery { return s.narrow(q.Where("we.user_id = ?", v.UserID), f) })
	if err != nil {
		return nil, fmt.Errorf("list webhook endpoints: %w", err)
	}
	return list, nil
}

func (s *Service) narrow(q *bun.SelectQuery, f *models.WebhookFilter) *bun.SelectQuery {
	if f == nil {
		return q
	}
	if f.Enabled != nil {
		q = q.Where("we.enabled = ?", *f.Enabled)
	}
	if f.Event != nil {
		either := []string{*f.Event, models.AllEvents}
		if s.db.Dialect() == storage.Postgres {
			q = q.Where("EXISTS (SELECT 1 FROM jsonb_array_elements_text(we.events) AS x (name) WHERE x.name IN (?))", bun.List(either))
		} else {
			q = q.Where("EXISTS (SELECT 1 FROM json_each(we.events) WHERE json_each.value IN (?))", bun.List(either))
		}
	}
	return q
}

// Webhook is one of the viewer's endpoints. Somebody else's is not found. Scope:
// webhooks.
func (s *Service) Webhook(ctx context.Context, v *models.Viewer, id string) (*models.Webhook, error) {
	if err := v.Require(models.ScopeWebhooks); err != nil {
		return nil, err
	}
	return find(ctx, s.db.Read().NewSelect(), v, id)
}

func find(ctx context.Context, q *bun.SelectQuery, v *models.Viewer, id string) (*models.Webhook, error) {
	if !storage.Storable(id) {
		return nil, models.NotFound("webhook", id)
	}
	w := new(models.Webhook)
	err := q.Model(w).Where("we.id = ?", id).Where("we.user_id = ?", v.UserID).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, models.NotFound("webhook", id)
	}
	if err != nil {
		return nil, fmt.Errorf("load webhook endpoint: %w", err)
	}
	return w, nil
}

// WebhookSecret is the secret of one of the viewer's endpoints. That of an
// endpoint that is told what is for admins alone takes a key with the scope admin.
// Scope: webhooks.
func (s *Service) WebhookSecret(ctx context.Context, v *models.Viewer, id string) (*models.WebhookSecret, error) {
	w, err := s.Webhook(ctx, v, id)
	if err != nil {
		return nil, err
	}
	if err := mayHold(v, w); err != nil {
		return nil, err
	}
	list, err := s.secrets(w, s.time())
	if err != nil {
		return nil, err
	}
	shown := &models.WebhookSecret{Secret: list[0]}
	if len(list) > 1 {
		shown.Previous, shown.PreviousExpiresAt = &list[1], w.PreviousExpiresAt
	}
	return shown, nil
}

// mayHold fails for a key that permits less than the endpoint was made with.
func mayHold(v *models.Viewer, w *models.Webhook) error {
	if w.AdminEvents && !v.IsAdmin() {
		return models.Forbidden(models.CodeInsufficientScope,
			"This endpoint is sent events that are for admins alone: it takes an API key with the scope '%s'.", models.ScopeAdmin)
	}
	return nil
}

// mayAskFor fails when the types name one that the viewer may not be told of.
func mayAskFor(v *models.Viewer, events []string) error {
	for i, e := range events {
		if models.EventType(e).ForAdmins() && !v.IsAdmin() {
			return models.Forbidden(models.CodeInsufficientScope, "'events[%d]': the type '%s' is for admins alone.", i, e)
		}
	}
	return nil
}

// CreateWebhook makes an endpoint for the viewer. A user can have 50. Scope:
// webhooks.
func (s *Service) CreateWebhook(ctx context.Context, v *models.Viewer, in models.CreateWebhookInput) (*models.CreateWebhookPayload, error) {
	if err := v.Require(models.ScopeWebhooks); err != nil {
		return nil, err
	}
	if err := in.Validate(s.cfg.AllowHTTP); err != nil {
		return nil, err
	}
	if err := s.reachable(in.URL); err != nil {
		return nil, err
	}
	if err := mayAskFor(v, in.Events); err != nil {
		return nil, err
	}
	now := s.time()
	w := &models.Webhook{
		ID: models.NewID(models.WebhookPrefix), UserID: v.UserID, URL: in.URL, Events: in.Events,
		AdminEvents: v.IsAdmin(), Enabled: true, CreatedAt: now, UpdatedAt: now,
	}
	if in.Description != nil {
		w.Description = *in.Description
	}
	if in.Enabled != nil && !*in.Enabled {
		disable(w, models.WebhookDisabledByOwner, now)
	}
	secret := newSecret()
	if in.Secret != nil {
		secret = *in.Secret
	}
	err := errors.Join(s.sealSecret(w, secret), s.sealHeaders(w, in.Headers))
	if err != nil {
		return nil, err
	}
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		// Locks the user: of two who find room for one more, the second waits.
		if _, err := tx.NewRaw("UPDATE users SET id = id WHERE id = ?", v.UserID).Exec(ctx); err != nil {
			return fmt.Errorf("lock user: %w", err)
		}
		n, err := tx.NewSelect().Model((*models.Webhook)(nil)).Where("user_id = ?", v.UserID).Count(ctx)
		if err != nil {
			return fmt.Errorf("count webhook endpoints: %w", err)
		}
		if n >= maxEndpoints {
			return models.Conflict("", "An account can have at most %d webhook endpoints; delete one first.", maxEndpoints)
		}
		if _, err := tx.NewInsert().Model(w).Exec(ctx); err != nil {
			return fmt.Errorf("insert webhook endpoint: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &models.CreateWebhookPayload{Webhook: w, Secret: &secret}, nil
}

// UpdateWebhook changes one of the viewer's endpoints. Enabling it forgets that it
// failed. Scope: webhooks.
func (s *Service) UpdateWebhook(ctx context.Context, v *models.Viewer, id string, in models.UpdateWebhookInput) (*models.UpdateWebhookPayload, error) {
	if err := v.Require(models.ScopeWebhooks); err != nil {
		return nil, err
	}
	if err := in.Validate(s.cfg.AllowHTTP); err != nil {
		return nil, err
	}
	if in.URL != nil {
		if err := s.reachable(*in.URL); err != nil {
			return nil, err
		}
	}
	if err := mayAskFor(v, in.Events); err != nil {
		return nil, err
	}
	w, err := s.change(ctx, v, id, func(ctx context.Context, tx bun.Tx, w *models.Webhook, now time.Time) error {
		return s.apply(ctx, tx, w, &in, now)
	})
	if err != nil {
		return nil, err
	}
	return &models.UpdateWebhookPayload{Webhook: w}, nil
}

func (s *Service) apply(ctx context.Context, tx bun.Tx, w *models.Webhook, in *models.UpdateWebhookInput, now time.Time) error {
	if in.URL != nil {
		w.URL = *in.URL
	}
	if in.Description != nil {
		w.Description = *in.Description
	}
	if in.Events != nil {
		w.Events = in.Events
	}
	if h, ok := in.Headers.ValueOK(); ok {
		if err := s.sealHeaders(w, h); err != nil {
			return err
		}
	}
	if in.Enabled == nil {
		return nil
	}
	if !*in.Enabled {
		if w.Enabled {
			disable(w, models.WebhookDisabledByOwner, now)
		}
		return cancelPending(ctx, tx, w.ID, "the endpoint was disabled", now)
	}
	w.Enabled, w.DisabledReason, w.DisabledAt = true, nil, nil
	w.Failures, w.FailingSince, w.PausedUntil = 0, nil, nil
	return nil
}

// DeleteWebhook deletes one of the viewer's endpoints and the log of its
// deliveries. Scope: webhooks.
func (s *Service) DeleteWebhook(ctx context.Context, v *models.Viewer, id string) (*models.DeleteWebhookPayload, error) {
	if err := v.Require(models.ScopeWebhooks); err != nil {
		return nil, err
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := find(ctx, s.locking(tx), v, id); err != nil {
			return err
		}
		if _, err := tx.NewDelete().Model((*models.Webhook)(nil)).Where("id = ?", id).Exec(ctx); err != nil {
			return fmt.Errorf("delete webhook endpoint: %w", err)
		}
		return forget(ctx, tx, tx.NewSelect().Model((*models.WebhookDelivery)(nil)).Column("id").Where("endpoint_id = ?", id))
	})
	if err != nil {
		return nil, err
	}
	return &models.DeleteWebhookPayload{DeletedWebhookID: &id}, nil
}

// RotateWebhookSecret gives one of the viewer's endpoints a new secret. The old
// one signs too for the grace period, and one from an earlier rotation no more.
// Scope: webhooks.
func (s *Service) RotateWebhookSecret(ctx context.Context, v *models.Viewer, id string, in *models.RotateWebhookSecretInput) (*models.RotateWebhookSecretPayload, error) {
	if err := v.Require(models.ScopeWebhooks); err != nil {
		return nil, err
	}
	if in == nil {
		in = new(models.RotateWebhookSecretInput)
	}
	grace, err := in.Validate()
	if err != nil {
		return nil, err
	}
	secret := newSecret()
	if in.Secret != nil {
		secret = *in.Secret
	}
	w, err := s.change(ctx, v, id, func(_ context.Context, _ bun.Tx, w *models.Webhook, now time.Time) error {
		old := w.Secret
		w.PreviousSecret, w.PreviousExpiresAt = nil, nil
		if grace > 0 {
			until := now.Add(grace)
			w.PreviousSecret, w.PreviousExpiresAt = old, &until
		}
		return s.sealSecret(w, secret)
	})
	if err != nil {
		return nil, err
	}
	return &models.RotateWebhookSecretPayload{Webhook: w, Secret: &secret}, nil
}

// change changes one of the viewer's endpoints.
func (s *Service) change(
	ctx context.Context, v *models.Viewer, id string,
	change func(ctx context.Context, tx bun.Tx, w *models.Webhook, now time.Time) error,
) (w *models.Webhook, err error) {
	now := s.time()
	return w, s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if w, err = find(ctx, s.locking(tx), v, id); err != nil {
			return err
		}
		if err := mayHold(v, w); err != nil {
			return err
		}
		if err := change(ctx, tx, w, now); err != nil {
			return err
		}
		w.UpdatedAt = now
		if _, err := tx.NewUpdate().Model(w).WherePK().Exec(ctx); err != nil {
			return fmt.Errorf("update webhook endpoint: %w", err)
		}
		return nil
	})
}

// locking is a query that keeps other transactions from what it finds.
func (s *Service) locking(tx bun.Tx) *bun.SelectQuery {
	q := tx.NewSelect()
	if s.db.Dialect() == storage.Postgres {
		q = q.For("UPDATE")
	}
	return q
}

// reachable refuses URLs whose host is an address that will never be dialled.
// Names are looked at when they are dialled.
func (s *Service) reachable(target string) error {
	u, err := url.Parse(target)
	if err != nil {
		return nil //nolint:nilerr // the input's Validate has seen to that
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "localhost" || strings.HasSuffix(host, ".localhost"):
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case err != nil:
		return nil //nolint:nilerr // a name
	}
	if s.cfg.Policy.Check(addr) != nil {
		return models.Invalid("url", "'url' must lead to a public address; %s is none, and the operator has not allowed it.", addr)
	}
	return nil
}

func (s *Service) sealSecret(w *models.Webhook, secret string) (err error) {
	w.Secret, err = s.box.Seal(sealedSecret, w.ID, []byte(secret))
	return err
}

func (s *Service) sealHeaders(w *models.Webhook, headers models.StringMap) (err error) {
	w.Headers, w.HeaderNames = nil, []string{}
	if len(headers) == 0 {
		return nil
	}
	for name := range headers {
		w.HeaderNames = append(w.HeaderNames, name)
	}
	slices.Sort(w.HeaderNames)
	text, err := json.Marshal(map[string]string(headers))
	if err != nil {
		return fmt.Errorf("encode headers: %w", err)
	}
	w.Headers, err = s.box.Seal(sealedHeaders, w.ID, text)
	return err
}

func disable(w *models.Webhook, reason models.WebhookDisabledReason, now time.Time) {
	w.Enabled, w.DisabledReason, w.DisabledAt = false, &reason, &now
}
