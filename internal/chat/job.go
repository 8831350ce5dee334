package chat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
	"go.opentelemetry.io/otel/trace"

	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/internal/tokens"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

// job is one completion from admission to settlement. It is for one goroutine.
type job struct {
	s      *Service
	ctx    context.Context
	cancel context.CancelFunc
	viewer *models.Viewer
	in     *models.ChatCompletionInput
	route  *channels.Route
	call   *RelayCall // nil: a chat completion
	stream bool
	span   trace.Span

	began   time.Time
	waited  time.Duration // for upstreams, up to the first byte
	attempt *channels.Attempt
	record  *models.UsageRecord // of the running attempt
	tried   time.Time           // when it began
	read    reading             // what it has answered
	last    error               // why the attempt before was given up
	rounds  int                 // through the channels, after the first
	passing *providers.Error    // the last failure of this round that may pass

	pricing   *models.Pricing  // of the running attempt: its price when it began
	noted     int              // bytes produced at the last checkpoint
	departure *departure       // nil: the job ends with its client
	turn      *turn            // nil: it is stored in no conversation
	place     *ratelimit.Place // nil: nothing limits how many requests there are at a time
	spent     int64            // tokens, of all attempts
}

func (s *Service) newJob(ctx context.Context, v *models.Viewer, in *models.ChatCompletionInput, route *channels.Route, stream bool) *job {
	ctx, span := s.measure.start(ctx, models.OperationChat, route.Model.Name, stream)
	var departure *departure
	if v.OnDisconnect == models.OnDisconnectDrain {
		ctx, departure = s.drains.stay(ctx)
	}
	j := s.jobIn(ctx, span, v, in, route, stream)
	j.departure = departure
	return j
}

func (s *Service) jobIn(ctx context.Context, span trace.Span, v *models.Viewer, in *models.ChatCompletionInput, route *channels.Route, stream bool) *job {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	return &job{
		s: s, ctx: ctx, viewer: v, in: in, route: route, stream: stream, span: span, began: time.Now(),
		cancel: cancel,
	}
}

// close ends the upstream request, if one still runs, and the span.
func (j *job) close() {
	j.turn.failed(j, nil)
	j.cancel()
	j.place.Leave(j.ctx, j.spent)
	j.departure.close()
	j.span.End()
}

// next begins an attempt at the next channel. When nobody is left, and another
// round is no use, it says why, as an error for the client.
func (j *job) next() error {
	if err := j.enter(); err != nil {
		return err
	}
	for {
		if j.ctx.Err() != nil {
			return j.gone()
		}
		if a := j.route.Next(); a != nil {
			return j.begin(a)
		}
		if !j.again() {
			return j.nobody()
		}
	}
}

// begin opens the record of an attempt. The record is committed before the
// upstream hears of the request, so that a killed process leaves a trace of it.
func (j *job) begin(a *channels.Attempt) error {
	if j.departure.gone() {
		a.Done(context.Canceled, 0)
		return j.gone() // nobody waits for another attempt
	}
	j.attempt, j.tried, j.read, j.noted = a, time.Now(), reading{}, 0
	j.record = &models.UsageRecord{
		ID: models.NewID(models.RequestPrefix), RequestID: models.RequestIDFrom(j.ctx),
		UserID: j.viewer.UserID, APIKeyID: j.viewer.KeyID, ChannelID: a.ChannelID,
		Model: j.route.Model.Name, UpstreamModel: a.Model, Operation: j.operation(), Stream: j.stream,
		Status: models.UsagePending, CreatedAt: j.tried.UTC().Truncate(time.Microsecond),
	}
	// What is charged if this process dies: the prompt, counted roughly, since
	// exact counting costs more than the rest of the way.
	rough := &models.Usage{PromptTokens: j.rough(), Estimated: true}
	j.pricing = j.route.Model.PriceAt(j.record.CreatedAt)
	usage.Price(j.pricing, rough)
	j.fill(rough)
	j.record.EstimatedPromptTokens = rough.PromptTokens
	j.record.Metered = j.viewer.Metered
	if err := j.hold(); err != nil {
		a.Done(context.Canceled, 0)
		j.attempt = nil
		if j.ctx.Err() != nil {
			return j.gone()
		}
		return unrecorded(err)
	}
	j.turn.attempt(j.record.ID)
	return nil
}

