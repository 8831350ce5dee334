package rest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/coaitest"
)

// unix checks for a time in Unix seconds close to now.
func unix(t *testing.T, body []byte, name string) {
	t.Helper()
	var got map[string]json.RawMessage
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	var seconds int64
	if err := json.Unmarshal(got[name], &seconds); err != nil || time.Since(time.Unix(seconds, 0)).Abs() > time.Hour {
		t.Errorf("%s: got %s, want Unix seconds of now", name, got[name])
	}
}

func TestAPIKeyObject(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		expires := time.Now().Add(time.Hour).Unix()
		made := p.Do("POST", "/v1/api-keys", coaitest.AdminKey, object{
			"name": "ci", "scopes": []string{"chat", "keys"}, "allowed_models": []string{"echo"}, "allowed_cidrs": []string{"127.0.0.1"}, "expires_at": expires,
		})
		if made.Status != http.StatusOK || made.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%d %s", made.Status, made.Body)
		}
		var key struct{ ID, Secret, Display string }
		made.JSON(t, &key)
		want := object{
			"object": "api_key", "id": key.ID, "name": "ci", "scopes": []string{"chat", "keys"}, "allowed_models": []string{"echo"},
			"allowed_cidrs": []string{"127.0.0.1/32"}, "expires_at": expires, "revoked_at": nil, "previous_expires_at": nil, "display": key.Display,
		}
		fields(t, made.Body, want)
		unix(t, made.Body, "created_at")
		if !strings.HasPrefix(key.ID, "key_") || !strings.HasPrefix(key.Secret, "sk-coai-") || !strings.HasSuffix(key.Display, key.Secret[len(key.Secret)-4:]) {
			t.Errorf("%s", made.Body)
		}

		shown := p.Do("GET", "/v1/api-keys/"+key.ID, coaitest.AdminKey, nil)
		fields(t, shown.Body, want)
		patched := p.Do("PATCH", "/v1/api-keys/"+key.ID, coaitest.AdminKey, object{"name": "ci 2", "expires_at": nil})
		fields(t, patched.Body, object{"name": "ci 2", "expires_at": nil, "scopes": []string{"chat", "keys"}})
		rfc := p.Do("PATCH", "/v1/api-keys/"+key.ID, coaitest.AdminKey, object{"expires_at": time.Unix(expires, 0).Format(time.RFC3339)})
		fields(t, rfc.Body, object{"name": "ci 2", "expires_at": expires})
		for _, res := range []*coaitest.Response{shown, patched, rfc} {
			if res.Status != http.StatusOK || strings.Contains(string(res.Body), "secret") || strings.Contains(string(res.Body), key.Secret) {
				t.Errorf("%d %s", res.Status, res.Body)
			}
		}

		for name, body := range map[string]any{"without a body": nil, "with one": object{"grace_seconds": 60}, "with an empty one": ""} {
			t.Run("rotation "+name, func(t *testing.T) {
				res := p.Do("POST", "/v1/api-keys/"+key.ID+"/rotate", coaitest.AdminKey, body)
				var rotated struct{ ID, Secret string }
				res.JSON(t, &rotated)
				if res.Status != http.StatusOK || rotated.ID != key.ID || rotated.Secret == "" || rotated.Secret == key.Secret {
					t.Fatalf("%d %s", res.Status, res.Body)
				}
			})
		}
		unixIn := p.Do("GET", "/v1/api-keys/"+key.ID, coaitest.AdminKey, nil)
		var after struct {
			Previous *int64 `json:"previous_expires_at"`
		}
		if unixIn.JSON(t, &after); after.Previous == nil {
			t.Errorf("no end of the grace period: %s", unixIn.Body)
		}

		deleted := p.Do("DELETE", "/v1/api-keys/"+key.ID, coaitest.AdminKey, nil)
		fields(t, deleted.Body, object{"id": key.ID, "object": "api_key", "deleted": true})
		refused(t, p.Do("GET", "/v1/api-keys/"+key.ID, coaitest.AdminKey, nil), 404, "resource_not_found", "id")
		revoked := get[list](t, p, coaitest.AdminKey, "/v1/api-keys?revoked=true")
		if len(revoked.Data) != 1 || revoked.Data[0].ID != key.ID {
			t.Errorf("revoked keys: %+v", revoked)
		}
		refused(t, p.Do("GET", "/v1/api-keys?revoked=yes", coaitest.AdminKey, nil), 400, "invalid_value", "revoked")
	})
}

