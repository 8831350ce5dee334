package webhooks

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/coaidev/coai/models"
)

const (
	liveInterval = 500 * time.Millisecond
	// liveOverlap is how far back each look goes: a change is seen only once its
	// transaction has committed, and clocks of processes differ.
	liveOverlap = 5 * time.Second
	liveBatch   = 200
)

// Live are the changes of deliveries to one endpoint, in all processes.
type Live struct {
	ctx      context.Context // the subscription's
	s        *Service
	viewer   *models.Viewer
	endpoint string

	from    time.Time
	seen    map[string]time.Time // by delivery, the change that was told last
	waiting []*models.WebhookDelivery
	began   bool
	told    int // updates so far
}

// Watch follows the deliveries to one of the viewer's endpoints, from now on. Scope:
// webhooks.
func (s *Service) Watch(ctx context.Context, v *models.Viewer, endpointID string) (*Live, error) {
	if err := s.mayRead(ctx, v, endpointID); err != nil {
		return nil, err
	}
	return &Live{ctx: ctx, s: s, viewer: v, endpoint: endpointID, from: s.time(), seen: map[string]time.Time{}}, nil
}

// Next waits for the next change. It gives io.EOF when its context has ended, and an
// error when the endpoint is gone.
func (l *Live) Next() (*models.WebhookDeliveryUpdate, error) {
	for len(l.waiting) == 0 {
		if l.began {
			select {
			case <-l.ctx.Done():
				return nil, io.EOF
			case <-time.After(liveInterval):
			}
		}
		l.began = true
		if err := l.look(); err != nil {
			if l.ctx.Err() != nil {
				return nil, io.EOF
			}
			return nil, err
		}
	}
	d := l.waiting[0]
	l.waiting = l.waiting[1:]
	l.told++
	return &models.WebhookDeliveryUpdate{Sequence: l.told - 1, Delivery: d}, nil
}

// look reads what has changed since the last look.
func (l *Live) look() error {
	if err := l.s.mayRead(l.ctx, l.viewer, l.endpoint); err != nil {
		return err
	}
	var rows []*models.WebhookDelivery
	err := l.s.db.Read().NewSelect().Model(&rows).Where("wd.endpoint_id = ?", l.endpoint).
		Where("wd.updated_at > ?", l.from).OrderExpr("wd.updated_at").Limit(liveBatch).Scan(l.ctx)
	if err != nil {
		return fmt.Errorf("watch deliveries: %w", err)
	}
	for _, d := range rows {
		if at, ok := l.seen[d.ID]; ok && !d.UpdatedAt.After(at) {
			continue
		}
		l.seen[d.ID] = d.UpdatedAt
		l.waiting = append(l.waiting, d)
	}
	if len(rows) == liveBatch && len(l.waiting) == 0 {
		l.from = rows[len(rows)-1].UpdatedAt // more than a batch within the overlap
	} else if len(rows) > 0 {
		l.from = later(l.from, rows[len(rows)-1].UpdatedAt.Add(-liveOverlap))
	}
	for id, at := range l.seen {
		if !at.After(l.from) {
			delete(l.seen, id)
		}
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Poll gives what needs no waiting for.
func (l *Live) Poll() (*models.WebhookDeliveryUpdate, error) {
	if len(l.waiting) == 0 {
		return nil, nil //nolint:nilnil // as documented
	}
	return l.Next()
}

// Close ends it.
func (l *Live) Close() error { return nil }
