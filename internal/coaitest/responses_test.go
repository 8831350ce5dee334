package coaitest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/accounts"
	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

type response struct {
	ID, Object, Status, Model string
	Store                     bool
	Output                    []responseItem
	Error                     *struct{ Code, Message string }
	Incomplete                *struct{ Reason string } `json:"incomplete_details"`
	Previous                  *string                  `json:"previous_response_id"`
	Usage                     struct {
		Input   int64 `json:"input_tokens"`
		Output  int64 `json:"output_tokens"`
		Total   int64 `json:"total_tokens"`
		Details struct {
			Cached int64 `json:"cached_tokens"`
		} `json:"input_tokens_details"`
	}
}

type responseItem struct {
	ID, Type, Status, Role, Name, Arguments string
	CallID                                  string `json:"call_id"`
	Content                                 []struct{ Type, Text string }
	Summary                                 []struct{ Type, Text string }
}

// otherKey is a key of another account.
func otherKey(t *testing.T, p *coaitest.Product) string {
	t.Helper()
	acc := accounts.New(p.DB, accounts.Config{})
	u, err := acc.MakeUser(t.Context(), models.CreateUserInput{Email: "other@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	made, err := acc.CreateAPIKey(t.Context(), accounts.Operator(u), models.CreateAPIKeyInput{Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	return *made.Secret
}

// text is all that the response says.
func (r response) text() (s string) {
	for _, i := range r.Output {
		for _, c := range i.Content {
			s += c.Text
		}
	}
	return s
}

type responseEvent struct {
	Type     string
	Number   *int `json:"sequence_number"`
	Response *response
	Index    *int `json:"output_index"`
	Item     *responseItem
	ItemID   string `json:"item_id"`
	Delta    string
	Code     string
}

// responseEvents reads a stream of events and holds them to the protocol:
// numbers grow by one, and each item is added, filled and done in its turn.
func responseEvents(t *testing.T, s *coaitest.EventStream) (last responseEvent, text string, names []string) {
	t.Helper()
	open, next := "", 0
	for i, raw := range s.All() {
		last = decode[responseEvent](t, raw)
		names = append(names, last.Type)
		if last.Number == nil || *last.Number != i {
			t.Errorf("event %d: %s", i, raw)
		}
		switch last.Type {
		case "response.output_item.added":
			if open != "" || *last.Index != next {
				t.Errorf("%s while %s is open", raw, open)
			}
			open, next = last.Item.ID, next+1
		case "response.output_item.done":
			if last.Item.ID != open {
				t.Errorf("%s while %s is open", raw, open)
			}
			open = ""
		case "response.output_text.delta":
			text += last.Delta
		}
		if last.ItemID != "" && last.ItemID != open {
			t.Errorf("%s while %s is open", raw, open)
		}
	}
	if open != "" {
		t.Errorf("the item %s is never done", open)
	}
	return last, text, names
}

func TestResponsesWorkOnAnyChannel(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		key, other := p.UserKey(nil), otherKey(t, p)
		tools := []object{{"type": "function", "name": "look_up", "parameters": object{"type": "object", "properties": object{"word": object{"type": "string"}}, "required": []string{"word"}}}}
		create := func(t *testing.T, in object) response {
			t.Helper()
			in["model"] = "echo"
			res := p.Do("POST", "/v1/responses", key, in)
			var r response
			if res.JSON(t, &r); res.Status != http.StatusOK {
				t.Fatalf("%d %s", res.Status, res.Body)
			}
			return r
		}
		t.Run("whole", func(t *testing.T) {
			r := create(t, object{"input": "Hello there, world", "instructions": "Be kind."})
			if r.Object != "response" || r.Status != "completed" || r.text() != "Hello there, world" || !strings.HasPrefix(r.ID, "resp_") ||
				r.Usage.Input == 0 || r.Usage.Total != r.Usage.Input+r.Usage.Output {
				t.Errorf("%+v", r)
			}
		})
		t.Run("stream", func(t *testing.T) {
			in := object{"model": "echo", "input": "Hello there, world", "stream": true}
			end, text, names := responseEvents(t, coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/responses", key, in)))
			if text != "Hello there, world" || end.Type != "response.completed" || end.Response.text() != text || end.Response.Usage.Output == 0 || names[0] != "response.created" {
				t.Errorf("%q, %+v, %v", text, end, names)
			}
			res := p.Do("GET", "/v1/responses/"+end.Response.ID, key, nil)
			var r response
			if res.JSON(t, &r); res.Status != http.StatusOK || r.text() != text {
				t.Errorf("%d %s", res.Status, res.Body)
			}
		})
		t.Run("tools, followed", func(t *testing.T) {
			r := create(t, object{"input": "Look up 'word'.", "tools": tools, "tool_choice": "required"})
			call := r.Output[len(r.Output)-1]
			if call.Type != "function_call" || call.Name != "look_up" || call.CallID == "" || decode[object](t, call.Arguments)["word"] == nil {
				t.Fatalf("%+v", r)
			}
			next := create(t, object{"previous_response_id": r.ID, "tools": tools, "input": []object{{"type": "function_call_output", "call_id": call.CallID, "output": "A unit of language."}}})
			if next.Previous == nil || *next.Previous != r.ID || next.Usage.Input <= r.Usage.Input || next.text() == "" {
				t.Errorf("%+v", next)
			}
			byReference := create(t, object{"tools": tools, "input": []object{
				{"role": "user", "content": "Look it up."}, {"type": "item_reference", "id": call.ID},
				{"type": "function_call_output", "call_id": call.CallID, "output": []object{{"type": "input_text", "text": "A unit of language."}}},
			}})
			if byReference.text() == "" {
				t.Errorf("%+v", byReference)
			}
			res := p.Do("GET", "/v1/responses/"+byReference.ID+"/input_items?order=asc&limit=2", key, nil)
			var list struct {
				Data    []responseItem
				HasMore bool   `json:"has_more"`
				LastID  string `json:"last_id"`
			}
			if res.JSON(t, &list); len(list.Data) != 2 || !list.HasMore || list.Data[0].Content[0].Type != "input_text" || list.Data[1].ID != call.ID {
				t.Errorf("%s", res.Body)
			}
			res = p.Do("GET", "/v1/responses/"+byReference.ID+"/input_items?order=asc&after="+list.LastID, key, nil)
			if res.JSON(t, &list); len(list.Data) != 1 || list.HasMore || list.Data[0].Type != "function_call_output" {
				t.Errorf("%s", res.Body)
			}
		})
		t.Run("stored or not", func(t *testing.T) {
			kept, gone := create(t, object{"input": "a"}), create(t, object{"input": "b", "store": false})
			if !kept.Store || gone.Store {
				t.Errorf("%+v %+v", kept, gone)
			}
			missing := func(id, key string) {
				t.Helper()
				for _, c := range []struct{ method, path string }{
					{"GET", ""}, {"DELETE", ""}, {"GET", "/input_items"}, {"POST", "/cancel"},
				} {
					if res := p.Do(c.method, "/v1/responses/"+id+c.path, key, nil); res.Status != http.StatusNotFound {
						t.Errorf("%s %s: %d %s", c.method, c.path, res.Status, res.Body)
					}
				}
				res := p.Do("POST", "/v1/responses", key, object{"model": "echo", "input": "x", "previous_response_id": id})
				if e := res.Error(t); res.Status != http.StatusNotFound || *e.Param != "previous_response_id" {
					t.Errorf("%d %s", res.Status, res.Body)
				}
			}
			missing(gone.ID, key)
			missing(kept.ID, other)
			res := p.Do("POST", "/v1/responses", other, object{"model": "echo", "input": []object{{"type": "item_reference", "id": kept.Output[0].ID}}})
			if e := res.Error(t); res.Status != http.StatusNotFound || *e.Param != "input[0].id" {
				t.Errorf("%d %s", res.Status, res.Body)
			}
			if res := p.Do("POST", "/v1/responses/"+kept.ID+"/cancel", key, nil); res.Status != http.StatusBadRequest {
				t.Errorf("%d %s", res.Status, res.Body)
			}
			next := create(t, object{"input": "c", "previous_response_id": kept.ID})
			if res := p.Do("DELETE", "/v1/responses/"+kept.ID, key, nil); res.Status != http.StatusOK || !strings.Contains(string(res.Body), `"deleted":true`) {
				t.Errorf("%d %s", res.Status, res.Body)
			}
			missing(kept.ID, key)
			if res := p.Do("POST", "/v1/responses", key, object{"model": "echo", "input": "x", "previous_response_id": next.ID}); res.Status != http.StatusNotFound {
				t.Errorf("a chain with a hole: %d %s", res.Status, res.Body)
			}
		})
		t.Run("GraphQL", func(t *testing.T) {
			var made struct {
				CreateResponse struct {
					Response struct {
						ID, Status string
						Usage      struct{ TotalTokens int }
					}
				}
			}
			errs := p.GraphQL(key, `mutation { createResponse(input: {model: "echo", input: "Hi", metadata: {k: "v"}}) { response { id status usage { totalTokens } } userErrors { message } } }`, nil, &made)
			r := made.CreateResponse.Response
			if len(errs) > 0 || r.Status != "COMPLETED" || r.Usage.TotalTokens == 0 {
				t.Fatalf("%+v %+v", errs, made)
			}
			var read struct {
				Response struct {
					Raw response
				}
				Items struct {
					Nodes []struct{ ID string }
				}
			}
			errs = p.GraphQL(key, `query($id: ID!) { response(id: $id) { raw createdAt } items: responseInputItems(id: $id) { nodes { id raw } totalCount } }`, object{"id": r.ID}, &read)
			if len(errs) > 0 || read.Response.Raw.text() != "Hi" || len(read.Items.Nodes) != 1 {
				t.Errorf("%+v %+v", errs, read)
			}
		})
	})
}

func TestResponsesReachOpenAIUpstreams(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		up := coaitest.NewUpstream(t, coaitest.Whole("Hi"))
		p.Channel(up, nil)
		key := p.UserKey(nil)
		res := p.Do("POST", "/v1/responses", key, object{
			"model": "gpt-test", "instructions": "Be kind.", "max_output_tokens": 50, "reasoning": object{"effort": "high"}, "prompt_cache_key": "k",
			"text": object{"format": object{"type": "json_schema", "name": "n", "schema": object{"type": "object"}, "strict": true}},
			"input": []object{
				{"role": "user", "content": []object{{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}}},
				{"type": "reasoning", "id": "rs_1", "summary": []object{}},
				{"type": "function_call", "call_id": "c1", "name": "a", "arguments": "{}"}, {"type": "function_call", "call_id": "c2", "name": "b", "arguments": "{}"},
				{"type": "function_call_output", "call_id": "c1", "output": "one"}, {"type": "function_call_output", "call_id": "c2", "output": "two"},
			},
			"tools":       []object{{"type": "function", "name": "a"}, {"type": "function", "name": "b", "parameters": object{"type": "object"}}},
			"tool_choice": object{"type": "allowed_tools", "mode": "required", "tools": []object{{"type": "function", "name": "b"}}},
		})
		var r response
		if res.JSON(t, &r); res.Status != http.StatusOK || r.Usage.Input != 11 || r.Usage.Details.Cached != 4 || r.Usage.Output != 7 {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		sent := decode[struct {
			Messages []struct {
				Role      string
				ToolCalls []object `json:"tool_calls"`
			}
			Tools     []struct{ Function struct{ Name string } }
			Choice    string `json:"tool_choice"`
			MaxTokens int    `json:"max_completion_tokens"`
			Effort    string `json:"reasoning_effort"`
			CacheKey  string `json:"prompt_cache_key"`
			Format    struct {
				Schema struct{ Name string } `json:"json_schema"`
			} `json:"response_format"`
		}](t, string(up.Calls()[0].Body))
		roles := ""
		for _, m := range sent.Messages {
			roles += m.Role + " "
		}
		if roles != "system user assistant tool tool " || len(sent.Messages[2].ToolCalls) != 2 || len(sent.Tools) != 1 || sent.Tools[0].Function.Name != "b" ||
			sent.Choice != "required" || sent.MaxTokens != 50 || sent.Effort != "high" || sent.CacheKey != "k" || sent.Format.Schema.Name != "n" {
			t.Errorf("%s: %+v", roles, sent)
		}
		if rec := p.Usage(1)[0]; rec.PromptTokens != 11 || rec.CompletionTokens != 7 || rec.CachedTokens != 4 || rec.Operation != models.OperationChat {
			t.Errorf("%+v", rec)
		}
	})
}

