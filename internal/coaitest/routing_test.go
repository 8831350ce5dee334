package coaitest_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

const (
	oneKey = "sk-upstream-one-0123456789aaaa"
	twoKey = "sk-upstream-two-0123456789bbbb"
)

// byKey answers by the credential that a call carries.
func byKey(replies map[string]coaitest.Reply) coaitest.Reply {
	return func(w http.ResponseWriter, c *coaitest.Call) {
		replies[strings.TrimPrefix(c.Header.Get("Authorization"), "Bearer ")](w, c)
	}
}

func callsWith(u *coaitest.Upstream, key string) (n int) {
	for _, c := range u.Calls() {
		if c.Header.Get("Authorization") == "Bearer "+key {
			n++
		}
	}
	return n
}

func oops() coaitest.Reply {
	return coaitest.Status(500, "application/json", `{"error":{"message":"oops","type":"server_error","param":null,"code":null}}`)
}

func tooMany(headers ...string) coaitest.Reply {
	return coaitest.Status(429, "application/json", `{"error":{"message":"slow down","type":"rate_limit","param":null,"code":"rate_limit_exceeded"}}`, headers...)
}

func shared(t *testing.T) coaitest.Backends {
	t.Helper()
	return coaitest.Backends{Name: "postgres+redis", DatabaseURL: testdb.Open(t, "postgres"), RedisURL: testdb.Redis(t)}
}

func TestCredentialsOfAChannelTakeTurns(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]coaitest.Reply{
		"401":       coaitest.Status(401, "application/json", `{"error":{"message":"no","type":"x","param":null,"code":"invalid_api_key"}}`),
		"403":       coaitest.Status(403, "application/json", `{"error":{"message":"no","type":"x","param":null,"code":null}}`),
		"exhausted": coaitest.Status(429, "application/json", `{"error":{"message":"no","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`),
		"429":       tooMany("Retry-After", "60"),
	} {
		t.Run(name, func(t *testing.T) {
			p := coaitest.Start(t, coaitest.Backends{})
			up := coaitest.NewUpstream(t, byKey(map[string]coaitest.Reply{oneKey: bad, twoKey: coaitest.Whole("fine")}))
			id := p.Channel(up, object{"credential": nil, "credentials": []string{oneKey, twoKey}})
			for range 6 {
				if res := p.Do("POST", "/v1/chat/completions", p.UserKey(nil), ask("gpt-test", nil)); res.Status != 200 {
					t.Fatalf("%d %s", res.Status, res.Body)
				}
			}
			if one, two := callsWith(up, oneKey), callsWith(up, twoKey); one != 1 || two != 6 {
				t.Errorf("the bad credential was used %d times, the good one %d", one, two)
			}
			var c struct {
				Status      string
				Credential  string
				Credentials []string
			}
			res := p.Do("GET", "/v1/channels/"+id, coaitest.AdminKey, nil)
			if res.JSON(t, &c); c.Status != "enabled" || c.Credential != "****aaaa" || strings.Join(c.Credentials, " ") != "****aaaa ****bbbb" || strings.Contains(string(res.Body), "sk-") {
				t.Errorf("channel: %s", res.Body)
			}
			// What was mended is used again when an admin says so.
			up.Then(coaitest.Whole("fine"))
			if res := p.Do("POST", "/v1/channels/"+id+"/reset", coaitest.AdminKey, nil); res.Status != 200 {
				t.Fatalf("reset: %d %s", res.Status, res.Body)
			}
			for range 2 {
				p.Do("POST", "/v1/chat/completions", p.UserKey(nil), ask("gpt-test", nil))
			}
			if n := callsWith(up, oneKey); n != 2 {
				t.Errorf("the mended credential was used %d times", n)
			}
			for _, secret := range []string{oneKey, twoKey} {
				if strings.Contains(p.Logs.String(), secret) {
					t.Error("the log holds a credential")
				}
			}
		})
	}
}

