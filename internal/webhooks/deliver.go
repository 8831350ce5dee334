package webhooks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

const (
	// leaseMargin is what a lease lasts longer than an attempt: for the database.
	leaseMargin = 5 * time.Second
	// crowded is when an endpoint that is busy is looked at again.
	crowded = time.Second
	// probing is after how many failures in a row one attempt at a time is made, and
	// none for a while after each.
	probing = 5
	// writeTimeout bounds the recording of an attempt.
	writeTimeout = 10 * time.Second
)

// claimed is a delivery that this process makes.
type claimed struct {
	delivery *models.WebhookDelivery
	endpoint *models.Webhook
	event    *models.Event
}

// Deliver makes the next attempt of a delivery, if it is due and nobody else makes
// it. What came of it is in the database; an error says that the database failed, and
// the delivery is found by [Service.Due] again. When ctx ends the attempt is given
// up, and somebody else makes it.
func (s *Service) Deliver(ctx context.Context, id string) error {
	d, err := s.delivery(ctx, id)
	if err != nil || d == nil {
		return err
	}
	switch s.slots.take(d.EndpointID, d.ID) {
	case turnWaits:
		return nil
	case turnLater:
		return s.postpone(ctx, d.ID, s.time().Add(spread(crowded)))
	case turnNow:
	}
	held := true
	defer func() {
		if held { // after a panic, or at the end of ctx
			s.slots.give(d.EndpointID)
		}
	}()
	err = s.proceed(ctx, d)
	// Those that came while all slots were taken.
	for ctx.Err() == nil {
		if id, held = s.slots.next(d.EndpointID); !held {
			return err
		}
		waited, loadErr := s.delivery(ctx, id)
		if loadErr == nil && waited != nil {
			loadErr = s.proceed(ctx, waited)
		}
		err = errors.Join(err, loadErr)
	}
	return err
}

// proceed makes the attempt of a delivery that is due, and has a slot.
func (s *Service) proceed(ctx context.Context, d *models.WebhookDelivery) error {
	c, err := s.claim(ctx, d)
	if err != nil || c == nil {
		return err
	}
	return s.attempt(ctx, c)
}

// attempt makes a claimed attempt and records it.
func (s *Service) attempt(ctx context.Context, c *claimed) error {
	began := s.time()
	o := s.send(ctx, c.endpoint, c.event)
	// What was sent must be recorded, whoever has gone meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if o.aborted {
		return s.release(ctx, c)
	}
	s.meters.attempted(ctx, c, &o)
	return s.finish(ctx, c, &o, began)
}

// delivery is one that is due; nil when there is none.
func (s *Service) delivery(ctx context.Context, id string) (*models.WebhookDelivery, error) {
	d := new(models.WebhookDelivery)
	err := s.db.Read().NewSelect().Model(d).Where("wd.id = ?", id).Scan(ctx)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil //nolint:nilnil // as documented
	case err != nil:
		return nil, fmt.Errorf("load delivery: %w", err)
	case !due(d, s.time()):
		return nil, nil //nolint:nilnil // as documented
	}
	return d, nil
}

func due(d *models.WebhookDelivery, now time.Time) bool {
	switch d.Status {
	case models.DeliveryPending:
		return !d.DueAt.After(now)
	case models.DeliveryInflight: // by a process that may have died
		return d.LeaseUntil == nil || !d.LeaseUntil.After(now)
	case models.DeliveryDelivered, models.DeliveryFailed, models.DeliveryCancelled:
	}
	return false
}