func TestResponsesErrors(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	key := p.UserKey(nil)
	for name, c := range map[string]struct {
		in          object
		status      int
		code, param string
	}{
		"no input":          {object{}, 400, "missing_parameter", "input"},
		"a built-in tool":   {object{"input": "x", "tools": []object{{"type": "web_search"}}}, 400, "unsupported_parameter", "tools[0].type"},
		"background":        {object{"input": "x", "background": true}, 400, "unsupported_parameter", "background"},
		"an unknown item":   {object{"input": []object{{"type": "computer_call"}}}, 400, "unsupported_parameter", "input[0].type"},
		"a part's type":     {object{"input": []object{{"role": "user", "content": []object{{"type": "input_text", "text": 1}}}}}, 400, "invalid_value", "input[0].content[0].text"},
		"an output alone":   {object{"input": []object{{"type": "function_call_output", "call_id": "c", "output": "x"}}}, 400, "invalid_value", "input[0].call_id"},
		"a file by id":      {object{"input": []object{{"role": "user", "content": []object{{"type": "input_image", "file_id": "f"}}}}}, 404, "resource_not_found", "input[0].content[0].file_id"},
		"unknown to follow": {object{"input": "x", "previous_response_id": "resp_none"}, 404, "resource_not_found", "previous_response_id"},
		"unknown model":     {object{"input": "x", "model": "nothing"}, 404, "model_not_found", "model"},
		"temperature":       {object{"input": "x", "temperature": 3}, 400, "invalid_value", "temperature"},
	} {
		t.Run(name, func(t *testing.T) {
			in := object{"model": "echo"}
			for k, v := range c.in {
				in[k] = v
			}
			res := p.Do("POST", "/v1/responses", key, in)
			if e := res.Error(t); res.Status != c.status || e.Code != c.code || e.Param == nil || *e.Param != c.param {
				t.Errorf("%d %s", res.Status, res.Body)
			}
		})
	}
}

