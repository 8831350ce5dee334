package openai

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// requestBody is what goes to the upstream: the client's own bytes where there
// are some, else the input as JSON with the extra members.
func requestBody(req providers.Request, streamed bool, typed map[string]bool) ([]byte, error) {
	raw := req.Input.Raw
	if raw == nil {
		var err error
		if raw, err = marshalInput(req.Input, typed); err != nil {
			return nil, err
		}
	}
	return splice(raw, req.Model, streamed)
}

// splice copies a request and changes what must change: the model, whether it
// streams, and that the usage is told. Our extensions are dropped. Everything
// else keeps its bytes and its place. Of a changed member only one is written,
// and none in other capitals: an upstream that reads the other one would do
// what was not checked.
func splice(raw []byte, model string, streamed bool) ([]byte, error) {
	root := gjson.ParseBytes(raw)
	if !root.IsObject() {
		return nil, fmt.Errorf("the request is not a JSON object")
	}
	out := append(make([]byte, 0, len(raw)+len(model)+96), '{')
	var hasModel, hasStream, hasOptions bool
	member := func(name string) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(gjson.AppendJSONString(out, name), ':')
	}
	writeModel := func() {
		if !hasModel {
			hasModel = true
			member("model")
			out = gjson.AppendJSONString(out, model)
		}
	}
	writeStream := func() {
		if !hasStream {
			hasStream = true
			member("stream")
			out = append(out, "true"...)
		}
	}
	writeOptions := func(old gjson.Result) {
		if !hasOptions {
			hasOptions = true
			member("stream_options")
			out = appendOptions(out, old)
		}
	}
	root.ForEach(func(key, value gjson.Result) bool {
		switch strings.ToLower(key.Str) {
		case "model":
			writeModel()
		case "stream":
			if streamed {
				writeStream()
			}
		case "stream_options":
			if streamed {
				writeOptions(value)
			}
		case "conversation_id":
		default:
			if len(out) > 1 {
				out = append(out, ',')
			}
			out = append(append(append(out, key.Raw...), ':'), value.Raw...)
		}
		return true
	})
	writeModel()
	if streamed {
		writeStream()
		writeOptions(gjson.Result{})
	}
	return append(out, '}'), nil
}

// appendOptions writes stream_options with include_usage, and what else the
// client put there.
func appendOptions(out []byte, old gjson.Result) []byte {
	out = append(out, `{"include_usage":true`...)
	if old.IsObject() {
		old.ForEach(func(key, value gjson.Result) bool {
			if !strings.EqualFold(key.Str, "include_usage") {
				out = append(append(append(append(out, ','), key.Raw...), ':'), value.Raw...)
			}
			return true
		})
	}
	return append(out, '}')
}

// wireInput is the input as upstreams take it.
type wireInput struct {
	*models.ChatCompletionInput

	Messages []wireMessage `json:"messages"`
}

// wireMessage writes an assistant's missing content as null: some servers want
// the key to be there.
type wireMessage models.ChatMessage

func (m wireMessage) MarshalJSON() ([]byte, error) {
	if m.Role == models.RoleMessageAssistant && m.Content == nil {
		return json.Marshal(struct {
			models.ChatMessage

			Content *models.MessageContent `json:"content"`
		}{ChatMessage: models.ChatMessage(m)})
	}
	return json.Marshal(models.ChatMessage(m))
}

// marshalInput writes the input as JSON and adds the extra members that no
// typed field claims, whatever their capitals.
func marshalInput(in *models.ChatCompletionInput, typed map[string]bool) ([]byte, error) {
	wire := wireInput{ChatCompletionInput: in, Messages: make([]wireMessage, len(in.Messages))}
	for i := range in.Messages {
		wire.Messages[i] = wireMessage(in.Messages[i])
	}
	out, err := json.Marshal(wire)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	if len(in.Extra) == 0 {
		return out, nil
	}
	out = out[:len(out)-1]
	gjson.ParseBytes(in.Extra).ForEach(func(key, value gjson.Result) bool {
		if !typed[strings.ToLower(key.Str)] && key.Type == gjson.String {
			out = append(append(append(append(out, ','), key.Raw...), ':'), value.Raw...)
		}
		return true
	})
	return append(out, '}'), nil
}

// typedFields are the names of the request's members that models knows.
func typedFields() map[string]bool {
	names := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[models.ChatCompletionInput]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" {
			names[name] = true
		}
	}
	return names
}
