package ratelimit

import "time"

// SetClock replaces the clock. Call it before anything else.
func (l *Limiter) SetClock(now func() time.Time) { l.now = now }

// Subjects counts those that are in memory.
func (l *Limiter) Subjects() (n int) {
	for i := range l.memory.shards {
		s := &l.memory.shards[i]
		s.mu.Lock()
		n += len(s.subjects)
		s.mu.Unlock()
	}
	return n
}
