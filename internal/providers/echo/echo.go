// Package echo is the built-in model: it repeats what it is told. It makes the
// product work without any upstream, and shows clients and tests every shape
// that an answer can take. The same request always gets the same text.
//
// It repeats the text of the last user message, with [image_url], [input_audio]
// and [file] in the place of other parts; after a tool's result it repeats that
// (the results of parallel calls on a line each). It honours n, stop,
// max_tokens and max_completion_tokens (in o200k_base tokens; they do not cut
// tool calls), and reports true token counts.
//
// With response_format json_object it answers {"echo": text}; with json_schema
// an object with the schema's properties, whose strings are the text.
//
// It calls tools when tool_choice is "required" or names a function, and when
// the user's text names one as a whole word; the arguments are the properties
// that the parameters require, else {"input": text}. With the legacy functions
// it calls one function. After a tool's result it always answers with text.
//
// The request's metadata controls it; any other key that begins with echo_ is
// refused, as is a value out of range:
//
//	echo_first_delay_ms  0 to 60000: wait before the first chunk, or the whole answer
//	echo_delay_ms        0 to 60000: wait before each chunk, or once before a whole answer
//	echo_tool_calls      0 to 128: make so many calls, of the tools in turn
//	echo_fail            before: fail like HTTP 503
//	                     rate_limit: fail like HTTP 429, with a Retry-After of 1 s
//	                     timeout: answer nothing until the caller gives up
//	                     mid: break off after half of the text
//	                     invalid: reject the request
package echo

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// maxOutput caps, in bytes, what all choices of one answer hold together.
const maxOutput = 32 << 20

// Provider is the built-in model. It holds nothing.
type Provider struct{}

// New makes the built-in model.
func New() *Provider { return &Provider{} }

// Complete implements [providers.Provider].
func (p *Provider) Complete(ctx context.Context, req providers.Request) (*models.ChatCompletion, error) {
	c, a, err := prepare(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, c.firstDelay+c.delay); err != nil {
		return nil, err
	}
	if c.fail == failMid {
		return nil, brokeOff()
	}
	return models.NewChatCompletion(a.completion(req.Model)), nil
}

// Stream implements [providers.Provider].
func (p *Provider) Stream(ctx context.Context, req providers.Request) (providers.Stream, error) {
	c, a, err := prepare(ctx, req)
	if err != nil {
		return nil, err
	}
	return &stream{ctx: ctx, controls: c, script: newScript(a, req.Model)}, nil
}

// prepare makes the answer, or fails as the controls say.
func prepare(ctx context.Context, req providers.Request) (*controls, *answer, error) {
	c, err := readControls(req.Input.Metadata)
	if err != nil {
		return nil, nil, err
	}
	a, err := newAnswer(req.Input, c)
	if err != nil {
		return nil, nil, err
	}
	switch c.fail {
	case failNot, failMid:
		return c, a, ctxError(ctx)
	case failTimeout:
		<-ctx.Done()
		return nil, nil, ctxError(ctx)
	case failBefore, failRateLimit, failInvalid:
	}
	if err := sleep(ctx, c.firstDelay); err != nil {
		return nil, nil, err
	}
	return nil, nil, c.failure()
}

// stream says an answer chunk by chunk.
type stream struct {
	ctx      context.Context // bounds the whole stream, not the call that opens it
	controls *controls
	script   *script
	begun    bool
	err      error
}

// Next implements [providers.Stream].
func (s *stream) Next() (*models.ChatCompletionChunk, error) {
	if s.err != nil {
		return nil, s.err
	}
	wait := s.controls.delay
	if !s.begun {
		s.begun = true
		wait += s.controls.firstDelay
	}
	if s.err = sleep(s.ctx, wait); s.err != nil {
		return nil, s.err
	}
	if s.controls.fail == failMid && s.script.halfway() {
		s.err = brokeOff()
		return nil, s.err
	}
	body := s.script.next()
	if body == nil {
		s.err = io.EOF
		return nil, s.err
	}
	return models.NewChunk(body), nil
}

// Close implements [providers.Stream].
func (s *stream) Close() error {
	if s.err == nil {
		s.err = &providers.Error{Class: providers.Canceled, Message: "The stream was closed."}
	}
	return nil
}

func brokeOff() error {
	return &providers.Error{Class: providers.Unavailable, Message: "The upstream broke off in the middle of its answer."}
}

// sleep waits for d, or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctxError(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctxError(ctx)
	}
}

func ctxError(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return providers.AsError(err)
	}
	return nil
}

func invalid(param, message string) error {
	return &providers.Error{
		Class: providers.Rejected, Status: http.StatusBadRequest,
		Code: models.CodeInvalidValue, Param: param, Message: message,
	}
}
