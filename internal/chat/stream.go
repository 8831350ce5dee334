package chat

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// Stream is a completion on its way to one client, in OpenAI's sequence: chunks
// with deltas, one with the finish reason, and, when the client asked for it,
// one with the usage and no choices. It is for one goroutine.
type Stream struct {
	job        *job
	wantsUsage bool

	upstream providers.Stream
	held     []*models.ChatCompletionChunk // finish chunks, until the usage is settled
	ready    []*models.ChatCompletionChunk // to be handed out, from next on
	next     int
	sequence int
	done     bool

	keepAt *cacheKey // where to keep the answer; nil: it is not kept
	kept   [][]byte  // what was handed out so far
	size   int       // of kept, in bytes
}

// Next waits for the next chunk and gives io.EOF after the last. A failure comes
// as a last chunk with Err set. A chunk may be used again by the next call. Before the first chunk it may ask one channel
// after the other; after it there is no second upstream: a text must not be
// begun twice.
func (s *Stream) Next() (*models.ChatCompletionChunk, error) {
	for s.next == len(s.ready) {
		switch {
		case s.done:
			return nil, io.EOF
		case s.upstream == nil:
			s.connect()
		default:
			s.take(s.upstream.Next())
		}
	}
	return s.hand(), nil
}

// Poll is [Stream.Next] when that needs no waiting for the upstream, else it gives
// nothing.
func (s *Stream) Poll() (*models.ChatCompletionChunk, error) {
	for s.next == len(s.ready) {
		if s.done {
			return nil, io.EOF
		}
		if up, ok := s.upstream.(interface{ Ready() bool }); !ok || !up.Ready() {
			return nil, nil //nolint:nilnil // nothing yet, and nothing wrong
		}
		s.take(s.upstream.Next())
	}
	return s.hand(), nil
}

// hand hands out a chunk that is ready.
func (s *Stream) hand() *models.ChatCompletionChunk {
	c := s.ready[s.next]
	s.ready[s.next] = nil
	if s.next++; s.next == len(s.ready) {
		s.ready, s.next = s.ready[:0], 0
	}
	c.Sequence = s.sequence
	s.sequence++
	if s.keepAt != nil {
		s.keep(c)
	}
	return c
}

// keep collects the answer for those who ask the same later. One that fails or
// is too long is not kept.
func (s *Stream) keep(c *models.ChatCompletionChunk) {
	c.Cache = new(models.CacheMiss)
	raw, err := c.JSON()
	if s.size += len(raw); err != nil || c.Err != nil || s.size > maxCached {
		s.keepAt, s.kept = nil, nil
		return
	}
	s.kept = append(s.kept, bytes.Clone(raw))
	if s.done && len(s.ready) == 0 {
		s.job.s.measure.cached(s.job.ctx, false)
		s.job.s.cache.keep(s.keepAt, s.job.viewer.CacheTTL, nil, s.kept, c.Usage)
		s.keepAt, s.kept = nil, nil
	}
}

// Close gives up what is left: it cancels the upstream and accounts for what
// was produced. For a key that asks for it, the upstream may finish first, in the
// background and within bounds.
func (s *Stream) Close() error {
	s.ready, s.next, s.keepAt = nil, 0, nil
	if s.done {
		return nil
	}
	if s.upstream != nil && s.job.departure.leave(context.Canceled) {
		go s.drain()
		return nil
	}
	s.job.cancel()
	err := s.job.settle(context.Canceled)
	s.finish()
	return err
}

// connect asks channels until one begins to answer.
func (s *Stream) connect() {
	j := s.job
	for {
		if err := j.next(); err != nil {
			s.fail(err)
			return
		}
		began := time.Now()
		up, err := j.attempt.Provider.Stream(j.ctx, j.request())
		var chunk *models.ChatCompletionChunk
		if err == nil {
			j.read.accepted = true
			if chunk, err = up.Next(); ended(err) {
				err = &providers.Error{Class: providers.Malformed, Message: "The upstream answered nothing."}
			}
			if err != nil {
				j.read.accepted = j.ctx.Err() != nil
				_ = up.Close()
			}
		}
		j.waited += time.Since(began)
		if err == nil {
			s.upstream = up
			j.firstByte()
			s.take(chunk, nil)
			return
		}
		if err := j.failed(err); err != nil {
			s.fail(err)
			return
		}
	}
}

// take deals with what the upstream said next.
func (s *Stream) take(chunk *models.ChatCompletionChunk, err error) {
	j := s.job
	switch {
	case ended(err):
		s.complete()
		return
	case err != nil:
		s.breakOff(err)
		return
	}
	raw, err := chunk.JSON()
	if err != nil {
		s.breakOff(err)
		return
	}
	text, _ := chunk.Text()
	raw, keep := j.read.chunk(raw, text, s.wantsUsage)
	j.turn.read(raw)
	j.checkpoint()
	if !keep {
		return
	}
	chunk.SetJSON(j.rename(raw))
	if j.viewer.IsAdmin() {
		chunk.ChannelID = j.attempt.ChannelID
	}
	if j.read.finished {
		s.held = append(s.held, chunk.Owned())
		return
	}
	s.ready = append(append(s.ready, s.held...), chunk)
	s.held = nil
}

// ended says whether the upstream ended the answer properly. A failure whose
// cause is an early end of the body is not that.
func ended(err error) bool {
	if err == nil {
		return false
	}
	var failure *providers.Error
	return errors.Is(err, io.EOF) && !errors.As(err, &failure)
}

// complete ends a stream that the upstream ended properly. The record is
// committed before the chunks that end the answer go out: a completion that a
// client saw whole is in the ledger, whatever dies next.
func (s *Stream) complete() {
	j := s.job
	if err := j.settle(nil); err != nil {
		s.fail(err)
		return
	}
	if err := j.turn.done(j); err != nil {
		s.fail(err)
		return
	}
	if s.wantsUsage {
		raw, err := j.read.usageChunk(j)
		if err != nil {
			s.fail(err)
			return
		}
		s.held = append(s.held, models.RawChunk(raw))
	}
	s.ready = append(s.ready, s.held...)
	if n := len(s.ready); n > 0 {
		s.ready[n-1].Usage, s.ready[n-1].MessageID = j.read.usage, j.turn.answerID()
	}
	s.finish()
}

// breakOff ends a stream that failed after its first chunk.
func (s *Stream) breakOff(err error) {
	j := s.job
	if err := j.failed(err); err != nil {
		s.fail(err)
		return
	}
	s.fail(public(j.last))
}

// fail ends the stream with a failure that the client sees.
func (s *Stream) fail(err error) {
	e, _ := models.AsError(s.job.end(err))
	if s.sequence > 0 || s.next < len(s.ready) {
		final := *e
		final.Final = true // part of the answer is out: a retry would begin another
		e = &final
	}
	s.ready = append(s.ready, models.FailedChunk(e))
	s.finish()
}

// finish releases everything.
func (s *Stream) finish() {
	s.done, s.held = true, nil
	if s.upstream != nil {
		_ = s.upstream.Close()
	}
	s.job.close()
}
