package responses

import (
	"strings"
	"time"

	"github.com/coaidev/coai/internal/dialect"
	"github.com/coaidev/coai/models"
)

// Writer turns the chunks of a completion into the events of a response, and
// puts the response together on the way. Items come one after the other: each
// is added, filled, and done. Sequence numbers grow by one.
// https://platform.openai.com/docs/api-reference/responses-streaming
type Writer struct {
	object  *object
	started bool
	open    string // what the last item is still being filled with; empty: nothing
	text    strings.Builder
	calls   dialect.Calls
	finish  models.FinishReason
	number  int // of the next event
	events  []*models.StreamEvent
	err     error
}

// What an item is being filled with.
const (
	openText      = "output_text"
	openRefusal   = "refusal"
	openReasoning = "reasoning"
	openCall      = "function_call"
)

// NewWriter makes a writer for the response with this id.
func NewWriter(in *models.CreateResponseInput, id string, created time.Time) *Writer {
	return &Writer{object: newObject(in, id, created), finish: models.FinishStop}
}

// event is any event: the fields of its type are set.
type event struct {
	Type         string  `json:"type"`
	Sequence     int     `json:"sequence_number"`
	Response     *object `json:"response,omitzero"`
	ItemID       string  `json:"item_id,omitzero"`
	OutputIndex  *int    `json:"output_index,omitzero"`
	ContentIndex *int    `json:"content_index,omitzero"`
	SummaryIndex *int    `json:"summary_index,omitzero"`
	Item         *item   `json:"item,omitzero"`
	Part         *part   `json:"part,omitzero"`
	Delta        *string `json:"delta,omitzero"`
	Text         *string `json:"text,omitzero"`
	Refusal      *string `json:"refusal,omitzero"`
	Name         string  `json:"name,omitzero"`
	Arguments    *string `json:"arguments,omitzero"`
	Logprobs     []any   `json:"logprobs,omitzero"`
}

// Chunk gives the events for a chunk.
func (w *Writer) Chunk(c *models.ChunkBody) ([]*models.StreamEvent, error) {
	w.start(c.Model)
	for i := range c.Choices {
		choice := &c.Choices[i]
		if choice.Index != 0 {
			continue
		}
		w.deltas(&choice.Delta)
		if choice.FinishReason != nil {
			w.finish = *choice.FinishReason
		}
	}
	return w.take()
}

func (w *Writer) deltas(d *models.Delta) {
	w.say(openReasoning, d.ReasoningContent)
	w.say(openText, d.Content)
	w.say(openRefusal, d.Refusal)
	for i := range d.ToolCalls {
		w.call(&d.ToolCalls[i])
	}
}

// Finish ends the response: what [Writer.Response] gives from now on is whole.
func (w *Writer) Finish(u *models.Usage) {
	w.start("")
	w.close()
	if err := w.calls.Check(); err != nil && w.err == nil {
		w.err = err
	}
	w.object.end(w.finish, u, time.Now())
}

// End gives the events that end the response after [Writer.Finish]; the last
// carries the response.
func (w *Writer) End() ([]*models.StreamEvent, error) {
	w.send(&event{Type: "response." + string(w.object.Status), Response: w.object})
	return w.take()
}

// Fail ends the response with a failure, and gives the events for it: none
// before the response has begun.
func (w *Writer) Fail(e *models.Error) []*models.StreamEvent {
	w.err, w.events = nil, nil
	if w.started {
		w.finish = models.FinishLength // what is there was cut off
		w.close()
	}
	w.object.fail(e)
	if w.started {
		w.send(&event{Type: "response.failed", Response: w.object})
	}
	events, _ := w.take()
	return events
}

// Whole reads a completion that came in one piece.
func (w *Writer) Whole(c *models.ChatCompletionBody, u *models.Usage) error {
	chunk := &models.ChunkBody{Model: c.Model}
	for i := range c.Choices {
		choice := &c.Choices[i]
		m := &choice.Message
		calls := append([]models.ToolCall(nil), m.ToolCalls...)
		for j := range calls {
			calls[j].Index = &j
		}
		chunk.Choices = append(chunk.Choices, models.ChunkChoice{
			Index: choice.Index, FinishReason: &choice.FinishReason,
			Delta: models.Delta{Content: m.Content, Refusal: m.Refusal, ReasoningContent: m.ReasoningContent, ToolCalls: calls},
		})
	}
	if _, err := w.Chunk(chunk); err != nil {
		return err
	}
	w.Finish(u)
	return w.err
}

// Response fills in what the writer knows of the response: after its end.
func (w *Writer) Response(r *models.Response) error {
	r.Model, r.Status = w.object.Model, w.object.Status
	var err error
	if r.Output, err = dialect.Encode(w.object.Output); err != nil {
		return err
	}
	r.Raw, err = dialect.Encode(w.object)
	return err
}

// NotStored says that the response will not be found again.
func (w *Writer) NotStored() { w.object.Store = false }

func (w *Writer) take() ([]*models.StreamEvent, error) {
	events := w.events
	w.events = nil
	return events, w.err
}

func (w *Writer) send(e *event) {
	if w.err != nil {
		return
	}
	e.Sequence = w.number
	raw, err := dialect.Encode(e)
	if err != nil {
		w.err = err
		return
	}
	w.number++
	w.events = append(w.events, &models.StreamEvent{Type: e.Type, Data: raw})
}

func (w *Writer) start(model string) {
	if w.started {
		return
	}
	w.started = true
	if model != "" {
		w.object.Model = model
	}
	w.send(&event{Type: "response.created", Response: w.object})
	w.send(&event{Type: "response.in_progress", Response: w.object})
}

