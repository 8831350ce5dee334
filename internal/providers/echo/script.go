package echo

import (
	"strings"
	"time"
	"unicode"

	"github.com/coaidev/coai/models"
)

// fragment is how many bytes of a call's arguments come at a time, about.
const fragment = 16

type stage int

const (
	stageRole stage = iota
	stageSay
	stageFinish
	stageUsage
	stageEnd
)

// script is an answer's chunks, made one by one: the role for each choice, each
// piece for each choice, the finish for each, the usage.
type script struct {
	answer *answer
	base   models.ChunkBody
	stage  stage
	choice int
	said   int // bytes of the text, or of the call's arguments, that were said
	call   int // the call that is being said
	called bool
	delta  models.Delta // the piece that is said to each choice in turn
}

func newScript(a *answer, model string) *script {
	s := &script{answer: a, base: models.ChunkBody{
		ID: models.NewID(models.CompletionPrefix), Object: "chat.completion.chunk",
		Created: time.Now().Unix(), Model: model,
	}}
	role := models.RoleMessageAssistant
	s.delta.Role = &role
	if len(a.calls) == 0 {
		s.delta.Content = new("")
	}
	return s
}

// next is the next chunk, nil after the last.
func (s *script) next() *models.ChunkBody {
	body := s.base
	switch s.stage {
	case stageUsage:
		s.stage = stageEnd
		body.Choices, body.Usage = []models.ChunkChoice{}, s.answer.usage()
		return &body
	case stageEnd:
		return nil
	case stageRole, stageSay, stageFinish:
	}
	choice := models.ChunkChoice{Index: s.choice, Delta: s.delta}
	if s.stage == stageFinish {
		choice.FinishReason = &s.answer.finish
	}
	body.Choices = []models.ChunkChoice{choice}
	if s.choice++; s.choice == s.answer.choices {
		s.choice = 0
		s.turn()
	}
	return &body
}

// turn prepares what is said next, once every choice has said the same.
func (s *script) turn() {
	if s.stage == stageFinish {
		s.stage = stageUsage
		return
	}
	s.stage = stageSay
	var more bool
	if len(s.answer.calls) > 0 {
		s.delta, more = s.callPiece()
	} else {
		s.delta, more = s.textPiece()
	}
	if !more {
		s.stage, s.delta = stageFinish, models.Delta{}
	}
}

// textPiece is the next word with the space before it.
func (s *script) textPiece() (models.Delta, bool) {
	rest := s.answer.text[s.said:]
	if rest == "" {
		return models.Delta{}, false
	}
	start := len(rest) - len(strings.TrimLeftFunc(rest, unicode.IsSpace))
	end := len(rest)
	if i := strings.IndexFunc(rest[start:], unicode.IsSpace); i >= 0 {
		end = start + i
	}
	s.said += end
	return models.Delta{Content: new(rest[:end])}, true
}

// callPiece is the next piece of the calls: of each its name first, then its
// arguments in fragments.
func (s *script) callPiece() (models.Delta, bool) {
	for s.call < len(s.answer.calls) {
		c := &s.answer.calls[s.call]
		if !s.called {
			s.called = true
			return s.callDelta(&c.id, c.function("")), true
		}
		if rest := c.arguments[s.said:]; rest != "" {
			n := min(fragment, len(rest))
			for n < len(rest) && rest[n]&0xC0 == 0x80 { // never inside a character
				n++
			}
			s.said += n
			return s.callDelta(nil, &models.FunctionCall{Arguments: new(rest[:n])}), true
		}
		s.call, s.called, s.said = s.call+1, false, 0
	}
	return models.Delta{}, false
}

func (s *script) callDelta(id *string, f *models.FunctionCall) models.Delta {
	if s.answer.legacy {
		return models.Delta{FunctionCall: f}
	}
	call := models.ToolCall{Index: new(s.call), ID: id, Function: f}
	if id != nil {
		call.Type = new("function")
	}
	return models.Delta{ToolCalls: []models.ToolCall{call}}
}

// halfway says whether half of the answer has been said to every choice.
func (s *script) halfway() bool {
	if s.stage == stageRole || s.choice > 0 {
		return false
	}
	if n := len(s.answer.calls); n > 0 {
		return 2*s.call >= n || s.stage != stageSay
	}
	pending := 0 // a piece that is ready, but not yet said
	if s.delta.Content != nil {
		pending = len(*s.delta.Content)
	}
	return 2*(s.said-pending) >= len(s.answer.text) || s.stage != stageSay
}
