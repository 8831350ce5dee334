package webhooks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/events"
	"github.com/coaidev/coai/models"
)

const (
	firstRest = 5 * time.Second // of an endpoint that fails again and again; doubled by each failure
	maxRest   = 5 * time.Minute
	// sporadic is the time without a failure after which an endpoint begins to fail
	// anew: it is longer than the longest pause between attempts.
	sporadic = 48 * time.Hour
)

// finish records an attempt, and what it means for the delivery and the endpoint.
// When the lease ran out meanwhile and somebody else has the delivery, nothing is
// recorded.
func (s *Service) finish(ctx context.Context, c *claimed, o *outcome, began time.Time) error {
	now, d := s.time(), c.delivery
	s.conclude(d, o, now)
	attempt := &models.WebhookAttempt{
		DeliveryID: d.ID, N: d.Attempts, Trigger: d.Trigger, Status: d.LastStatus, Error: d.LastError,
		LatencyMS: int(o.latency.Milliseconds()), StartedAt: began,
	}
	if o.status != 0 {
		attempt.Response = &o.response
	}
	var disabled *models.Webhook
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		// The endpoint comes before its deliveries, as for all who lock both.
		endpoint, err := s.concerned(ctx, tx, c, o)
		if err != nil {
			return err
		}
		res, err := tx.NewUpdate().Model(d).
			Column("status", "tries", "due_at", "lease_until", "sweep_at", "last_status", "last_error", "completed_at", "updated_at").
			WherePK().Where("attempts = ?", d.Attempts).Where("status = ?", models.DeliveryInflight).Exec(ctx)
		if err != nil {
			return fmt.Errorf("finish delivery: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		if _, err := tx.NewInsert().Model(attempt).Exec(ctx); err != nil {
			return fmt.Errorf("record attempt: %w", err)
		}
		if endpoint != nil {
			disabled, err = s.judge(ctx, tx, endpoint, o, now)
		}
		return err
	})
	if err != nil {
		return err
	}
	if disabled != nil {
		s.log.Warn().Str("webhook", disabled.ID).Str("user", disabled.UserID).Str("reason", string(*disabled.DisabledReason)).
			Msg("webhook endpoint disabled")
		if s.cfg.OnDisabled != nil {
			s.cfg.OnDisabled(ctx, disabled)
		}
	}
	return nil
}

// conclude decides how the delivery goes on.
func (s *Service) conclude(d *models.WebhookDelivery, o *outcome, now time.Time) {
	d.LeaseUntil, d.UpdatedAt, d.SweepAt = nil, now, now
	d.LastStatus, d.LastError = nil, nil
	d.Tries++
	if o.status != 0 {
		d.LastStatus = &o.status
	}
	if o.delivered() {
		d.Status, d.CompletedAt = models.DeliveryDelivered, &now
		return
	}
	d.LastError = &o.err
	wait, more := pause(s.cfg.Schedule, d.Tries, o.retryAfter)
	if !more || o.gone() || d.Trigger == models.TriggerTest {
		d.Status, d.CompletedAt = models.DeliveryFailed, &now
		return
	}
	d.Status, d.DueAt = models.DeliveryPending, now.Add(wait)
	d.SweepAt = d.DueAt
}

// concerned locks the endpoint when the outcome says something new of it; else, and
// when it is gone, it gives nil.
func (s *Service) concerned(ctx context.Context, tx bun.Tx, c *claimed, o *outcome) (*models.Webhook, error) {
	healthy := c.endpoint.Failures == 0 && c.endpoint.FailingSince == nil
	if o.delivered() && healthy || c.delivery.Trigger == models.TriggerTest { // which says nothing of real events
		return nil, nil //nolint:nilnil // as documented
	}
	w := new(models.Webhook)
	err := s.locking(tx).Model(w).Where("we.id = ?", c.endpoint.ID).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // as documented
	}
	if err != nil {
		return nil, fmt.Errorf("lock webhook endpoint: %w", err)
	}
	return w, nil
}

