package channels

import (
	"errors"
	"math/bits"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

const (
	// failuresToRest is how many failures in a row it takes: one blip must not
	// switch a channel off.
	failuresToRest = 5
	// restTime is how long a failing channel rests before one request tries it.
	restTime = 15 * time.Second
	// maxCooldown bounds the Retry-After of a rate-limited upstream.
	maxCooldown = 2 * time.Minute
	// outcomes is how many requests the success rate looks back on.
	outcomes = 100
)

// health is what this process has seen of a channel: a circuit breaker, the
// counters of its limits, and what admins want to know.
type health struct {
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]

	mu           sync.Mutex
	inFlight     int
	minute       int64 // Unix minute that the next two belong to
	requests     int
	tokens       int64
	cooldownEnds time.Time

	last      time.Time
	latencyMS float64
	seen      int       // outcomes in the ring, at most [outcomes]
	next      int       // where the next outcome goes
	failed    [2]uint64 // ring of bits, 1 for a failure
	inARow    int
	lastError string
}

func newHealth(name string) *health {
	return &health{breaker: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         name,
		MaxRequests:  1,
		Timeout:      restTime,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= failuresToRest },
		IsExcluded:   func(err error) bool { return err != nil && !blames(err) },
		IsSuccessful: func(err error) bool { return err == nil },
	})}
}

// blames says whether the error counts against the channel.
func blames(err error) bool {
	var e *providers.Error
	return errors.As(err, &e) && e.Blames()
}

// cooldown is how much longer the upstream asked to be left alone.
func (h *health) cooldown(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cooldownEnds.Sub(now)
}

// admit takes a place in the channel's limits and its breaker, or neither.
func (h *health) admit(limits *models.ChannelLimits, now time.Time) (done func(error), ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := now.Unix() / 60; m != h.minute {
		h.minute, h.requests, h.tokens = m, 0, 0
	}
	switch {
	case now.Before(h.cooldownEnds),
		limits.Concurrency != nil && h.inFlight >= *limits.Concurrency,
		limits.RPM != nil && h.requests >= *limits.RPM,
		limits.TPM != nil && h.tokens >= int64(*limits.TPM):
		return nil, false
	}
	done, err := h.breaker.Allow()
	if err != nil {
		return nil, false
	}
	h.inFlight++
	h.requests++
	return done, true
}

// begin counts a request that no limit applies to.
func (h *health) begin() {
	h.mu.Lock()
	h.inFlight++
	h.mu.Unlock()
}

func (h *health) firstByte(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ms := float64(d) / float64(time.Millisecond)
	if h.latencyMS == 0 {
		h.latencyMS = ms
	} else {
		h.latencyMS += (ms - h.latencyMS) / 8
	}
}

func (h *health) finish(err error, tokens int64, now time.Time, done func(error)) {
	done(err)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inFlight--
	if now.Unix()/60 == h.minute {
		h.tokens += tokens
	}
	h.last = now
	var e *providers.Error
	switch {
	case err == nil:
		h.record(0)
		h.inARow = 0
	case errors.As(err, &e) && e.Class == providers.RateLimited:
		if e.Retry > 0 {
			h.cooldownEnds = now.Add(min(e.Retry, maxCooldown))
		}
		h.lastError = e.Message
	case blames(err):
		h.record(1)
		h.inARow++
		h.lastError = providers.AsError(err).Message
	}
}

func (h *health) record(failure uint64) {
	word, bit := h.next/64, uint(h.next%64)
	h.failed[word] = h.failed[word]&^(1<<bit) | failure<<bit
	h.next = (h.next + 1) % outcomes
	h.seen = min(h.seen+1, outcomes)
}

// report is the health as the faces show it.
func (h *health) report() models.ChannelHealth {
	open := h.breaker.State() == gobreaker.StateOpen
	h.mu.Lock()
	defer h.mu.Unlock()
	r := models.ChannelHealth{State: models.HealthUnknown, ConsecutiveFailures: h.inARow}
	if !h.last.IsZero() {
		last := h.last.UTC()
		r.LastCheckedAt, r.State = &last, models.HealthHealthy
	}
	if open {
		r.State = models.HealthUnhealthy
	}
	if h.latencyMS > 0 {
		ms := int(h.latencyMS + 0.5)
		r.LatencyMS = &ms
	}
	if h.seen > 0 {
		failed := bits.OnesCount64(h.failed[0]) + bits.OnesCount64(h.failed[1])
		rate := 1 - float64(failed)/float64(h.seen)
		r.SuccessRate = &rate
	}
	if h.lastError != "" {
		text := h.lastError
		r.LastError = &text
	}
	return r
}
