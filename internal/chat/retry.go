package chat

import (
	"math/rand/v2"
	"time"

	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// The pauses before further rounds through the channels: firstPause, doubled each
// time, a fifth more or less, maxPause at most. An upstream's Retry-After takes
// their place if it is no longer than that.
const (
	firstPause = 250 * time.Millisecond
	maxPause   = 5 * time.Second
)

// transient says whether a failure may have passed a moment later. After a long
// silence it has not: another try would double the wait. A limit is no failure:
// see [channels.Route.Cooldown].
func transient(e *providers.Error) bool {
	switch e.Class {
	case providers.Unavailable:
		return true
	case providers.Timeout:
		return e.Status != 0 // the upstream's own, told at once
	case providers.Rejected, providers.Credential, providers.RateLimited, providers.NoModel, providers.Malformed,
		providers.Unusable, providers.Canceled:
	}
	return false
}

// again waits, when everybody has been asked, until another round makes sense, and
// begins it. It is false when there is to be none, which is sure once the client
// could have seen a byte.
func (j *job) again() bool {
	pause, ok := j.pause()
	if !ok || j.rounds >= j.s.retries {
		return false
	}
	if deadline, has := j.ctx.Deadline(); has && time.Until(deadline) <= pause {
		return false
	}
	j.rounds++
	began := time.Now()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-j.ctx.Done():
	case <-timer.C:
	}
	j.waited += time.Since(began)
	j.passing = nil
	j.route.Again()
	return true
}

// pause is how long to wait for another round; ok is false when that is too long,
// or no use.
func (j *job) pause() (pause time.Duration, ok bool) {
	switch limited := j.route.Cooldown; {
	case j.passing == nil:
		return limited, limited > 0 && limited <= maxPause
	case j.passing.Retry > 0:
		return j.passing.Retry, j.passing.Retry <= maxPause
	}
	return backoff(j.rounds), true
}

// backoff is the pause before round n, from 0.
func backoff(n int) time.Duration {
	pause := min(firstPause<<min(n, 10), maxPause)
	return time.Duration(float64(pause) * (0.8 + 0.4*rand.Float64()))
}

// nobody is the error for a client when no channel could be asked.
func (j *job) nobody() error {
	switch {
	case j.call != nil && !j.route.Served:
		return j.call.unserved()
	case j.last != nil:
		e := public(j.last)
		if e.Code == models.CodeOverloaded && e.Retry == 0 {
			e.Retry = j.route.Cooldown
		}
		return e
	case j.route.Cooldown > 0:
		return public(&providers.Error{Class: providers.RateLimited, Retry: j.route.Cooldown})
	}
	e := models.Unavailable(models.CodeNoHealthyChannel, "No channel for the model '%s' is available now. Try again later.", j.in.Model)
	if e.Retry = 5 * time.Second; j.route.Rest > 0 {
		e.Retry = min(max(j.route.Rest, time.Second), time.Minute)
	}
	return e
}

// affinityBytes is how much of a prompt decides where it goes. Upstreams cache
// prompts by their beginnings, and of a conversation that stays the same.
const affinityBytes = 4096

// promptAffinity is a hash of the beginning of the prompt: of its first messages
// up to the first of a user.
func promptAffinity(in *models.ChatCompletionInput) uint64 {
	h, left := channels.Affinity(in.Model), affinityBytes
	for i := range in.Messages {
		m := &in.Messages[i]
		text := m.Content.String()
		text = text[:min(len(text), left)]
		left -= len(text)
		h = h*31 + channels.Affinity(text)
		if m.Role == models.RoleMessageUser || left == 0 {
			break
		}
	}
	return h
}