// request is what the provider of the running attempt is asked.
func (j *job) request() providers.Request {
	req := providers.Request{Input: j.in, Model: j.attempt.Model}
	if most := j.route.Model.MaxOutputTokens; most != nil {
		req.MaxOutputTokens = *most
	}
	return req
}

// firstByte notes that the channel has begun to answer.
func (j *job) firstByte() {
	now := time.Now()
	j.attempt.FirstByte(now.Sub(j.tried))
	j.record.TTFTMS = now.Sub(j.tried).Milliseconds()
	j.s.measure.firstByte(j.ctx, j, now.Sub(j.began), now.Sub(j.began)-j.waited)
}

// failed ends an attempt that gave no answer to pass on. It returns nil when
// another channel may be asked, else the error for the client.
func (j *job) failed(err error) error {
	if e := new(models.Error); errors.As(err, &e) {
		return err // settled already, or cannot be
	}
	if j.ctx.Err() != nil { // what the provider says then is only an echo of it
		_ = j.settle(j.ctx.Err())
		return j.gone()
	}
	e := providers.AsError(err)
	zerolog.Ctx(j.ctx).Info().Err(err).Str("channel_id", j.attempt.ChannelID).Str("model", j.attempt.Model).Msg("upstream failed")
	if err := j.settle(e); err != nil {
		return err
	}
	j.last = e
	if transient(e) {
		j.passing = e
	}
	if !e.Elsewhere() {
		return public(e)
	}
	return nil
}

// gone is the error for a request whose context has ended.
func (j *job) gone() error {
	cause := context.Cause(j.ctx)
	if e := new(models.Error); errors.As(cause, &e) {
		return e // such as shutting_down
	}
	if errors.Is(cause, context.DeadlineExceeded) {
		return models.Unavailable(models.CodeUpstreamTimeout, "The completion took longer than %s.", j.s.timeout)
	}
	return &models.Error{Kind: models.KindUnavailable, Code: clientClosed, Final: true, Message: "The request was cancelled.", Cause: cause}
}

// settle closes the record of the attempt, exactly once: what was used, what it
// costs, how it ended. It outlives the client. Its error is for the client: what
// could not be recorded must not be handed out whole.
func (j *job) settle(failure error) error {
	if j.record == nil {
		return nil
	}
	rec := j.record
	j.record = nil
	u := j.used(failure)
	usage.Price(j.pricing, u)
	j.read.usage = u
	j.spent += u.TotalTokens
	now := time.Now().UTC().Truncate(time.Microsecond)
	rec.Status, rec.SettledAt = models.UsageSettled, &now
	rec.LatencyMS = now.Sub(j.tried).Milliseconds()
	rec.ErrorCode = errorCode(j.ctx, failure)
	if rec.ErrorCode == "" && j.departure.gone() {
		rec.ErrorCode = clientClosed
	}
	rec.EstimatedCompletionTokens = j.read.tokens()
	j.fillRecord(rec, u)
	j.attempt.Done(blame(j.ctx, failure), u.TotalTokens)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(j.ctx), settleTimeout)
	defer cancel()
	err := j.s.ledger.Settle(ctx, rec)
	j.s.measure.settled(ctx, j, rec)
	if err != nil {
		zerolog.Ctx(j.ctx).Error().Err(err).Str("usage_id", rec.ID).Msg("usage not settled; its pending record is recovered later")
		return unrecorded(err)
	}
	return nil
}

// used is what the attempt has consumed: the upstream's numbers, else our count
// of what it produced. A failure before any output costs nothing, but for a
// client that left: then the upstream was at work on the prompt.
func (j *job) used(failure error) *models.Usage {
	if j.call != nil {
		return j.relayed(failure)
	}
	if j.read.usage != nil {
		return j.read.usage
	}
	u := &models.Usage{Estimated: true}
	if failure == nil || j.read.produced.Len() > 0 || j.read.accepted || j.ctx.Err() != nil && !j.stream {
		u.PromptTokens = tokens.CountPrompt(j.in)
		u.CompletionTokens = tokens.Count(j.read.produced.String())
		u.TotalTokens = u.PromptTokens + u.CompletionTokens
	}
	return u
}

func (j *job) fill(u *models.Usage) { j.fillRecord(j.record, u) }

