package ollama

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

const (
	toolCallPrefix = "call_"
	firstLine      = 4 << 10 // bytes; longer ones make the buffer grow
	// How long an ended stream waits for the end of the HTTP body, without which
	// the connection cannot be used again.
	drainTimeout = 50 * time.Millisecond
)

// line is one line of an answer.
type line struct {
	Message struct {
		Content   string `json:"content"`
		Thinking  string `json:"thinking"`
		ToolCalls []struct {
			ID       string         `json:"id"` // newer versions give one
			Function calledFunction `json:"function"`
		} `json:"tool_calls"`
	} `json:"message"`
	Done            bool            `json:"done"`
	DoneReason      string          `json:"done_reason"`
	PromptEvalCount *int64          `json:"prompt_eval_count"` // absent when the prompt was cached
	EvalCount       *int64          `json:"eval_count"`
	Error           json.RawMessage `json:"error"`
}

// stream reads lines of JSON and gives chunks.
type stream struct {
	p       *Provider
	ex      *upstream.Exchange
	req     providers.Request
	lines   *bufio.Scanner
	head    models.ChunkBody // what all chunks share
	queue   []*models.ChunkBody
	started bool
	calls   int
	done    bool
	err     error // sticky
}

func newStream(p *Provider, ex *upstream.Exchange, req providers.Request) *stream {
	lines := bufio.NewScanner(ex)
	lines.Buffer(make([]byte, 0, firstLine), p.client.MaxEvent())
	return &stream{p: p, ex: ex, req: req, lines: lines, head: models.ChunkBody{
		ID: models.NewID(models.CompletionPrefix), Object: "chat.completion.chunk", Created: time.Now().Unix(), Model: req.Model,
	}}
}

// Next implements [providers.Stream].
func (s *stream) Next() (*models.ChatCompletionChunk, error) {
	body, err := s.next()
	if err != nil {
		return nil, err
	}
	return models.NewChunk(body), nil
}

// Close implements [providers.Stream].
func (s *stream) Close() error {
	if errors.Is(s.err, io.EOF) {
		s.ex.Patience(drainTimeout)
		for n := 0; n < 16 && s.lines.Scan(); n++ { //nolint:revive // the lines after the last are nothing
		}
	}
	if s.err == nil {
		s.err = &providers.Error{Class: providers.Canceled, Message: "The stream was closed."}
	}
	s.ex.Close()
	return nil
}

func (s *stream) next() (*models.ChunkBody, error) {
	for len(s.queue) == 0 {
		if s.err == nil {
			s.err = s.read()
		}
		if s.err != nil {
			return nil, s.err
		}
	}
	body := s.queue[0]
	s.queue = s.queue[1:]
	return body, nil
}

// read takes the next line and queues what it says.
func (s *stream) read() error {
	if s.done {
		return io.EOF
	}
	for s.lines.Scan() {
		raw := bytes.TrimSpace(s.lines.Bytes())
		if !s.started {
			raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
		}
		if len(raw) == 0 {
			continue
		}
		var l line
		if err := json.Unmarshal(raw, &l); err != nil || raw[0] != '{' {
			if !s.started && raw[0] != '{' {
				return upstream.Malformed(s.ex.Status, "The upstream's answer is not in Ollama's form.", nil)
			}
			var cut *json.SyntaxError
			if errors.As(err, &cut) && int(cut.Offset) >= len(raw) { // the last line, cut off
				return s.brokeOff(io.ErrUnexpectedEOF)
			}
			return upstream.Malformed(s.ex.Status, "The upstream sent a line that is not in Ollama's form.", nil)
		}
		if failure := s.p.answeredError(raw, l.Error, s.req); failure != nil {
			return failure
		}
		s.take(&l)
		return nil
	}
	return s.brokeOff(s.lines.Err())
}

