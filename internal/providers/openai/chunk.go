package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// choice is what a stream has said about one of its choices.
type choice struct {
	finished bool
	calls    []call
}

// call is a tool call of a choice; its place in the list is the index that
// clients see.
type call struct {
	upstream int64 // the index that the upstream uses for it, -1 for none
	id       string
}

// afterKey gives what follows the first `"key":` in raw, and raw's rest after
// the key. A string value that looks like the key is told apart by the missing
// colon. It is much cheaper than parsing, for chunks that say nothing special.
func afterKey(raw, quotedKey []byte) (value, rest []byte) {
	for {
		i := bytes.Index(raw, quotedKey)
		if i < 0 {
			return nil, nil
		}
		raw = raw[i+len(quotedKey):]
		if v := skipSpace(raw); len(v) > 0 && v[0] == ':' {
			return skipSpace(v[1:]), raw
		}
	}
}

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\r' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// hasChoice says whether the first `"choices":` in raw has an object in it.
func hasChoice(raw []byte) bool {
	value, _ := afterKey(raw, []byte(`"choices"`))
	return len(value) > 0 && value[0] == '[' && bytes.HasPrefix(skipSpace(value[1:]), []byte{'{'})
}

// hasChoices says whether a chunk has a choice in it.
func hasChoices(raw []byte) bool {
	if hasChoice(raw) {
		return true
	}
	choices := gjson.GetBytes(raw, "choices")
	return choices.IsArray() && choices.Get("0").IsObject()
}

// withChoices gives a chunk that has only usage the empty list that clients
// iterate over.
func withChoices(raw []byte) ([]byte, error) {
	if gjson.GetBytes(raw, "choices").IsArray() {
		return raw, nil
	}
	return set(raw, "choices", "[]")
}

// mayFinish says whether some finish_reason in the chunk is not null.
func mayFinish(raw []byte) bool {
	for {
		value, rest := afterKey(raw, []byte(`"finish_reason"`))
		if value == nil {
			return false
		}
		if len(value) > 0 && value[0] != 'n' {
			return true
		}
		raw = rest
	}
}

// follow takes note of what a chunk says about its choices' ends and tool
// calls, and mends what upstreams are known to get wrong there.
func (s *stream) follow(raw []byte) ([]byte, error) {
	var failure *providers.Error
	var err error
	out, position := raw, -1
	gjson.GetBytes(raw, "choices").ForEach(func(_, c gjson.Result) bool {
		position++
		at := "choices." + strconv.Itoa(position)
		state := s.choice(c.Get("index").Int())
		out, err = state.numberCalls(out, at, c)
		if err != nil {
			return false
		}
		reason := c.Get("finish_reason")
		if reason.Type == gjson.Null {
			return true
		}
		if reason.Str == "error" {
			failure = &providers.Error{Class: providers.Unavailable, Message: "The upstream broke off in the middle of its answer."}
			return false
		}
		if reason.Str == "" { // sent instead of null
			out, err = set(out, at+".finish_reason", "null")
			return err == nil
		}
		state.finished = true
		s.ex.Patience(idleAfterFinish)
		if right := finishReason(reason.Str, len(state.calls) > 0); string(right) != reason.Str {
			out, err = set(out, at+".finish_reason", strconv.Quote(string(right)))
		}
		return err == nil
	})
	if failure != nil {
		return nil, failure
	}
	return out, err
}

func (s *stream) choice(index int64) *choice {
	c := s.choices[index]
	if c == nil {
		c = &choice{}
		if s.choices == nil {
			s.choices = map[int64]*choice{}
		}
		s.choices[index] = c
	}
	return c
}

