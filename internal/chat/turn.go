package chat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/coaidev/coai/internal/conversations"
	"github.com/coaidev/coai/models"
)

// turn is the part of a completion that is stored in a conversation. A completion
// without one has a nil turn, whose methods do nothing.
type turn struct {
	*conversations.Turn

	said  []models.JSON // what the request adds
	first string        // what the user said, for a title
}

// turn prepares the turn of a request that names a conversation: what the
// conversation holds goes before the request's messages, also in the bytes that
// upstreams get.
func (s *Service) turn(ctx context.Context, v *models.Viewer, in *models.ChatCompletionInput) (*turn, error) {
	if in.ConversationID == nil {
		if in.ParentMessageID.IsSet() {
			return nil, models.Invalid("parent_message_id", "'parent_message_id' goes with 'conversation_id'.")
		}
		return nil, nil //nolint:nilnil // nothing is stored
	}
	if s.conversations == nil {
		return nil, models.Invalid("conversation_id", "This process stores no conversations.")
	}
	if in.N != nil && *in.N > 1 {
		return nil, models.Invalid("n", "'n' must be 1 in a conversation.")
	}
	own := in.Messages
	if in.Own != nil {
		own = in.Messages[len(in.Messages)-*in.Own:]
	}
	if err := models.ValidateMessages("messages", own); err != nil {
		return nil, err
	}
	opened, err := s.conversations.Turn(ctx, v, *in.ConversationID, in.ParentMessageID)
	if err != nil {
		return nil, err //nolint:wrapcheck // its error is the client's
	}
	t := &turn{Turn: opened}
	if in.Model == "" {
		in.Model = opened.Model
	}
	for i := range own {
		if own[i].Role == models.RoleMessageUser && t.first == "" {
			t.first = own[i].Content.String()
		}
	}
	if t.said, err = said(in, own); err != nil {
		return nil, err
	}
	lead := in.Messages[:in.Lead:in.Lead]
	in.Messages = lead
	for _, body := range opened.History {
		var m models.ChatMessage
		if err := json.Unmarshal(body, &m); err != nil {
			return nil, fmt.Errorf("decode stored message: %w", err)
		}
		in.Messages = append(in.Messages, m)
	}
	in.Messages = append(in.Messages, own...)
	if in.Raw == nil {
		return t, nil
	}
	return t, t.rewrite(in)
}

// said are the request's messages in the bytes that the client sent, if there are
// some.
func said(in *models.ChatCompletionInput, own []models.ChatMessage) ([]models.JSON, error) {
	list := make([]models.JSON, 0, len(own))
	if in.Raw != nil {
		gjson.GetBytes(in.Raw, "messages").ForEach(func(_, m gjson.Result) bool {
			list = append(list, models.JSON(m.Raw))
			return true
		})
		if len(list) == len(own) {
			return list, nil
		}
		list = list[:0] // another spelling of the name
	}
	for i := range own {
		b, err := json.Marshal(&own[i])
		if err != nil {
			return nil, fmt.Errorf("encode message: %w", err)
		}
		list = append(list, b)
	}
	return list, nil
}

// rewrite makes the bytes that upstreams get say the whole conversation.
func (t *turn) rewrite(in *models.ChatCompletionInput) error {
	all := []byte{'['}
	for i, body := range append(t.History[:len(t.History):len(t.History)], t.said...) {
		if i > 0 {
			all = append(all, ',')
		}
		all = append(all, body...)
	}
	raw, err := sjson.SetRawBytes(in.Raw, "messages", append(all, ']'))
	for _, ours := range []string{"conversation_id", "parent_message_id"} {
		if err == nil {
			raw, err = sjson.DeleteBytes(raw, ours)
		}
	}
	if err == nil && gjson.GetBytes(raw, "model").Str == "" {
		raw, err = sjson.SetBytes(raw, "model", in.Model)
	}
	if err != nil {
		return fmt.Errorf("write messages: %w", err)
	}
	in.Raw = raw
	return nil
}

// open writes down what was said, before an upstream is asked.
func (t *turn) open(ctx context.Context, model string) error {
	if t == nil {
		return nil
	}
	return t.Open(ctx, t.said, model) //nolint:wrapcheck // its error is the client's
}

// attempt says under which record the turn is charged.
func (t *turn) attempt(id string) {
	if t != nil {
		t.Attempt(id)
	}
}

// read takes a chunk of the answer, or the whole of it.
func (t *turn) read(raw []byte) {
	if t != nil {
		t.Read(raw)
	}
}

// answerID is the id of the stored answer; nil without one.
func (t *turn) answerID() *string {
	if t == nil {
		return nil
	}
	id := t.AnswerID()
	return &id
}

// done stores an answer that has come whole, before its end goes out.
func (t *turn) done(j *job) error {
	if t == nil {
		return nil
	}
	if err := t.end(j.ctx, models.MessageCompleted, j.read.usage, ""); err != nil {
		e := models.Unavailable(models.CodeOverloaded, "The answer could not be stored in the conversation.")
		e.Cause = err
		return e
	}
	j.s.title(j.ctx, j.viewer, t)
	return nil
}

// failed stores an answer that ended early. It does nothing after done.
func (t *turn) failed(j *job, err error) {
	if t == nil {
		return
	}
	status, code := models.MessageFailed, ""
	if e := new(models.Error); errors.As(err, &e) {
		code = e.Code
	}
	if j.ctx.Err() != nil || err == nil || code == clientClosed {
		status, code = models.MessageInterrupted, errorCode(j.ctx, context.Canceled)
	}
	if err := t.end(j.ctx, status, j.read.usage, code); err != nil {
		j.s.complain(j.ctx, err, "answer not stored; it is recovered later")
	}
}

func (t *turn) end(ctx context.Context, status models.MessageStatus, u *models.Usage, code string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return t.End(ctx, status, u, code) //nolint:wrapcheck // wrapped there
}

// again stores an answer that was kept from an earlier request.
func (t *turn) again(ctx context.Context, hit *cached) error {
	if t == nil {
		return nil
	}
	for _, raw := range append(hit.chunks[:len(hit.chunks):len(hit.chunks)], hit.whole) {
		t.read(raw)
	}
	return t.end(ctx, models.MessageCompleted, hit.usage, "")
}