// last is the item that is being filled, and its place.
func (w *Writer) last() (*item, *int) {
	at := len(w.object.Output) - 1
	return &w.object.Output[at], &at
}

// add begins an item.
func (w *Writer) add(it *item) {
	w.close()
	w.object.Output = append(w.object.Output, *it)
	last, at := w.last()
	shown := *last // the item goes on to grow
	w.send(&event{Type: "response.output_item.added", OutputIndex: at, Item: &shown})
}

func (w *Writer) id(prefix string) string {
	return ItemID(prefix, w.object.ID, 'o', len(w.object.Output))
}

// say adds a text to what is open, if that is of its kind, or begins it.
func (w *Writer) say(kind string, s *string) {
	if s == nil || *s == "" || w.err != nil {
		return
	}
	if w.open != kind {
		w.calls.Close()
		if kind == openReasoning {
			w.beginReasoning()
		} else {
			w.beginPart(kind)
		}
		w.open = kind
	}
	w.text.WriteString(*s)
	it, at := w.last()
	e := &event{ItemID: it.ID, OutputIndex: at, Delta: s}
	index := len(it.Content) - 1
	switch kind {
	case openReasoning:
		index = 0
		e.Type, e.SummaryIndex = "response.reasoning_summary_text.delta", &index
	case openText:
		e.Type, e.ContentIndex, e.Logprobs = "response.output_text.delta", &index, []any{}
	case openRefusal:
		e.Type, e.ContentIndex = "response.refusal.delta", &index
	}
	w.send(e)
}

func (w *Writer) beginReasoning() {
	w.add(&item{ID: w.id("rs_"), Type: "reasoning", Summary: []part{}})
	it, at := w.last()
	first, none := 0, ""
	w.send(&event{
		Type: "response.reasoning_summary_part.added", ItemID: it.ID, OutputIndex: at, SummaryIndex: &first,
		Part: &part{Type: "summary_text", Text: &none},
	})
}

// beginPart begins a part, in the message that is open or in a new one.
func (w *Writer) beginPart(kind string) {
	if w.open == openText || w.open == openRefusal {
		w.closePart()
	} else {
		w.add(&item{ID: w.id(models.MessagePrefix), Type: "message", Status: "in_progress", Role: "assistant", Content: []part{}})
	}
	it, at := w.last()
	index := len(it.Content)
	p := newPart(kind, "")
	it.Content = append(it.Content, p)
	w.send(&event{Type: "response.content_part.added", ItemID: it.ID, OutputIndex: at, ContentIndex: &index, Part: &p})
}

func newPart(kind, s string) part {
	if kind == openRefusal {
		return part{Type: kind, Refusal: &s}
	}
	return part{Type: kind, Text: &s, Annotations: []any{}, Logprobs: []any{}}
}

// closePart ends the part that is open.
func (w *Writer) closePart() {
	it, at := w.last()
	s := w.text.String()
	w.text.Reset()
	index := len(it.Content) - 1
	p := newPart(w.open, s)
	it.Content[index] = p
	e := &event{Type: "response.output_text.done", ItemID: it.ID, OutputIndex: at, ContentIndex: &index, Text: &s, Logprobs: []any{}}
	if w.open == openRefusal {
		e = &event{Type: "response.refusal.done", ItemID: it.ID, OutputIndex: at, ContentIndex: &index, Refusal: &s}
	}
	w.send(e)
	w.send(&event{Type: "response.content_part.done", ItemID: it.ID, OutputIndex: at, ContentIndex: &index, Part: &p})
}

// close ends the item that is open, if one is.
func (w *Writer) close() {
	if w.open == "" {
		return
	}
	it, at := w.last()
	switch w.open {
	case openText, openRefusal:
		w.closePart()
		it.Status = w.status()
	case openReasoning:
		s, first := w.text.String(), 0
		p := part{Type: "summary_text", Text: &s}
		it.Summary = append(it.Summary, p)
		w.send(&event{Type: "response.reasoning_summary_text.done", ItemID: it.ID, OutputIndex: at, SummaryIndex: &first, Text: &s})
		w.send(&event{Type: "response.reasoning_summary_part.done", ItemID: it.ID, OutputIndex: at, SummaryIndex: &first, Part: &p})
	case openCall:
		s := w.text.String()
		it.Arguments, it.Status = &s, w.status()
		w.send(&event{Type: "response.function_call_arguments.done", ItemID: it.ID, OutputIndex: at, Name: it.Name, Arguments: &s})
	}
	w.text.Reset()
	w.open = ""
	w.send(&event{Type: "response.output_item.done", OutputIndex: at, Item: it})
}

// status is that of the item that is being ended: only a limit or a filter
// leaves one incomplete.
func (w *Writer) status() string {
	if w.finish == models.FinishLength || w.finish == models.FinishContentFilter {
		return "incomplete"
	}
	return "completed"
}

// call adds a fragment to a call. Its item begins when its name is known.
func (w *Writer) call(d *models.ToolCall) {
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
		id, none := c.ID, ""
		if id == "" {
			id = models.NewID("call_")
		}
		w.add(&item{ID: w.id("fc_"), Type: "function_call", Status: "in_progress", CallID: id, Name: c.Name, Arguments: &none})
		w.open = openCall
	}
	if arguments == "" {
		return
	}
	w.text.WriteString(arguments)
	it, at := w.last()
	w.send(&event{Type: "response.function_call_arguments.delta", ItemID: it.ID, OutputIndex: at, Delta: &arguments})
}
