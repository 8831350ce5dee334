package webhooks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// shownAttempts is how many attempts of a delivery are shown.
const shownAttempts = 50

// Deliveries lists what one of the viewer's endpoints was sent. Scope: webhooks.
func (s *Service) Deliveries(ctx context.Context, v *models.Viewer, endpointID string, args models.PageArgs, f *models.WebhookDeliveryFilter) (*models.Connection[models.WebhookDelivery], error) {
	if err := s.mayRead(ctx, v, endpointID); err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	if f == nil {
		f = new(models.WebhookDeliveryFilter)
	}
	if err := f.Validate(); err != nil {
		return nil, err
	}
	list, err := storage.List(ctx, s.db.Read(), page, "id", func(d *models.WebhookDelivery) string { return d.ID },
		func(q *bun.SelectQuery) *bun.SelectQuery { return among(q.Where("wd.endpoint_id = ?", endpointID), f) })
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	return list, nil
}

// mayRead fails unless the endpoint is the viewer's, and the viewer's key permits as
// much as it: deliveries hold what it was sent.
func (s *Service) mayRead(ctx context.Context, v *models.Viewer, endpointID string) error {
	w, err := s.Webhook(ctx, v, endpointID)
	if err != nil {
		return err
	}
	return mayHold(v, w)
}

func among(q *bun.SelectQuery, f *models.WebhookDeliveryFilter) *bun.SelectQuery {
	if f.Status != nil {
		q = q.Where("wd.status = ?", *f.Status)
	}
	if f.Event != nil {
		q = q.Where("wd.event_type = ?", *f.Event)
	}
	// Ids sort by time, so the index that orders the list serves these too.
	if f.Since != nil {
		q = q.Where("wd.id >= ?", models.FirstID(models.DeliveryPrefix, *f.Since))
	}
	if f.Until != nil {
		q = q.Where("wd.id < ?", models.FirstID(models.DeliveryPrefix, *f.Until))
	}
	return q
}

// Delivery is one delivery to one of the viewer's endpoints. Scope: webhooks.
func (s *Service) Delivery(ctx context.Context, v *models.Viewer, endpointID, id string) (*models.WebhookDelivery, error) {
	if err := s.mayRead(ctx, v, endpointID); err != nil {
		return nil, err
	}
	return findDelivery(ctx, s.db.Read().NewSelect(), endpointID, id)
}

// DeliveryByID is a delivery to any of the viewer's endpoints. Scope: webhooks.
func (s *Service) DeliveryByID(ctx context.Context, v *models.Viewer, id string) (*models.WebhookDelivery, error) {
	if err := v.Require(models.ScopeWebhooks); err != nil {
		return nil, err
	}
	d := new(models.WebhookDelivery)
	err := sql.ErrNoRows
	if storage.Storable(id) {
		err = s.db.Read().NewSelect().Model(d).Where("wd.id = ?", id).Where("wd.user_id = ?", v.UserID).Scan(ctx)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return nil, models.NotFound("delivery", id)
	}
	if err != nil {
		return nil, fmt.Errorf("load delivery: %w", err)
	}
	return d, s.mayRead(ctx, v, d.EndpointID)
}

func findDelivery(ctx context.Context, q *bun.SelectQuery, endpointID, id string) (*models.WebhookDelivery, error) {
	if !storage.Storable(id) {
		return nil, models.NotFound("delivery", id)
	}
	d := new(models.WebhookDelivery)
	err := q.Model(d).Where("wd.id = ?", id).Where("wd.endpoint_id = ?", endpointID).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, models.NotFound("delivery", id)
	}
	if err != nil {
		return nil, fmt.Errorf("load delivery: %w", err)
	}
	return d, nil
}

// Attempts are those of a delivery that the caller was given, the newest first.
func (s *Service) Attempts(ctx context.Context, d *models.WebhookDelivery) ([]*models.WebhookAttempt, error) {
	list := []*models.WebhookAttempt{}
	err := s.db.Read().NewSelect().Model(&list).Where("delivery_id = ?", d.ID).OrderExpr("n DESC").Limit(shownAttempts).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	return list, nil
}

// Event is that of a delivery that the caller was given; nil when it is gone.
func (s *Service) Event(ctx context.Context, d *models.WebhookDelivery) (*models.Event, error) {
	e := new(models.Event)
	err := s.db.Read().NewSelect().Model(e).Where("e.id = ?", d.EventID).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // as documented
	}
	if err != nil {
		return nil, fmt.Errorf("load event: %w", err)
	}
	return e, nil
}

// Purge deletes the deliveries, attempts and events that are past their retention,
// a thousand at a time, and gives the number of deliveries. What still waits for an
// attempt stays.
func (s *Service) Purge(ctx context.Context, now time.Time) (int, error) {
	const chunk = 1000
	before := now.Add(-s.cfg.Retention)
	total := 0
	for {
		var ids []string
		err := s.db.Read().NewSelect().Model((*models.WebhookDelivery)(nil)).Column("id").
			Where("id < ?", models.FirstID(models.DeliveryPrefix, before)).
			Where("status NOT IN (?, ?)", models.DeliveryPending, models.DeliveryInflight).
			Where("updated_at < ?", before.UTC()).
			OrderExpr("id").Limit(chunk).Scan(ctx, &ids)
		if err != nil {
			return total, fmt.Errorf("find old deliveries: %w", err)
		}
		if len(ids) > 0 {
			err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
				return forget(ctx, tx, tx.NewSelect().Model((*models.WebhookDelivery)(nil)).Column("id").Where("id IN (?)", bun.List(ids)))
			})
			if err != nil {
				return total, err
			}
		}
		total += len(ids)
		if len(ids) < chunk {
			return total, s.purgeEvents(ctx, before)
		}
	}
}

func (s *Service) purgeEvents(ctx context.Context, before time.Time) error {
	const chunk = 1000
	for {
		old := s.db.Write().NewSelect().Model((*models.Event)(nil)).Column("e.id").
			Where("e.id < ?", models.FirstID(models.EventPrefix, before)).
			Where("NOT EXISTS (SELECT 1 FROM webhook_deliveries AS wd WHERE wd.event_id = e.id)").
			OrderExpr("e.id").Limit(chunk)
		res, err := s.db.Write().NewDelete().Model((*models.Event)(nil)).Where("id IN (?)", old).Exec(ctx)
		if err != nil {
			return fmt.Errorf("delete old events: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n < chunk {
			return err
		}
	}
}
