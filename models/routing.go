package models

import (
	"slices"
	"time"
)

// RoutingStrategy says in which order the channels of a model are asked.
type RoutingStrategy string

// The routing strategies.
const (
	RoutingPriority      RoutingStrategy = "priority"       // by priority; in shares by weight among equals
	RoutingWeighted      RoutingStrategy = "weighted"       // in shares by weight, whatever the priority
	RoutingLowestLatency RoutingStrategy = "lowest_latency" // the fastest to its first byte first, whatever the priority
	RoutingLowestCost    RoutingStrategy = "lowest_cost"    // the cheapest first, whatever the priority; in shares by weight among equals
	RoutingCacheSticky   RoutingStrategy = "cache_sticky"   // by priority; among equals the same prompt of the same key to the same channel
)

// RoutingStrategies are all strategies there are.
func RoutingStrategies() []RoutingStrategy {
	return []RoutingStrategy{RoutingPriority, RoutingWeighted, RoutingLowestLatency, RoutingLowestCost, RoutingCacheSticky}
}

func (s RoutingStrategy) validate(param string) error {
	if slices.Contains(RoutingStrategies(), s) {
		return nil
	}
	return Invalid(param, "'%s' must be one of %s; got '%s'.", param, oneOf(RoutingStrategies()), clip(string(s), 40))
}

// RouteReason says why a channel that serves a model would not be asked.
type RouteReason string

// The reasons.
const (
	ReasonDisabled         RouteReason = "disabled"              // an admin switched it off
	ReasonModelNotServed   RouteReason = "model_not_served"      // no channel serves the model
	ReasonKeyModel         RouteReason = "key_model_not_allowed" // the key's allow-list leaves the model out
	ReasonModelHidden      RouteReason = "model_hidden"          // the model is for users of other tiers or groups
	ReasonTag              RouteReason = "tag"                   // the key is for channels with other tags
	ReasonGroup            RouteReason = "group"                 // the channel is for users of other groups
	ReasonBroken           RouteReason = "broken"                // it cannot be made ready, such as for a credential that cannot be decrypted
	ReasonBrokenCredential RouteReason = "broken_credential"     // the upstream refused all its credentials
	ReasonUnhealthy        RouteReason = "unhealthy"             // it failed repeatedly and rests
	ReasonCooldown         RouteReason = "cooldown"              // the upstream asked to be left alone, with each credential
	ReasonRPM              RouteReason = "rpm"                   // its requests of this minute are used up
	ReasonTPM              RouteReason = "tpm"                   // its tokens of this minute are used up
	ReasonConcurrency      RouteReason = "concurrency"           // it has as many requests as it may have at a time
)

// RouteExplanation says which channels a request for a model would be sent to
// now, and why not to the others.
type RouteExplanation struct {
	Model      string           `json:"model"` // aliases resolved
	Strategy   RoutingStrategy  `json:"strategy"`
	Reason     *RouteReason     `json:"reason"` // nil while there is a candidate
	Message    *string          `json:"message"`
	Candidates []RouteCandidate `json:"candidates"` // in the order in which they would be asked
	Excluded   []RouteExclusion `json:"excluded"`
}

// RouteCandidate is a channel that would be asked.
type RouteCandidate struct {
	ChannelID      string `json:"channel_id"`
	ChannelName    string `json:"channel_name"`
	UpstreamModel  string `json:"upstream_model"`
	Priority       int    `json:"priority"`
	Weight         int    `json:"weight"`
	CostMultiplier Nanos  `json:"cost_multiplier"`
	LatencyMS      *int   `json:"latency_ms"`
}

// RouteExclusion is a channel that serves the model and would not be asked.
type RouteExclusion struct {
	ChannelID   string      `json:"channel_id"`
	ChannelName string      `json:"channel_name"`
	Reason      RouteReason `json:"reason"`
	Until       *time.Time  `json:"until"` // nil: nobody knows
	Message     string      `json:"message"`
}

// ResetChannelHealthPayload answers resetChannelHealth.
type ResetChannelHealthPayload struct {
	Payload
	Channel *Channel
}

// ChannelHealthChange is the payload of [EventChannelHealthChanged].
type ChannelHealthChange struct {
	Object        string        `json:"object"` // channel
	ID            string        `json:"id"`
	Name          string        `json:"name"`
	Type          ChannelType   `json:"type"`
	Status        ChannelStatus `json:"status"`
	State         HealthState   `json:"state"`
	PreviousState HealthState   `json:"previous_state"`
	RestsUntil    *time.Time    `json:"rests_until"`
	Error         *string       `json:"error"` // what the last failure was, without secrets
}
