package channels

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coaidev/coai/models"
)

// ExplainRoute says which channels a request for the model would be sent to now,
// in order, and for each other channel that serves it why it would not be: for
// the viewer, or for whom the API key belongs to. It takes no turn, and no place
// in any limit. Admins only.
func (r *Registry) ExplainRoute(ctx context.Context, v *models.Viewer, model string, apiKeyID *string) (*models.RouteExplanation, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	asker := v
	if apiKeyID != nil {
		var err error
		if asker, err = r.cfg.KeyViewer(ctx, *apiKeyID); err != nil {
			return nil, err
		}
	}
	s := r.snap.Load()
	name := s.resolve(model)
	out := &models.RouteExplanation{
		Model: name, Strategy: r.cfg.Strategy, Candidates: []models.RouteCandidate{}, Excluded: []models.RouteExclusion{},
	}
	forbidden := s.forbids(asker, name)
	at := time.Now()
	if found := s.routes[name]; found != nil {
		out.Strategy = found.strategy
		for _, u := range found.peek(asker, at) {
			if no := u.excluded(asker, forbidden, at); no.reason != "" {
				out.Excluded = append(out.Excluded, u.exclusion(no))
			} else {
				out.Candidates = append(out.Candidates, u.candidate(name))
			}
		}
	} else if m := s.models[name]; m != nil && m.Routing != nil {
		out.Strategy = *m.Routing
	}
	for _, u := range s.sorted() {
		if slices.Contains(u.row.Models, name) && (!u.row.Enabled || !u.opensTo(asker)) {
			out.Excluded = append(out.Excluded, u.exclusion(u.excluded(asker, forbidden, at)))
		}
	}
	if len(out.Candidates) == 0 {
		reason := models.ReasonModelNotServed
		if len(out.Excluded) > 0 {
			reason = out.Excluded[0].Reason
		}
		message := "Nobody would be asked: " + lowerFirst(meaning(reason))
		out.Reason, out.Message = &reason, &message
	}
	return out, nil
}

// peek gives all channels of the route that are open to the viewer, in the order
// in which they would be asked.
func (r *route) peek(v *models.Viewer, at time.Time) []*upstream {
	p := &Route{viewer: v, affinity: affinity(v), now: func() time.Time { return at }}
	var list []*upstream
	for _, t := range r.tiers {
		seats := t.order(p)
		for _, s := range t.upNext(seats) {
			list = append(list, s.upstream)
		}
	}
	return list
}

// upNext brings the seats into the order of the turn that comes next.
func (t *tier) upNext(seats []seat) []seat {
	switch t.strategy {
	case models.RoutingLowestLatency:
		if len(seats) == 0 || seats[0].upstream.health.latencyMS() > 0 {
			return seats
		}
	case models.RoutingCacheSticky:
		return seats
	case models.RoutingPriority, models.RoutingWeighted, models.RoutingLowestCost:
	}
	for i := range seats {
		seats[i].current += seats[i].weight
	}
	slices.SortStableFunc(seats, func(a, b seat) int { return b.current - a.current })
	return seats
}

// forbids says why the viewer may not use the model at all; empty: it may.
func (s *snapshot) forbids(v *models.Viewer, name string) models.RouteReason {
	switch m := s.models[name]; {
	case m != nil && !m.VisibleTo(v):
		return models.ReasonModelHidden
	case !s.allows(v, name):
		return models.ReasonKeyModel
	}
	return ""
}

// excluded says why the channel would not be asked now; the zero value: it would.
// forbidden is why the model may not be used at all.
func (u *upstream) excluded(v *models.Viewer, forbidden models.RouteReason, at time.Time) refusal {
	switch closed := u.closedTo(v); {
	case !u.row.Enabled:
		return refusal{reason: models.ReasonDisabled}
	case forbidden != "":
		return refusal{reason: forbidden}
	case closed != "":
		return refusal{reason: closed}
	case u.broken != "":
		return refusal{reason: models.ReasonBroken}
	}
	if no := u.health.peek(&u.row.Limits, at); no.reason != "" {
		return no
	}
	if no := u.resting(at); no.reason != "" {
		return no
	}
	if u.limited() && u.registry.quota != nil {
		if reason := u.registry.quota.peek(u.row.ID, &u.row.Limits, at); reason != "" {
			no := refusal{reason: reason}
			if reason != models.ReasonConcurrency {
				no.until = nextMinute(at)
			}
			return no
		}
	}
	return refusal{}
}

func (u *upstream) candidate(model string) models.RouteCandidate {
	c := models.RouteCandidate{
		ChannelID: u.row.ID, ChannelName: u.row.Name, UpstreamModel: model,
		Priority: u.row.Priority, Weight: u.row.Weight, CostMultiplier: costMultiplier(&u.row),
		LatencyMS: u.health.report().LatencyMS,
	}
	if to := u.row.ModelMapping[model]; to != "" {
		c.UpstreamModel = to
	}
	return c
}

func (u *upstream) exclusion(no refusal) models.RouteExclusion {
	e := models.RouteExclusion{ChannelID: u.row.ID, ChannelName: u.row.Name, Reason: no.reason, Message: meaning(no.reason)}
	switch no.reason {
	case models.ReasonBroken:
		e.Message += " " + u.broken
	case models.ReasonGroup:
		e.Message = fmt.Sprintf("The channel serves users of the groups %s alone.", strings.Join(u.row.Groups, ", "))
	case models.ReasonUnhealthy:
		if text := u.health.report().LastError; text != nil {
			e.Message += " The last failure: " + *text
		}
	case models.ReasonDisabled, models.ReasonModelNotServed, models.ReasonKeyModel, models.ReasonModelHidden, models.ReasonTag, models.ReasonBrokenCredential,
		models.ReasonCooldown, models.ReasonRPM, models.ReasonTPM, models.ReasonConcurrency:
	}
	if !no.until.IsZero() {
		until := no.until.UTC()
		e.Until = &until
	}
	return e
}

// meaning is a reason for people.
func meaning(r models.RouteReason) string {
	switch r {
	case models.ReasonDisabled:
		return "The channel is switched off."
	case models.ReasonModelNotServed:
		return "No enabled channel serves the model."
	case models.ReasonKeyModel:
		return "The API key may not use the model."
	case models.ReasonModelHidden:
		return "The model is for users of other tiers or groups."
	case models.ReasonTag:
		return "The API key is for channels with other tags."
	case models.ReasonGroup:
		return "The channel serves users of other groups."
	case models.ReasonBroken:
		return "The channel cannot be used."
	case models.ReasonBrokenCredential:
		return "The upstream refused all credentials of the channel, which rest now."
	case models.ReasonUnhealthy:
		return "The channel failed repeatedly and rests, or one request is trying it now."
	case models.ReasonCooldown:
		return "The upstream is over its limit and asked to be left alone."
	case models.ReasonRPM:
		return "The channel's requests of this minute are used up."
	case models.ReasonTPM:
		return "The channel's tokens of this minute are used up."
	case models.ReasonConcurrency:
		return "The channel has as many requests as it may have at a time."
	}
	return string(r)
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