func TestTransientFailuresAreTriedAgain(t *testing.T) {
	rejected := coaitest.Status(400, "application/json", `{"error":{"message":"no","type":"invalid_request_error","param":"temperature","code":null}}`)
	for name, c := range map[string]struct {
		script []coaitest.Reply
		status int
		calls  int
		least  time.Duration
	}{
		"twice":              {[]coaitest.Reply{oops(), oops(), coaitest.Whole("fine")}, 200, 3, 600 * time.Millisecond},
		"at most twice":      {[]coaitest.Reply{oops()}, 503, 3, 600 * time.Millisecond},
		"Retry-After":        {[]coaitest.Reply{tooMany("Retry-After", "1"), coaitest.Whole("fine")}, 200, 2, 900 * time.Millisecond},
		"too long a wait":    {[]coaitest.Reply{tooMany("Retry-After", "30"), coaitest.Whole("fine")}, 503, 1, 0},
		"rejected":           {[]coaitest.Reply{rejected, coaitest.Whole("fine")}, 400, 1, 0},
		"refused credential": {[]coaitest.Reply{coaitest.Status(401, "application/json", "{}"), coaitest.Whole("fine")}, 503, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := coaitest.Start(t, coaitest.Backends{})
			up := coaitest.NewUpstream(t, c.script...)
			p.Channel(up, nil)
			key := p.UserKey(nil)
			began := time.Now()
			res := p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", nil))
			if took := time.Since(began); res.Status != c.status || len(up.Calls()) != c.calls || took < c.least {
				t.Errorf("%d after %d calls and %s; want %d after %d and at least %s: %s", res.Status, len(up.Calls()), took, c.status, c.calls, c.least, res.Body)
			}
			rows := p.Usage(c.calls)
			if len(rows) != c.calls || rows[0].RequestID != rows[len(rows)-1].RequestID {
				t.Errorf("records: %+v", rows)
			}
			if retry := res.Header.Get("Retry-After"); (name == "too long a wait") != (retry != "") {
				t.Errorf("Retry-After %q", retry)
			}
		})
	}
}

