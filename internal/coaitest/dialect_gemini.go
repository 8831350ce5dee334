package coaitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/coaidev/coai/models"
)

// Gemini is the language of Google's Gemini API.
// https://ai.google.dev/api/generate-content
func Gemini() Dialect {
	return Dialect{
		Name: "gemini", Type: models.ChannelGemini, Say: SayGemini, Refuse: RefuseGemini,
		Lacks: map[string]string{"cache write": "Gemini tells and charges only what was read from a cache"},
	}
}

type (
	geminiPart    map[string]any
	geminiContent struct {
		Parts []geminiPart `json:"parts"`
		Role  string       `json:"role"`
	}
	geminiCandidate struct {
		Content      geminiContent `json:"content"`
		FinishReason string        `json:"finishReason,omitempty"`
		Index        int           `json:"index"`
	}
	geminiResponse struct {
		Candidates    []geminiCandidate `json:"candidates,omitempty"`
		UsageMetadata map[string]any    `json:"usageMetadata,omitempty"`
		ModelVersion  string            `json:"modelVersion"`
		ResponseID    string            `json:"responseId"`
	}
)

// SayGemini answers a call of generateContent or of streamGenerateContent.
func SayGemini(w http.ResponseWriter, c *Call, a Answer) {
	var asked struct {
		Contents []geminiContent
	}
	if err := json.Unmarshal(c.Body, &asked); err != nil || len(asked.Contents) == 0 || c.Header.Get("X-Goog-Api-Key") != UpstreamKey {
		RefuseGemini(w, c, RefuseBadRequest)
		return
	}
	var parts []geminiPart
	for _, s := range a.Thinking {
		parts = append(parts, geminiPart{"text": s, "thought": true})
	}
	for _, s := range a.Text {
		parts = append(parts, geminiPart{"text": s})
	}
	said := len(parts)
	for i, call := range a.Calls { // a call comes whole, and of parallel ones the first is signed
		part := geminiPart{"functionCall": map[string]any{"name": call.Name, "args": json.RawMessage(strings.Join(call.Arguments, ""))}}
		if i == 0 {
			part["thoughtSignature"] = "c2lnbmF0dXJl"
		}
		parts = append(parts, part)
	}
	if !strings.HasSuffix(c.Path, ":streamGenerateContent") {
		Status(http.StatusOK, "application/json; charset=UTF-8", Quote(a.gemini(parts, a.geminiFinish(), true)))(w, c)
		return
	}
	StartEvents(w)
	for i, part := range parts {
		if i == said && (a.Cut || a.Fail) {
			break
		}
		Event(w, Quote(a.gemini([]geminiPart{part}, "", false)))
	}
	switch {
	case a.Cut:
		CutOff()
	case a.Fail:
		Event(w, `{"error":{"code":503,"message":"The model is overloaded. `+UpstreamKey+`","status":"UNAVAILABLE"}}`)
	default:
		Event(w, Quote(a.gemini([]geminiPart{{"text": ""}}, a.geminiFinish(), true)))
	}
}

// geminiFinish is the reason in Gemini's words: with calls it is STOP too.
func (a *Answer) geminiFinish() string {
	switch a.Finished() {
	case models.FinishLength:
		return "MAX_TOKENS"
	case models.FinishContentFilter:
		return "SAFETY"
	case models.FinishStop, models.FinishToolCalls, models.FinishFunctionCall:
	}
	return "STOP"
}

// gemini is an event, or a whole answer. The counts grow with each event; at
// the start there are those of the prompt alone.
func (a *Answer) gemini(parts []geminiPart, finish string, last bool) *geminiResponse {
	r := &geminiResponse{
		Candidates:   []geminiCandidate{{Content: geminiContent{Parts: parts, Role: "model"}, FinishReason: finish}},
		ModelVersion: "gemini-test-001", ResponseID: "respGeminiUpstream",
	}
	if a.NoUsage {
		return r
	}
	u := a.Usage
	r.UsageMetadata = map[string]any{"promptTokenCount": u.Prompt, "totalTokenCount": u.Prompt}
	if u.Cached > 0 {
		r.UsageMetadata["cachedContentTokenCount"] = u.Cached
	}
	if last {
		r.UsageMetadata["candidatesTokenCount"] = u.Completion - u.Reasoning
		r.UsageMetadata["totalTokenCount"] = u.Prompt + u.Completion
		if u.Reasoning > 0 {
			r.UsageMetadata["thoughtsTokenCount"] = u.Reasoning
		}
	}
	return r
}

// RefuseGemini refuses in the form of Google's APIs, a prompt by an answer
// without candidates.
// https://ai.google.dev/gemini-api/docs/troubleshooting
func RefuseGemini(w http.ResponseWriter, c *Call, r Refusal) {
	refuse := func(code int, status, message, details string) {
		Status(code, "application/json; charset=UTF-8", fmt.Sprintf(`{"error":{"code":%d,"message":%s,"status":%q%s}}`,
			code, Quote(message+" "+UpstreamKey), status, details))(w, c)
	}
	switch r {
	case RefuseBadRequest:
		refuse(http.StatusBadRequest, "INVALID_ARGUMENT", "Request contains an invalid argument.", "")
	case RefuseContext:
		refuse(http.StatusBadRequest, "INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", "")
	case RefuseFilter:
		Status(http.StatusOK, "application/json; charset=UTF-8",
			`{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9},"modelVersion":"gemini-test-001"}`)(w, c)
	case RefuseCredential:
		refuse(http.StatusBadRequest, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.",
			`,"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]`)
	case RefuseModel:
		refuse(http.StatusNotFound, "NOT_FOUND", "models/gemini-test is not found for API version v1beta, or is not supported for generateContent.", "")
	case RefuseRate:
		refuse(http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details.",
			`,"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"7s"}]`)
	case RefuseOverloaded:
		refuse(http.StatusServiceUnavailable, "UNAVAILABLE", "The model is overloaded. Please try again later.", "")
	case RefuseUnavailable:
		refuse(http.StatusInternalServerError, "INTERNAL", "An internal error has occurred.", "")
	case RefuseHTML:
		RefuseWithHTML(w, c)
	}
}