// judge counts the endpoint's failures. It gives the endpoint when it was disabled.
func (s *Service) judge(ctx context.Context, tx bun.Tx, w *models.Webhook, o *outcome, now time.Time) (*models.Webhook, error) {
	if o.delivered() {
		w.Failures, w.FailingSince, w.PausedUntil = 0, nil, nil
		return nil, saveHealth(ctx, tx, w)
	}
	if w.FailingSince == nil || w.LastFailureAt != nil && now.Sub(*w.LastFailureAt) > sporadic {
		w.FailingSince = &now
	}
	w.Failures++
	w.LastFailureAt, w.PausedUntil = &now, nil
	if w.Failures >= probing {
		rest := now.Add(spread(min(firstRest<<min(w.Failures-probing, 10), maxRest)))
		w.PausedUntil = &rest
	}
	failing := w.Failures >= probing && now.Sub(*w.FailingSince) >= s.cfg.DisableAfter
	if !w.Enabled || !failing && !o.gone() {
		return nil, saveHealth(ctx, tx, w)
	}
	reason := models.WebhookDisabledFailing
	if o.gone() {
		reason = models.WebhookDisabledGone
	}
	disable(w, reason, now)
	if err := saveHealth(ctx, tx, w); err != nil {
		return nil, err
	}
	if err := cancelPending(ctx, tx, w.ID, "the endpoint was disabled", now); err != nil {
		return nil, err
	}
	_, err := events.AppendFor(ctx, tx, w.UserID, models.EventWebhookDisabled, notice(w))
	return w, err
}

// notice is the payload of webhook.disabled. The URL may carry a token of the
// endpoint's, and goes to the owner's other endpoints: it is left out.
func notice(w *models.Webhook) any {
	return struct {
		Object       string                        `json:"object"`
		ID           string                        `json:"id"`
		UserID       string                        `json:"user_id"`
		Description  string                        `json:"description"`
		Reason       *models.WebhookDisabledReason `json:"reason"`
		FailingSince *time.Time                    `json:"failing_since"`
		DisabledAt   *time.Time                    `json:"disabled_at"`
	}{"webhook", w.ID, w.UserID, w.Description, w.DisabledReason, w.FailingSince, w.DisabledAt}
}

func saveHealth(ctx context.Context, tx bun.Tx, w *models.Webhook) error {
	_, err := tx.NewUpdate().Model(w).
		Column("failures", "failing_since", "paused_until", "last_failure_at", "enabled", "disabled_reason", "disabled_at").
		WherePK().Exec(ctx)
	if err != nil {
		return fmt.Errorf("save the state of a webhook endpoint: %w", err)
	}
	return nil
}

// cancelPending ends all deliveries to an endpoint that have not begun.
func cancelPending(ctx context.Context, tx bun.IDB, endpointID, why string, now time.Time) error {
	_, err := tx.NewUpdate().Model((*models.WebhookDelivery)(nil)).
		Set("status = ?", models.DeliveryCancelled).Set("last_error = ?", why).
		Set("completed_at = ?", now).Set("updated_at = ?", now).
		Where("endpoint_id = ?", endpointID).Where("status = ?", models.DeliveryPending).
		Where(`"trigger" <> ?`, models.TriggerTest).Exec(ctx)
	if err != nil {
		return fmt.Errorf("cancel deliveries: %w", err)
	}
	return nil
}

// forget deletes deliveries and their attempts.
func forget(ctx context.Context, tx bun.IDB, ids *bun.SelectQuery) error {
	if _, err := tx.NewDelete().Model((*models.WebhookAttempt)(nil)).Where("delivery_id IN (?)", ids).Exec(ctx); err != nil {
		return fmt.Errorf("delete attempts: %w", err)
	}
	if _, err := tx.NewDelete().Model((*models.WebhookDelivery)(nil)).Where("id IN (?)", ids).Exec(ctx); err != nil {
		return fmt.Errorf("delete deliveries: %w", err)
	}
	return nil
}