func TestChannelObject(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		u := coaitest.NewUpstream(t, coaitest.Whole("pong"))
		made := p.Do("POST", "/v1/channels", coaitest.AdminKey, object{
			"name": "up", "type": "openai", "base_url": u.URL + "/v1", "credential": coaitest.UpstreamKey, "models": []string{"gpt-test"},
			"model_mapping": object{"gpt-test": "gpt-real"}, "priority": 5, "weight": 2, "limits": object{"rpm": 100},
		})
		if made.Status != http.StatusOK {
			t.Fatalf("%d %s", made.Status, made.Body)
		}
		var c struct {
			ID     string
			Health object
			Limits object
		}
		made.JSON(t, &c)
		want := object{
			"object": "channel", "id": c.ID, "name": "up", "type": "openai", "base_url": u.URL + "/v1", "credential": "****6789", "models": []string{"gpt-test"},
			"model_mapping": object{"gpt-test": "gpt-real"}, "priority": 5, "weight": 2, "status": "enabled",
			"limits": object{"rpm": 100, "tpm": nil, "concurrency": nil},
		}
		fields(t, made.Body, want)
		unix(t, made.Body, "created_at")
		if c.Health["state"] != "unknown" || len(c.Health) != 7 {
			t.Errorf("health: %v", c.Health)
		}

		for name, body := range map[string]any{"without a body": nil, "with a model": object{"model": "gpt-test"}} {
			t.Run("test "+name, func(t *testing.T) {
				res := p.Do("POST", "/v1/channels/"+c.ID+"/test", coaitest.AdminKey, body)
				fields(t, res.Body, object{"success": true, "model": "gpt-test", "error": nil})
			})
		}
		u.Then(coaitest.Status(http.StatusUnauthorized, "application/json", `{"error":{"message":"bad key `+coaitest.UpstreamKey+`","type":"t","code":"invalid_api_key"}}`))
		failed := p.Do("POST", "/v1/channels/"+c.ID+"/test", coaitest.AdminKey, nil)
		fields(t, failed.Body, object{"success": false, "model": "gpt-test"})
		shown := p.Do("GET", "/v1/channels/"+c.ID, coaitest.AdminKey, nil)
		fields(t, shown.Body, object{"id": c.ID, "status": "enabled"})
		var seen struct {
			Health struct {
				LastCheckedAt *int64  `json:"last_checked_at"`
				LastError     *string `json:"last_error"`
			}
		}
		if shown.JSON(t, &seen); seen.Health.LastCheckedAt == nil || seen.Health.LastError == nil {
			t.Errorf("health after a failure: %s", shown.Body)
		}

		patched := p.Do("PATCH", "/v1/channels/"+c.ID, coaitest.AdminKey, object{"status": "disabled", "credential": nil, "limits": nil})
		fields(t, patched.Body, object{"status": "disabled", "credential": nil, "name": "up", "limits": object{"rpm": nil, "tpm": nil, "concurrency": nil}})
		for _, res := range []*coaitest.Response{made, failed, shown, patched} {
			if strings.Contains(string(res.Body), coaitest.UpstreamKey) {
				t.Errorf("the credential is shown: %s", res.Body)
			}
		}
		for query, want := range map[string]int{"type=openai": 1, "type=echo": 1, "model=gpt-test": 1, "model=none": 0, "type=openai&model=echo": 0} {
			if l := get[list](t, p, coaitest.AdminKey, "/v1/channels?"+query); len(l.Data) != want || *l.Total != want {
				t.Errorf("%s: %+v", query, l)
			}
		}
		refused(t, p.Do("GET", "/v1/channels?type=x", coaitest.AdminKey, nil), 400, "invalid_value", "type")
		deleted := p.Do("DELETE", "/v1/channels/"+c.ID, coaitest.AdminKey, nil)
		fields(t, deleted.Body, object{"id": c.ID, "object": "channel", "deleted": true})
		refused(t, p.Do("POST", "/v1/channels/"+c.ID+"/test", coaitest.AdminKey, nil), 404, "resource_not_found", "id")
	})
}

func TestUserObject(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	key := p.UserKey(object{"scopes": []string{"profile", "chat"}})
	ask := object{"model": "echo", "messages": []object{{"role": "user", "content": "hi"}}}
	if res := p.Do("POST", "/v1/chat/completions", key, ask); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	me := p.Do("GET", "/v1/users/me", key, nil)
	fields(t, me.Body, object{
		"object": "user", "role": "admin", "tier": "enterprise", "status": "active", "avatar_url": nil,
		"limits": object{"requests_per_minute": 1000, "requests_per_hour": 50_000, "requests_per_day": 1_000_000},
	})
	unix(t, me.Body, "created_at")
	var u struct {
		Usage struct {
			RequestsToday   int64 `json:"requests_today"`
			TokensThisMonth int64 `json:"tokens_this_month"`
			CostThisMonth   struct {
				Value    json.Number
				Currency string
			} `json:"cost_this_month"`
		}
	}
	if me.JSON(t, &u); u.Usage.RequestsToday != 1 || u.Usage.TokensThisMonth == 0 || u.Usage.CostThisMonth.Currency != "usd" {
		t.Errorf("usage: %+v", u.Usage)
	}
	patched := p.Do("PATCH", "/v1/users/me", key, object{"name": "Ada", "avatar_url": "https://example.com/a.png"})
	fields(t, patched.Body, object{"object": "user", "name": "Ada", "avatar_url": "https://example.com/a.png"})
	patched = p.Do("PATCH", "/v1/users/me", key, object{"avatar_url": nil})
	fields(t, patched.Body, object{"name": "Ada", "avatar_url": nil})
	refused(t, p.Do("PATCH", "/v1/users/me", key, object{"name": ""}), 400, "invalid_value", "name")
	refused(t, p.Do("PATCH", "/v1/users/me", key, object{"role": "admin"}), 400, "unsupported_parameter", "role")
	refused(t, p.Do("PATCH", "/v1/users/me", key, nil), 400, "invalid_json", "")
}

