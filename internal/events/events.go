// Package events is the outbox: what happened, in the order of its ids. An event
// is appended in the transaction of the change that it tells of, together with a
// delivery for each endpoint that asked for it, so that there is none without the
// others, whatever is killed in between. Making the deliveries is somebody else's
// work, and may be done late and more than once.
package events

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidwall/gjson"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

// Append writes an event down in the caller's transaction. data becomes its
// payload: the object that changed, as REST shows it, and what changed about it.
// It must hold no secret.
//
// Endpoints of admins are told of what is for them alone; of all else, those of
// the user whom the payload names as its user_id. See [AppendFor].
func Append(ctx context.Context, tx bun.IDB, kind models.EventType, data any) (*models.Event, error) {
	return AppendFor(ctx, tx, "", kind, data)
}

// AppendFor is [Append] for an event that concerns this user.
func AppendFor(ctx context.Context, tx bun.IDB, userID string, kind models.EventType, data any) (*models.Event, error) {
	e, err := Insert(ctx, tx, userID, kind, data)
	if err != nil {
		return nil, err
	}
	return e, fanOut(ctx, tx, e)
}

// Insert is [AppendFor] for an event that no endpoint is told of.
func Insert(ctx context.Context, tx bun.IDB, userID string, kind models.EventType, data any) (*models.Event, error) {
	payload, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encode the event %s: %w", kind, err)
	}
	switch {
	case kind.ForAdmins():
		userID = ""
	case userID == "":
		userID = gjson.GetBytes(payload, "user_id").String()
	}
	e := &models.Event{
		ID: models.NewID(models.EventPrefix), Type: kind, UserID: userID, Payload: payload,
		CreatedAt: time.Now().UTC().Truncate(time.Microsecond),
	}
	if _, err := tx.NewInsert().Model(e).Exec(ctx); err != nil {
		return nil, fmt.Errorf("append the event %s: %w", kind, err)
	}
	return e, nil
}
