package gemini

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/sse"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// Once every candidate has ended only the end of the body is to come. A server
// that keeps the connection open is not waited for longer.
const idleAfterFinish = 10 * time.Second

// stream translates an answer event by event. Gemini says nothing at the end: a
// body that ends before each candidate has its finish reason is broken off.
type stream struct {
	p      *Provider
	ex     *upstream.Exchange
	req    providers.Request
	source func() ([]byte, error) // gives the next event's JSON; see events, elements and single
	ready  func() bool            // says that source need not wait for it; nil: nobody knows
	legacy bool

	head    *chunkBody // what all chunks share; nil before the first event
	usage   *models.Usage
	choices map[int]*choice
	queue   []*chunkBody // to be handed out
	over    bool         // nothing comes after the queue
	err     error        // sticky
}

// chunkBody is OpenAI's chat.completion.chunk with our extra members.
type chunkBody struct {
	ID      string        `json:"id"`
	Object  string        `json:"object"`
	Created int64         `json:"created"`
	Model   string        `json:"model"`
	Choices []chunkChoice `json:"choices"`
	Usage   *models.Usage `json:"usage,omitempty"`
}

type chunkChoice struct {
	Index        int                  `json:"index"`
	Delta        delta                `json:"delta"`
	Logprobs     *logprobs            `json:"logprobs"`
	FinishReason *models.FinishReason `json:"finish_reason"`
}

// openStream looks at what the upstream has begun to send: events, or, where it
// does not know alt=sse, an array that grows by one element for each event, or a
// whole answer.
func (p *Provider) openStream(ex *upstream.Exchange, req providers.Request) (*stream, error) {
	s := &stream{p: p, ex: ex, req: req, legacy: isLegacy(req.Input), choices: map[int]*choice{}}
	mediaType := ex.MediaType()
	if mediaType == "text/event-stream" {
		s.source, s.ready = events(ex, p.client.MaxEvent())
		return s, nil
	}
	if !upstream.JSONType(mediaType) {
		return nil, upstream.Malformed(ex.Status, "The upstream's answer is not an event stream.", nil)
	}
	first, err := ex.Peek()
	if err != nil {
		return nil, err
	}
	switch first {
	case '[':
		s.source = elements(ex, p.client.MaxEvent())
	case '{':
		s.source = single(ex, p.client.MaxBytes())
	case '<':
		return nil, upstream.Malformed(ex.Status, "The upstream's answer is not an event stream.", nil)
	default:
		s.source, s.ready = events(ex, p.client.MaxEvent()) // the type is wrong, but it may be one: the parser will tell
	}
	return s, nil
}

// Next implements [providers.Stream].
func (s *stream) Next() (*models.ChatCompletionChunk, error) {
	for s.err == nil && len(s.queue) == 0 {
		if s.over {
			s.err = io.EOF
			break
		}
		s.advance()
	}
	if len(s.queue) == 0 {
		return nil, s.err
	}
	body := s.queue[0]
	s.queue = s.queue[1:]
	raw, err := json.Marshal(body)
	if err != nil {
		s.err, s.queue = fmt.Errorf("encode chunk: %w", err), nil
		return nil, s.err
	}
	return models.RawChunk(raw), nil
}

// advance takes in the next event.
func (s *stream) advance() {
	raw, err := s.source()
	if err != nil {
		s.err = s.end(err)
		return
	}
	s.err = s.take(raw)
}

// Ready says that [stream.Next] needs no waiting for the upstream. It takes in the
// events that are there.
func (s *stream) Ready() bool {
	for s.ready != nil && s.err == nil && len(s.queue) == 0 && !s.over && s.ready() {
		s.advance()
	}
	return s.err != nil || s.over || len(s.queue) > 0
}

// Close implements [providers.Stream].
func (s *stream) Close() error {
	if s.err == nil {
		s.err = &providers.Error{Class: providers.Canceled, Message: "The stream was closed."}
	}
	s.queue = nil
	s.ex.Close()
	return nil
}

// take translates an event into chunks.
func (s *stream) take(raw []byte) error {
	r, err := s.p.decode(names{upstream: s.req.Model, client: s.req.Input.Model}, raw)
	if err != nil {
		return err
	}
	if s.head == nil {
		s.head = &chunkBody{ID: completionID(r), Object: "chat.completion.chunk", Created: time.Now().Unix(), Model: modelName(r, s.req.Model)}
	}
	if r.UsageMetadata != nil {
		s.usage = r.UsageMetadata.usage()
	}
	for i := range r.Candidates {
		if err := s.candidate(&r.Candidates[i]); err != nil {
			return err
		}
	}
	if s.finished() {
		s.ex.Patience(idleAfterFinish)
	}
	return nil
}

func (s *stream) candidate(in *candidate) error {
	c := s.choices[in.Index]
	if c == nil {
		c = &choice{}
		s.choices[in.Index] = c
	}
	deltas, err := c.take(in, s.legacy)
	if err != nil {
		return err
	}
	if !c.begun {
		c.begun = true
		s.add(chunkChoice{Index: in.Index, Delta: delta{Role: string(models.RoleMessageAssistant), Content: ptr("")}})
	}
	probs := in.LogprobsResult.logprobs()
	if probs != nil && len(deltas) == 0 {
		deltas = []delta{{}}
	}
	for _, d := range deltas {
		s.add(chunkChoice{Index: in.Index, Delta: d, Logprobs: probs})
		probs = nil
	}
	return nil
}

func (s *stream) add(choices ...chunkChoice) {
	chunk := *s.head
	chunk.Choices = choices
	s.queue = append(s.queue, &chunk)
}

// finished says whether every candidate that was begun has ended.
func (s *stream) finished() bool {
	for _, c := range s.choices {
		if c.finish == "" {
			return false
		}
	}
	return len(s.choices) > 0
}

// end decides what the end of the body means, or a failure to read it. A proper
// end makes the chunks with the finish reasons, and the usage. They come last
// because a call may follow the reason.
func (s *stream) end(err error) error {
	var failure *providers.Error
	switch {
	case s.ex.Abandoned():
		return s.ex.Failure(err)
	case s.finished():
		for _, index := range slices.Sorted(maps.Keys(s.choices)) {
			c := s.choices[index]
			s.add(chunkChoice{Index: index, FinishReason: ptr(finishReason(c.finish, c.calls, s.legacy))})
		}
		if s.usage != nil {
			s.add()
			last := s.queue[len(s.queue)-1]
			last.Choices, last.Usage = []chunkChoice{}, s.usage
		}
		s.over = true
		return nil
	case errors.Is(err, sse.ErrTooLarge):
		return upstream.Malformed(s.ex.Status, "The upstream sent an event that is too large.", nil)
	case errors.As(err, &failure):
		return failure
	case s.ex.Ended():
		return s.ex.Failure(err)
	case errors.Is(err, io.EOF) && s.head == nil:
		return upstream.Malformed(s.ex.Status, "The upstream's answer is empty.", nil)
	case errors.Is(err, io.EOF) && len(s.choices) == 0:
		return upstream.Malformed(s.ex.Status, "The upstream's answer has no candidates.", nil)
	}
	return upstream.BrokeOff(err)
}
