package anthropic

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// openBlock is a content block on its way.
type openBlock struct {
	kind  string
	call  int    // its index among the tool calls; -1 for a call that clients do not see
	input string // of a tool: what its start said already
	said  bool   // of a tool: some arguments went out

	// Of thinking, kept because the block goes back whole: the insides of JSON strings.
	thinking, signature []byte
}

// openBlock takes in the start of a content block.
func (s *stream) openBlock(event gjson.Result) error {
	index, b := event.Get("index").Int(), event.Get("content_block")
	s.closeBlock(index) // its end was not told
	if len(s.blocks) >= maxOpenBlocks {
		return upstream.Malformed(s.ex.Status, "The upstream sent too many blocks at a time.", nil)
	}
	o := &openBlock{kind: b.Get("type").Str, call: -1}
	switch o.kind {
	case blockText:
		s.sayText("content", b.Get("text"))
	case blockThinking:
		s.think(o, b.Get("thinking"))
		o.signature = append(o.signature, inside(b.Get("signature"))...)
	case blockRedacted:
		s.say(`{"` + thinkingBlocks + `":[` + string(redactedBlock(s.thoughts, stringOf(b.Get("data")))) + `]}`)
		s.thoughts++
	case blockUse:
		o.input = argumentsOf(b.Get("input"))
		s.beginCall(o, b)
	default:
		return nil // of a tool that runs at Anthropic's
	}
	s.blocks[index] = o
	return nil
}

// beginCall makes the first delta of a call. Blocks are counted by Anthropic,
// calls by OpenAI.
func (s *stream) beginCall(o *openBlock, b gjson.Result) {
	if s.legacy && s.calls > 0 {
		return // the legacy form has room for one
	}
	o.call = s.calls
	s.calls++
	name := string(stringOf(b.Get("name")))
	if s.legacy {
		s.say(`{"function_call":{"name":` + name + `,"arguments":""}}`)
		return
	}
	id := string(stringOf(b.Get("id")))
	if id == `""` {
		id = strconv.Quote(models.NewID("call_"))
	}
	s.say(fmt.Sprintf(`{"tool_calls":[{"index":%d,"id":%s,"type":"function","function":{"name":%s,"arguments":""}}]}`, o.call, id, name))
}

// arguments makes a further delta of a call; text is JSON.
func (s *stream) arguments(o *openBlock, text string) {
	o.said = true
	if s.legacy {
		s.say(`{"function_call":{"arguments":` + text + `}}`)
		return
	}
	s.say(`{"tool_calls":[{"index":` + strconv.Itoa(o.call) + `,"function":{"arguments":` + text + `}}]}`)
}

// delta takes in a piece of a content block.
func (s *stream) delta(event gjson.Result) error {
	d := event.Get("delta")
	o := s.blocks[event.Get("index").Int()]
	switch d.Get("type").Str {
	case "text_delta":
		s.sayText("content", d.Get("text"))
	case "thinking_delta":
		if o == nil {
			s.sayText("reasoning_content", d.Get("thinking"))
			return nil
		}
		s.think(o, d.Get("thinking"))
	case "signature_delta":
		if o != nil {
			o.signature = append(o.signature, inside(d.Get("signature"))...)
		}
	case "input_json_delta":
		if text := d.Get("partial_json"); o != nil && o.call >= 0 && text.Str != "" {
			s.arguments(o, text.Raw)
		}
	}
	if o != nil && len(o.thinking)+len(o.signature) > s.p.client.MaxEvent() {
		return upstream.Malformed(s.ex.Status, "The upstream sent a block that is too large.", nil)
	}
	return nil
}

// closeBlock takes in the end of a content block.
func (s *stream) closeBlock(index int64) {
	o := s.blocks[index]
	if o == nil {
		return
	}
	delete(s.blocks, index)
	switch {
	case o.kind == blockThinking:
		s.say(`{"` + thinkingBlocks + `":[` + string(thinkingBlock(s.thoughts, quoted(o.thinking), quoted(o.signature))) + `]}`)
		s.thoughts++
	case o.kind == blockUse && o.call >= 0 && !o.said:
		s.arguments(o, string(gjson.AppendJSONString(nil, o.input))) // a call without arguments has no deltas
	}
}

// closeAll ends the blocks whose end was not told.
func (s *stream) closeAll() {
	for _, index := range slices.Sorted(maps.Keys(s.blocks)) {
		s.closeBlock(index)
	}
}

func (s *stream) think(o *openBlock, text gjson.Result) {
	o.thinking = append(o.thinking, inside(text)...)
	s.sayText("reasoning_content", text)
}

// sayText makes a delta of a text, whose bytes are passed on as they are.
func (s *stream) sayText(member string, text gjson.Result) {
	if text.Type == gjson.String && text.Str != "" {
		s.say(`{"` + member + `":` + text.Raw + `}`)
	}
}

// inside gives a JSON string's bytes without the quotes: such can be joined.
func inside(r gjson.Result) string {
	if r.Type != gjson.String || len(r.Raw) < 2 {
		return ""
	}
	return r.Raw[1 : len(r.Raw)-1]
}

func quoted(inside []byte) []byte {
	return append(append(append(make([]byte, 0, len(inside)+2), '"'), inside...), '"')
}