func TestModelObject(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	u := coaitest.NewUpstream(t, coaitest.Whole("hi"))
	p.Channel(u, object{"models": []string{"meta-llama/Llama 3:free", "plain"}})
	if errs := p.GraphQL(coaitest.AdminKey, `mutation { saveModel(input: {name: "plain", ownedBy: "us", contextWindow: 1000, aliases: ["alias/of it"],
		pricing: {prompt: "0.15", completion: "0.6", cachedRead: "0.075"}}) { userErrors { message } } }`, nil, nil); len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, name := range []string{"plain", "alias%2Fof%20it", "alias/of%20it"} {
		res := p.Do("GET", "/v1/models/"+name, coaitest.AdminKey, nil)
		fields(t, res.Body, object{
			"id": "plain", "object": "model", "owned_by": "us", "context_window": 1000, "max_output_tokens": nil, "aliases": []string{"alias/of it"},
			"pricing": object{
				"unit":   "per_million_tokens",
				"prompt": object{"value": 0.15, "currency": "usd"}, "completion": object{"value": 0.6, "currency": "usd"}, "cached_read": object{"value": 0.075, "currency": "usd"},
			},
		})
		unix(t, res.Body, "created")
	}
	for _, name := range []string{"meta-llama/Llama%203:free", "meta-llama%2FLlama%203:free"} {
		res := p.Do("GET", "/v1/models/"+name, coaitest.AdminKey, nil)
		fields(t, res.Body, object{"id": "meta-llama/Llama 3:free", "object": "model", "pricing": nil, "capabilities": []string{}, "aliases": []string{}})
		unix(t, res.Body, "created")
	}
	refused(t, p.Do("GET", "/v1/models/no%2Fsuch", coaitest.AdminKey, nil), 404, "model_not_found", "model")
	refused(t, p.Do("GET", "/v1/models/plain", p.UserKey(object{"allowed_models": []string{"echo"}}), nil), 404, "model_not_found", "model")
}

func TestRequestsThatFailBeforeTheFirstByteHaveTheirStatus(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	u := coaitest.NewUpstream(t, coaitest.Status(http.StatusServiceUnavailable, "text/html", "<html>"))
	p.Channel(u, nil)
	for _, stream := range []bool{false, true} {
		ask := func(model string) *coaitest.Response {
			return p.Do("POST", "/v1/chat/completions", coaitest.AdminKey, object{"model": model, "stream": stream, "messages": []object{{"role": "user", "content": "x"}}})
		}
		refused(t, ask("nothing"), 404, "model_not_found", "model")
		res := ask("gpt-test")
		if e := res.Error(t); res.Status != 503 || e.Type != "service_unavailable_error" || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
			t.Errorf("stream %v: %d %s", stream, res.Status, res.Body)
		}
		noChat := p.UserKey(object{"scopes": []string{"keys"}})
		refused(t, p.Do("POST", "/v1/chat/completions", noChat, object{"model": "echo", "stream": stream, "messages": []object{{"role": "user", "content": "x"}}}), 403, "insufficient_scope", "")
	}
}

func TestAnswerHeaders(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	ask := object{"model": "echo", "messages": []object{{"role": "user", "content": "x"}}}
	res := p.Do("POST", "/v1/chat/completions", coaitest.AdminKey, ask)
	for _, name := range []string{"Openai-Processing-Ms", "X-Coai-Channel", "X-Request-Id", "X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "X-Ratelimit-Reset-Requests"} {
		if res.Header.Get(name) == "" {
			t.Errorf("%s is absent: %v", name, res.Header)
		}
	}
	ask["stream"] = true
	stream := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", coaitest.AdminKey, ask, "Accept-Encoding", "gzip"))
	h := stream.Response.Header
	if h.Get("Content-Type") != "text/event-stream; charset=utf-8" || h.Get("Content-Encoding") != "" || h.Get("X-Coai-Channel") == "" || h.Get("X-Accel-Buffering") != "no" {
		t.Errorf("stream: %v", h)
	}
	if all := stream.All(); all[len(all)-1] != "[DONE]" {
		t.Errorf("%q", all)
	}
	user := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", p.UserKey(nil), ask))
	if got := user.Response.Header.Get("X-Coai-Channel"); got != "" {
		t.Errorf("a key without admin scope sees the channel %q", got)
	}
	user.All()
}
