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

// source is a stream of the domain. Next waits and gives io.EOF after the last
// element; Poll gives nothing when it had to wait.
type source[E any] interface {
	Next() (E, error)
	Poll() (E, error)
	Close() error
}

// Feed is a stream on its way to a caller that asks for one element after the
// other, and so needs no goroutine between itself and the upstream. A failure, and
// a panic too, is the last element. An element may be used again for the next one.
// It is for one goroutine, and must be closed.
type Feed[E comparable] struct {
	ctx    context.Context // the request's: a stream outlives the call that opens it
	from   source[E]
	failed func(sequence int, e *models.Error) E

	sequence int // of the next element
	ended    bool
	closed   bool
}

// feed makes a feed of the stream that a domain package opened, or could not
// open. failed makes the element for a failure that the stream did not report
// itself.
func feed[E comparable](ctx context.Context, failed func(sequence int, e *models.Error) E) func(source[E], error) (*Feed[E], error) {
	return func(from source[E], err error) (*Feed[E], error) {
		if err != nil {
			return nil, err
		}
		return &Feed[E]{ctx: ctx, from: from, failed: failed}, nil
	}
}

// Next waits for the next element; it is nil after the last. When the stream fails
// it is closed, and so accounted for, before its failure is told.
func (f *Feed[E]) Next() E { return f.take(f.from.Next) }

// Poll is Next, but does not wait: then ok is false.
func (f *Feed[E]) Poll() (element E, ok bool) {
	var none E
	element = f.take(f.from.Poll)
	return element, element != none || f.ended
}

// Close ends the stream and accounts for it. It may be called twice.
func (f *Feed[E]) Close() {
	f.ended = true
	if f.closed {
		return
	}
	f.closed = true
	if err := shut(f.from.Close); err != nil {
		zerolog.Ctx(f.ctx).Error().Err(err).Msg("close stream")
	}
}

func (f *Feed[E]) take(from func() (E, error)) E {
	var none E
	if f.ended {
		return none
	}
	element, err := caught(from)
	switch {
	case errors.Is(err, io.EOF):
		f.Close()
		return none
	case err != nil:
		f.Close()
		return f.fail(err)
	case element != none:
		f.sequence++
	}
	return element
}

// fail makes an element of how the stream failed.
func (f *Feed[E]) fail(err error) E {
	e, known := models.AsError(err)
	if !known && f.ctx.Err() == nil { // otherwise the client has gone, and the failure is no news
		zerolog.Ctx(f.ctx).Error().Err(err).Msg("stream failed")
	}
	return f.failed(f.sequence, e)
}

// pump moves a feed into a channel from one goroutine, which ends with the feed or
// with its context. The feed is closed before the channel is. What waits in the
// channel is its own.
func pump[E comparable](f *Feed[E], err error) (<-chan E, error) {
	if err != nil {
		return nil, err
	}
	out := make(chan E, streamBuffer)
	go func() {
		defer close(out)
		defer f.Close()
		var none E
		for element := f.Next(); element != none; element = f.Next() {
			if lent, ok := any(element).(interface{ Owned() E }); ok {
				element = lent.Owned()
			}
			select {
			case out <- element:
			case <-f.ctx.Done():
				return
			}
		}
	}()
	return out, nil
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

// caught makes an error of a panic.
func caught[E any](from func() (E, error)) (element E, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in stream: %v\n%s", p, debug.Stack())
		}
	}()
	return from()
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
