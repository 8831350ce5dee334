package ratelimit

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

const shardCount = 64

// memory counts in this process. Since minutes and hours end where days end,
// everything that is counted dies at midnight UTC: a shard then starts with an
// empty map, and no subject outlives its day.
type memory struct {
	seed   maphash.Seed
	day    atomic.Int64
	nodes  atomic.Int64 // that share the limits while each counts alone; 0: not known
	shards [shardCount]shard
}

type shard struct {
	mu       sync.Mutex
	day      int64
	subjects map[string]*counters
	_        [64 - 24]byte // a cache line for each shard
}

// counters are a subject's requests, each in the window with that number.
type counters struct {
	at   slots
	used tally
	seen tally // of used, what all processes together had counted
}

func newMemory() *memory { return &memory{seed: maphash.MakeSeed()} }

// count says whether the request is allowed, and how much is used after it.
func (m *memory) count(subject string, lim Limits, at slots, take bool) (used tally, allowed bool) {
	s := m.lock(subject, at[day])
	defer s.mu.Unlock()
	c := s.subjects[subject]
	if c == nil {
		if !take {
			return tally{}, true
		}
		c = &counters{at: at}
		s.subjects[subject] = c
	}
	c.moveTo(at)
	if lim := lim.share(&c.seen, m.nodes.Load()); lim.exhausted(&c.used) {
		return c.used, false
	}
	if take {
		for w := range c.used {
			if lim.of(w) > 0 {
				c.used[w]++
			}
		}
	}
	return c.used, true
}

// observe takes over what has been counted elsewhere.
func (m *memory) observe(subject string, at slots, used tally) {
	s := m.lock(subject, at[day])
	defer s.mu.Unlock()
	c := s.subjects[subject]
	if c == nil {
		c = &counters{at: at}
		s.subjects[subject] = c
	}
	c.moveTo(at)
	for w := range used {
		c.used[w] = max(c.used[w], used[w])
	}
	c.seen = c.used
}

func (m *memory) lock(subject string, today int64) *shard {
	if last := m.day.Load(); moved(last, today) && m.day.CompareAndSwap(last, today) {
		for i := range m.shards {
			s := &m.shards[i]
			s.mu.Lock()
			s.moveTo(today)
			s.mu.Unlock()
		}
	}
	s := &m.shards[maphash.String(m.seed, subject)%shardCount]
	s.mu.Lock()
	s.moveTo(today)
	return s
}

func (s *shard) moveTo(today int64) {
	if s.subjects == nil || moved(s.day, today) {
		s.day, s.subjects = today, make(map[string]*counters)
	}
}

func (c *counters) moveTo(at slots) {
	for w := range at {
		if moved(c.at[w], at[w]) {
			c.at[w], c.used[w], c.seen[w] = at[w], 0, 0
		}
	}
}

// moved says whether a new window has begun. A request that read the clock just
// before a boundary may come after one that read it behind: it counts in the
// newer window. A clock that was set back further begins anew.
func moved(from, to int64) bool { return to > from || to < from-1 }