// claim takes the delivery under a lease. It is nil when somebody else has it, or
// when it is not the endpoint's turn.
func (s *Service) claim(ctx context.Context, d *models.WebhookDelivery) (*claimed, error) {
	now := s.time()
	c := &claimed{delivery: d, endpoint: new(models.Webhook), event: new(models.Event)}
	err := s.db.Read().NewSelect().Model(c.endpoint).Where("we.id = ?", d.EndpointID).Scan(ctx)
	if err == nil {
		err = s.db.Read().NewSelect().Model(c.event).Where("e.id = ?", d.EventID).Scan(ctx)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, s.drop(ctx, d.ID)
	case err != nil:
		return nil, fmt.Errorf("load the delivery's endpoint and event: %w", err)
	case !c.endpoint.Enabled && d.Trigger != models.TriggerTest:
		return nil, s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			return cancelPending(ctx, tx, c.endpoint.ID, "the endpoint is disabled", now)
		})
	}
	if c.endpoint.Failures >= probing && d.Trigger != models.TriggerTest {
		if turn, err := s.takeTurn(ctx, c, now); err != nil || !turn {
			return nil, err
		}
	}
	won, err := s.lease(ctx, d, now)
	if err != nil || !won {
		return nil, err
	}
	return c, nil
}

// lease marks the delivery as being made by this process, and counts the attempt:
// its number is the fence against those who had it before.
func (s *Service) lease(ctx context.Context, d *models.WebhookDelivery, now time.Time) (bool, error) {
	until := now.Add(s.cfg.Timeout + leaseMargin)
	err := s.db.Write().NewRaw(`UPDATE webhook_deliveries
		SET status = ?, attempts = attempts + 1, lease_until = ?, sweep_at = ?, updated_at = ?
		WHERE id = ? AND (status = ? AND due_at <= ? OR status = ? AND lease_until <= ?) RETURNING attempts`,
		models.DeliveryInflight, until, until, now,
		d.ID, models.DeliveryPending, now, models.DeliveryInflight, now).Scan(ctx, &d.Attempts)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("claim delivery: %w", err)
	}
	d.Status, d.LeaseUntil = models.DeliveryInflight, &until
	return true, nil
}

// takeTurn takes the one turn that an endpoint gives which fails again and again,
// of all processes. Without a turn the delivery waits, and loses no attempt.
func (s *Service) takeTurn(ctx context.Context, c *claimed, now time.Time) (bool, error) {
	until := now.Add(s.cfg.Timeout + leaseMargin)
	res, err := s.db.Write().NewUpdate().Model((*models.Webhook)(nil)).Set("paused_until = ?", until).
		Where("id = ?", c.endpoint.ID).Where("paused_until IS NULL OR paused_until <= ?", now).Exec(ctx)
	if err != nil {
		return false, fmt.Errorf("take an endpoint's turn: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return n > 0, err
	}
	next := until
	if p := c.endpoint.PausedUntil; p != nil && p.After(now) {
		next = *p
	}
	return false, s.postpone(ctx, c.delivery.ID, next.Add(spread(crowded)))
}

// postpone has the sweeper look at the delivery later.
func (s *Service) postpone(ctx context.Context, id string, until time.Time) error {
	_, err := s.db.Write().NewUpdate().Model((*models.WebhookDelivery)(nil)).Set("sweep_at = ?", until).
		Where("id = ?", id).Where("status = ?", models.DeliveryPending).Exec(ctx)
	if err != nil {
		return fmt.Errorf("postpone delivery: %w", err)
	}
	return nil
}

// drop deletes a delivery whose endpoint or event is gone.
func (s *Service) drop(ctx context.Context, id string) error {
	return s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		return forget(ctx, tx, tx.NewSelect().Model((*models.WebhookDelivery)(nil)).Column("id").Where("id = ?", id))
	})
}

// release lets a lease go before its time: the attempt was not made.
func (s *Service) release(ctx context.Context, c *claimed) error {
	now := s.time()
	_, err := s.db.Write().NewUpdate().Model((*models.WebhookDelivery)(nil)).
		Set("status = ?", models.DeliveryPending).Set("lease_until = NULL").Set("sweep_at = ?", now).Set("updated_at = ?", now).
		Where("id = ?", c.delivery.ID).Where("attempts = ?", c.delivery.Attempts).Where("status = ?", models.DeliveryInflight).Exec(ctx)
	if err != nil {
		return fmt.Errorf("let a delivery go: %w", err)
	}
	return nil
}
