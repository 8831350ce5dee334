package events

import (
	"context"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// fanOut writes a delivery for each endpoint that asked for the event. Where
// nobody did it is one look at an index.
func fanOut(ctx context.Context, tx bun.IDB, e *models.Event) error {
	var targets []models.Webhook
	q := tx.NewSelect().Model(&targets).Column("we.id", "we.user_id", "we.events").
		Join("JOIN users AS u ON u.id = we.user_id").
		Where("we.enabled").Where("u.status = ?", models.UserActive)
	switch {
	case e.Type.ForAdmins():
		q = q.Where("we.admin_events").Where("u.role = ?", models.RoleAdmin)
	case e.UserID == "":
		return nil
	default:
		q = q.Where("we.user_id = ?", e.UserID)
	}
	if err := q.OrderExpr("we.id").Scan(ctx); err != nil {
		return fmt.Errorf("find endpoints for the event %s: %w", e.Type, err)
	}
	var deliveries []*models.WebhookDelivery
	for i := range targets {
		if slices.Contains(targets[i].Events, models.AllEvents) || slices.Contains(targets[i].Events, string(e.Type)) {
			deliveries = append(deliveries, Delivery(e, &targets[i]))
		}
	}
	if len(deliveries) == 0 {
		return nil
	}
	if _, err := tx.NewInsert().Model(&deliveries).Exec(ctx); err != nil {
		return fmt.Errorf("write deliveries of the event %s: %w", e.Type, err)
	}
	for _, d := range deliveries {
		storage.Announce(ctx, d.ID)
	}
	return nil
}

// Delivery is the event's way to an endpoint, due at once.
func Delivery(e *models.Event, to *models.Webhook) *models.WebhookDelivery {
	return &models.WebhookDelivery{
		ID: models.NewID(models.DeliveryPrefix), EventID: e.ID, EventType: e.Type, EndpointID: to.ID, UserID: to.UserID,
		Status: models.DeliveryPending, Trigger: models.TriggerAuto,
		DueAt: e.CreatedAt, SweepAt: e.CreatedAt, CreatedAt: e.CreatedAt, UpdatedAt: e.CreatedAt,
	}
}
