package openai

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// streaming says what a request's body is to say about streaming.
type streaming int

const (
	streamAsAsked streaming = iota // what the client said
	streamOff
	streamOn
)

// edit is what must change in the JSON body of a request.
type edit struct {
	model  string
	stream streaming
	usage  bool // of streamOn: ask for stream_options.include_usage
	quirks Quirks
}

// splice copies a request and changes what must change: the model, whether it
// streams, that the usage is told, and what the upstream would not understand.
// Our extensions are dropped. Everything else keeps its bytes and its place. Of
// a changed member only one is written, and none in other capitals: an upstream
// that reads the other one would do what was not checked.
func splice(raw []byte, e edit) ([]byte, error) {
	root := gjson.Parse(providers.View(raw))
	if !root.IsObject() {
		return nil, fmt.Errorf("the request is not a JSON object")
	}
	w := spliced{edit: e, out: append(make([]byte, 0, len(raw)+len(e.model)+96), '{')}
	w.hasLimit = e.quirks.MaxTokens != "" && isSet(root, e.quirks.MaxTokens)
	root.ForEach(func(key, value gjson.Result) bool {
		w.member(key, value)
		return true
	})
	w.model()
	if e.stream == streamOn {
		w.streams()
		w.options(gjson.Result{})
	}
	return append(w.out, '}'), nil
}

// spliced is a request on its way to the upstream.
type spliced struct {
	edit

	out                             []byte
	hasModel, hasStream, hasOptions bool
	hasLimit                        bool // quirks.MaxTokens is there under its own name
}

// member copies a member of the request, or writes what is sent instead.
func (w *spliced) member(key, value gjson.Result) {
	switch name := strings.ToLower(key.Str); {
	case name == "model":
		w.model()
	case w.stream == streamAsAsked:
		w.copy(key.Raw, value.Raw)
	case name == "stream":
		if w.stream == streamOn {
			w.streams()
		}
	case name == "stream_options":
		if w.stream == streamOn {
			w.options(value)
		}
	case name == "conversation_id":
	case w.quirks.MaxTokens != "" && name != w.quirks.MaxTokens && (name == "max_tokens" || name == "max_completion_tokens"):
		if !w.hasLimit {
			w.hasLimit = true
			w.name(w.quirks.MaxTokens)
			w.out = append(w.out, value.Raw...)
		}
	case w.quirks.NoDeveloper && name == "messages":
		w.copy(key.Raw, withoutDeveloper(value))
	default:
		w.copy(key.Raw, value.Raw)
	}
}

func (w *spliced) comma() {
	if len(w.out) > 1 {
		w.out = append(w.out, ',')
	}
}

func (w *spliced) copy(key, value string) {
	w.comma()
	w.out = append(append(append(w.out, key...), ':'), value...)
}

func (w *spliced) name(name string) {
	w.comma()
	w.out = append(gjson.AppendJSONString(w.out, name), ':')
}

func (w *spliced) model() {
	if !w.hasModel {
		w.hasModel = true
		w.name("model")
		w.out = gjson.AppendJSONString(w.out, w.edit.model)
	}
}

func (w *spliced) streams() {
	if !w.hasStream {
		w.hasStream = true
		w.name("stream")
		w.out = append(w.out, "true"...)
	}
}

func (w *spliced) options(old gjson.Result) {
	if w.usage && !w.hasOptions {
		w.hasOptions = true
		w.name("stream_options")
		w.out = appendOptions(w.out, old)
	}
}

// isSet says whether an object has a member that is not null.
func isSet(object gjson.Result, name string) bool {
	found := false
	object.ForEach(func(key, value gjson.Result) bool {
		found = strings.EqualFold(key.Str, name) && value.Type != gjson.Null
		return !found
	})
	return found
}

// withoutDeveloper gives the messages of developers the role system.
func withoutDeveloper(messages gjson.Result) string {
	if !messages.IsArray() || !strings.Contains(messages.Raw, "developer") {
		return messages.Raw
	}
	out := []byte{'['}
	messages.ForEach(func(_, m gjson.Result) bool {
		if len(out) > 1 {
			out = append(out, ',')
		}
		raw := m.Raw
		if m.Get("role").Str == "developer" {
			if changed, err := sjson.SetRaw(raw, "role", `"system"`); err == nil {
				raw = changed
			}
		}
		out = append(out, raw...)
		return true
	})
	return string(append(out, ']'))
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
