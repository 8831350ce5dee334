package coaitest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

// gemini starts a product with a channel to a scripted Gemini.
func gemini(t *testing.T, more object) (*coaitest.Product, *coaitest.Upstream) {
	t.Helper()
	p := coaitest.Start(t, coaitest.Backends{})
	up := coaitest.NewUpstream(t)
	in := object{"type": "gemini", "base_url": up.URL, "models": []string{"gpt-test"}, "model_mapping": object{"gpt-test": "gemini-3-flash-preview"}}
	for k, v := range more {
		in[k] = v
	}
	p.Channel(up, in)
	return p, up
}

func says(a coaitest.Answer) coaitest.Reply {
	return func(w http.ResponseWriter, c *coaitest.Call) { coaitest.SayGemini(w, c, a) }
}

// A conversation with tools goes to and fro: what the client got, it sends back,
// and Gemini hears the function's name, the signature and the ids again.
func TestGeminiToolsRoundTrip(t *testing.T) {
	p, up := gemini(t, nil)
	up.Then(says(coaitest.Answer{
		Text: []string{"I look."}, Usage: coaitest.Tokens{Prompt: 30, Cached: 10, Completion: 20, Reasoning: 5},
		Calls: []coaitest.ToolCall{
			{Name: "get_weather", Arguments: []string{`{"zone":1,"city":"Oslo"}`}},
			{Name: "get_weather", Arguments: []string{`{"city":"Bern"}`}},
		},
	}))
	key := p.UserKey(nil)
	tools := []object{{"type": "function", "function": object{"name": "get_weather", "parameters": json.RawMessage(`{"type":"object","properties":{"zone":{"type":"integer"},"city":{"type":"string"}},"additionalProperties":false}`)}}}
	messages := []any{object{"role": "system", "content": "Be brief."}, object{"role": "user", "content": "Weather?"}}
	res := p.Do("POST", "/v1/chat/completions", key, object{"model": "gpt-test", "messages": messages, "tools": tools, "tool_choice": "required"})
	var first struct {
		Model   string
		Choices []struct {
			Message      map[string]any
			FinishReason string `json:"finish_reason"`
		}
		Usage models.Usage
	}
	if res.JSON(t, &first); res.Status != http.StatusOK || first.Choices[0].FinishReason != "tool_calls" || first.Model != "gpt-test" {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	if u := first.Usage; u.PromptTokens != 30 || u.CompletionTokens != 20 || u.CachedTokens() != 10 || u.ReasoningTokens() != 5 {
		t.Errorf("usage %+v", u)
	}
	answer := first.Choices[0].Message
	calls, _ := answer["tool_calls"].([]any)
	if len(calls) != 2 {
		t.Fatalf("%s", res.Body)
	}
	messages = append(messages, answer)
	for i, c := range calls {
		id, _ := c.(map[string]any)["id"].(string)
		messages = append(messages, object{"role": "tool", "tool_call_id": id, "content": []string{`{"temp":3}`, "warm"}[i]})
	}
	up.Then(says(coaitest.Answer{Text: []string{"Cold and warm."}, Usage: coaitest.Tokens{Prompt: 60, Completion: 4}}))
	res = p.Do("POST", "/v1/chat/completions", key, object{"model": "gpt-test", "messages": messages, "tools": tools})
	var second completion
	if res.JSON(t, &second); res.Status != http.StatusOK || second.Choices[0].Message.Content != "Cold and warm." {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	asked := up.Calls()
	if asked[1].Path != "/v1beta/models/gemini-3-flash-preview:generateContent" || asked[1].Header.Get("Authorization") != "" {
		t.Errorf("asked %s with %v", asked[1].Path, asked[1].Header)
	}
	if !strings.Contains(string(asked[0].Body), `"properties":{"zone":{"type":"integer"},"city":{"type":"string"}}`) {
		t.Errorf("the schema's order is lost: %s", asked[0].Body)
	}
	var sent struct {
		Contents []struct {
			Role  string
			Parts []struct {
				Text             string
				ThoughtSignature string
				FunctionCall     *struct {
					ID, Name string
					Args     json.RawMessage
				}
				FunctionResponse *struct {
					ID, Name string
					Response json.RawMessage
				}
			}
		}
		SystemInstruction struct{ Parts []struct{ Text string } }
	}
	if err := json.Unmarshal(asked[1].Body, &sent); err != nil || len(sent.Contents) != 3 || sent.SystemInstruction.Parts[0].Text != "Be brief." {
		t.Fatalf("%v: %s", err, asked[1].Body)
	}
	model, results := sent.Contents[1], sent.Contents[2]
	if model.Role != "model" || len(model.Parts) != 3 || model.Parts[0].Text != "I look." || results.Role != "user" || len(results.Parts) != 2 {
		t.Fatalf("sent %s", asked[1].Body)
	}
	if model.Parts[1].ThoughtSignature != "c2lnbmF0dXJl" || string(model.Parts[1].FunctionCall.Args) != `{"zone":1,"city":"Oslo"}` || model.Parts[2].ThoughtSignature != "" {
		t.Errorf("sent calls %+v", model.Parts)
	}
	for i, want := range []string{`{"temp":3}`, `{"result":"warm"}`} {
		call, result := model.Parts[i+1].FunctionCall, results.Parts[i].FunctionResponse
		if result.Name != "get_weather" || result.ID != call.ID || string(result.Response) != want {
			t.Errorf("result %d is %+v, want %s for %+v", i, result, want, call)
		}
	}
	records := p.Usage(2)
	if r := records[0]; r.PromptTokens != 30 || r.CompletionTokens != 20 || r.CachedTokens != 10 || r.ReasoningTokens != 5 || r.UpstreamModel != "gemini-3-flash-preview" || r.Estimated {
		t.Errorf("record %+v", r)
	}
}

// What Gemini cannot do is refused with the parameter's name, or left out where
// the channel says so.
func TestGeminiUnsupportedParameters(t *testing.T) {
	p, up := gemini(t, nil)
	up.Then(says(coaitest.Answer{Text: []string{"ok"}}))
	res := p.Do("POST", "/v1/chat/completions", p.UserKey(nil), ask("gpt-test", object{"logit_bias": object{"5": 1}}))
	if e := res.Error(t); res.Status != http.StatusBadRequest || e.Code != "unsupported_parameter" || e.Param == nil || *e.Param != "logit_bias" {
		t.Errorf("%d %+v", res.Status, e)
	}
	if n := len(up.Calls()); n != 0 {
		t.Errorf("the upstream was asked %d times", n)
	}
	p, up = gemini(t, object{"settings": object{"drop_unsupported": true}})
	up.Then(says(coaitest.Answer{Text: []string{"ok"}}))
	if res = p.Do("POST", "/v1/chat/completions", p.UserKey(nil), ask("gpt-test", object{"logit_bias": object{"5": 1}})); res.Status != http.StatusOK {
		t.Errorf("%d %s", res.Status, res.Body)
	}
}

// Images by URL never come from inside the operator's network, although the
// channel itself may be there, as the scripted upstream is.
func TestGeminiImagesComeFromOutside(t *testing.T) {
	p, up := gemini(t, nil)
	up.Then(says(coaitest.Answer{Text: []string{"ok"}}))
	for _, url := range []string{up.URL + "/image.png", "http://169.254.169.254/latest/meta-data/", "http://localhost:1/a.png"} {
		res := p.Do("POST", "/v1/chat/completions", p.UserKey(nil), object{"model": "gpt-test", "messages": []object{{"role": "user", "content": []object{
			{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": object{"url": url}},
		}}}})
		if e := res.Error(t); res.Status != http.StatusBadRequest || e.Param == nil || *e.Param != "messages[0].content[1].image_url.url" {
			t.Errorf("%s: %d %+v", url, res.Status, e)
		}
	}
	if calls := up.Calls(); len(calls) != 0 {
		t.Errorf("the upstream's network was reached: %s", calls[0].Path)
	}
}

// A function call that cannot be read is the request's bad luck, and rests the
// channel for nobody.
func TestGeminiUnreadableCallsRestNothing(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_UPSTREAM_RETRIES=0")
	up := coaitest.NewUpstream(t, coaitest.Status(200, "application/json", `{"candidates":[{"index":0,"finishReason":"MALFORMED_FUNCTION_CALL"}],"usageMetadata":{"promptTokenCount":3,"totalTokenCount":3}}`))
	p.Channel(up, object{"type": "gemini", "base_url": up.URL})
	for range 10 {
		if res := p.Do("POST", "/v1/chat/completions", coaitest.AdminKey, ask("gpt-test", nil)); res.Status != 503 || res.Error(t).Code != models.CodeUpstreamError {
			t.Errorf("%d %s", res.Status, res.Body)
		}
	}
	if n := len(up.Calls()); n != 10 {
		t.Errorf("the upstream was asked %d times", n)
	}
}
