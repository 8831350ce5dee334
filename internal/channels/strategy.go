package channels

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/coaidev/coai/models"
)

const (
	// A channel of the strategy lowest_latency is measured anew when its last
	// measurement is older than staleAfter, by one of exploreEvery requests; one
	// that was never measured is asked first, but once in firstLook only.
	staleAfter   = time.Minute
	firstLook    = 5 * time.Second
	exploreEvery = 16
)

// route is how a model is served: tiers, the one to be asked first first.
type route struct {
	strategy models.RoutingStrategy
	tiers    []*tier
	closed   bool // some of its channels are for groups alone

	restricted bool // the model is for some users alone
}

// tier holds channels of equal standing: of one priority, or of one cost, or
// all, as the strategy says.
type tier struct {
	strategy models.RoutingStrategy
	rank     int64
	mu       sync.Mutex // of the turns
	turns    uint64
	seats    []seat
}

type seat struct {
	upstream *upstream
	weight   int
	current  int // of the smooth weighted round robin
}

// rank orders the tiers of a strategy, the smallest first.
func rank(s models.RoutingStrategy, row *models.Channel) int64 {
	switch s {
	case models.RoutingWeighted, models.RoutingLowestLatency:
		return 0
	case models.RoutingLowestCost:
		return int64(costMultiplier(row))
	case models.RoutingPriority, models.RoutingCacheSticky:
	}
	return -int64(row.Priority)
}

func costMultiplier(row *models.Channel) models.Nanos {
	if m := row.Settings.CostMultiplier; m != nil {
		return *m
	}
	return models.Dollar
}

// opensTo says whether the channel may serve the viewer: one with groups serves
// their users alone, and a key with tags is served by channels with one of them.
func (u *upstream) opensTo(v *models.Viewer) bool {
	return u.closedTo(v) == ""
}

func (u *upstream) closedTo(v *models.Viewer) models.RouteReason {
	switch {
	case len(u.row.Groups) > 0 && !overlap(u.row.Groups, v.Groups):
		return models.ReasonGroup
	case len(v.ChannelTags) > 0 && !overlap(u.row.Tags, v.ChannelTags):
		return models.ReasonTag
	}
	return ""
}

func overlap(a, b []string) bool {
	for _, s := range a {
		if slices.Contains(b, s) {
			return true
		}
	}
	return false
}

// opensTo says whether some channel of the route may serve the viewer.
func (r *route) opensTo(v *models.Viewer) bool {
	if !r.closed && len(v.ChannelTags) == 0 {
		return true
	}
	for _, t := range r.tiers {
		for i := range t.seats {
			if t.seats[i].upstream.opensTo(v) {
				return true
			}
		}
	}
	return false
}

func (p *Route) opens(u *upstream) bool { return p.viewer == nil || u.opensTo(p.viewer) }

// take gives the channel whose turn it is, nil when all are closed to the viewer.
func (t *tier) take(p *Route) *upstream {
	switch t.strategy {
	case models.RoutingLowestLatency:
		if u := t.fastest(p, true); u != nil {
			return u
		}
	case models.RoutingCacheSticky:
		return t.nearest(p)
	case models.RoutingPriority, models.RoutingWeighted, models.RoutingLowestCost:
	}
	return t.turn(p)
}

