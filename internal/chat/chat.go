// Package chat answers completions: it admits a request, finds a channel,
// passes the answer on, and accounts for it.
package chat

import (
	"context"
	"time"

	"github.com/coaidev/coai/internal/archive"
	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/internal/conversations"
	"github.com/coaidev/coai/internal/files"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

// DefaultTimeout bounds a whole completion, failover included.
const DefaultTimeout = 30 * time.Minute

// settleTimeout bounds the last write about a completion, which goes on after
// the client has left.
const settleTimeout = 10 * time.Second

// clientClosed is the error code of records of clients that left. It is nginx's
// name for the same.
const clientClosed = "client_closed_request"

// Config holds the settings of a [Service].
type Config struct {
	Timeout    time.Duration // of a whole completion; default [DefaultTimeout]
	CacheBytes int64         // of answers kept for keys that ask for it; 0: none
	// Retries is how many more rounds through the channels a completion gets when
	// all have failed in a way that may pass.
	Retries int

	// Bounds of completions whose clients have left: for keys that ask for it,
	// the upstream may finish. Defaults: [DefaultDrainTimeout], [DefaultDrainTokens],
	// and [DefaultDrains] at a time.
	DrainTimeout time.Duration
	DrainTokens  int
	Drains       int

	// Limiter holds keys and accounts to how many requests they may have at a time,
	// and keys to their tokens; nil: nobody is.
	Limiter *ratelimit.Limiter
	Files   *files.Service // that messages refer to; nil: none
	// Conversations keep the turns of completions that name one; nil: none can.
	Conversations *conversations.Service
	TitleModel    string // makes titles of conversations; empty: they are their first words
}

// Service answers completions.
type Service struct {
	channels *channels.Registry
	ledger   *usage.Ledger
	archive  *archive.Archive
	timeout  time.Duration
	retries  int
	measure  *measure
	cache    answers
	drains   *drains
	limiter  *ratelimit.Limiter
	files    *files.Service

	conversations *conversations.Service
	titles        titles
}

// New makes the service. The archive keeps the responses that clients may
// follow. End it with [Service.Close].
func New(reg *channels.Registry, ledger *usage.Ledger, arc *archive.Archive, cfg Config, tel Telemetry) *Service {
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	return &Service{
		channels: reg, ledger: ledger, archive: arc, timeout: cfg.Timeout, retries: cfg.Retries, measure: newMeasure(tel),
		cache: newAnswers(cfg.CacheBytes), drains: newDrains(cfg), limiter: cfg.Limiter, files: cfg.Files,
		conversations: cfg.Conversations, titles: newTitles(cfg.TitleModel),
	}
}

// Complete answers a request in one piece. Its errors are those of [Service.Stream],
// and what a stream would carry in band: an upstream's refusal of the request as
// a KindInvalid error, all other failures as KindUnavailable ones.
func (s *Service) Complete(ctx context.Context, v *models.Viewer, in models.ChatCompletionInput) (*models.CreateChatCompletionPayload, error) {
	j, err := s.admit(ctx, v, &in, false)
	if err != nil {
		return nil, err
	}
	defer j.close()
	hit, keepAt := s.cache.find(j)
	if hit != nil {
		s.measure.cached(ctx, true)
		if err := j.turn.again(ctx, hit); err != nil {
			return nil, err
		}
		c := hit.completion()
		c.MessageID = j.turn.answerID()
		return &models.CreateChatCompletionPayload{ChatCompletion: c}, nil
	}
	for {
		if err := j.next(); err != nil {
			return nil, j.end(err)
		}
		began := time.Now()
		c, err := j.attempt.Provider.Complete(j.ctx, j.request())
		j.waited += time.Since(began)
		if err == nil {
			j.firstByte()
			err = j.finishWhole(c)
			if err == nil {
				s.keepWhole(j, keepAt, c)
				return &models.CreateChatCompletionPayload{ChatCompletion: c}, nil
			}
		}
		if err := j.failed(err); err != nil {
			return nil, j.end(err)
		}
	}
}

func (s *Service) keepWhole(j *job, at *cacheKey, c *models.ChatCompletion) {
	if at == nil {
		return
	}
	c.Cache = new(models.CacheMiss)
	s.measure.cached(j.ctx, false)
	if raw, err := c.JSON(); err == nil {
		s.cache.keep(at, j.viewer.CacheTTL, raw, nil, c.Usage)
	}
}

// finishWhole accounts for a whole answer and writes the cost into it. Its error
// is the provider's fault, or one that ends the request.
func (j *job) finishWhole(c *models.ChatCompletion) error {
	raw, err := c.JSON()
	if err != nil {
		return &providers.Error{Class: providers.Malformed, Message: "The upstream's answer could not be read.", Cause: err}
	}
	j.read.whole(raw)
	j.turn.read(raw)
	if err := j.settle(nil); err != nil {
		return err
	}
	if err := j.turn.done(j); err != nil {
		return err
	}
	c.MessageID = j.turn.answerID()
	raw = j.rename(raw)
	if raw, err = j.read.withUsage(raw); err != nil {
		internal, _ := models.AsError(err) // settled: no other channel may be asked
		return internal
	}
	c.SetJSON(raw)
	c.Usage = j.read.usage
	if j.viewer.IsAdmin() {
		c.ChannelID = j.attempt.ChannelID
	}
	return nil
}

// Stream answers a request in chunks. Mistakes in the request are found here:
// a missing scope, a bad value (KindInvalid), an unknown model (KindNotFound) or
// one that the key may not use (KindForbidden). Whether a channel answers shows
// in the first [Stream.Next].
func (s *Service) Stream(ctx context.Context, v *models.Viewer, in models.ChatCompletionInput) (*Stream, error) {
	j, err := s.admit(ctx, v, &in, true)
	if err != nil {
		return nil, err
	}
	hit, keepAt := s.cache.find(j)
	if hit != nil {
		s.measure.cached(ctx, true)
		err := j.turn.again(ctx, hit)
		j.close()
		if err != nil {
			return nil, err
		}
		st := hit.stream()
		if n := len(st.ready); n > 0 {
			st.ready[n-1].MessageID = j.turn.answerID()
		}
		return st, nil
	}
	return &Stream{job: j, wantsUsage: in.WantsUsage(), keepAt: keepAt}, nil
}

// admit checks everything that needs no upstream.
func (s *Service) admit(ctx context.Context, v *models.Viewer, in *models.ChatCompletionInput, stream bool) (*job, error) {
	if err := v.Require(models.ScopeChat); err != nil {
		return nil, err
	}
	turn, err := s.turn(ctx, v, in)
	if err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	route, err := s.channels.Plan(v, in.Model)
	if err != nil {
		return nil, err
	}
	if err := s.resolveFiles(ctx, v, in, route); err != nil {
		return nil, err
	}
	if route.Sticky() {
		route.Stick(promptAffinity(in))
	}
	if err := turn.open(ctx, in.Model); err != nil {
		return nil, err
	}
	j := s.newJob(ctx, v, in, route, stream)
	j.turn = turn
	return j, nil
}
