package coaitest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

func TestResponseCache(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		up := coaitest.NewUpstream(t, coaitest.Whole("first"))
		p.Channel(up, nil)
		if errs := p.GraphQL(coaitest.AdminKey, `mutation { saveModel(input: {name: "gpt-test", pricing: {prompt: "1", completion: "2"}}) { userErrors { message } } }`, nil, nil); len(errs) > 0 {
			t.Fatal(errs)
		}
		key, plain := p.UserKey(object{"cache_ttl_seconds": 60}), p.UserKey(nil)
		asked := 0
		post := func(key string, body object, cache string, more ...string) string {
			t.Helper()
			res := p.Do("POST", "/v1/chat/completions", key, body, more...)
			if res.Status != http.StatusOK || res.Header.Get("X-CoAI-Cache") != cache {
				t.Errorf("%d, cache %q, want %q: %s", res.Status, res.Header.Get("X-CoAI-Cache"), cache, res.Body)
			}
			if cache != "hit" {
				asked++
			}
			if n := len(up.Calls()); n != asked {
				t.Errorf("the upstream was asked %d times, want %d", n, asked)
			}
			return string(res.Body)
		}
		first := post(key, ask("gpt-test", nil), "miss")
		if !strings.Contains(first, `"cost":0.000025`) {
			t.Errorf("the first answer: %s", first)
		}
		up.Then(coaitest.Whole("second"))
		again := post(key, ask("gpt-test", nil), "hit")
		if !strings.Contains(again, "first") || strings.Contains(again, "0.000025") || !strings.Contains(again, `"cost":0`) {
			t.Errorf("from the cache: %s", again)
		}
		post(key, ask("gpt-test", object{"temperature": 0.5}), "miss")
		post(key, ask("gpt-test", object{"seed": 1}), "miss")
		post(key, ask("gpt-test", nil), "", "Cache-Control", "no-cache") // asked anew ...
		post(plain, ask("gpt-test", nil), "")                            // ... and by a key that uses no cache

		stream := object{"stream": true, "stream_options": object{"include_usage": true}}
		up.Then(coaitest.Streamed("a ", "b"))
		var runs [2][]string
		for i, cache := range []string{"miss", "hit"} {
			res := p.Open(t.Context(), "POST", "/v1/chat/completions", key, ask("gpt-test", stream))
			if got := res.Header.Get("X-CoAI-Cache"); got != cache {
				t.Errorf("stream %d: cache %q", i, got)
			}
			runs[i] = coaitest.NewEventStream(t, res).All()
		}
		asked++
		if len(runs[0]) != len(runs[1]) || len(up.Calls()) != asked {
			t.Fatalf("%q\n%q", runs[0], runs[1])
		}
		for i := range runs[0][:len(runs[0])-2] {
			if runs[0][i] != runs[1][i] {
				t.Errorf("event %d: %s, replayed %s", i, runs[0][i], runs[1][i])
			}
		}
		if u := decode[chunk](t, runs[1][len(runs[1])-2]).Usage; u == nil || u.TotalTokens != 18 || u.Cost == nil || *u.Cost != "0" {
			t.Errorf("replayed usage: %s", runs[1][len(runs[1])-2])
		}

		// A failure is not kept, nor half an answer.
		up.Then(coaitest.Status(http.StatusBadRequest, "application/json", `{"error":{"message":"no"}}`), coaitest.Whole("third"))
		if res := p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", object{"seed": 2})); res.Status != http.StatusBadRequest {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		asked++
		if got := post(key, ask("gpt-test", object{"seed": 2}), "miss"); !strings.Contains(got, "third") {
			t.Errorf("after a failure: %s", got)
		}

		var data struct {
			CreateChatCompletion struct{ ChatCompletion struct{ Cache *string } }
		}
		in := object{"in": object{"model": "gpt-test", "messages": []object{{"role": "USER", "content": object{"text": "Hello there, world"}}}}}
		for _, want := range []string{"MISS", "HIT"} {
			if errs := p.GraphQL(key, `mutation($in: ChatCompletionInput!) { createChatCompletion(input: $in) { chatCompletion { cache } } }`, in, &data); len(errs) > 0 || data.CreateChatCompletion.ChatCompletion.Cache == nil || *data.CreateChatCompletion.ChatCompletion.Cache != want {
				t.Errorf("GraphQL: %+v, %+v; want %s", errs, data, want)
			}
		}
		asked++
		// What came out of the cache was not billed, and what did not was, once.
		if rows := p.Usage(asked); len(rows) != asked {
			t.Errorf("%d records for %d requests upstream", len(rows), asked)
		}
	})
}

// Two accounts that ask the same never hear each other's answers.
func TestResponseCacheKeepsAccountsApart(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	up := coaitest.NewUpstream(t, coaitest.Whole("for the admin"), coaitest.Whole("for the other"))
	p.Channel(up, nil)
	admin := p.UserKey(object{"cache_ttl_seconds": 60})
	other := p.OtherUserKey("other@example.com", models.CreateAPIKeyInput{Name: "other", CacheTTLSeconds: new(60)})
	for _, c := range []struct{ key, want string }{{admin, "for the admin"}, {other, "for the other"}, {admin, "for the admin"}, {other, "for the other"}} {
		if res := p.Do("POST", "/v1/chat/completions", c.key, ask("gpt-test", nil)); !strings.Contains(string(res.Body), c.want) {
			t.Errorf("want %q, got %s", c.want, res.Body)
		}
	}
	if n := len(up.Calls()); n != 2 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

func TestResponseCacheForgets(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	up := coaitest.NewUpstream(t, coaitest.Whole("old"), coaitest.Whole("new"))
	p.Channel(up, nil)
	key := p.UserKey(object{"cache_ttl_seconds": 1})
	began := time.Now()
	coaitest.Eventually(t, "the answer is forgotten", func() bool {
		return strings.Contains(string(p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", nil)).Body), "new")
	})
	if kept := time.Since(began); kept < time.Second {
		t.Errorf("kept for %s, want a second", kept)
	}
	for _, ttl := range []int{-1, 86401} {
		res := p.Do("POST", "/v1/api-keys", coaitest.AdminKey, object{"name": "x", "cache_ttl_seconds": ttl})
		if e := res.Error(t); res.Status != http.StatusBadRequest || e.Param == nil || *e.Param != "cache_ttl_seconds" {
			t.Errorf("%d: %d %s", ttl, res.Status, res.Body)
		}
	}
}