// turn follows nginx's smooth weighted round robin: exact shares without bursts.
// https://github.com/nginx/nginx/commit/52327e0627f49dbda1e8db695e63a4b0af4448b1
func (t *tier) turn(p *Route) *upstream {
	if len(t.seats) == 1 {
		if u := t.seats[0].upstream; p.opens(u) {
			return u
		}
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	total, best := 0, -1
	for i := range t.seats {
		s := &t.seats[i]
		if !p.opens(s.upstream) {
			continue
		}
		s.current += s.weight
		total += s.weight
		if best < 0 || s.current > t.seats[best].current {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	t.seats[best].current -= total
	return t.seats[best].upstream
}

// fastest gives the channel with the shortest time to its first byte; nil when
// nothing was measured yet. When it explores, a channel that was never measured,
// or not for long, may come first.
func (t *tier) fastest(p *Route, explore bool) *upstream {
	var best *upstream
	var now int64
	turn := uint64(1)
	if explore {
		now = p.now().UnixNano()
		t.mu.Lock()
		t.turns++
		turn = t.turns
		t.mu.Unlock()
	}
	shortest := math.Inf(1)
	for i := range t.seats {
		u := t.seats[i].upstream
		if !p.opens(u) {
			continue
		}
		latency := u.health.latencyMS()
		if explore && u.health.explore(latency, now, turn%exploreEvery == 0) {
			return u
		}
		if latency > 0 && latency < shortest {
			best, shortest = u, latency
		}
	}
	return best
}

// explore says whether this request is to measure the channel.
func (h *health) explore(latency float64, now int64, stale bool) bool {
	last := h.explored.Load()
	switch {
	case latency == 0 && now-last >= int64(firstLook):
	case stale && latency > 0 && now-max(last, h.measured.Load()) >= int64(staleAfter):
	default:
		return false
	}
	return h.explored.CompareAndSwap(last, now)
}

// nearest gives the channel that the request's affinity points to. It is the
// same in every process, as long as the channels are, and a channel that comes
// or goes moves only its own share (weighted rendezvous hashing).
func (t *tier) nearest(p *Route) *upstream {
	var best *upstream
	highest := math.Inf(-1)
	for i := range t.seats {
		s := &t.seats[i]
		if !p.opens(s.upstream) {
			continue
		}
		if score := s.score(p.affinity); score > highest {
			best, highest = s.upstream, score
		}
	}
	return best
}

func (s *seat) score(affinity uint64) float64 {
	h := mix(affinity ^ s.upstream.hash)
	unit := (float64(h>>11) + 0.5) / (1 << 53) // above 0, below 1
	return -float64(s.weight) / math.Log(unit)
}

// mix spreads a number's bits over all others (the finalizer of MurmurHash3).
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// affinity is the viewer's part in where sticky requests go.
func affinity(v *models.Viewer) uint64 {
	if v.KeyID != "" {
		return Affinity(v.KeyID)
	}
	return Affinity(v.UserID)
}

// Affinity is a hash that is the same in all processes (FNV-1a), for [Route.Stick].
func Affinity[T string | []byte](text T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return h
}

// others are the channels of the tier behind the first, in this turn's order.
func (t *tier) others(p *Route) []*upstream {
	seats := t.order(p)
	list := make([]*upstream, 0, len(seats))
	for _, s := range seats {
		if s.upstream != p.first {
			list = append(list, s.upstream)
		}
	}
	return list
}

// order gives the channels of the tier that may serve the viewer, as they stand
// now. It changes nothing.
func (t *tier) order(p *Route) []seat {
	t.mu.Lock()
	seats := make([]seat, 0, len(t.seats))
	for _, s := range t.seats {
		if p.opens(s.upstream) {
			seats = append(seats, s)
		}
	}
	t.mu.Unlock()
	switch t.strategy {
	case models.RoutingLowestLatency:
		slices.SortStableFunc(seats, func(a, b seat) int {
			return cmp.Compare(known(a.upstream.health.latencyMS()), known(b.upstream.health.latencyMS()))
		})
	case models.RoutingCacheSticky:
		slices.SortStableFunc(seats, func(a, b seat) int { return cmp.Compare(b.score(p.affinity), a.score(p.affinity)) })
	case models.RoutingPriority, models.RoutingWeighted, models.RoutingLowestCost:
		slices.SortStableFunc(seats, func(a, b seat) int { return cmp.Compare(b.current, a.current) })
	}
	return seats
}

// known puts what was never measured last.
func known(latency float64) float64 {
	if latency == 0 {
		return math.Inf(1)
	}
	return latency
}
