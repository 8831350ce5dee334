package coaitest_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/coaitest"
)

// An Azure channel whose credential is an application in Entra ID: the mapping
// names the deployment, and nothing of it reaches the client.
func TestAzureThroughEntra(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		var query string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/tenant/oauth2/v2.0/token":
				coaitest.Status(http.StatusOK, "application/json", `{"token_type":"Bearer","expires_in":3600,"access_token":"entra-token"}`)(w, nil)
			case r.Header.Get("Authorization") != "Bearer entra-token" || r.URL.Path != "/openai/deployments/prod-4o/chat/completions":
				coaitest.RefuseAzure(w, nil, coaitest.RefuseCredential)
			default:
				query = r.URL.RawQuery
				coaitest.StartEvents(w)
				for _, e := range []string{
					`{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{}}]}`,
					coaitest.FirstChunk, coaitest.Chunk("Hello"), coaitest.FinishChunk, coaitest.UsageChunk, coaitest.Done,
				} {
					coaitest.Event(w, e)
				}
			}
		}))
		t.Cleanup(server.Close)
		res := p.Do("POST", "/v1/channels", coaitest.AdminKey, object{
			"name": "azure", "type": "azure", "base_url": server.URL, "credential": "entra:tenant:client:client-secret-value",
			"models": []string{"gpt-test"}, "model_mapping": object{"gpt-test": "prod-4o"},
			"settings": object{"api_version": "2025-01-01-preview", "authority_url": server.URL},
		})
		if res.Status != http.StatusOK || strings.Contains(string(res.Body), "client-secret") {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		key := p.UserKey(nil)
		events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", key, ask("gpt-test", object{"stream": true}))).All()
		all := strings.Join(events, "\n")
		if !strings.Contains(all, "Hello") || !strings.HasSuffix(all, "[DONE]") || strings.Contains(all, "prod-4o") || strings.Contains(all, "prompt_filter") {
			t.Errorf("%s", all)
		}
		if query != "api-version=2025-01-01-preview" {
			t.Errorf("asked with %q", query)
		}
		if r := p.Usage(1)[0]; r.PromptTokens+r.CompletionTokens != 18 || r.UpstreamModel != "prod-4o" || r.Estimated {
			t.Errorf("%+v", r)
		}
		if strings.Contains(p.Logs.String(), "client-secret-value") || strings.Contains(p.Logs.String(), "entra-token") {
			t.Error("the log holds a secret")
		}
	})
}

