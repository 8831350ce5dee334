package chat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/models"
)

// TestChannel asks a channel for minimal real completions of one or more of its
// models, whatever its health, and accounts for them like any other. A success ends
// the channel's rest. Admins only.
func (s *Service) TestChannel(ctx context.Context, v *models.Viewer, id string, in *models.TestChannelInput) (*models.TestChannelPayload, error) {
	t, err := s.startTrial(ctx, v, id, in)
	if err != nil {
		return nil, err
	}
	defer func() { _ = t.Close() }()
	p := &models.TestChannelPayload{Results: make([]*models.TestChannelResult, 0, len(t.names))}
	for {
		r, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		p.Results = append(p.Results, r)
	}
	if len(p.Results) < len(t.names) {
		return nil, fmt.Errorf("test channel: %w", context.Cause(ctx))
	}
	slices.SortStableFunc(p.Results, func(a, b *models.TestChannelResult) int {
		return slices.Index(t.names, a.Model) - slices.Index(t.names, b.Model)
	})
	p.Result = p.Results[0]
	return p, nil
}

// StreamChannelTest is [Service.TestChannel] that gives each outcome as it comes.
// Where no model is named it tests all that the channel serves. Admins only.
func (s *Service) StreamChannelTest(ctx context.Context, v *models.Viewer, id string, in *models.TestChannelInput) (*Trial, error) {
	if in == nil || in.Model == nil && len(in.Models) == 0 {
		all := true
		in = &models.TestChannelInput{All: &all}
	}
	return s.startTrial(ctx, v, id, in)
}

// Trial is the test of several models of a channel, a few at a time. It is for one
// goroutine.
type Trial struct {
	names    []string
	cancel   context.CancelFunc
	outcomes chan outcome // closed after the last
	workers  sync.WaitGroup
}

type outcome struct {
	result *models.TestChannelResult
	err    error
}

// startTrial finds the models, notes the test in the audit log, and begins.
func (s *Service) startTrial(ctx context.Context, v *models.Viewer, id string, in *models.TestChannelInput) (*Trial, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	c, err := s.channels.Channel(ctx, v, id)
	if err != nil {
		return nil, err
	}
	names := c.Models[:1]
	switch {
	case in == nil:
	case in.Model != nil:
		names = []string{*in.Model}
	case len(in.Models) > 0:
		names = in.Models
	case in.All != nil && *in.All:
		names = c.Models
	}
	for i, name := range names {
		if !slices.Contains(c.Models, name) {
			e := models.Invalid("model", "The channel does not serve the model '%.80s'.", name)
			if in.Several() {
				e.Param = fmt.Sprintf("models[%d]", i)
			}
			return nil, e
		}
	}
	if err := s.channels.Tested(ctx, v, id, names); err != nil {
		return nil, err //nolint:wrapcheck // says what it is
	}
	ctx, cancel := context.WithCancel(ctx)
	t := &Trial{names: names, cancel: cancel, outcomes: make(chan outcome)}
	queue := make(chan string)
	for range min(probesAtOnce, len(names)) {
		t.workers.Go(func() {
			for name := range queue {
				select {
				case t.outcomes <- s.try(ctx, v, id, name):
				case <-ctx.Done():
					return
				}
			}
		})
	}
	go func() {
		defer close(t.outcomes)
		defer t.workers.Wait()
		defer close(queue)
		for _, name := range names {
			select {
			case queue <- name:
			case <-ctx.Done():
				return
			}
		}
	}()
	return t, nil
}

// try tests one model. A panic must not end the process: it is not the request's
// own goroutine.
func (s *Service) try(ctx context.Context, v *models.Viewer, id, name string) (o outcome) {
	defer func() {
		if p := recover(); p != nil {
			o = outcome{err: fmt.Errorf("panic in channel test: %v\n%s", p, debug.Stack())}
		}
	}()
	result, failure, err := s.test(ctx, v, id, name, &models.ChatCompletionInput{})
	if err != nil {
		return outcome{err: err}
	}
	if failure != nil {
		text := failure.Message
		result.Error = &text
		zerolog.Ctx(ctx).Info().Err(failure).Str("channel_id", id).Str("model", name).Msg("channel test failed")
	}
	return outcome{result: result}
}

// Next waits for the next outcome, in the order in which they come, and gives io.EOF
// after the last.
func (t *Trial) Next() (*models.TestChannelResult, error) {
	o, ok := <-t.outcomes
	if !ok {
		return nil, io.EOF
	}
	return o.result, o.err
}

// Poll is [Trial.Next] when that needs no waiting, else it gives nothing.
func (t *Trial) Poll() (*models.TestChannelResult, error) {
	select {
	case o, ok := <-t.outcomes:
		if !ok {
			return nil, io.EOF
		}
		return o.result, o.err
	default:
		return nil, nil //nolint:nilnil // nothing yet, and nothing wrong
	}
}

// Close ends the test, and waits until what runs has ended. It may be called twice.
func (t *Trial) Close() error {
	t.cancel()
	t.workers.Wait()
	return nil
}