// numberCalls gives each tool call of a delta its index: from 0, one for each call.
func (c *choice) numberCalls(raw []byte, at string, delta gjson.Result) ([]byte, error) {
	var err error
	position := -1
	delta.Get("delta.tool_calls").ForEach(func(_, t gjson.Result) bool {
		position++
		upstream := int64(-1)
		if i := t.Get("index"); i.Type == gjson.Number {
			upstream = i.Int()
		}
		index := c.callIndex(upstream, t.Get("id").Str)
		if index != upstream {
			path := at + ".delta.tool_calls." + strconv.Itoa(position) + ".index"
			raw, err = set(raw, path, strconv.FormatInt(index, 10))
		}
		return err == nil
	})
	return raw, err
}

// callIndex finds the call that a delta belongs to. A delta goes on with the
// newest call of its index, or, without an index, with the newest of all,
// unless it has an id and that is another's: then it begins a new call.
func (c *choice) callIndex(upstream int64, id string) int64 {
	for i, known := range slices.Backward(c.calls) {
		if known.upstream != upstream && upstream >= 0 {
			continue
		}
		if id == "" || known.id == "" || id == known.id {
			if id != "" {
				c.calls[i].id = id
			}
			return int64(i)
		}
	}
	c.calls = append(c.calls, call{upstream: upstream, id: id})
	return int64(len(c.calls) - 1)
}

// finishReason is one of OpenAI's reasons. With tool calls it is never stop:
// agents would take the answer for their last.
func finishReason(reason string, calls bool) models.FinishReason {
	switch r := models.FinishReason(reason); r {
	case models.FinishLength, models.FinishToolCalls, models.FinishContentFilter, models.FinishFunctionCall:
		return r
	case models.FinishStop:
	}
	switch reason {
	case "max_tokens", "MAX_TOKENS":
		return models.FinishLength
	case "safety", "SAFETY", "refusal":
		return models.FinishContentFilter
	}
	if calls {
		return models.FinishToolCalls
	}
	return models.FinishStop
}

// finishChunk finishes the choices that the upstream left unfinished.
func (s *stream) finishChunk() ([]byte, error) {
	last := gjson.ParseBytes(s.last)
	if len(s.choices) == 0 {
		s.choice(last.Get("choices.0.index").Int())
	}
	body := models.ChunkBody{
		ID: last.Get("id").Str, Object: "chat.completion.chunk",
		Created: last.Get("created").Int(), Model: last.Get("model").Str,
	}
	for index, c := range s.choices {
		if !c.finished {
			reason := finishReason("stop", len(c.calls) > 0)
			body.Choices = append(body.Choices, models.ChunkChoice{Index: int(index), FinishReason: &reason})
			c.finished = true
		}
	}
	slices.SortFunc(body.Choices, func(a, b models.ChunkChoice) int { return a.Index - b.Index })
	raw, err := json.Marshal(&body)
	if err != nil {
		return nil, fmt.Errorf("encode finish chunk: %w", err)
	}
	return raw, nil
}

// completed gives a chunk of Azure's asynchronous content filter what it lacks
// and clients read: the head that all chunks share, and a delta.
func (s *stream) completed(raw []byte) ([]byte, error) {
	var err error
	last, root := gjson.ParseBytes(s.last), gjson.ParseBytes(raw)
	for _, key := range []string{"id", "object", "created", "model"} {
		known := last.Get(key)
		if given := root.Get(key); known.Exists() && (given.Str == "" && given.Num == 0) {
			if raw, err = set(raw, key, known.Raw); err != nil {
				return nil, err
			}
		}
	}
	position := -1
	root.Get("choices").ForEach(func(_, c gjson.Result) bool {
		position++
		if !c.Get("delta").IsObject() {
			raw, err = set(raw, "choices."+strconv.Itoa(position)+".delta", "{}")
		}
		return err == nil
	})
	return raw, err
}

func set(raw []byte, path, value string) ([]byte, error) {
	out, err := sjson.SetRawBytes(raw, path, []byte(value))
	if err != nil {
		return nil, upstream.Malformed(0, "The upstream sent a chunk that is not in OpenAI's shape.", err)
	}
	return out, nil
}