// What Ollama has no word for is refused by name, or left out where the channel
// says so.
func TestOllamaRefusesByName(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	d := coaitest.Ollama()
	up := coaitest.NewUpstream(t, func(w http.ResponseWriter, c *coaitest.Call) {
		d.Say(w, c, coaitest.Answer{Text: []string{"Hello"}, Usage: coaitest.Tokens{Prompt: 3, Completion: 1}})
	})
	id := p.Channel(up, object{"type": "ollama", "base_url": up.URL})
	key := p.UserKey(nil)
	in := ask("gpt-test", object{"logit_bias": object{"1": 2}, "num_ctx": 4096})
	res := p.Do("POST", "/v1/chat/completions", key, in)
	if e := res.Error(t); res.Status != http.StatusBadRequest || e.Code != "unsupported_parameter" || e.Param == nil || *e.Param != "logit_bias" {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	if len(up.Calls()) != 0 {
		t.Error("the upstream was asked")
	}
	image := ask("gpt-test", object{"messages": []object{{"role": "user", "content": []object{{"type": "image_url", "image_url": object{"url": "http://127.0.0.1/x.png"}}}}}})
	res = p.Do("POST", "/v1/chat/completions", key, image)
	if e := res.Error(t); res.Status != http.StatusBadRequest || e.Param == nil || *e.Param != "messages[0].content[0].image_url.url" {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	if res = p.Do("PATCH", "/v1/channels/"+id, coaitest.AdminKey, object{"settings": object{"drop_unsupported": true}}); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	if res = p.Do("POST", "/v1/chat/completions", key, in); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	if sent := up.Calls()[0].Body; bytes.Contains(sent, []byte("logit_bias")) || !bytes.Contains(sent, []byte(`"num_ctx":4096`)) {
		t.Errorf("sent %s", sent)
	}
}

// A first start makes a channel to an Ollama that answers, once, and does not
// wait for one that does not.
func TestFirstStartFindsOllama(t *testing.T) {
	t.Parallel()
	d := coaitest.Ollama()
	up := coaitest.NewUpstream(t, func(w http.ResponseWriter, c *coaitest.Call) {
		if c.Path == "/api/tags" {
			coaitest.Status(http.StatusOK, "application/json", `{"models":[{"name":"tiny:latest"},{"name":"tiny:latest"},{"name":"bad\nname"}]}`)(w, c)
			return
		}
		c.Header.Set("Authorization", "Bearer "+coaitest.UpstreamKey) // one's own needs none
		d.Say(w, c, coaitest.Answer{Text: []string{"Hello"}, Usage: coaitest.Tokens{Prompt: 3, Completion: 1}})
	})
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_DETECT_OLLAMA=true", "OLLAMA_HOST="+strings.TrimPrefix(up.URL, "http://"))
	if res := p.Do("POST", "/v1/chat/completions", p.UserKey(nil), ask("tiny:latest", nil)); res.Status != http.StatusOK {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	if n := len(up.Calls()); n != 2 {
		t.Errorf("Ollama was asked %d times", n)
	}

	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(silent.Close)
	began := time.Now()
	p = coaitest.Start(t, coaitest.Backends{}, "COAI_DETECT_OLLAMA=true", "OLLAMA_HOST="+silent.URL)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the start took %s", took)
	}
	var list struct{ Data []struct{ Type string } }
	if p.Do("GET", "/v1/channels", coaitest.AdminKey, nil).JSON(t, &list); len(list.Data) != 1 || list.Data[0].Type != "echo" {
		t.Errorf("%+v", list)
	}
}

func TestChannelPresets(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	var list struct {
		Object string
		Data   []struct {
			Object, ID, Name, Type string
			BaseURL                string `json:"base_url"`
			Quirks                 []string
			Local                  bool
		}
	}
	p.Do("GET", "/v1/channels/presets", coaitest.AdminKey, nil).JSON(t, &list)
	if list.Object != "list" || len(list.Data) < 12 || list.Data[0].Object != "channel.preset" {
		t.Fatalf("%+v", list)
	}
	var data struct {
		ChannelPresets []struct {
			ID, Type, BaseURL string
			Quirks            []string
			Local             bool
		}
	}
	if errs := p.GraphQL(coaitest.AdminKey, `{ channelPresets { id name type baseUrl headers quirks local } }`, nil, &data); errs != nil || len(data.ChannelPresets) != len(list.Data) {
		t.Fatalf("%+v %+v", data, errs)
	}
	if res := p.Do("GET", "/v1/channels/presets", p.UserKey(nil), nil); res.Status != http.StatusForbidden {
		t.Errorf("a user sees presets: %d", res.Status)
	}
	type channel struct {
		Type     string
		BaseURL  string `json:"base_url"`
		Settings struct{ Quirks []string }
	}
	for _, preset := range list.Data { // each makes a channel
		in := object{"name": preset.Name, "preset": preset.ID, "models": []string{"m"}}
		if !preset.Local {
			res := p.Do("POST", "/v1/channels", coaitest.AdminKey, in)
			if e := res.Error(t); e.Code != "missing_parameter" || e.Param == nil || *e.Param != "credential" {
				t.Errorf("%s without a credential: %s", preset.ID, res.Body)
			}
			in["credential"] = "sk-something-secret"
		}
		res := p.Do("POST", "/v1/channels", coaitest.AdminKey, in)
		var c channel
		if res.JSON(t, &c); res.Status != http.StatusOK || c.BaseURL != preset.BaseURL || c.Type != preset.Type || len(c.Settings.Quirks) != len(preset.Quirks) {
			t.Errorf("%s: %d %s", preset.ID, res.Status, res.Body)
		}
	}
	for _, c := range []struct {
		in    object
		param string
	}{
		{object{"preset": "nobody"}, "preset"},
		{object{"preset": "vllm", "type": "gemini"}, "type"},
		{object{"preset": "vllm", "settings": object{"quirks": []string{"odd"}}}, "settings.quirks[0]"},
		{object{"preset": "vllm", "settings": object{"quirks": []string{"max_tokens", "max_completion_tokens"}}}, "settings.quirks"},
		{object{"preset": "vllm", "settings": object{"authority_url": "ftp://x"}}, "settings.authority_url"},
		{object{}, "type"},
	} {
		c.in["name"], c.in["models"] = "x", []string{"m"}
		res := p.Do("POST", "/v1/channels", coaitest.AdminKey, c.in)
		if e := res.Error(t); res.Status != http.StatusBadRequest || e.Param == nil || *e.Param != c.param {
			t.Errorf("%v: %d %s", c.in, res.Status, res.Body)
		}
	}
	const create = `mutation ($in: CreateChannelInput!) { createChannel(input: $in) { channel { type baseUrl settings { quirks } } userErrors { message } } }`
	var made struct {
		CreateChannel struct {
			Channel *struct {
				Type, BaseURL string
				Settings      struct{ Quirks []string }
			}
		}
	}
	errs := p.GraphQL(coaitest.AdminKey, create, object{"in": object{"name": "x", "preset": "lmstudio", "models": []string{"m"}, "settings": object{"quirks": []string{"RESPONSES"}}}}, &made)
	if c := made.CreateChannel.Channel; errs != nil || c == nil || c.Type != "OPENAI" || c.BaseURL != "http://127.0.0.1:1234/v1" || len(c.Settings.Quirks) != 1 || c.Settings.Quirks[0] != "RESPONSES" {
		t.Errorf("%+v %+v", made, errs)
	}
}

// A channel made from a preset has its quirks, and one that refuses
// stream_options is asked without it: the usage is then estimated.
func TestQuirksReachTheUpstream(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	up := coaitest.NewUpstream(t, func(w http.ResponseWriter, c *coaitest.Call) {
		if bytes.Contains(c.Body, []byte("stream_options")) {
			coaitest.Status(http.StatusBadRequest, "application/json", `{"error":{"message":"stream_options: Extra inputs are not permitted","type":"invalid_request_error"}}`)(w, c)
			return
		}
		coaitest.Events(coaitest.FirstChunk, coaitest.Chunk("Hello"), coaitest.FinishChunk, coaitest.Done)(w, c)
	})
	res := p.Do("POST", "/v1/channels", coaitest.AdminKey, object{"name": "x", "preset": "lmstudio", "base_url": up.URL + "/v1", "models": []string{"gpt-test"}})
	if res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	in := ask("gpt-test", object{"stream": true, "max_completion_tokens": 9, "messages": []object{{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}}})
	key := p.UserKey(nil)
	for range 2 {
		events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", key, in)).All()
		if all := strings.Join(events, "\n"); !strings.Contains(all, "Hello") || !strings.HasSuffix(all, "[DONE]") {
			t.Errorf("%s", all)
		}
	}
	calls := up.Calls()
	if len(calls) != 3 {
		t.Fatalf("asked %d times, want 3", len(calls))
	}
	if sent := string(calls[2].Body); !strings.Contains(sent, `"max_tokens":9`) || strings.Contains(sent, "max_completion") || strings.Contains(sent, `"developer"`) {
		t.Errorf("sent %s", sent)
	}
	rows := p.Usage(2)
	if len(rows) != 2 || !rows[0].Estimated || rows[0].PromptTokens == 0 || rows[0].CompletionTokens == 0 || rows[0].ErrorCode != "" {
		t.Errorf("%+v", rows)
	}
}
