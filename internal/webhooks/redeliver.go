package webhooks

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/events"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// maxRedelivered is how many deliveries one call makes again.
const maxRedelivered = 10_000

// TestWebhook sends webhook.test to one of the viewer's endpoints, now, once, and
// even when it is disabled, and gives the delivery with its outcome. Scope: webhooks.
func (s *Service) TestWebhook(ctx context.Context, v *models.Viewer, id string) (*models.TestWebhookPayload, error) {
	w, err := s.Webhook(ctx, v, id)
	if err != nil {
		return nil, err
	}
	if err := mayHold(v, w); err != nil {
		return nil, err
	}
	// A test takes as long as the endpoint likes: an account gets a few at a time.
	place := "test:" + v.UserID
	if !s.slots.try(place) {
		return nil, models.Conflict("", "At most %d tests of an account run at a time.", s.cfg.PerEndpoint)
	}
	defer s.slots.give(place)
	c := &claimed{endpoint: w}
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		e, err := events.Insert(ctx, tx, v.UserID, models.EventWebhookTest, testData(w))
		if err != nil {
			return err
		}
		c.event, c.delivery = e, events.Delivery(e, w)
		// Ours from the beginning. If this process dies, another one makes the attempt.
		until := s.time().Add(s.cfg.Timeout + leaseMargin)
		c.delivery.Trigger, c.delivery.Status, c.delivery.Attempts = models.TriggerTest, models.DeliveryInflight, 1
		c.delivery.LeaseUntil, c.delivery.SweepAt = &until, until
		if _, err := tx.NewInsert().Model(c.delivery).Exec(ctx); err != nil {
			return fmt.Errorf("write delivery: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := s.attempt(ctx, c); err != nil {
		return nil, err
	}
	return &models.TestWebhookPayload{Delivery: c.delivery}, nil
}

func testData(w *models.Webhook) any {
	return struct {
		Object      string   `json:"object"`
		ID          string   `json:"id"`
		UserID      string   `json:"user_id"`
		Description string   `json:"description"`
		Events      []string `json:"events"`
	}{"webhook", w.ID, w.UserID, w.Description, w.Events}
}

// RedeliverWebhook makes a delivery to one of the viewer's endpoints again, now and
// with all its attempts. Scope: webhooks.
func (s *Service) RedeliverWebhook(ctx context.Context, v *models.Viewer, endpointID, id string) (*models.RedeliverWebhookPayload, error) {
	var d *models.WebhookDelivery
	err := s.again(ctx, v, endpointID, func(ctx context.Context, tx bun.Tx, now time.Time) error {
		var err error
		if d, err = findDelivery(ctx, s.locking(tx), endpointID, id); err != nil {
			return err
		}
		if d.Status == models.DeliveryInflight {
			return models.Conflict("id", "An attempt of this delivery runs now.")
		}
		renew(d, now)
		if _, err := tx.NewUpdate().Model(d).WherePK().Exec(ctx); err != nil {
			return fmt.Errorf("renew delivery: %w", err)
		}
		storage.Announce(ctx, d.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &models.RedeliverWebhookPayload{Delivery: d}, nil
}

func renew(d *models.WebhookDelivery, now time.Time) {
	d.Status, d.Trigger, d.Tries = models.DeliveryPending, models.TriggerManual, 0
	d.DueAt, d.SweepAt, d.UpdatedAt, d.LeaseUntil, d.CompletedAt = now, now, now, nil, nil
}

// RedeliverWebhooks makes many deliveries to one of the viewer's endpoints again, at
// most 10,000 in a call, the oldest first. Scope: webhooks.
func (s *Service) RedeliverWebhooks(ctx context.Context, v *models.Viewer, endpointID string, in models.RedeliverWebhooksInput) (*models.RedeliverWebhooksPayload, error) {
	if err := v.Require(models.ScopeWebhooks); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	status := models.DeliveryFailed
	if in.Status != nil {
		status = *in.Status
	}
	count := 0
	err := s.again(ctx, v, endpointID, func(ctx context.Context, tx bun.Tx, now time.Time) error {
		which := tx.NewSelect().Model((*models.WebhookDelivery)(nil)).Column("wd.id").Where("wd.endpoint_id = ?", endpointID)
		which = among(which, &models.WebhookDeliveryFilter{Status: &status, Since: in.Since, Until: in.Until})
		if len(in.Events) > 0 && !slices.Contains(in.Events, models.AllEvents) {
			which = which.Where("wd.event_type IN (?)", bun.List(in.Events))
		}
		res, err := tx.NewUpdate().Model((*models.WebhookDelivery)(nil)).
			Set("status = ?", models.DeliveryPending).Set(`"trigger" = ?`, models.TriggerManual).Set("tries = 0").
			Set("due_at = ?", now).Set("sweep_at = ?", now).Set("updated_at = ?", now).
			Set("lease_until = NULL").Set("completed_at = NULL").
			Where("id IN (?)", which.OrderExpr("wd.id").Limit(maxRedelivered)).Where("status = ?", status).Exec(ctx)
		if err != nil {
			return fmt.Errorf("renew deliveries: %w", err)
		}
		n, err := res.RowsAffected()
		count = int(n)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &models.RedeliverWebhooksPayload{Count: &count, HasMore: count == maxRedelivered}, nil
}

// again runs fn for an endpoint of the viewer's that is enabled, and stays so
// meanwhile.
func (s *Service) again(ctx context.Context, v *models.Viewer, endpointID string, fn func(context.Context, bun.Tx, time.Time) error) error {
	if err := v.Require(models.ScopeWebhooks); err != nil {
		return err
	}
	return s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		w, err := find(ctx, s.locking(tx), v, endpointID)
		if err != nil {
			return err
		}
		if err := mayHold(v, w); err != nil {
			return err
		}
		if !w.Enabled {
			return models.Conflict("id", "The endpoint is disabled; enable it first.")
		}
		return fn(ctx, tx, s.time())
	})
}
