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

// Chunks is a completion on its way to a caller that asks for one chunk after
// the other, and so needs no goroutine between itself and the upstream. A
// failure, and a panic too, is the last chunk. It is for one goroutine, and must
// be closed.
type Chunks struct {
	ctx  context.Context // the request's: a stream outlives the call that opens it
	next func() (*models.ChatCompletionChunk, error)
	poll func() (*models.ChatCompletionChunk, error) // gives nothing when it had to wait; nil: it always does
	done func() error

	sequence int
	ended    bool
	closed   bool
}

// StreamChatCompletion is the subscription chatCompletion without its channel.
func (r *Resolver) StreamChatCompletion(ctx context.Context, in models.ChatCompletionInput) (*Chunks, error) {
	withUsage(&in)
	st, err := r.chat.Stream(ctx, viewer(ctx), in)
	if err != nil {
		return nil, err
	}
	return &Chunks{ctx: ctx, next: st.Next, poll: st.Poll, done: st.Close}, nil
}

// Next waits for the next chunk; it is nil after the last. When the stream fails
// it is closed, and so accounted for, before its failure is told.
func (c *Chunks) Next() *models.ChatCompletionChunk { return c.take(c.next) }

// Poll is Next, but does not wait: then ok is false.
func (c *Chunks) Poll() (chunk *models.ChatCompletionChunk, ok bool) {
	if c.poll == nil {
		return nil, false
	}
	chunk = c.take(c.poll)
	return chunk, chunk != nil || c.ended
}

// Close ends the stream and accounts for it. It may be called twice.
func (c *Chunks) Close() {
	c.ended = true
	if c.closed {
		return
	}
	c.closed = true
	if err := shut(c.done); err != nil {
		zerolog.Ctx(c.ctx).Error().Err(err).Msg("close stream")
	}
}

func (c *Chunks) take(from func() (*models.ChatCompletionChunk, error)) *models.ChatCompletionChunk {
	if c.ended {
		return nil
	}
	chunk, err := caught(from)
	switch {
	case err == nil && chunk == nil: // nothing without waiting
	case err == nil:
		c.sequence = chunk.Sequence + 1
	case errors.Is(err, io.EOF):
		c.Close()
		return nil
	default:
		c.Close()
		return failed(c.ctx, c.sequence, err)
	}
	return chunk
}

// caught makes an error of a panic.
func caught(from func() (*models.ChatCompletionChunk, error)) (chunk *models.ChatCompletionChunk, err error) {
	defer func() {
		if p := recover(); p != nil {
			chunk, err = nil, fmt.Errorf("panic in stream: %v\n%s", p, debug.Stack())
		}
	}()
	return from()
}
