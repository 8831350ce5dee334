package channels

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// Tested notes in the audit log that an admin tests models of a channel.
func (r *Registry) Tested(ctx context.Context, v *models.Viewer, id string, names []string) error {
	return r.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		return audit.Append(ctx, tx, v, "channel.tested", target(id), nil, map[string][]string{"models": names})
	})
}

// probeFailuresToRest is how many probes in a row must fail, whichever processes
// make them, before the channel rests.
const probeFailuresToRest = 3

// Probe is an attempt at a channel whatever its state and limits, for a test
// that an admin asked for, or a probe. model may be empty: the channel's first.
// Its outcome counts: a success ends a rest. Admins only.
func (r *Registry) Probe(ctx context.Context, v *models.Viewer, id string, model string) (*models.Model, *Attempt, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, nil, err
	}
	if _, err := r.Channel(ctx, v, id); err != nil {
		return nil, nil, err
	}
	s := r.snap.Load()
	u := s.byID[id]
	if u == nil { // made by another process this second
		if err := r.Load(ctx); err != nil {
			return nil, nil, err
		}
		s = r.snap.Load()
		if u = s.byID[id]; u == nil {
			return nil, nil, models.NotFound("channel", id)
		}
	}
	if model == "" {
		model = u.row.Models[0]
	}
	if !slices.Contains(u.row.Models, model) {
		return nil, nil, models.Invalid("model", "The channel does not serve the model '%s'.", model)
	}
	m := s.models[model]
	if m == nil { // a disabled channel's own
		m = undescribed(model, &u.row)
	}
	c, _ := u.usable(time.Now(), nil)
	if c == nil && len(u.credentials) > 0 {
		c = u.credentials[0]
	}
	a := u.begin(model, c, u.health.probe())
	if a.Provider == nil {
		a.Provider = unusable(u.broken)
	}
	return m, a, nil
}

// unusable is the provider of a channel that could not be made ready.
type unusable string

func (u unusable) Complete(context.Context, providers.Request) (*models.ChatCompletion, error) {
	return nil, &providers.Error{Class: providers.Credential, Message: "The channel cannot be used: " + string(u)}
}

func (u unusable) Stream(ctx context.Context, req providers.Request) (providers.Stream, error) {
	_, err := u.Complete(ctx, req)
	return nil, err
}

// probed is when a channel was last probed, by whichever process, and how many
// probes in a row have failed.
type probed struct {
	bun.BaseModel `bun:"table:channel_probes,alias:p"`

	ChannelID string    `bun:"channel_id,pk"`
	ProbedAt  time.Time `bun:"probed_at"`
	Failures  int       `bun:"failures"`
}

// DueProbes claims the channels whose probe is due, for this process, and gives
// their ids: each is claimed once in its interval over all processes.
func (r *Registry) DueProbes(ctx context.Context, now time.Time) ([]string, error) {
	now = now.UTC().Truncate(time.Microsecond)
	var due []string
	for _, u := range r.snap.Load().sorted() {
		every := u.row.Settings.ProbeIntervalSeconds
		if every == nil || !u.row.Enabled || u.broken != "" {
			continue
		}
		last := now.Add(-jittered(time.Duration(*every)*time.Second, u.hash, now))
		claimed, err := affected(r.db.Write().NewInsert().Model(&probed{ChannelID: u.row.ID, ProbedAt: now}).
			On("CONFLICT (channel_id) DO UPDATE").Set("probed_at = EXCLUDED.probed_at").
			Where("p.probed_at <= ?", last).Exec(ctx))
		if err != nil {
			return due, fmt.Errorf("claim the probe of channel %s: %w", u.row.ID, err)
		}
		if claimed {
			due = append(due, u.row.ID)
		}
	}
	return due, nil
}

// jittered is up to a tenth shorter than the interval, another each time, so that
// channels are not probed all at once.
func jittered(every time.Duration, hash uint64, now time.Time) time.Duration {
	part := mix(hash^uint64(now.UnixNano())) % 100
	return every - every/10*time.Duration(part)/100
}

// Probed counts the outcome of a probe. Probes are made by whichever process
// takes the job, so their failures are counted in the database: after three in
// a row the channel rests in all processes.
func (r *Registry) Probed(ctx context.Context, id string, failure error) error {
	failures := 0
	if blames(failure) {
		err := r.db.Write().NewRaw(`UPDATE channel_probes SET failures = failures + 1 WHERE channel_id = ? RETURNING failures`, id).
			Scan(ctx, &failures)
		if err != nil {
			return fmt.Errorf("count the failed probe of channel %s: %w", id, err)
		}
	} else if _, err := r.db.Write().NewRaw(`UPDATE channel_probes SET failures = 0 WHERE channel_id = ? AND failures <> 0`, id).Exec(ctx); err != nil {
		return fmt.Errorf("count the probe of channel %s: %w", id, err)
	}
	if u := r.snap.Load().byID[id]; u != nil && failures >= probeFailuresToRest {
		r.edges.add(u, u.health.giveUp(providers.AsError(failure).Message, time.Now()))
	}
	return r.saveStates(ctx)
}

// giveUp puts the channel to rest, if it does not already.
func (h *health) giveUp(message string, now time.Time) edge {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Before(h.restsUntil) {
		return edge{}
	}
	h.turn(now.Add(restTime), now)
	h.lastError = message
	return edge{credential: wholeChannel, state: stateUnhealthy, until: h.restsUntil, at: now, message: message}
}
