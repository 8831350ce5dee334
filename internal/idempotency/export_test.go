package idempotency

import "time"

// SetNow gives the store another clock.
func (s *Store) SetNow(now func() time.Time) { s.now = now }
