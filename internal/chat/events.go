package chat

import (
	"errors"
	"io"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// writer turns the chunks of a completion into the events of another language.
type writer interface {
	// Chunk gives the events for a chunk.
	Chunk(c *models.ChunkBody) ([]*models.StreamEvent, error)
	// End gives the events that end the answer.
	End(u *models.Usage) ([]*models.StreamEvent, error)
	// Fail gives the events for a failure, if the language has any beside the error itself.
	Fail(e *models.Error) []*models.StreamEvent
}

// Events is a completion on its way to one client in another language. It is
// for one goroutine.
type Events struct {
	stream *Stream
	writer writer
	native *Relayed // instead of both: the upstream's own events

	ready     []*models.StreamEvent
	usage     *models.Usage
	channelID string
	cache     *models.CacheStatus
	sequence  int
	began     bool // of native: the channels were asked
	done      bool
}

// Next waits for the next event and gives io.EOF after the last. A failure comes
// as a last event with Err set.
func (e *Events) Next() (*models.StreamEvent, error) { return e.next(e.stream.Next) }

// Poll is [Events.Next] when that needs no waiting for the upstream, else it gives
// nothing.
func (e *Events) Poll() (*models.StreamEvent, error) {
	if e.native != nil && len(e.ready) == 0 && !e.done && !e.native.Ready() {
		return nil, nil //nolint:nilnil // nothing yet, and nothing wrong
	}
	return e.next(e.stream.Poll)
}

func (e *Events) next(from func() (*models.ChatCompletionChunk, error)) (*models.StreamEvent, error) {
	for len(e.ready) == 0 {
		if e.done {
			return nil, io.EOF
		}
		if e.native != nil {
			e.pass()
			continue
		}
		chunk, err := from()
		switch {
		case errors.Is(err, io.EOF):
			e.end()
		case err != nil || chunk == nil:
			return nil, err
		case chunk.Err != nil:
			e.fail(chunk.Err)
		default:
			e.take(chunk)
		}
	}
	event := e.ready[0]
	e.ready = e.ready[1:]
	event.Sequence, event.ChannelID, event.Cache = e.sequence, e.channelID, e.cache
	e.sequence++
	return event, nil
}

// Close gives up what is left: it cancels the upstream and accounts for what was
// produced.
func (e *Events) Close() error {
	e.ready, e.done = nil, true
	if e.native != nil {
		return e.native.Close()
	}
	return e.stream.Close()
}

// take translates a chunk. One that cannot be is the upstream's fault, and ends
// the stream.
func (e *Events) take(chunk *models.ChatCompletionChunk) {
	e.channelID, e.cache = chunk.ChannelID, chunk.Cache
	if chunk.Usage != nil {
		e.usage = chunk.Usage
	}
	body, err := chunk.Body()
	if err == nil {
		e.ready, err = e.writer.Chunk(body)
	}
	if err == nil {
		return
	}
	e.ready = nil
	if e.stream.done { // settled: nothing is left to break off
		e.fail(public(unreadable(err)))
		return
	}
	e.stream.breakOff(unreadable(err))
}

func unreadable(err error) *providers.Error {
	return &providers.Error{Class: providers.Malformed, Message: "The upstream's answer could not be read.", Cause: err}
}

func (e *Events) end() {
	events, err := e.writer.End(e.usage)
	if err != nil {
		e.fail(public(unreadable(err)))
		return
	}
	e.ready, e.done = events, true
	events[len(events)-1].Usage = e.usage
}

func (e *Events) fail(failure *models.Error) {
	e.done = true
	if e.ready = e.writer.Fail(failure); len(e.ready) == 0 {
		e.ready = []*models.StreamEvent{models.FailedEvent(failure)}
		return
	}
	e.ready[len(e.ready)-1].Err = failure
}
