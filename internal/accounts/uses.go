package accounts

import (
	"context"
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

// uses are the keys whose last use is to be written down.
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

// flushUses writes down the last use of all noted keys. All get the time of the
// latest use, which is a few seconds late at most.
func (s *Service) flushUses(ctx context.Context) error {
	keys, latest := s.uses.take()
	slices.Sort(keys) // processes that write at once lock rows in one order
	at := time.Unix(latest, 0).UTC()
	for chunk := range slices.Chunk(keys, usesChunk) {
		if err := s.writeUses(ctx, chunk, at); err != nil {
			for _, id := range keys {
				s.uses.note(id, latest)
			}
			return err
		}
	}
	return nil
}

func (s *Service) writeUses(ctx context.Context, keys []string, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	_, err := s.db.Write().NewUpdate().Model((*models.APIKey)(nil)).
		Set("last_used_at = ?", at).Where("id IN (?)", bun.List(keys)).
		// Another process may have written it down within the minute.
		Where("last_used_at IS NULL OR last_used_at <= ?", at.Add(-usedEvery*time.Second)).
		Exec(ctx)
	if err != nil {
		return fmt.Errorf("write last use of API keys: %w", err)
	}
	return nil
}