func TestResponsesStreamsThatBreak(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_UPSTREAM_RETRIES=0")
	key := p.UserKey(nil)
	up := coaitest.NewUpstream(t, coaitest.Events(coaitest.FirstChunk, coaitest.Chunk("Hello")))
	p.Channel(up, nil)
	in := object{"model": "gpt-test", "input": "x", "stream": true}
	end, text, _ := responseEvents(t, coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/responses", key, in)))
	if end.Type != "response.failed" || text != "Hello" || end.Response.Status != "failed" || end.Response.Error.Code != "server_error" || end.Response.Output[0].Status != "incomplete" {
		t.Errorf("%+v", end)
	}
	if res := p.Do("GET", "/v1/responses/"+end.Response.ID, key, nil); res.Status != http.StatusNotFound {
		t.Errorf("a failed response is kept: %d", res.Status)
	}
	up.Then(coaitest.Status(500, "text/plain", "no"))
	if res := p.Do("POST", "/v1/responses", key, in); res.Status != http.StatusServiceUnavailable || res.Error(t).Code != models.CodeUpstreamError {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	gone := make(chan struct{})
	up.Then(func(w http.ResponseWriter, c *coaitest.Call) {
		coaitest.StartEvents(w)
		coaitest.Event(w, coaitest.FirstChunk)
		<-c.Gone
		close(gone)
	})
	res := p.Open(t.Context(), "POST", "/v1/responses", key, in)
	coaitest.NewEventStream(t, res).Next()
	_ = res.Body.Close()
	<-gone
	if rec := p.Usage(3)[2]; rec.ErrorCode != "client_closed_request" || rec.PromptTokens == 0 {
		t.Errorf("%+v", rec)
	}
}
