package graph

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/models"
)

// streamBuffer is how many chunks may wait for a slow client. Beyond it the
// client slows its own upstream.
const streamBuffer = 16

// pump moves a stream into a channel from one goroutine, which ends with the
// stream or with ctx. A failure, and a panic too, becomes the last chunk. The
// stream is closed, and so accounted for, before the channel is.
func pump(ctx context.Context, next func() (*models.ChatCompletionChunk, error), done func() error) <-chan *models.ChatCompletionChunk {
	out := make(chan *models.ChatCompletionChunk, streamBuffer)
	chunks := &Chunks{ctx: ctx, next: next, done: done}
	go func() {
		defer close(out)
		defer chunks.Close()
		for chunk := chunks.Next(); chunk != nil; chunk = chunks.Next() {
			if !send(ctx, out, chunk) {
				return
			}
		}
	}()
	return out
}

func failed(ctx context.Context, sequence int, err error) *models.ChatCompletionChunk {
	e, known := models.AsError(err)
	if !known && ctx.Err() == nil { // otherwise the client has gone, and the failure is no news
		zerolog.Ctx(ctx).Error().Err(err).Msg("stream failed")
	}
	chunk := models.FailedChunk(e)
	chunk.Sequence = sequence
	return chunk
}

func send(ctx context.Context, out chan<- *models.ChatCompletionChunk, chunk *models.ChatCompletionChunk) bool {
	select {
	case out <- chunk:
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