// brokeOff says why there are no more lines, although the answer has not ended.
func (s *stream) brokeOff(err error) error {
	switch {
	case errors.Is(err, bufio.ErrTooLong):
		return upstream.Malformed(s.ex.Status, "The upstream sent a line that is too large.", nil)
	case s.ex.Ended():
		return s.ex.Failure(err)
	case err == nil && !s.started:
		return upstream.Malformed(s.ex.Status, "The upstream's answer is empty.", nil)
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	return upstream.BrokeOff(err)
}

// take queues the chunks that a line amounts to.
func (s *stream) take(l *line) {
	if !s.started {
		s.started = true
		role, nothing := models.RoleMessageAssistant, ""
		s.add(models.Delta{Role: &role, Content: &nothing}, nil)
	}
	if l.Message.Thinking != "" {
		s.add(models.Delta{ReasoningContent: &l.Message.Thinking}, nil)
	}
	if l.Message.Content != "" {
		s.add(models.Delta{Content: &l.Message.Content}, nil)
	}
	if n := len(l.Message.ToolCalls); n > 0 {
		list := make([]models.ToolCall, n)
		for i := range list {
			list[i] = s.call(l.Message.ToolCalls[i].ID, &l.Message.ToolCalls[i].Function)
		}
		s.add(models.Delta{ToolCalls: list}, nil)
	}
	if !l.Done {
		return
	}
	s.done = true
	reason := s.reason(l.DoneReason)
	s.add(models.Delta{}, &reason)
	if u := usage(l); u != nil {
		body := s.head
		body.Choices, body.Usage = []models.ChunkChoice{}, u
		s.queue = append(s.queue, &body)
	}
}

func (s *stream) add(d models.Delta, reason *models.FinishReason) {
	body := s.head
	body.Choices = []models.ChunkChoice{{Delta: d, FinishReason: reason}}
	s.queue = append(s.queue, &body)
}

// call gives a call the id and the index that OpenAI's clients tell calls apart by.
func (s *stream) call(id string, f *calledFunction) models.ToolCall {
	if id == "" {
		id = models.NewID(toolCallPrefix)
	}
	index, kind, arguments := s.calls, "function", string(f.Arguments)
	s.calls++
	switch {
	case arguments == "", arguments == "null":
		arguments = "{}"
	case arguments[0] == '"': // some servers in Ollama's guise send OpenAI's text
		arguments = gjson.Parse(arguments).Str
	}
	return models.ToolCall{Index: &index, ID: &id, Type: &kind, Function: &models.FunctionCall{Name: &f.Name, Arguments: &arguments}}
}

func (s *stream) reason(done string) models.FinishReason {
	switch {
	case done == "length":
		return models.FinishLength
	case s.calls > 0:
		return models.FinishToolCalls
	}
	return models.FinishStop // also load and unload: there was nothing to say
}

// usage are the counts of the last line; nil when it lacks one, as it may when
// the prompt was in the cache.
func usage(l *line) *models.Usage {
	if l.PromptEvalCount == nil || l.EvalCount == nil || *l.PromptEvalCount < 0 || *l.EvalCount < 0 {
		return nil
	}
	return &models.Usage{
		PromptTokens: *l.PromptEvalCount, CompletionTokens: *l.EvalCount, TotalTokens: *l.PromptEvalCount + *l.EvalCount,
	}
}

// whole reads the stream to its end and puts the answer together.
func (s *stream) whole() (*models.ChatCompletion, error) {
	var text, thinking strings.Builder
	body := &models.ChatCompletionBody{ID: s.head.ID, Object: "chat.completion", Created: s.head.Created, Model: s.head.Model}
	choice := models.Choice{Message: models.ResponseMessage{Role: models.RoleMessageAssistant}}
	for {
		chunk, err := s.next()
		if errors.Is(err, io.EOF) && s.done {
			break
		}
		if err != nil {
			return nil, err
		}
		if chunk.Usage != nil {
			body.Usage = chunk.Usage
		}
		for _, c := range chunk.Choices {
			if c.Delta.Content != nil {
				text.WriteString(*c.Delta.Content)
			}
			if c.Delta.ReasoningContent != nil {
				thinking.WriteString(*c.Delta.ReasoningContent)
			}
			for _, call := range c.Delta.ToolCalls {
				call.Index = nil
				choice.Message.ToolCalls = append(choice.Message.ToolCalls, call)
			}
			if c.FinishReason != nil {
				choice.FinishReason = *c.FinishReason
			}
		}
		if text.Len()+thinking.Len() > s.p.client.MaxBytes() {
			return nil, upstream.Malformed(s.ex.Status, "The upstream's answer is too large.", nil)
		}
	}
	if said := text.String(); said != "" || len(choice.Message.ToolCalls) == 0 {
		choice.Message.Content = &said
	}
	if thought := thinking.String(); thought != "" {
		choice.Message.ReasoningContent = &thought
	}
	body.Choices = []models.Choice{choice}
	return models.NewChatCompletion(body), nil
}
