package chat

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

const (
	testPrompt  = "Reply with the single word OK."
	testTimeout = 30 * time.Second
	// probesAtOnce is how many channels a job probes at a time.
	probesAtOnce = 4
)

// ProbeChannels asks the channels that are due for a completion of one token,
// for a periodic job: what comes of it is known to all processes.
func (s *Service) ProbeChannels(ctx context.Context, now time.Time) error {
	due, err := s.channels.DueProbes(ctx, now)
	if err != nil {
		return err
	}
	system := &models.Viewer{UserID: "system", Role: models.RoleAdmin, Scopes: models.AllScopes()}
	var group errgroup.Group
	group.SetLimit(probesAtOnce)
	for _, id := range due {
		group.Go(func() error { return s.probe(ctx, system, id) })
	}
	return group.Wait()
}

func (s *Service) probe(ctx context.Context, v *models.Viewer, id string) error {
	one := 1
	_, failure, err := s.test(ctx, v, id, "", &models.ChatCompletionInput{MaxTokens: &one})
	if err != nil {
		if e := new(models.Error); errors.As(err, &e) && e.Kind == models.KindNotFound {
			return nil // deleted meanwhile
		}
		return err
	}
	if failure == nil {
		return s.channels.Probed(ctx, id, nil)
	}
	zerolog.Ctx(ctx).Info().Err(failure).Str("channel_id", id).Msg("channel probe failed")
	return s.channels.Probed(ctx, id, failure)
}

// test makes one attempt at a channel. Its error is ours, not the channel's.
func (s *Service) test(ctx context.Context, v *models.Viewer, id, model string, input *models.ChatCompletionInput) (*models.TestChannelResult, *providers.Error, error) {
	m, attempt, err := s.channels.Probe(ctx, v, id, model)
	if err != nil {
		return nil, nil, err
	}
	input.Model = m.Name
	input.Messages = []models.ChatMessage{{Role: models.RoleMessageUser, Content: models.TextContent(testPrompt)}}
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	j := s.newJob(ctx, v, input, &channels.Route{Model: m}, false)
	defer j.close()
	began := time.Now()
	err = j.begin(attempt)
	if err == nil {
		var c *models.ChatCompletion
		if c, err = attempt.Provider.Complete(j.ctx, j.request()); err == nil {
			j.firstByte()
			err = j.finishWhole(c)
		}
		if err != nil {
			_ = j.failed(err) // accounts for it; there is nobody else to ask
		}
	}
	result := &models.TestChannelResult{
		Success: err == nil, LatencyMS: int(time.Since(began).Milliseconds()), Model: m.Name,
	}
	if err == nil {
		return result, nil, nil
	}
	if e := new(models.Error); errors.As(err, &e) {
		return nil, nil, err
	}
	return result, providers.AsError(err), nil
}
