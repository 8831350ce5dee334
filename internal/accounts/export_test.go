package accounts

import (
	"context"
	"time"

	"golang.org/x/crypto/argon2"
)

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

// Hashes counts the password hashes that were made.
func (s *Service) Hashes() int64 { return s.passwords.made.Load() }

// Password hashes as they are stored.
func ParseHash(s string) (again string, err error) {
	h, err := parseHash(s)
	return h.String(), err
}

func LocalPath(p string) bool { return localPath(p) }

// FlushUses writes down what was used.
func (s *Service) FlushUses(ctx context.Context) error { return s.flushUses(ctx) }

// HashAt makes a hash at another cost.
func HashAt(password string, memory, passes uint32, threads uint8) string {
	h := newHash()
	h.memory, h.passes, h.threads = memory, passes, threads
	h.key = argon2.IDKey([]byte(password), h.salt, passes, memory, threads, hashLen)
	return h.String()
}
