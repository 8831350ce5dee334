package anthropic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// Caps on an answer's tokens for models of which the catalogue has none.
const (
	oldMaxTokens = 4096  // what every Claude 3 allows
	newMaxTokens = 32000 // what every model since Claude 4 allows
)

// wireRequest is a request in Anthropic's form.
type wireRequest struct {
	Model         string          `json:"model"`
	MaxTokens     int             `json:"max_tokens"`
	System        []block         `json:"system,omitempty"`
	Messages      []turn          `json:"messages"`
	Tools         []tool          `json:"tools,omitempty"`
	ToolChoice    *toolChoice     `json:"tool_choice,omitempty"`
	StopSequences []string        `json:"stop_sequences,omitempty"`
	Temperature   *float64        `json:"temperature,omitempty"`
	TopP          *float64        `json:"top_p,omitempty"`
	TopK          json.RawMessage `json:"top_k,omitempty"`
	Thinking      json.RawMessage `json:"thinking,omitempty"`
	OutputConfig  *outputConfig   `json:"output_config,omitempty"`
	Metadata      *metadata       `json:"metadata,omitempty"`
	ServiceTier   string          `json:"service_tier,omitempty"`
	CacheControl  json.RawMessage `json:"cache_control,omitempty"`
	Stream        bool            `json:"stream,omitempty"`
}

type outputConfig struct {
	Effort string          `json:"effort,omitempty"`
	Format json.RawMessage `json:"format,omitempty"`
}

type metadata struct {
	UserID string `json:"user_id"`
}

// translation turns one request into Anthropic's form.
type translation struct {
	in    *models.ChatCompletionInput
	raw   gjson.Result // the members that are not typed are read from here
	drop  bool
	model version
	out   wireRequest

	rawMessages []gjson.Result // as in.Messages; nil when nothing in them is of interest
	functionID  string         // of the last legacy function call
	unthought   bool           // the conversation ends in calls that did not begin with thinking
}

// translate gives the body of the upstream request.
func (p *Provider) translate(req providers.Request, streamed bool) ([]byte, error) {
	in := req.Input
	t := &translation{in: in, drop: p.drop, model: versionOf(req.Model)}
	t.raw = gjson.ParseBytes(in.Extra)
	if in.Raw != nil {
		t.raw = gjson.ParseBytes(in.Raw)
		if bytes.Contains(in.Raw, []byte(`"cache_control"`)) || bytes.Contains(in.Raw, []byte(`"`+thinkingBlocks+`"`)) {
			t.rawMessages = t.raw.Get("messages").Array()
		}
	}
	t.out = wireRequest{Model: req.Model, Stream: streamed, MaxTokens: t.maxTokens(req.MaxOutputTokens)}
	for _, step := range []func() error{
		t.messages, t.tools, t.parameters, t.format,
		func() error { return t.extras(p.typed) },
		t.reasoning,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(&t.out); err != nil {
		return nil, &providers.Error{
			Class: providers.Rejected, Code: models.CodeInvalidValue,
			Message: "The request cannot be sent to the upstream.", Cause: fmt.Errorf("encode request: %w", err),
		}
	}
	return bytes.TrimRight(body.Bytes(), "\n"), nil
}

func (t *translation) maxTokens(ofModel int) int {
	switch {
	case t.in.MaxCompletionTokens != nil:
		return *t.in.MaxCompletionTokens
	case t.in.MaxTokens != nil:
		return *t.in.MaxTokens
	case ofModel > 0:
		return ofModel
	case t.model >= claude4:
		return newMaxTokens
	}
	return oldMaxTokens
}

// maxTokensParam is the parameter that caps the answer.
func (t *translation) maxTokensParam() string {
	if t.in.MaxCompletionTokens == nil && t.in.MaxTokens != nil {
		return "max_tokens"
	}
	return "max_completion_tokens"
}

// rawMessage gives the client's bytes of a message, to read members that are
// not typed.
func (t *translation) rawMessage(i int) gjson.Result {
	if len(t.rawMessages) != len(t.in.Messages) {
		return gjson.Result{}
	}
	return t.rawMessages[i]
}

// unsupported refuses a parameter, and says what to do instead, unless such are
// to be left out.
func (t *translation) unsupported(param, advice string) error {
	if t.drop {
		return nil
	}
	return &providers.Error{
		Class: providers.Rejected, Status: http.StatusBadRequest, Code: models.CodeUnsupportedParameter, Param: param,
		Message: fmt.Sprintf("'%s' is not supported by this model's upstream. %s", param, advice),
	}
}

// invalid refuses a value that cannot be said in Anthropic's form.
func invalid(param, format string, args ...any) error {
	return &providers.Error{
		Class: providers.Rejected, Status: http.StatusBadRequest, Code: models.CodeInvalidValue, Param: param,
		Message: fmt.Sprintf("'%s' ", param) + fmt.Sprintf(format, args...),
	}
}

func indexed(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// rawOf gives a member's bytes; nil when it is absent or null.
func rawOf(r gjson.Result) json.RawMessage {
	if !r.Exists() || r.Type == gjson.Null {
		return nil
	}
	return json.RawMessage(r.Raw)
}

// typedMembers are the names of the request's members that models knows.
func typedMembers() map[string]bool {
	names := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[models.ChatCompletionInput]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" {
			names[name] = true
		}
	}
	return names
}