func (j *job) fillRecord(rec *models.UsageRecord, u *models.Usage) {
	rec.PromptTokens, rec.CompletionTokens = u.PromptTokens, u.CompletionTokens
	rec.CachedTokens, rec.ReasoningTokens = u.CachedTokens(), u.ReasoningTokens()
	rec.Estimated = u.Estimated
	if u.Cost != nil {
		rec.Cost = *u.Cost
	}
}

// checkpoint tells the ledger now and then what was produced so far, so that it
// is charged if this process dies.
func (j *job) checkpoint() {
	const every = 1024 // bytes
	if j.record == nil || j.read.produced.Len()-j.noted < every {
		return
	}
	j.noted = j.read.produced.Len()
	u := &models.Usage{PromptTokens: j.record.PromptTokens, CompletionTokens: j.read.tokens()}
	usage.Price(j.pricing, u)
	if u.Cost == nil {
		u.Cost = new(models.Nanos)
	}
	j.s.ledger.Checkpoint(j.record.ID, u.CompletionTokens, *u.Cost)
}

// end marks the span as failed and gives the error back.
func (j *job) end(err error) error {
	j.s.measure.failed(j.span, err)
	j.turn.failed(j, err)
	return err
}

// rename hides the upstream's name of the model behind the client's, when they
// differ by the channel's mapping.
func (j *job) rename(raw []byte) []byte {
	if !j.attempt.Mapped || !gjson.GetBytes(raw, "model").Exists() {
		return raw
	}
	renamed, err := sjson.SetBytes(raw, "model", j.in.Model)
	if err != nil {
		return raw
	}
	return renamed
}

// DefaultMaxOutput is how many tokens an answer is taken to have at most where
// neither the request nor the model's description says.
const DefaultMaxOutput = 4096

// maxOutput is how many tokens all answers together may have.
func maxOutput(in *models.ChatCompletionInput, m *models.Model) int64 {
	most := DefaultMaxOutput
	switch {
	case in.MaxCompletionTokens != nil:
		most = *in.MaxCompletionTokens
	case in.MaxTokens != nil:
		most = *in.MaxTokens
	case m.MaxOutputTokens != nil:
		most = *m.MaxOutputTokens
	}
	choices := 1
	if in.N != nil {
		choices = *in.N
	}
	return int64(most) * int64(choices)
}

// roughPrompt counts a prompt's tokens as a quarter of its bytes.
func roughPrompt(in *models.ChatCompletionInput) int64 {
	if in.Raw != nil {
		return int64(len(in.Raw)-in.Attached+3) / 4
	}
	n := 0
	for i := range in.Messages {
		n += len(in.Messages[i].Content.String())
	}
	return int64(n+3) / 4
}

// public is an upstream's failure as clients see it.
func public(err error) *models.Error {
	e := providers.AsError(err)
	out := &models.Error{Kind: models.KindUnavailable, Message: e.Message, Retry: e.Retry, Cause: err}
	switch e.Class {
	case providers.Rejected:
		out.Kind, out.Code, out.Param, out.Retry = models.KindInvalid, e.Code, e.Param, 0
		if out.Code == "" {
			out.Code = models.CodeInvalidValue
		}
	case providers.RateLimited:
		out.Code = models.CodeOverloaded
		out.Message = "The upstream is over its limit. Try again later."
	case providers.Timeout:
		out.Code = models.CodeUpstreamTimeout
	case providers.Unavailable, providers.Credential, providers.NoModel, providers.Malformed, providers.Unusable, providers.Canceled:
		out.Code = models.CodeUpstreamError
	}
	return out
}

func unrecorded(err error) error {
	if e := new(models.Error); errors.As(err, &e) {
		return e
	}
	e := models.Unavailable(models.CodeOverloaded, "The usage of this request could not be recorded.")
	e.Retry, e.Cause = time.Second, fmt.Errorf("ledger: %w", err)
	return e
}

// errorCode is how a record names its failure; empty for success.
func errorCode(ctx context.Context, failure error) string {
	switch {
	case failure == nil:
		return ""
	case ctx.Err() != nil:
		if e := new(models.Error); errors.As(context.Cause(ctx), &e) {
			return e.Code
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return clientClosed
		}
		return models.CodeUpstreamTimeout
	}
	return public(failure).Code
}

// blame is the failure as far as the channel is to be judged by it.
func blame(ctx context.Context, failure error) error {
	if failure != nil && ctx.Err() != nil {
		return context.Canceled
	}
	return failure
}
