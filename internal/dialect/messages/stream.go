package messages

import (
	"github.com/coaidev/coai/internal/dialect"
	"github.com/coaidev/coai/models"
)

// Writer turns the chunks of a completion into Anthropic's events: one block at
// a time, each started, filled and stopped, under growing indexes.
// https://docs.anthropic.com/en/docs/build-with-claude/streaming
type Writer struct {
	asked   string // the client's name of the model
	started bool
	blocks  int    // begun so far
	open    string // what the open block holds: text, thinking, a call; empty: none is open
	calls   dialect.Calls
	finish  models.FinishReason
	events  []*models.StreamEvent
	err     error
}

// NewWriter makes a writer; asked is the client's name of the model, for
// upstreams that give none.
func NewWriter(asked string) *Writer {
	return &Writer{asked: asked, finish: models.FinishStop}
}

const (
	openText     = "text"
	openThinking = "thinking"
	openCall     = "tool_use"
)

type indexed struct {
	Type  string `json:"type"`
	Index int    `json:"index"`
}

type blockStart struct {
	indexed
	Block block `json:"content_block"`
}

type blockDelta struct {
	indexed
	Delta delta `json:"delta"`
}

type delta struct {
	Type     string  `json:"type"`
	Text     *string `json:"text,omitzero"`
	Thinking *string `json:"thinking,omitzero"`
	Partial  *string `json:"partial_json,omitzero"`
}

// Chunk gives the events for a chunk.
func (w *Writer) Chunk(c *models.ChunkBody) ([]*models.StreamEvent, error) {
	w.start(c.Model)
	for i := range c.Choices {
		choice := &c.Choices[i]
		if choice.Index != 0 {
			continue
		}
		d := &choice.Delta
		w.say(openThinking, d.ReasoningContent)
		w.say(openText, d.Content)
		w.say(openText, d.Refusal)
		for j := range d.ToolCalls {
			w.callDelta(&d.ToolCalls[j])
		}
		if choice.FinishReason != nil {
			w.finish = *choice.FinishReason
		}
	}
	return w.take()
}

// End gives the events that end the message.
func (w *Writer) End(u *models.Usage) ([]*models.StreamEvent, error) {
	w.start("")
	w.stop()
	if err := w.calls.Check(); err != nil {
		w.err = err
	}
	type ending struct {
		StopReason   string  `json:"stop_reason"`
		StopSequence *string `json:"stop_sequence"`
	}
	w.event("message_delta", struct {
		Type  string `json:"type"`
		Delta ending `json:"delta"`
		Usage usage  `json:"usage"`
	}{"message_delta", ending{StopReason: stopReason(w.finish, w.calls.Any())}, usageOf(u)})
	w.event("message_stop", struct {
		Type string `json:"type"`
	}{"message_stop"})
	return w.take()
}

// Fail gives the events for a failure: none, as the error itself is one.
func (w *Writer) Fail(*models.Error) []*models.StreamEvent { return nil }

// take hands out the events so far.
func (w *Writer) take() ([]*models.StreamEvent, error) {
	events := w.events
	w.events = nil
	return events, w.err
}

func (w *Writer) event(name string, data any) {
	if w.err != nil {
		return
	}
	raw, err := dialect.Encode(data)
	if err != nil {
		w.err = err
		return
	}
	w.events = append(w.events, &models.StreamEvent{Type: name, Data: raw})
}

// start begins the message. How long the prompt is shows at the end.
func (w *Writer) start(model string) {
	if w.started {
		return
	}
	w.started = true
	if model == "" {
		model = w.asked
	}
	w.event("message_start", struct {
		Type    string  `json:"type"`
		Message message `json:"message"`
	}{"message_start", message{ID: models.NewID(models.MessagePrefix), Type: "message", Role: "assistant", Model: model, Content: []block{}}})
	w.event("ping", struct {
		Type string `json:"type"`
	}{"ping"})
}

// say adds a text to the open block of its kind, or begins one.
func (w *Writer) say(kind string, s *string) {
	if s == nil || *s == "" {
		return
	}
	none := ""
	if w.open != kind {
		w.calls.Close()
		b := block{Type: kind}
		if kind == openThinking {
			b.Thinking, b.Signature = &none, &none
		} else {
			b.Text = &none
		}
		w.begin(kind, b)
	}
	d := delta{Type: "text_delta", Text: s}
	if kind == openThinking {
		d = delta{Type: "thinking_delta", Thinking: s}
	}
	w.delta(d)
}

func (w *Writer) begin(kind string, b block) {
	w.stop()
	w.open = kind
	w.event("content_block_start", blockStart{indexed{"content_block_start", w.blocks}, b})
	w.blocks++
}

func (w *Writer) delta(d delta) {
	w.event("content_block_delta", blockDelta{indexed{"content_block_delta", w.blocks - 1}, d})
}

// stop ends the open block, if there is one.
func (w *Writer) stop() {
	if w.open == "" {
		return
	}
	w.open = ""
	w.event("content_block_stop", indexed{"content_block_stop", w.blocks - 1})
}

// callDelta adds a fragment to a call. Its block begins when its name is known.
func (w *Writer) callDelta(d *models.ToolCall) {
	if w.err != nil {
		return
	}
	c, begins, arguments, err := w.calls.Add(d)
	switch {
	case err != nil:
		w.err = err
		return
	case c == nil:
		return
	case begins:
		w.begin(openCall, block{Type: openCall, ID: callID(&c.ID), Name: c.Name, Input: models.JSON("{}")})
	}
	if arguments != "" {
		w.delta(delta{Type: "input_json_delta", Partial: &arguments})
	}
}
