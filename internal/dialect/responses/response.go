package responses

import (
	"time"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/dialect"
	"github.com/coaidev/coai/models"
)

// object is the response on the wire.
type object struct {
	ID                 string                `json:"id"`
	Object             string                `json:"object"`
	CreatedAt          int64                 `json:"created_at"`
	Status             models.ResponseStatus `json:"status"`
	Background         bool                  `json:"background"`
	Conversation       *conversation         `json:"conversation,omitzero"`
	CompletedAt        *int64                `json:"completed_at"`
	Error              *failure              `json:"error"`
	IncompleteDetails  *incomplete           `json:"incomplete_details"`
	Instructions       *string               `json:"instructions"`
	MaxOutputTokens    *int                  `json:"max_output_tokens"`
	MaxToolCalls       *int                  `json:"max_tool_calls"`
	Model              string                `json:"model"`
	Output             []item                `json:"output"`
	ParallelToolCalls  bool                  `json:"parallel_tool_calls"`
	PreviousResponseID *string               `json:"previous_response_id"`
	PromptCacheKey     *string               `json:"prompt_cache_key,omitzero"`
	Reasoning          reasoning             `json:"reasoning"`
	SafetyIdentifier   *string               `json:"safety_identifier,omitzero"`
	ServiceTier        *string               `json:"service_tier,omitzero"`
	Store              bool                  `json:"store"`
	Temperature        *float64              `json:"temperature"`
	Text               models.JSON           `json:"text"`
	ToolChoice         models.JSON           `json:"tool_choice"`
	Tools              []models.JSON         `json:"tools"`
	TopP               *float64              `json:"top_p"`
	Truncation         string                `json:"truncation"`
	Usage              *usage                `json:"usage,omitzero"`
	User               *string               `json:"user,omitzero"`
	Metadata           models.Metadata       `json:"metadata"`
}

type conversation struct {
	ID string `json:"id"`
}

type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type incomplete struct {
	Reason string `json:"reason"`
}

type reasoning struct {
	Effort  *string `json:"effort"`
	Summary *string `json:"summary"`
}

// usage counts the tokens. The cost is the product's own.
type usage struct {
	InputTokens  int64         `json:"input_tokens"`
	InputDetails inputDetails  `json:"input_tokens_details"`
	OutputTokens int64         `json:"output_tokens"`
	OutputDetail outputDetails `json:"output_tokens_details"`
	TotalTokens  int64         `json:"total_tokens"`
	Cost         *models.Nanos `json:"cost,omitzero"`
}

type inputDetails struct {
	CachedTokens     int64 `json:"cached_tokens"`
	CacheWriteTokens int64 `json:"cache_write_tokens"`
}

type outputDetails struct {
	ReasoningTokens int64 `json:"reasoning_tokens"`
}

// item is an item of the output: the fields of its type are set.
type item struct {
	ID        string  `json:"id"`
	Type      string  `json:"type"`
	Status    string  `json:"status,omitzero"`
	Role      string  `json:"role,omitzero"`
	Content   []part  `json:"content,omitzero"`
	CallID    string  `json:"call_id,omitzero"`
	Name      string  `json:"name,omitzero"`
	Arguments *string `json:"arguments,omitzero"`
	Summary   []part  `json:"summary,omitzero"`
}

// part is a piece of an item.
type part struct {
	Type        string  `json:"type"`
	Text        *string `json:"text,omitzero"`
	Annotations []any   `json:"annotations,omitzero"` // never nil where it belongs, and always empty
	Logprobs    []any   `json:"logprobs,omitzero"`
	Refusal     *string `json:"refusal,omitzero"`
}

func usageOf(u *models.Usage) *usage {
	if u == nil {
		return nil
	}
	out := &usage{
		InputTokens: u.PromptTokens, OutputTokens: u.CompletionTokens, TotalTokens: u.TotalTokens, Cost: u.Cost,
		InputDetails: inputDetails{CachedTokens: u.CachedTokens()}, OutputDetail: outputDetails{ReasoningTokens: u.ReasoningTokens()},
	}
	if d := u.PromptTokensDetails; d != nil {
		out.InputDetails.CacheWriteTokens = d.CacheWriteTokens
	}
	return out
}

// newObject is the response before anything has come.
func newObject(in *models.CreateResponseInput, id string, created time.Time) *object {
	o := &object{
		ID: id, Object: "response", CreatedAt: created.Unix(), Status: models.ResponseInProgress,
		Instructions: in.Instructions, MaxOutputTokens: in.MaxOutputTokens, MaxToolCalls: in.MaxToolCalls, Model: in.Model,
		Output: []item{}, ParallelToolCalls: in.ParallelToolCalls == nil || *in.ParallelToolCalls,
		PreviousResponseID: in.PreviousResponseID, PromptCacheKey: in.PromptCacheKey, SafetyIdentifier: in.SafetyIdentifier,
		ServiceTier: in.ServiceTier, Store: in.Stores(), Temperature: in.Temperature, TopP: in.TopP,
		Text: models.JSON(`{"format":{"type":"text"}}`), ToolChoice: models.JSON(`"auto"`), Tools: []models.JSON{},
		Truncation: "disabled", User: in.User, Metadata: in.Metadata,
	}
	switch text := dialect.Of("", in.Text); {
	case text.Get("format").Given():
		o.Text = in.Text
	case text.Get("verbosity").Given():
		o.Text = set(o.Text, "verbosity", text.Get("verbosity").Str)
	}
	if c := dialect.Of("", in.Conversation); c.Is() {
		o.Conversation = &conversation{ID: c.Str}
	} else if c.Given() {
		o.Conversation = &conversation{ID: c.Get("id").Str}
	}
	if r := dialect.Of("", in.Reasoning); r.Given() {
		o.Reasoning = reasoning{Effort: text(r.Get("effort")), Summary: text(r.Get("summary"))}
	}
	if choice := dialect.Of("", in.ToolChoice); choice.Given() {
		o.ToolChoice = in.ToolChoice
	}
	gjson.ParseBytes(in.Tools).ForEach(func(_, tool gjson.Result) bool {
		raw := models.JSON(tool.Raw)
		if !tool.Get("strict").Exists() {
			raw = set(raw, "strict", false)
		}
		if !tool.Get("parameters").Exists() {
			raw = set(raw, "parameters", nil)
		}
		o.Tools = append(o.Tools, raw)
		return true
	})
	if in.Truncation != nil {
		o.Truncation = *in.Truncation
	}
	if o.Metadata == nil {
		o.Metadata = models.Metadata{}
	}
	return o
}

func text(v dialect.Value) *string {
	if !v.Is() {
		return nil
	}
	return &v.Str
}

// end says how the response ended.
func (o *object) end(finish models.FinishReason, u *models.Usage, now time.Time) {
	o.Status, o.Usage = models.ResponseCompleted, usageOf(u)
	switch finish {
	case models.FinishLength:
		o.Status, o.IncompleteDetails = models.ResponseIncomplete, &incomplete{Reason: "max_output_tokens"}
	case models.FinishContentFilter:
		o.Status, o.IncompleteDetails = models.ResponseIncomplete, &incomplete{Reason: "content_filter"}
	case models.FinishStop, models.FinishToolCalls, models.FinishFunctionCall:
		at := now.Unix()
		o.CompletedAt = &at
	}
}

// fail says that the response failed, in one of the codes that OpenAI has.
func (o *object) fail(e *models.Error) {
	o.Status, o.Error = models.ResponseFailed, &failure{Code: "server_error", Message: e.Message}
	if e.Kind == models.KindRateLimited {
		o.Error.Code = "rate_limit_exceeded"
	}
}
