package accounts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

const (
	// usedEvery is the number of seconds in which a key's last use is written
	// down at most once.
	usedEvery = 60
	usesChunk = 500
)

// uses are the keys, or the sessions, whose last use is to be written down.
type uses struct {
	mu     sync.Mutex
	keys   map[string]struct{}
	latest int64 // Unix second of the latest use
}

// note remembers a use until it is written down. When too many wait already, it
// forgets this one: the next use in another minute will be noted.
func (u *uses) note(keyID string, second int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.keys == nil {
		u.keys = make(map[string]struct{})
	}
	if len(u.keys) < maxKnown {
		u.keys[keyID] = struct{}{}
		u.latest = max(u.latest, second)
	}
}

func (u *uses) take() (keys []string, latest int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	keys = make([]string, 0, len(u.keys))
	for id := range u.keys {
		keys = append(keys, id)
	}
	clear(u.keys)
	return keys, u.latest
}

// flushUses writes down the last use of all noted keys and sessions. All get the
// time of the latest use, which is a few seconds late at most.
func (s *Service) flushUses(ctx context.Context) error {
	return errors.Join(
		s.flush(ctx, &s.uses, (*models.APIKey)(nil), "last_used_at", usedEvery),
		s.flush(ctx, &s.seen, (*models.Session)(nil), "last_seen_at", s.seenEvery()))
}

func (s *Service) flush(ctx context.Context, u *uses, row any, column string, every int64) error {
	ids, latest := u.take()
	slices.Sort(ids) // processes that write at once lock rows in one order
	at := time.Unix(latest, 0).UTC()
	for chunk := range slices.Chunk(ids, usesChunk) {
		if err := s.writeUses(ctx, row, column, chunk, at, every); err != nil {
			for _, id := range ids {
				u.note(id, latest)
			}
			return err
		}
	}
	return nil
}

func (s *Service) writeUses(ctx context.Context, row any, column string, ids []string, at time.Time, every int64) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	_, err := s.db.Write().NewUpdate().Model(row).
		Set("? = ?", bun.Ident(column), at).Where("id IN (?)", bun.List(ids)).
		// Another process may have written it down within the minute.
		Where("? IS NULL OR ? <= ?", bun.Ident(column), bun.Ident(column), at.Add(-time.Duration(every)*time.Second)).
		Exec(ctx)
	if err != nil {
		return fmt.Errorf("write %s: %w", column, err)
	}
	return nil
}
