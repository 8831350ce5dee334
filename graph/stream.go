package graph

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/models"
)

// streamBuffer is how many chunks may wait for a slow client. Beyond it the
// client slows its own upstream.
const streamBuffer = 16

// pump moves a stream into a channel from one goroutine, which ends with the
// stream or with ctx. A failure, and a panic too, becomes the last element, which
// failed makes. The stream is closed, and so accounted for, before the channel is.
func pump[E any](ctx context.Context, next func() (E, error), done func() error, failed func(sequence int, e *models.Error) E) <-chan E {
	out := make(chan E, streamBuffer)
	go func() {
		defer close(out)
		sequence, err := drain(ctx, next, out)
		if err := shut(done); err != nil {
			zerolog.Ctx(ctx).Error().Err(err).Msg("close stream")
		}
		if err != nil {
			e, known := models.AsError(err)
			if !known && ctx.Err() == nil { // otherwise the client has gone, and the failure is no news
				zerolog.Ctx(ctx).Error().Err(err).Msg("stream failed")
			}
			send(ctx, out, failed(sequence, e))
		}
	}()
	return out
}

// drain sends what the stream gives, and says how much that was and how the
// stream failed, if it did and did not report it itself.
func drain[E any](ctx context.Context, next func() (E, error), out chan<- E) (sequence int, failure error) {
	defer func() {
		if p := recover(); p != nil {
			failure = fmt.Errorf("panic in stream: %v\n%s", p, debug.Stack())
		}
	}()
	for {
		element, err := next()
		switch {
		case errors.Is(err, io.EOF):
			return sequence, nil
		case err != nil:
			return sequence, err
		}
		if !send(ctx, out, element) {
			return sequence, nil
		}
		sequence++
	}
}

func failedChunk(sequence int, e *models.Error) *models.ChatCompletionChunk {
	chunk := models.FailedChunk(e)
	chunk.Sequence = sequence
	return chunk
}

func failedEvent(sequence int, e *models.Error) *models.StreamEvent {
	event := models.FailedEvent(e)
	event.Sequence = sequence
	return event
}

func send[E any](ctx context.Context, out chan<- E, element E) bool {
	select {
	case out <- element:
		return true
	case <-ctx.Done():
		return false
	}
}

// shut closes the stream even when it is in a state that makes closing panic.
func shut(done func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return done()
}
