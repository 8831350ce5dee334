package channels

import (
	"errors"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

const (
	// failuresToRest is how many failures in a row it takes: one blip must not
	// switch a channel off.
	failuresToRest = 5
	// restTime is how long a failing channel rests before one request tries it.
	restTime = 15 * time.Second
	// outcomes is how many requests the success rate looks back on.
	outcomes = 100
)

// health is what this process knows of a channel: a circuit breaker, which
// follows those of other processes, the counters of its limits, and what admins
// want to know.
type health struct {
	mu       sync.Mutex
	inFlight int
	minute   int64 // Unix minute that the next two belong to
	requests int
	tokens   int64

	// The breaker. Zero restsUntil is closed; before it, it is open; after it,
	// half open: one request at a time tries the channel.
	inARow     int
	restsUntil time.Time
	trying     bool
	period     int       // counts changes; what began in an earlier one does not count
	changed    time.Time // when it last changed, by whichever process

	latency  atomic.Uint64 // bits of a float64: milliseconds to the first byte, 0 for unknown
	measured atomic.Int64  // Unix nanoseconds of the last such measurement
	explored atomic.Int64  // Unix nanoseconds of the last request that was to measure it

	last      time.Time
	seen      int       // outcomes in the ring, at most [outcomes]
	next      int       // where the next outcome goes
	failed    [2]uint64 // ring of bits, 1 for a failure
	lastError string
}

// permit is a place in a channel's limits and its breaker.
type permit struct {
	period int
	trying bool   // it is the one request that tries a half-open breaker
	minute int64  // that it is counted in
	lease  string // in Redis; empty: none
}

// refusal says why a channel may not be asked now.
type refusal struct {
	reason models.RouteReason // empty: it may
	until  time.Time          // zero: nobody knows
}

func minuteOf(now time.Time) int64 { return now.Unix() / 60 }

// nextMinute is when the limits of a minute begin anew.
func nextMinute(now time.Time) time.Time { return time.Unix((minuteOf(now)+1)*60, 0) }

// blames says whether the error counts against the channel.
func blames(err error) bool {
	var e *providers.Error
	return errors.As(err, &e) && e.Blames()
}

// admit takes a place in the channel's limits and its breaker, or neither.
func (h *health) admit(limits *models.ChannelLimits, now time.Time) (permit, refusal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if no := h.refuses(limits, now); no.reason != "" {
		return permit{}, no
	}
	if m := minuteOf(now); m != h.minute {
		h.minute, h.requests, h.tokens = m, 0, 0
	}
	h.inFlight++
	h.requests++
	p := permit{period: h.period, trying: !h.restsUntil.IsZero(), minute: h.minute}
	h.trying = p.trying
	return p, refusal{}
}

// refuses says why the channel may not be asked now. It changes nothing. The
// caller holds the lock.
func (h *health) refuses(limits *models.ChannelLimits, now time.Time) refusal {
	requests, tokens := h.requests, h.tokens
	if minuteOf(now) != h.minute {
		requests, tokens = 0, 0
	}
	switch {
	case now.Before(h.restsUntil), h.trying:
		return refusal{models.ReasonUnhealthy, h.restsUntil}
	case limits.Concurrency != nil && h.inFlight >= *limits.Concurrency:
		return refusal{reason: models.ReasonConcurrency}
	case limits.RPM != nil && requests >= *limits.RPM:
		return refusal{models.ReasonRPM, nextMinute(now)}
	case limits.TPM != nil && tokens >= int64(*limits.TPM):
		return refusal{models.ReasonTPM, nextMinute(now)}
	}
	return refusal{}
}

// peek is refuses for those who hold no lock.
func (h *health) peek(limits *models.ChannelLimits, now time.Time) refusal {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refuses(limits, now)
}

// giveBack returns a place that was not used.
func (h *health) giveBack(p permit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inFlight--
	if p.minute == h.minute {
		h.requests--
	}
	if p.trying && p.period == h.period {
		h.trying = false
	}
}

// probe is a place that no limit and no breaker denies, for a request that
// wants to know how the channel is: what comes of it counts like the try of a
// half-open breaker.
func (h *health) probe() permit {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inFlight++
	p := permit{period: h.period, trying: !h.restsUntil.IsZero()}
	h.trying = p.trying
	return p
}

// firstByte notes how long the channel took to begin its answer. To a half-open
// breaker that is enough: the rest of a long answer says nothing new.
func (h *health) firstByte(d time.Duration, p permit, now time.Time) edge {
	ms := float64(d) / float64(time.Millisecond)
	if old := h.latencyMS(); old != 0 {
		ms = old + (ms-old)/8
	}
	h.latency.Store(math.Float64bits(ms))
	h.measured.Store(now.UnixNano())
	if !p.trying {
		return edge{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.heal(p, now)
}

func (h *health) latencyMS() float64 { return math.Float64frombits(h.latency.Load()) }

// heal closes a breaker that was half open. The caller holds the lock.
func (h *health) heal(p permit, now time.Time) edge {
	if !p.trying || p.period != h.period {
		return edge{}
	}
	h.turn(time.Time{}, now)
	h.inARow = 0
	return edge{credential: wholeChannel, state: stateHealthy, at: now}
}

// turn changes the state of the breaker. The caller holds the lock.
func (h *health) turn(restsUntil, at time.Time) {
	h.restsUntil, h.changed, h.trying = restsUntil, at, false
	h.period++
}

// finish ends what admit or probe began, and gives the change that it made.
func (h *health) finish(err error, tokens int64, p permit, now time.Time) edge {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inFlight--
	if minuteOf(now) == h.minute {
		h.tokens += tokens
	}
	h.last = now
	current := p.period == h.period
	if current && p.trying {
		h.trying = false
	}
	switch {
	case err == nil:
		h.record(0)
		if !current {
			return edge{}
		}
		h.inARow = 0
		return h.heal(p, now)
	case blames(err):
		h.record(1)
		h.lastError = providers.AsError(err).Message
		if !current {
			return edge{}
		}
		h.inARow++
		if p.trying || h.inARow >= failuresToRest {
			h.turn(now.Add(restTime), now)
			return edge{credential: wholeChannel, state: stateUnhealthy, until: h.restsUntil, at: now, message: h.lastError}
		}
	default:
		if e := new(providers.Error); errors.As(err, &e) && e.Class == providers.RateLimited {
			h.lastError = e.Message
		}
	}
	return edge{}
}

func (h *health) record(failure uint64) {
	word, bit := h.next/64, uint(h.next%64)
	h.failed[word] = h.failed[word]&^(1<<bit) | failure<<bit
	h.next = (h.next + 1) % outcomes
	h.seen = min(h.seen+1, outcomes)
}

// follow takes over what another process found out later than this one.
func (h *health) follow(s *state) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !s.ChangedAt.After(h.changed) {
		return
	}
	switch {
	case s.State == stateUnhealthy && s.RestsUntil != nil:
		h.turn(*s.RestsUntil, s.ChangedAt)
		h.lastError = s.Error
	case s.State == stateHealthy:
		if h.changed = s.ChangedAt; !h.restsUntil.IsZero() {
			h.turn(time.Time{}, s.ChangedAt)
		}
		h.inARow = 0
	}
}

// reset forgets all failures.
func (h *health) reset(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turn(time.Time{}, now)
	h.inARow = 0
}

// report is the health as the faces show it.
func (h *health) report() models.ChannelHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := models.ChannelHealth{State: models.HealthUnknown, ConsecutiveFailures: h.inARow}
	if !h.last.IsZero() {
		last := h.last.UTC()
		r.LastCheckedAt, r.State = &last, models.HealthHealthy
	}
	if !h.restsUntil.IsZero() {
		until := h.restsUntil.UTC()
		r.State, r.RestsUntil = models.HealthUnhealthy, &until
	}
	if latency := h.latencyMS(); latency > 0 {
		ms := int(latency + 0.5)
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