func TestRetriedStreamHasItsTextOnce(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	up := coaitest.NewUpstream(t, oops(), coaitest.Streamed("one ", "two"))
	p.Channel(up, nil)
	key := p.UserKey(nil)
	got := strings.Join(coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", key, ask("gpt-test", object{"stream": true}))).All(), "")
	if strings.Count(got, "one ") != 1 || strings.Count(got, `"two"`) != 1 || !strings.HasSuffix(got, "[DONE]") {
		t.Errorf("stream: %s", got)
	}
	half := func(w http.ResponseWriter, _ *coaitest.Call) {
		coaitest.StartEvents(w)
		coaitest.Event(w, coaitest.FirstChunk)
		coaitest.Event(w, coaitest.Chunk("half"))
		panic(http.ErrAbortHandler)
	}
	up.Then(half, coaitest.Streamed("again"))
	got = strings.Join(coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", key, ask("gpt-test", object{"stream": true}))).All(), "")
	if strings.Contains(got, "again") || strings.Contains(got, "[DONE]") || !strings.Contains(got, `"error"`) || len(up.Calls()) != 3 {
		t.Errorf("after %d calls the stream that broke off: %s", len(up.Calls()), got)
	}
}

func TestRetryEndsWithTheClient(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_COMPLETION_TIMEOUT=400ms", "COAI_UPSTREAM_RETRIES=50")
	up := coaitest.NewUpstream(t, oops())
	p.Channel(up, nil)
	began := time.Now()
	res := p.Do("POST", "/v1/chat/completions", p.UserKey(nil), ask("gpt-test", nil))
	if took := time.Since(began); res.Status != 503 || res.Error(t).Code != "upstream_error" || took > 5*time.Second || len(up.Calls()) > 3 {
		t.Errorf("%d after %s and %d calls: %s", res.Status, took, len(up.Calls()), res.Body)
	}
}

func TestProcessesShareAChannelsRest(t *testing.T) {
	t.Parallel()
	b := shared(t)
	one, two := coaitest.Start(t, b), coaitest.Start(t, b)
	bad := coaitest.NewUpstream(t, oops())
	id := one.Channel(bad, object{"priority": 1})
	one.Channel(coaitest.NewUpstream(t, coaitest.Whole("ok")), nil)
	key := one.UserKey(nil)
	coaitest.Eventually(t, "both know the channels", func() bool {
		return strings.Contains(string(two.Do("GET", "/v1/models", key, nil).Body), "gpt-test")
	})
	for range 8 {
		if res := one.Do("POST", "/v1/chat/completions", key, ask("gpt-test", nil)); res.Status != 200 {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
	}
	coaitest.Eventually(t, "the other process knows", func() bool {
		return strings.Contains(string(two.Do("GET", "/v1/channels/"+id, coaitest.AdminKey, nil).Body), `"unhealthy"`)
	})
	if res := two.Do("POST", "/v1/chat/completions", key, ask("gpt-test", nil)); res.Status != 200 || len(bad.Calls()) != 5 {
		t.Errorf("%d: the failing channel was asked %d times, by a process that knew too", res.Status, len(bad.Calls()))
	}
	n, err := one.DB.Read().NewSelect().Model((*models.Event)(nil)).Where("type = ?", models.EventChannelHealthChanged).Count(t.Context())
	if err != nil || n != 1 {
		t.Errorf("%d events, %v; want one", n, err)
	}
	var e struct {
		Candidates []struct {
			ChannelID string `json:"channel_id"`
		}
		Excluded []struct {
			ChannelID string `json:"channel_id"`
			Reason    string
			Until     int64
		}
	}
	two.Do("GET", "/v1/channels/explain?model=gpt-test", coaitest.AdminKey, nil).JSON(t, &e)
	if len(e.Candidates) != 1 || len(e.Excluded) != 1 || e.Excluded[0].ChannelID != id || e.Excluded[0].Reason != "unhealthy" || e.Excluded[0].Until == 0 {
		t.Errorf("explained: %+v", e)
	}
}

func TestProcessesShareAChannelsLimits(t *testing.T) {
	t.Parallel()
	b := shared(t)
	one, two := coaitest.Start(t, b), coaitest.Start(t, b)
	release := make(chan struct{})
	up := coaitest.NewUpstream(t, func(w http.ResponseWriter, c *coaitest.Call) {
		<-release
		coaitest.Whole("ok")(w, c)
	})
	id := one.Channel(up, object{"limits": object{"concurrency": 3}})
	key := one.UserKey(nil)
	coaitest.Eventually(t, "both know the channel", func() bool {
		return strings.Contains(string(two.Do("GET", "/v1/models", key, nil).Body), "gpt-test")
	})
	var ok, refused atomic.Int64
	rush := func(n int) *sync.WaitGroup {
		var wg sync.WaitGroup
		for i := range n {
			p := []*coaitest.Product{one, two}[i%2]
			wg.Go(func() {
				switch res := p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", nil)); res.Status {
				case 200:
					ok.Add(1)
				case 503:
					refused.Add(1)
				default:
					t.Errorf("%d %s", res.Status, res.Body)
				}
			})
		}
		return &wg
	}
	wg := rush(20)
	coaitest.Eventually(t, "the others are refused", func() bool { return refused.Load() == 17 })
	close(release)
	wg.Wait()
	if ok.Load() != 3 || len(up.Calls()) != 3 {
		t.Errorf("%d succeeded, %d reached the upstream; want 3", ok.Load(), len(up.Calls()))
	}
	// Requests of a minute.
	if res := one.Do("PATCH", "/v1/channels/"+id, coaitest.AdminKey, object{"limits": object{"rpm": 5}, "models": []string{"gpt-test", "gpt-new"}}); res.Status != 200 {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	coaitest.Eventually(t, "both know the limit", func() bool {
		return strings.Contains(string(two.Do("GET", "/v1/models", key, nil).Body), "gpt-new")
	})
	for try := range 2 { // once more when the minute ended meanwhile
		ok.Store(0)
		minute := time.Now().Unix() / 60
		rush(20).Wait()
		if minute == time.Now().Unix()/60 {
			if ok.Load() != 5 {
				t.Errorf("%d succeeded in a minute; want 5", ok.Load())
			}
			break
		} else if try == 1 {
			t.Skip("two minutes ended during the test")
		}
	}
}

func TestGroupsAndTagsOverBothFaces(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		up := coaitest.NewUpstream(t, coaitest.Whole("ok"))
		id := p.Channel(up, object{"groups": []string{"legal"}, "tags": []string{"eu"}, "settings": object{"cost_multiplier": 0.5, "probe_interval_seconds": 3600}})
		key := p.UserKey(nil)
		status := func(key string) int { return p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", nil)).Status }
		if res := p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", nil)); res.Status != 404 || res.Error(t).Code != "model_not_found" {
			t.Errorf("a channel of another group: %d %s", res.Status, res.Body)
		}
		if list := string(p.Do("GET", "/v1/models", key, nil).Body); strings.Contains(list, "gpt-test") {
			t.Errorf("the list of models: %s", list)
		}
		var me struct{ ID string }
		p.Do("GET", "/v1/users/me", key, nil).JSON(t, &me)
		if res := p.Do("PATCH", "/v1/users/"+me.ID, key, object{"groups": []string{"legal"}}); res.Status != 403 {
			t.Errorf("a user gives themselves groups: %d", res.Status)
		}
		var done struct {
			UpdateUser struct{ User struct{ Groups []string } }
		}
		errs := p.GraphQL(coaitest.AdminKey, `mutation($id: ID!) { updateUser(id: $id, input: {groups: ["legal"]}) { user { groups } userErrors { message } } }`, object{"id": me.ID}, &done)
		if len(errs) > 0 || len(done.UpdateUser.User.Groups) != 1 {
			t.Fatalf("%+v %+v", done, errs)
		}
		if got := status(key); got != 200 {
			t.Errorf("a user of the group: %d", got)
		}
		if list := string(p.Do("GET", "/v1/models", key, nil).Body); !strings.Contains(list, "gpt-test") {
			t.Errorf("the list of models: %s", list)
		}
		if eu, us := p.UserKey(object{"channel_tags": []string{"eu"}}), p.UserKey(object{"channel_tags": []string{"us"}}); status(eu) != 200 || status(us) != 404 {
			t.Errorf("keys with tags: %d, %d", status(eu), status(us))
		}
		narrow := p.UserKey(object{"channel_tags": []string{"eu"}})
		if res := p.Do("POST", "/v1/api-keys", narrow, object{"name": "wider", "channel_tags": []string{"us"}}); res.Status != 403 {
			t.Errorf("a key gives more than it has: %d %s", res.Status, res.Body)
		}
		var q struct {
			Channel struct {
				KeyHints, Tags, Groups []string
				Settings               struct {
					CostMultiplier       string
					ProbeIntervalSeconds int
				}
				Health struct{ RestsUntil *string }
			}
			ExplainRoute struct {
				Strategy   string
				Candidates []struct{ ChannelID string }
			}
		}
		errs = p.GraphQL(coaitest.AdminKey, `query($id: ID!) {
			channel(id: $id) { keyHints tags groups settings { costMultiplier probeIntervalSeconds } health { restsUntil } }
			explainRoute(model: "gpt-test") { strategy candidates { channelId } excluded { reason } reason message }
		}`, object{"id": id}, &q)
		if len(errs) > 0 || len(q.Channel.KeyHints) != 1 || q.Channel.Tags[0] != "eu" || q.Channel.Groups[0] != "legal" ||
			q.Channel.Settings.CostMultiplier != "0.5" || q.Channel.Settings.ProbeIntervalSeconds != 3600 ||
			q.ExplainRoute.Strategy != "PRIORITY" || len(q.ExplainRoute.Candidates) != 1 {
			t.Errorf("%+v %+v", q, errs)
		}
		if errs := p.GraphQL(key, `{ explainRoute(model: "gpt-test") { model } }`, nil, nil); len(errs) != 1 || errs[0].Extensions.Code != "insufficient_scope" {
			t.Errorf("explained to a user: %+v", errs)
		}
	})
}

func TestAModelsStrategyIsUsed(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_ROUTING_STRATEGY=lowest_cost")
	dear, cheap := coaitest.NewUpstream(t, coaitest.Whole("dear")), coaitest.NewUpstream(t, coaitest.Whole("cheap"))
	p.Channel(dear, object{"priority": 9})
	p.Channel(cheap, object{"settings": object{"cost_multiplier": 0.25}})
	key := p.UserKey(nil)
	answer := func(prompt string) string {
		in := ask("gpt-test", nil)
		in["messages"] = []object{{"role": "user", "content": prompt}}
		res := p.Do("POST", "/v1/chat/completions", key, in)
		for _, word := range []string{"dear", "cheap"} {
			if strings.Contains(string(res.Body), word) {
				return word
			}
		}
		t.Fatalf("%d %s", res.Status, res.Body)
		return ""
	}
	if got := answer("hi"); got != "cheap" {
		t.Errorf("by the default strategy %s is asked", got)
	}
	save := func(strategy string) {
		errs := p.GraphQL(coaitest.AdminKey, `mutation($s: RoutingStrategy) { saveModel(input: {name: "gpt-test", routing: $s}) { model { routing } userErrors { message } } }`, object{"s": strategy}, nil)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
	}
	save("PRIORITY")
	if got := answer("hi"); got != "dear" {
		t.Errorf("by priority %s is asked", got)
	}
	p.Channel(coaitest.NewUpstream(t, coaitest.Whole("cheap")), object{"priority": 9})
	save("CACHE_STICKY")
	seen := map[string]bool{}
	for _, prompt := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"} {
		home := answer(prompt)
		seen[home] = true
		if again := answer(prompt); again != home {
			t.Errorf("the prompt %s goes to %s and then to %s", prompt, home, again)
		}
	}
	if len(seen) != 2 {
		t.Errorf("all prompts go to %v", seen)
	}
}

func TestProbesFindOutHowAChannelIs(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	up := coaitest.NewUpstream(t, coaitest.Whole("OK"))
	id := p.Channel(up, object{"settings": object{"probe_interval_seconds": 10}})
	coaitest.Eventually(t, "a probe", func() bool { return len(up.Calls()) == 1 })
	if body := string(up.Calls()[0].Body); !strings.Contains(body, `"max_tokens":1`) {
		t.Errorf("the probe asks %s", body)
	}
	if r := p.Usage(1)[0]; r.UserID != "system" || r.ChannelID != id {
		t.Errorf("record = %+v", r)
	}
	coaitest.Eventually(t, "the health is known", func() bool {
		return strings.Contains(string(p.Do("GET", "/v1/channels/"+id, coaitest.AdminKey, nil).Body), `"healthy"`)
	})
}
