package storage_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
)

func TestRevision(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		revision := func(topic string, want int64) {
			t.Helper()
			if n, err := db.Revision(t.Context(), topic); err != nil || n != want {
				t.Errorf("revision of %s = %d, %v; want %d", topic, n, err, want)
			}
		}
		revision("accounts", 0)
		for range 3 {
			if err := storage.Bump(t.Context(), db.Write(), "accounts"); err != nil {
				t.Fatal(err)
			}
		}
		revision("accounts", 3)
		revision("channels", 0)
		// It moves with the change, or not at all.
		failure := errors.New("no")
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			return errors.Join(storage.Bump(ctx, tx, "accounts"), failure)
		})
		if !errors.Is(err, failure) {
			t.Fatal(err)
		}
		revision("accounts", 3)
	})
}

func TestLease(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		now := moment()
		steps := []struct {
			what   string
			holder string
			after  time.Duration
			want   bool
		}{
			{"nobody has it", "a", 0, true},
			{"another has it", "b", time.Second, false},
			{"the holder extends it", "a", 5 * time.Second, true},
			{"the extension counts", "b", 14 * time.Second, false},
			{"a microsecond before it runs out", "b", 15*time.Second - time.Microsecond, false},
			{"it ran out", "b", 15 * time.Second, true},
			{"the old holder comes too late", "a", 16 * time.Second, false},
		}
		for _, s := range steps {
			// A clock in another zone tells the same time.
			at := now.Add(s.after).In(time.FixedZone("there", 3*3600))
			if got, err := db.Acquire(t.Context(), "job", s.holder, at, 10*time.Second); err != nil || got != s.want {
				t.Errorf("%s: Acquire = %v, %v; want %v", s.what, got, err, s.want)
			}
		}
		acquire := func(name, holder string, want bool) {
			t.Helper()
			if got, err := db.Acquire(t.Context(), name, holder, now.Add(20*time.Second), 10*time.Second); err != nil || got != want {
				t.Errorf("Acquire(%s, %s) = %v, %v; want %v", name, holder, got, err, want)
			}
		}
		release := func(holder string) {
			t.Helper()
			if err := db.Release(t.Context(), "job", holder); err != nil {
				t.Error(err)
			}
		}
		acquire("other job", "c", true)
		release("a") // does not have it
		acquire("job", "c", false)
		release("b")
		release("b")
		acquire("job", "c", true)
	})
}

func TestLeaseHasOneHolder(t *testing.T) {
	for _, dialect := range testdb.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			url := testdb.Open(t, dialect)
			dbs := []*storage.DB{open(t, url), open(t, url)}
			if _, err := dbs[0].Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			// First nobody has it, then it ran out.
			for round := range 5 {
				now := moment().Add(time.Duration(round) * time.Minute)
				var mu sync.Mutex
				var winners []int
				var wg sync.WaitGroup
				for i := range 16 {
					wg.Go(func() {
						got, err := dbs[i%2].Acquire(t.Context(), "job", fmt.Sprint(round, "/", i), now, time.Minute)
						mu.Lock()
						defer mu.Unlock()
						if err != nil {
							t.Error(err)
						}
						if got {
							winners = append(winners, i)
						}
					})
				}
				wg.Wait()
				if len(winners) != 1 {
					t.Errorf("round %d: %v have it; want one", round, winners)
				}
			}
		})
	}
}
