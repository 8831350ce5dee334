package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/sse"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

const (
	// Once every choice is finished only usage and [DONE] are to come. Servers
	// that forget [DONE] and keep the connection open are not waited for longer.
	idleAfterFinish = 10 * time.Second
	// How long an ended stream waits for the end of the HTTP body, without which
	// the connection cannot be used again.
	drainTimeout = 50 * time.Millisecond
)

// stream reads chunks. Their bytes are passed on; only what they say about the
// end of the answer is looked at, and known mistakes are mended.
type stream struct {
	p      *Provider
	ex     *upstream.Exchange
	req    providers.Request
	events *sse.Reader
	queue  [][]byte // chunks of our own making, before anything else
	over   bool     // nothing comes after the queue
	err    error    // sticky

	chunks  int
	last    []byte // the last chunk that had choices, but for plain texts
	plain   pattern
	text    []byte                     // of the chunk that next gives, if it is that alone
	out     models.ChatCompletionChunk // what Next gives
	choices map[int64]*choice
}

func newStream(p *Provider, ex *upstream.Exchange, req providers.Request) *stream {
	return &stream{p: p, ex: ex, req: req, events: sse.NewReader(ex, p.client.MaxEvent())}
}

// Next implements [providers.Stream].
func (s *stream) Next() (*models.ChatCompletionChunk, error) {
	if s.err != nil {
		return nil, s.err
	}
	raw, err := s.next()
	if err != nil {
		s.err = err
		return nil, err
	}
	s.chunks++
	s.out = *models.RawChunk(raw)
	s.out.SetText(s.text)
	return &s.out, nil
}

// Ready says that [stream.Next] gives a chunk, or an error, without waiting for
// the upstream. It may say no when that is so: events that say nothing are not
// told from those that do here.
func (s *stream) Ready() bool {
	if s.err != nil || s.over || len(s.queue) > 0 {
		return true
	}
	event := s.events.Buffered()
	return bytes.HasPrefix(event, []byte("data:")) && hasChoice(event)
}

// Close implements [providers.Stream].
func (s *stream) Close() error {
	if errors.Is(s.err, io.EOF) {
		s.drain()
	}
	if s.err == nil {
		s.err = &providers.Error{Class: providers.Canceled, Message: "The stream was closed."}
	}
	s.ex.Close()
	return nil
}

// drain reads on to the end of the body, which is there already unless the
// server is odd.
func (s *stream) drain() {
	s.ex.Patience(drainTimeout)
	for range 16 {
		if _, err := s.events.Next(); err != nil {
			return
		}
	}
}

func (s *stream) next() ([]byte, error) {
	s.text = nil
	if len(s.queue) > 0 {
		raw := s.queue[0]
		s.queue = s.queue[1:]
		return raw, nil
	}
	if s.over {
		return nil, io.EOF
	}
	for {
		event, err := s.events.Next()
		if err != nil {
			return s.end(err)
		}
		data := bytes.TrimSpace(event.Data)
		if len(data) == 0 {
			continue
		}
		if string(data) == "[DONE]" {
			return s.done()
		}
		if event.Type == "" {
			if s.text = s.plain.text(data); s.text != nil {
				return data, nil
			}
		}
		raw, err := s.chunk(data, event)
		if err != nil || raw != nil {
			return raw, err
		}
	}
}

// chunk checks an event's data. It gives nothing for an event that says nothing.
func (s *stream) chunk(raw []byte, event sse.Event) ([]byte, error) {
	status := s.ex.Status
	if raw[0] != '{' || !gjson.ValidBytes(raw) {
		if event.Cut {
			return s.end(io.ErrUnexpectedEOF)
		}
		return nil, upstream.Malformed(status, "The upstream sent a chunk that is not a JSON object.", nil)
	}
	if !utf8.Valid(raw) {
		raw = bytes.ToValidUTF8(raw, []byte("\uFFFD"))
	}
	if bytes.IndexByte(raw, '\n') >= 0 { // from several data lines; a chunk is sent on in one
		var line bytes.Buffer
		if err := json.Compact(&line, raw); err != nil {
			return nil, upstream.Malformed(status, "The upstream sent a chunk that is not a JSON object.", err)
		}
		raw = line.Bytes()
	}
	if event.Type == "error" || bytes.Contains(raw, []byte(`"error"`)) {
		if e := s.p.answeredError(s.req, raw, event.Type == "error"); e != nil {
			return nil, e
		}
	}
	if !hasChoices(raw) {
		if !gjson.GetBytes(raw, "usage").IsObject() {
			return nil, nil // Azure's first chunk tells what was filtered from the prompt
		}
		return withChoices(raw)
	}
	if bytes.Contains(raw, []byte(`"content_filter_offsets"`)) {
		var err error
		if raw, err = s.completed(raw); err != nil {
			return nil, err
		}
	}
	s.last = append(s.last[:0], raw...)
	if mayFinish(raw) || s.severalChoices() || bytes.Contains(raw, []byte(`"tool_calls"`)) {
		return s.follow(raw)
	}
	s.plain.learn(raw)
	return raw, nil
}

func (s *stream) severalChoices() bool { return s.req.Input.N != nil && *s.req.Input.N > 1 }

// finished says whether every choice that was begun has been finished.
func (s *stream) finished() bool {
	for _, c := range s.choices {
		if !c.finished {
			return false
		}
	}
	return len(s.choices) > 0
}

// done ends an answer that the upstream declares complete. A choice that it did
// not finish is finished here, because clients wait for the reason.
func (s *stream) done() ([]byte, error) {
	s.over = true
	switch {
	case s.finished():
		return nil, io.EOF
	case s.last == nil:
		return nil, upstream.Malformed(s.ex.Status, "The upstream's answer is empty.", nil)
	}
	return s.finishChunk()
}

// end decides what the end of the body means, or a failure to read it.
func (s *stream) end(err error) ([]byte, error) {
	switch {
	case s.ex.Abandoned():
		return nil, s.ex.Failure(err)
	case s.finished():
		return nil, io.EOF
	case errors.Is(err, sse.ErrTooLarge):
		return nil, upstream.Malformed(s.ex.Status, "The upstream sent an event that is too large.", nil)
	case s.ex.Ended():
		return nil, s.ex.Failure(err)
	case errors.Is(err, io.EOF) && s.chunks == 0:
		return nil, upstream.Malformed(s.ex.Status, "The upstream's answer is empty.", nil)
	}
	return nil, upstream.BrokeOff(err)
}
