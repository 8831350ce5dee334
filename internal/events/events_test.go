package events_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/events"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

func TestAnEventSharesTheFateOfItsTransaction(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		write := func(fate error) (e *models.Event, err error) {
			err = db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				e, err = events.Append(ctx, tx, models.EventChannelHealthChanged, map[string]string{"object": "channel", "name": `a"b`})
				return errors.Join(err, fate)
			})
			return e, err
		}
		undone := errors.New("undone")
		if _, err := write(undone); !errors.Is(err, undone) {
			t.Fatal(err)
		}
		e, err := write(nil)
		if err != nil || !strings.HasPrefix(e.ID, "evt_") {
			t.Fatalf("%+v, %v", e, err)
		}
		var rows []models.Event
		if err := db.Read().NewSelect().Model(&rows).Scan(t.Context()); err != nil || len(rows) != 1 {
			t.Fatalf("%d events, %v; want one", len(rows), err)
		}
		got := rows[0]
		if got.ID != e.ID || got.Type != e.Type || !got.CreatedAt.Equal(e.CreatedAt) || !strings.Contains(string(got.Payload), `a\"b`) {
			t.Errorf("the event came back as %+v, %s", got, got.Payload)
		}
		if _, err := events.Append(t.Context(), db.Write(), models.EventChannelHealthChanged, func() {}); err == nil {
			t.Error("a payload that is no JSON was taken")
		}
	})
}
