package channels

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// tier holds the channels of one priority for one model. Their turns follow
// nginx's smooth weighted round robin: exact shares without bursts.
// https://github.com/nginx/nginx/commit/52327e0627f49dbda1e8db695e63a4b0af4448b1
type tier struct {
	mu    sync.Mutex
	seats []*seat
}

type seat struct {
	upstream *upstream
	weight   int
	current  int
}

// order gives this turn's order: the channel whose turn it is, then its siblings
// by how soon their turn would come.
func (t *tier) order() []*upstream {
	if len(t.seats) == 1 {
		return []*upstream{t.seats[0].upstream}
	}
	t.mu.Lock()
	total := 0
	for _, s := range t.seats {
		s.current += s.weight
		total += s.weight
	}
	seats := slices.Clone(t.seats)
	slices.SortStableFunc(seats, func(a, b *seat) int { return b.current - a.current })
	seats[0].current -= total
	t.mu.Unlock()
	list := make([]*upstream, len(seats))
	for i, s := range seats {
		list[i] = s.upstream
	}
	return list
}

// Route is the plan for one completion: whom to ask, in which order. It is for
// one goroutine.
type Route struct {
	Model *models.Model // what was asked for, aliases resolved
	// Cooldown is how long until the first of the channels that were passed over,
	// because their upstream had asked for it, may be asked again; zero: none was.
	Cooldown time.Duration
	// Serves says whether a provider can be asked at all; nil: each can. Channels
	// whose provider cannot are passed over, and nothing is held against them.
	Serves func(providers.Provider) bool
	// Served says whether Next has met a channel that can be asked, even if not now.
	Served bool

	route *route
	tier  int
	rest  []*upstream
	now   func() time.Time
}

// Plan finds out who serves the model to this viewer. An unknown model is not
// found; one that the key's allow-list leaves out is forbidden.
func (r *Registry) Plan(v *models.Viewer, model string) (*Route, error) {
	s := r.snap.Load()
	name := s.resolve(model)
	found := s.routes[name]
	if found == nil {
		return nil, models.ModelNotFound(model)
	}
	if !v.MayUse(name) && !v.MayUse(model) {
		e := models.Forbidden(models.CodeModelNotAllowed, "This API key may not use the model '%s'.", model)
		e.Param = "model"
		return nil, e
	}
	return &Route{Model: s.models[name], route: found, now: time.Now}, nil
}

// Next gives the next channel to ask, or nil when nobody is left. Channels that
// rest after failures, or are at a limit, are passed over. Every attempt must
// be ended with [Attempt.Done].
func (p *Route) Next() *Attempt {
	for {
		for len(p.rest) > 0 {
			u := p.rest[0]
			p.rest = p.rest[1:]
			if p.Serves != nil && u.provider != nil && !p.Serves(u.provider) {
				continue
			}
			p.Served = true
			now := p.now()
			if a := u.attempt(p.Model.Name, now); a != nil {
				return a
			}
			if left := u.health.cooldown(now); left > 0 && (p.Cooldown == 0 || left < p.Cooldown) {
				p.Cooldown = left
			}
		}
		if p.tier == len(p.route.tiers) {
			return nil
		}
		p.rest = p.route.tiers[p.tier].order()
		p.tier++
	}
}

// errAskedFor stands for the failures of echo: clients order them, and must not
// put the channel to rest for others.
var errAskedFor = errors.New("a failure that the client asked for")

// Attempt is one request to one channel.
type Attempt struct {
	ChannelID   string
	ChannelType models.ChannelType
	Model       string // the upstream's name of the model
	Mapped      bool   // it differs from the name that the channel serves
	Provider    providers.Provider

	health *health
	done   func(error)
}

func (u *upstream) attempt(model string, now time.Time) *Attempt {
	if u.provider == nil {
		return nil
	}
	done, ok := u.health.admit(&u.row.Limits, now)
	if !ok {
		return nil
	}
	a := &Attempt{
		ChannelID: u.row.ID, ChannelType: u.row.Type, Model: model,
		Provider: u.provider, health: u.health, done: done,
	}
	if to := u.row.ModelMapping[model]; to != "" && to != model {
		a.Model, a.Mapped = to, true
	}
	return a
}

// FirstByte reports how long the channel took to begin its answer.
func (a *Attempt) FirstByte(d time.Duration) { a.health.firstByte(d) }

// Done ends the attempt: its error, if any, and the tokens that it used. Only
// the first call counts.
func (a *Attempt) Done(err error, tokens int64) {
	if a.done == nil {
		return
	}
	if err != nil && a.ChannelType == models.ChannelEcho {
		err = errAskedFor
	}
	a.health.finish(err, tokens, time.Now(), a.done)
	a.done = nil
}
