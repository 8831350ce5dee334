package anthropic

import (
	"bytes"
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
	// Once the stop reason is known only the end is to come. Servers that keep
	// the connection open are not waited for longer.
	idleAfterFinish = 10 * time.Second
	// How long an ended stream waits for the end of the HTTP body, without which
	// the connection cannot be used again.
	drainTimeout = 50 * time.Millisecond
	// How many blocks may be open at a time; the API has one.
	maxOpenBlocks = 64
)

// stream translates the events of a message into chunks.
// https://platform.claude.com/docs/en/build-with-claude/streaming
type stream struct {
	p      *Provider
	ex     *upstream.Exchange
	req    providers.Request
	legacy bool
	events *sse.Reader
	queue  [][]byte // chunks, before anything else
	over   bool     // nothing comes after the queue
	err    error    // sticky

	writer   writer
	begun    bool // the first chunk is made
	finished bool // the stop reason was told
	blocks   map[int64]*openBlock
	calls    int // tool calls so far; the next one has this index
	thoughts int // thinking blocks so far
	counts   counts
}

func newStream(p *Provider, ex *upstream.Exchange, req providers.Request) *stream {
	return &stream{
		p: p, ex: ex, req: req, legacy: legacy(req.Input), events: sse.NewReader(ex, p.client.MaxEvent()),
		blocks: map[int64]*openBlock{},
	}
}

// Next implements [providers.Stream].
func (s *stream) Next() (*models.ChatCompletionChunk, error) {
	for s.err == nil && len(s.queue) == 0 {
		if s.over {
			s.err = io.EOF
			break
		}
		s.err = s.advance()
	}
	if len(s.queue) > 0 { // also what came before a failure
		raw := s.queue[0]
		s.queue = s.queue[1:]
		return models.RawChunk(raw), nil
	}
	return nil, s.err
}

// Ready says that [stream.Next] needs no waiting for the upstream. It takes in the
// events that are there.
func (s *stream) Ready() bool {
	for s.err == nil && len(s.queue) == 0 && !s.over && s.events.Ready() {
		s.err = s.advance()
	}
	return s.err != nil || s.over || len(s.queue) > 0
}

// Close implements [providers.Stream].
func (s *stream) Close() error {
	if errors.Is(s.err, io.EOF) {
		s.drain()
	}
	s.queue = nil
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

// advance takes in the next event.
func (s *stream) advance() error {
	event, err := s.events.Next()
	if err != nil {
		return s.end(err)
	}
	raw := bytes.TrimSpace(event.Data)
	if len(raw) == 0 {
		return nil
	}
	if raw[0] != '{' || !gjson.ValidBytes(raw) {
		if event.Cut {
			return s.end(io.ErrUnexpectedEOF)
		}
		return upstream.Malformed(s.ex.Status, "The upstream sent an event that is not a JSON object.", nil)
	}
	if !utf8.Valid(raw) {
		raw = bytes.ToValidUTF8(raw, []byte("\uFFFD"))
	}
	root := gjson.ParseBytes(raw)
	kind := root.Get("type").Str
	if kind == "" {
		kind = event.Type
	}
	switch kind {
	case "message_start":
		s.start(root.Get("message"))
	case "content_block_start":
		return s.openBlock(root)
	case "content_block_delta":
		return s.delta(root)
	case "content_block_stop":
		s.closeBlock(root.Get("index").Int())
	case "message_delta":
		s.change(root)
	case "message_stop":
		return s.done()
	case "error":
		return s.p.toldError(root, names{upstream: s.req.Model, asked: s.req.Input.Model})
	}
	return nil // ping, and what is new
}

// start makes the first chunk. A second start is none.
func (s *stream) start(message gjson.Result) {
	if s.begun {
		return
	}
	s.begun = true
	s.counts.take(message.Get("usage"))
	s.writer = newWriter(completionID(message.Get("id").Str), answeredBy(message, s.req))
	s.say(`{"role":"assistant","content":""}`)
}

// say queues a chunk with a delta.
func (s *stream) say(delta string) {
	if !s.begun {
		s.start(gjson.Result{})
	}
	s.queue = append(s.queue, s.writer.delta(delta))
}

// change takes in what the end of a message tells.
func (s *stream) change(event gjson.Result) {
	usage := event.Get("usage")
	s.counts.take(usage)
	s.counts.final = s.counts.final || usage.Get("output_tokens").Exists()
	stop := event.Get("delta.stop_reason").Str
	if stop == "" || s.finished {
		return
	}
	s.closeAll()
	if why := event.Get("delta.stop_details.explanation"); stop == "refusal" && why.Str != "" {
		s.say(`{"refusal":` + why.Raw + `}`)
	}
	s.finish(stop)
	s.ex.Patience(idleAfterFinish)
}

func (s *stream) finish(stop string) {
	if !s.begun {
		s.start(gjson.Result{})
	}
	s.finished = true
	s.queue = append(s.queue, s.writer.finish(finishReason(stop, s.calls > 0, s.legacy)))
}

// done ends an answer that the upstream declares complete. One without a stop
// reason gets one, because clients wait for it.
func (s *stream) done() error {
	if !s.begun {
		return upstream.Malformed(s.ex.Status, "The upstream's answer is empty.", nil)
	}
	s.closeAll()
	if !s.finished {
		s.finish("end_turn")
	}
	return s.complete()
}

// complete queues the usage, in OpenAI's way a chunk of its own, and ends the stream.
func (s *stream) complete() error {
	s.over = true
	u := s.counts.usage()
	if u == nil {
		return nil
	}
	raw, err := s.writer.usage(u)
	if err != nil {
		return err
	}
	s.queue = append(s.queue, raw)
	return nil
}

// end decides what the end of the body means, or a failure to read it.
func (s *stream) end(err error) error {
	switch {
	case s.ex.Abandoned():
		return s.ex.Failure(err)
	case s.finished:
		return s.complete()
	case errors.Is(err, sse.ErrTooLarge):
		return upstream.Malformed(s.ex.Status, "The upstream sent an event that is too large.", nil)
	case s.ex.Ended():
		return s.ex.Failure(err)
	case errors.Is(err, io.EOF) && !s.begun:
		return upstream.Malformed(s.ex.Status, "The upstream's answer is empty.", nil)
	}
	return upstream.BrokeOff(err)
}
