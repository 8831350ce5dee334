package storage_test

import (
	"context"
	"errors"
	"testing"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
)

func TestOnlyCommittedWorkIsAnnounced(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		undone := errors.New("undone")
		announce := func(fate error, ids ...string) {
			t.Helper()
			err := db.Tx(t.Context(), func(ctx context.Context, _ bun.Tx) error {
				for _, id := range ids {
					storage.Announce(ctx, id)
				}
				if len(db.Announced()) > 0 {
					t.Error("announced before the commit")
				}
				return fate
			})
			if !errors.Is(err, fate) {
				t.Fatal(err)
			}
		}
		announce(undone, "a")
		storage.Announce(t.Context(), "b") // outside a transaction
		if n := len(db.Announced()); n != 0 {
			t.Fatalf("%d announced", n)
		}
		announce(nil, "c", "d")
		if c, d := <-db.Announced(), <-db.Announced(); c != "c" || d != "d" {
			t.Errorf("announced %s, %s", c, d)
		}
		// Nobody listens: nobody waits either.
		many := make([]string, 10_000)
		announce(nil, many...)
	})
}
