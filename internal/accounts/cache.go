package accounts

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coaidev/coai/models"
)

// credential is what a secret stood for when the database was asked.
type credential struct {
	generation uint64
	until      time.Time // when the database is to be asked again

	known      bool           // the rest is empty for a secret that nobody has
	viewer     *models.Viewer // shared by all requests: never changed
	revoked    bool
	suspended  bool
	expiresAt  *time.Time
	replaced   *time.Time // until when a secret from before a rotation counts; nil: it is the present one
	restricted bool       // only from the networks
	networks   []netip.Prefix
	used       atomic.Int64 // Unix second of the last use that was noted
}

const cacheShards = 64

// cache holds credentials by the digest of their secret, up to about a number
// of them. Its zero value with a number is ready.
type cache struct {
	most   int
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	mu   sync.RWMutex
	byID map[digest]*credential
	_    [64 - 32]byte // a cache line for each shard
}

func (c *cache) shard(id digest) *cacheShard { return &c.shards[id[0]%cacheShards] }

func (c *cache) get(id digest) *credential {
	s := c.shard(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byID[id]
}

func (c *cache) put(id digest, cred *credential, generation uint64, now time.Time) {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = make(map[digest]*credential)
	}
	if len(s.byID) >= c.most/cacheShards {
		s.sweep(generation, now)
	}
	for other := range s.byID {
		if len(s.byID) < c.most/cacheShards {
			break
		}
		delete(s.byID, other)
	}
	s.byID[id] = cred
}

// sweep drops what is stale.
func (c *cache) sweep(generation uint64, now time.Time) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.sweep(generation, now)
		s.mu.Unlock()
	}
}

func (s *cacheShard) sweep(generation uint64, now time.Time) {
	for id, cred := range s.byID {
		if !cred.fresh(generation, now) {
			delete(s.byID, id)
		}
	}
}

// fresh says whether the credential may still be believed.
func (c *credential) fresh(generation uint64, now time.Time) bool {
	return c.generation == generation && now.Before(c.until)
}

func (s *Service) sweep() {
	generation, now := s.generation.Load(), s.now()
	s.known.sweep(generation, now)
	s.unknown.sweep(generation, now)
}
