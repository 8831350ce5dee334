package channels

import (
	"errors"
	"slices"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// Route is the plan for one completion: whom to ask, in which order. It is for
// one goroutine.
type Route struct {
	Model *models.Model // what was asked for, aliases resolved
	// Cooldown is how long until the first of the channels that are left alone,
	// because their upstream asked for it, may be asked again; zero: there is none.
	Cooldown time.Duration
	// Rest is the same for those that rest after failures, or have used up a
	// minute's limit.
	Rest time.Duration
	// Serves says whether a provider can be asked at all; nil: each can. Channels
	// whose provider cannot are passed over, and nothing is held against them.
	Serves func(providers.Provider) bool
	// Served says whether Next has met a channel that can be asked, even if not now.
	Served bool

	registry *Registry
	viewer   *models.Viewer // nil: no channel is closed to the viewer
	route    *route
	affinity uint64
	now      func() time.Time

	tier    int         // the next one
	current *tier       // being asked; nil: none yet
	first   *upstream   // of it
	rest    []*upstream // of it, once the first has failed

	last    *Attempt
	refused []*credential // in this request: not asked again
	useless []*upstream   // for this request: not asked again
}

// Plan finds out who serves the model to this viewer. An unknown model, or one
// whose channels are all closed to the viewer, is not found; one that the key's
// allow-list leaves out is forbidden.
func (r *Registry) Plan(v *models.Viewer, model string) (*Route, error) {
	s := r.snap.Load()
	name := s.resolve(model)
	found := s.routes[name]
	if found == nil || !found.opensTo(v) || found.restricted && !s.models[name].VisibleTo(v) {
		return nil, models.ModelNotFound(model)
	}
	if !s.allows(v, name) {
		e := models.Forbidden(models.CodeModelNotAllowed, "This API key may not use the model '%s'.", model)
		e.Param = "model"
		return nil, e
	}
	p := &Route{Model: s.models[name], registry: r, route: found, now: time.Now}
	if found.closed || len(v.ChannelTags) > 0 {
		p.viewer = v
	}
	if found.strategy == models.RoutingCacheSticky {
		p.affinity = affinity(v)
	}
	return p, nil
}

// Sticky says whether the route depends on the prompt: see [Route.Stick].
func (p *Route) Sticky() bool { return p.route != nil && p.route.strategy == models.RoutingCacheSticky }

// Stick makes requests of the same user with the same beginning of the prompt go
// to the same channel, as long as it answers.
func (p *Route) Stick(prompt uint64) { p.affinity = mix(p.affinity ^ prompt) }

// AllServe says whether there are channels to ask, and each of them can be asked
// by the function's word, even if not now.
func (p *Route) AllServe(serves func(providers.Provider) bool) bool {
	some := false
	for _, t := range p.route.tiers {
		for i := range t.seats {
			u := t.seats[i].upstream
			if u.broken != "" || len(u.credentials) == 0 || !p.opens(u) {
				continue
			}
			if !serves(u.credentials[0].provider) {
				return false
			}
			some = true
		}
	}
	return some
}

// Next gives the next channel to ask, or nil when nobody is left. Channels that
// rest after failures, or are at a limit, are passed over. A channel whose
// credential was refused or limited is asked with its next one first. Every
// attempt must be ended with [Attempt.Done].
func (p *Route) Next() *Attempt {
	if last := p.last; last != nil {
		p.last = nil
		if p.spend(last) {
			if a := p.try(last.upstream); a != nil {
				return a
			}
		}
	}
	for {
		u := p.pick()
		if u == nil {
			return nil
		}
		if a := p.try(u); a != nil {
			return a
		}
	}
}

// spend notes what a failed attempt has shown, and says whether the same channel
// is to be asked with another credential.
func (p *Route) spend(a *Attempt) (again bool) {
	if a.failure == nil {
		return false
	}
	switch a.failure.Class {
	case providers.Credential:
		p.refused = append(p.refused, a.credential)
		return len(a.upstream.credentials) > 1
	case providers.RateLimited:
		if until, rests := a.credential.rests(p.now()); rests {
			p.Cooldown = sooner(p.Cooldown, until.Sub(p.now()))
		}
		return len(a.upstream.credentials) > 1
	case providers.NoModel, providers.Malformed, providers.Unusable:
		p.useless = append(p.useless, a.upstream)
	case providers.Unavailable, providers.Rejected, providers.Timeout, providers.Canceled:
	}
	return false
}

// Again starts over, for another round through the channels: those that cannot
// serve this request, as it has shown, are left out.
func (p *Route) Again() {
	if p.last != nil {
		p.spend(p.last)
	}
	p.tier, p.current, p.first, p.rest, p.last = 0, nil, nil, nil, nil
	p.Cooldown, p.Rest = 0, 0
}

// pick gives the next channel in order, nil at the end. The first of a tier is
// found without sorting the others: mostly it is the only one that is needed.
func (p *Route) pick() *upstream {
	if p.current != nil {
		if p.first != nil {
			p.rest = p.current.others(p)
			p.first = nil
		}
		if len(p.rest) > 0 {
			u := p.rest[0]
			p.rest = p.rest[1:]
			return u
		}
	}
	for p.route != nil && p.tier < len(p.route.tiers) {
		p.current = p.route.tiers[p.tier]
		p.tier++
		if p.first = p.current.take(p); p.first != nil {
			return p.first
		}
	}
	p.current = nil
	return nil
}

// try begins an attempt at the channel, if it may be asked now.
func (p *Route) try(u *upstream) *Attempt {
	if slices.Contains(p.useless, u) {
		return nil
	}
	if p.Serves != nil && len(u.credentials) > 0 && !p.Serves(u.credentials[0].provider) {
		return nil
	}
	p.Served = true
	now := p.now()
	a, no := u.attempt(p.Model.Name, now, p.refused)
	if a != nil {
		p.last = a
		return a
	}
	switch no.reason {
	case "":
	case models.ReasonCooldown:
		p.Cooldown = sooner(p.Cooldown, no.until.Sub(now))
	case models.ReasonUnhealthy, models.ReasonRPM, models.ReasonTPM, models.ReasonBrokenCredential:
		p.Rest = sooner(p.Rest, no.until.Sub(now))
	case models.ReasonDisabled, models.ReasonModelNotServed, models.ReasonKeyModel, models.ReasonModelHidden, models.ReasonTag,
		models.ReasonGroup, models.ReasonBroken, models.ReasonConcurrency:
	}
	return nil
}

// sooner is the smaller of two waits, where what is not above zero is none.
func sooner(a, b time.Duration) time.Duration {
	if b > 0 && (a <= 0 || b < a) {
		return b
	}
	return a
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

	upstream   *upstream
	credential *credential // nil of a channel that cannot be used
	permit     permit
	failure    *providers.Error
	done       bool
}

// attempt begins a request to the channel, or says why it may not be asked now.
func (u *upstream) attempt(model string, now time.Time, except []*credential) (*Attempt, refusal) {
	if u.broken != "" {
		return nil, refusal{reason: models.ReasonBroken}
	}
	c, no := u.usable(now, except)
	if c == nil {
		return nil, no // without a reason: those that do not rest were refused in this request
	}
	permit, no := u.health.admit(&u.row.Limits, now)
	if no.reason != "" {
		return nil, no
	}
	if u.limited() && u.registry.quota != nil {
		if permit.lease, no.reason = u.registry.quota.take(u.row.ID, &u.row.Limits, now); no.reason != "" {
			u.health.giveBack(permit)
			if no.reason != models.ReasonConcurrency {
				no.until = nextMinute(now)
			}
			return nil, no
		}
	}
	return u.begin(model, c, permit), refusal{}
}

func (u *upstream) begin(model string, c *credential, p permit) *Attempt {
	a := &Attempt{
		ChannelID: u.row.ID, ChannelType: u.row.Type, Model: model,
		upstream: u, credential: c, permit: p,
	}
	if c != nil {
		a.Provider = c.provider
	}
	if to := u.row.ModelMapping[model]; to != "" && to != model {
		a.Model, a.Mapped = to, true
	}
	return a
}

// FirstByte reports how long the channel took to begin its answer.
func (a *Attempt) FirstByte(d time.Duration) {
	u := a.upstream
	u.registry.edges.add(u, u.health.firstByte(d, a.permit, time.Now()))
}

// Done ends the attempt: its error, if any, and the tokens that it used. Only
// the first call counts.
//
// A refused or limited credential rests, if the channel has another one that is
// usable; the last one's refusal counts against the channel as other failures do,
// so that a blip never rests it.
func (a *Attempt) Done(err error, tokens int64) {
	if a.done {
		return
	}
	a.done = true
	u, at := a.upstream, time.Now()
	if err != nil {
		if u.row.Type == models.ChannelEcho {
			err = errAskedFor
		}
		if e := new(providers.Error); errors.As(err, &e) {
			a.failure = e
		}
	}
	if a.credential != nil {
		err = a.judgeCredential(err, at)
	}
	u.registry.edges.add(u, u.health.finish(err, tokens, a.permit, at))
	if a.permit.lease != "" {
		u.registry.quota.give(u.row.ID, &u.row.Limits, a.permit, tokens)
	}
}

// judgeCredential says what the outcome means to the credential, and gives what
// it means to the channel.
func (a *Attempt) judgeCredential(err error, at time.Time) error {
	u, c := a.upstream, a.credential
	switch {
	case err == nil:
		c.works()
	case a.failure == nil:
	case a.failure.Class == providers.RateLimited:
		u.registry.edges.add(u, c.rest(a.failure, at))
	case a.failure.Class == providers.Credential && u.others(c, at):
		u.registry.edges.add(u, c.rest(a.failure, at))
		return errCredential
	}
	return err
}

// errCredential stands for a failure that is one credential's, not the channel's.
var errCredential = errors.New("a credential was refused")
