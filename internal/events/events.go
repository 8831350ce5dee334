// Package events is the outbox: what happened, in the order of its ids. An event
// is appended in the transaction of the change that it tells of, so that there is
// none without the other, whatever is killed in between. Delivering it is
// somebody else's work, and may be done late and more than once.
package events

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

// Append writes an event down in the caller's transaction. data becomes its
// payload: the object that changed, as REST shows it, and what changed about it.
// It must hold no secret.
func Append(ctx context.Context, tx bun.IDB, kind models.EventType, data any) (*models.Event, error) {
	payload, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encode the event %s: %w", kind, err)
	}
	e := &models.Event{
		ID: models.NewID(models.EventPrefix), Type: kind, Payload: payload,
		CreatedAt: time.Now().UTC().Truncate(time.Microsecond),
	}
	if _, err := tx.NewInsert().Model(e).Exec(ctx); err != nil {
		return nil, fmt.Errorf("append the event %s: %w", kind, err)
	}
	return e, nil
}
