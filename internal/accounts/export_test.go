package accounts

import "time"

// SetClock replaces the clock. Call it before anything else.
func (s *Service) SetClock(now func() time.Time) { s.now = now }

// The parser of keys, and what makes them.
func ParseKey(secret string) bool { _, ok := parseKey(secret); return ok }

func NewSecret() string { return newSecret() }

// Cached counts the secrets that are in memory.
func (s *Service) Cached() (known, unknown int) {
	count := func(c *cache) (n int) {
		for i := range c.shards {
			c.shards[i].mu.RLock()
			n += len(c.shards[i].byID)
			c.shards[i].mu.RUnlock()
		}
		return n
	}
	return count(&s.known), count(&s.unknown)
}

// SetCacheSizes bounds the caches.
func (s *Service) SetCacheSizes(known, unknown int) { s.known.most, s.unknown.most = known, unknown }
