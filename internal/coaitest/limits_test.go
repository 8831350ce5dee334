package coaitest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

// freshMinute waits out the end of a clock minute, so that what follows is counted
// in one.
func freshMinute(t *testing.T) {
	t.Helper()
	coaitest.Eventually(t, "the minute is not about to end", func() bool { return time.Now().Second() < 51 })
}

func limited(t *testing.T, p *coaitest.Product, email string, lim models.KeyLimits) string {
	t.Helper()
	return p.OtherUserKey(email, models.CreateAPIKeyInput{Name: email, Limits: &lim})
}

// A key's limits are set and shown on both faces, and it cannot free itself of them.
func TestKeyLimitsOverBothFaces(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b)
		type limits struct{ RPM, TPM, Concurrency *int }
		var k struct {
			ID, Secret string
			Limits     limits
		}
		p.Do("POST", "/v1/api-keys", coaitest.AdminKey, object{"name": "one", "limits": object{"rpm": 50, "tpm": 1000}}).JSON(t, &k)
		if *k.Limits.RPM != 50 || *k.Limits.TPM != 1000 || k.Limits.Concurrency != nil {
			t.Errorf("%+v", k)
		}
		var done struct {
			UpdateAPIKey struct {
				APIKey     struct{ Limits limits }
				UserErrors []struct{ Field []string }
			} `json:"updateApiKey"`
		}
		const update = `mutation($id: ID!, $l: ApiKeyLimitsInput) { updateApiKey(id: $id, input: {limits: $l}) { apiKey { limits { rpm tpm concurrency } } userErrors { field } } }`
		if errs := p.GraphQL(coaitest.AdminKey, update, object{"id": k.ID, "l": object{"concurrency": 2}}, &done); len(errs) > 0 || done.UpdateAPIKey.APIKey.Limits.RPM != nil || *done.UpdateAPIKey.APIKey.Limits.Concurrency != 2 {
			t.Errorf("%+v %+v", errs, done)
		}
		if errs := p.GraphQL(coaitest.AdminKey, update, object{"id": k.ID, "l": object{"rpm": 0}}, &done); len(errs) > 0 || strings.Join(done.UpdateAPIKey.UserErrors[0].Field, ".") != "limits.rpm" {
			t.Errorf("%+v %+v", errs, done)
		}
		if res := p.Do("PATCH", "/v1/api-keys/"+k.ID, coaitest.AdminKey, object{"limits": object{"tpm": -1}}); res.Status != 400 || *res.Error(t).Param != "limits.tpm" {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		for what, res := range map[string]*coaitest.Response{
			"makes a key":        p.Do("POST", "/v1/api-keys", k.Secret, object{"name": "free"}),
			"changes its limits": p.Do("PATCH", "/v1/api-keys/"+k.ID, k.Secret, object{"limits": nil}),
			"rotates itself":     p.Do("POST", "/v1/api-keys/"+k.ID+"/rotate", k.Secret, nil),
		} {
			if res.Status != 403 || res.Error(t).Code != "insufficient_scope" {
				t.Errorf("a limited key %s: %d %s", what, res.Status, res.Body)
			}
		}
		var cleared struct{ Limits limits }
		p.Do("PATCH", "/v1/api-keys/"+k.ID, coaitest.AdminKey, object{"limits": nil}).JSON(t, &cleared)
		if cleared.Limits != (limits{}) {
			t.Errorf("%+v", cleared)
		}
		if res := p.Do("POST", "/v1/api-keys", k.Secret, object{"name": "free"}); res.Status != 200 {
			t.Errorf("a key without limits makes one: %d %s", res.Status, res.Body)
		}
	})
}

// A key's requests and tokens of a minute count on every way, and over two processes.
func TestKeyIsHeldToRequestsAndTokens(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b)
		nodes := []*coaitest.Product{p, p}
		if b.DatabaseURL != "" {
			nodes[1] = coaitest.Start(t, b)
		}
		up := coaitest.NewUpstream(t, coaitest.Whole("ok")) // 18 tokens each
		p.Channel(up, nil)
		rpm, tpm := 12, 100
		few := limited(t, p, "few@example.com", models.KeyLimits{RPM: &rpm})
		small := limited(t, p, "small@example.com", models.KeyLimits{TPM: &tpm})
		freshMinute(t)
		var ok, refused atomic.Int32
		var clients sync.WaitGroup
		for i := range 10 {
			clients.Go(func() {
				for range 3 {
					res := nodes[i%2].Do("GET", "/v1/models", few, nil)
					switch {
					case res.Status == http.StatusOK && res.Header.Get("X-Ratelimit-Limit-Requests") == "12":
						ok.Add(1)
					case res.Status == http.StatusTooManyRequests && res.Error(t).Code == "rate_limit_exceeded" && strings.Contains(res.Error(t).Message, "12 requests per minute of this API key") &&
						res.Header.Get("Retry-After") != "" && res.Header.Get("Retry-After-Ms") != "" && res.Header.Get("X-Ratelimit-Remaining") == "0":
						refused.Add(1)
					default:
						t.Errorf("%d %v %s", res.Status, res.Header, res.Body)
					}
				}
			})
		}
		clients.Wait()
		if ok.Load() != 12 || refused.Load() != 18 {
			t.Errorf("%d requests passed a limit of 12, %d were refused", ok.Load(), refused.Load())
		}
		if errs := p.GraphQL(few, `{ plans { tier } }`, nil, nil); len(errs) != 1 || errs[0].Extensions.Code != "rate_limit_exceeded" {
			t.Errorf("over GraphQL: %+v", errs)
		}

		coaitest.Eventually(t, "the channel serves at the other process", func() bool {
			return nodes[1].Do("GET", "/v1/models/gpt-test", small, nil).Status == http.StatusOK
		})
		freshMinute(t)
		left := func() string {
			return nodes[1].Do("GET", "/v1/models", small, nil).Header.Get("X-Ratelimit-Remaining-Tokens")
		}
		if res := p.Do("POST", "/v1/chat/completions", small, ask("gpt-test", object{"max_tokens": 50})); res.Status != 200 || left() != "82" {
			t.Errorf("%d %s; %s tokens are left", res.Status, res.Body, left())
		}
		for name, body := range map[string]object{"whole": {"max_tokens": 90}, "stream": {"max_tokens": 90, "stream": true}} {
			res := nodes[1].Do("POST", "/v1/chat/completions", small, ask("gpt-test", body))
			if res.Status != 429 || res.Error(t).Code != "rate_limit_exceeded" || !strings.Contains(res.Error(t).Message, "100 tokens per minute of this API key") || res.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %d %s", name, res.Status, res.Body)
			}
		}
		if res := p.Do("POST", "/v1/embeddings", small, object{"model": "gpt-test", "input": strings.Repeat("many words ", 500)}); res.Status != 429 || res.Header.Get("X-Should-Retry") != "false" {
			t.Errorf("a prompt that never fits: %d %s", res.Status, res.Body)
		}
		if n := len(up.Calls()); n != 1 || left() != "82" {
			t.Errorf("the upstream was asked %d times; %s tokens are left", n, left())
		}
	})
}

// Requests at a time: a place is free again however a request ends.
func TestRequestsAtATimeOverBothFaces(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b)
		one := 1
		key := limited(t, p, "one@example.com", models.KeyLimits{Concurrency: &one})
		release := make(chan struct{})
		up := coaitest.NewUpstream(t, func(w http.ResponseWriter, c *coaitest.Call) {
			if strings.Contains(string(c.Body), "fail") {
				coaitest.Status(400, "application/json", `{"error":{"message":"no","type":"invalid_request_error"}}`)(w, c)
				return
			}
			coaitest.StartEvents(w)
			coaitest.Event(w, coaitest.FirstChunk)
			select {
			case <-release:
			case <-c.Gone:
				return
			}
			for _, e := range []string{coaitest.Chunk("ok"), coaitest.FinishChunk, coaitest.UsageChunk, coaitest.Done} {
				coaitest.Event(w, e)
			}
		})
		p.Channel(up, nil)
		full := func(key string) bool {
			res := p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", object{"metadata": object{"x": "fail"}}))
			if res.Status == 429 && (res.Error(t).Code != "rate_limit_exceeded" || !strings.Contains(res.Error(t).Message, "at a time") || res.Header.Get("Retry-After") == "") {
				t.Errorf("%s", res.Body)
			}
			return res.Status == 429
		}
		open := func(ctx context.Context) *coaitest.EventStream {
			s := coaitest.NewEventStream(t, p.Open(ctx, "POST", "/v1/chat/completions", key, ask("gpt-test", object{"stream": true})))
			s.Next()
			return s
		}
		// The upstream refuses: the place is free again.
		for range 2 {
			if full(key) {
				t.Error("a place is taken for good by a failure")
			}
		}
		// The client leaves.
		ctx, leave := context.WithCancel(t.Context())
		open(ctx)
		if !full(key) {
			t.Error("two requests at a time")
		}
		var q struct{ CreateChatCompletion *object }
		if errs := p.GraphQL(key, `mutation { createChatCompletion(input: {model: "gpt-test", messages: [{role: USER, content: {text: "Hello"}}]}) { userErrors { code } } }`, nil, &q); len(errs) != 1 || errs[0].Extensions.Code != "rate_limit_exceeded" {
			t.Errorf("over GraphQL: %+v", errs)
		}
		if res := p.Do("GET", "/v1/models", key, nil); res.Status != 200 {
			t.Errorf("what asks no model takes no place: %d", res.Status)
		}
		leave()
		coaitest.Eventually(t, "the place of a client that left is free", func() bool { return !full(key) })
		// It ends.
		s := open(t.Context())
		close(release)
		s.All()
		coaitest.Eventually(t, "the place of a request that ended is free", func() bool { return !full(key) })

		// The plan's cap counts over all keys of an account, and at once.
		if res := p.Do("PATCH", "/v1/plans/enterprise", coaitest.AdminKey, object{"concurrency": 1}); res.Status != 200 || !strings.Contains(string(res.Body), `"concurrency":1`) {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
	})
}

func TestPlanCapsRequestsAtATime(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	var q struct {
		UpdatePlan struct{ Plan struct{ Concurrency *int } }
	}
	if errs := p.GraphQL(coaitest.AdminKey, `mutation { updatePlan(tier: ENTERPRISE, input: {concurrency: 1}) { plan { concurrency } } }`, nil, &q); len(errs) > 0 || *q.UpdatePlan.Plan.Concurrency != 1 {
		t.Fatalf("%+v %+v", errs, q)
	}
	release := make(chan struct{})
	up := coaitest.NewUpstream(t, func(w http.ResponseWriter, c *coaitest.Call) {
		select {
		case <-release:
		case <-c.Gone:
		}
		coaitest.Whole("ok")(w, c)
	})
	p.Channel(up, nil)
	// Two keys of one account, and one of another.
	mine, also, other := p.UserKey(nil), p.UserKey(nil), p.OtherUserKey("other@example.com", keyInput("x"))
	var running sync.WaitGroup
	running.Go(func() {
		if res := p.Do("POST", "/v1/chat/completions", mine, ask("gpt-test", nil)); res.Status != 200 {
			t.Errorf("%d %s", res.Status, res.Body)
		}
	})
	coaitest.Eventually(t, "the upstream is asked", func() bool { return len(up.Calls()) == 1 })
	if res := p.Do("POST", "/v1/chat/completions", also, ask("gpt-test", nil)); res.Status != 429 || !strings.Contains(res.Error(t).Message, "this account may have 1 requests") {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	running.Go(func() {
		if res := p.Do("POST", "/v1/chat/completions", other, ask("gpt-test", nil)); res.Status != 200 {
			t.Errorf("another account: %d %s", res.Status, res.Body)
		}
	})
	coaitest.Eventually(t, "the upstream is asked again", func() bool { return len(up.Calls()) == 2 })
	close(release)
	running.Wait()
	if res := p.Do("PATCH", "/v1/plans/enterprise", coaitest.AdminKey, object{"concurrency": nil}); res.Status != 200 || !strings.Contains(string(res.Body), `"concurrency":null`) {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	if res := p.Do("PATCH", "/v1/plans/gold", coaitest.AdminKey, object{"concurrency": 1}); res.Status != 404 {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	if res := p.Do("PATCH", "/v1/plans/pro", mine, object{"concurrency": 1}); res.Status != 403 {
		t.Errorf("a user changes a plan: %d", res.Status)
	}
}

// Each operation on a websocket is a request of the key.
func TestSocketOperationsCountForTheKey(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	rpm := 3
	key := limited(t, p, "few@example.com", models.KeyLimits{RPM: &rpm})
	freshMinute(t)
	s := p.Socket(key)
	var refused []string
	for i := range 5 {
		s.Subscribe(fmt.Sprint(i), `{ plans { tier } }`, nil)
		for {
			m, err := s.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if m.Type == "error" || m.Type == "next" && strings.Contains(string(m.Payload), "rate_limit_exceeded") {
				refused = append(refused, string(m.Payload))
			}
			if m.Type == "error" || m.Type == "complete" {
				break
			}
		}
	}
	if len(refused) != 2 || !strings.Contains(refused[0], "rate_limit_exceeded") {
		t.Errorf("%d of 5 operations were refused: %s", len(refused), refused)
	}
}

// Every answer says how much is left: those of errors too, and of nameless callers by
// their address.
func TestEveryAnswerSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_MAX_BODY=10KiB")
	tpm := 1000
	key := limited(t, p, "user@example.com", models.KeyLimits{TPM: &tpm})
	for _, c := range []struct {
		method, path, key string
		body              any
		status            int
		headers           []string
	}{
		{"GET", "/v1/models", key, nil, 200, nil},
		{"GET", "/v1/nothing", key, nil, 404, nil},
		{"GET", "/nothing", key, nil, 404, nil},
		{"PUT", "/v1/chat/completions", key, nil, 405, nil},
		{"POST", "/v1/chat/completions", key, "{", 400, nil},
		{"POST", "/v1/chat/completions", key, strings.Repeat(" ", 20<<10), 413, nil},
		{"POST", "/v1/chat/completions", key, "x", 415, []string{"Content-Type", "text/plain"}},
		{"GET", "/v1/channels", key, nil, 403, nil},
		{"POST", "/graphql", key, "{", 400, nil},
		{"GET", "/v1/models", "", nil, 401, nil},
		{"GET", "/nothing", "", nil, 404, nil},
		{"GET", "/v1/models", "sk-coai-wrong", nil, 401, nil},
	} {
		res := p.Do(c.method, c.path, c.key, c.body, c.headers...)
		if res.Status != c.status {
			t.Errorf("%s %s: %d %s", c.method, c.path, res.Status, res.Body)
		}
		want := []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"}
		if c.key == key {
			want = append(want, "X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens")
		}
		for _, h := range want {
			if res.Header.Get(h) == "" {
				t.Errorf("%s %s: %d without %s", c.method, c.path, res.Status, h)
			}
		}
	}
}

// Budgets of days and months hold keys and users, on both faces, by the UTC calendar.
func TestDailyAndMonthlyBudgets(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b)
		p.Channel(coaitest.NewUpstream(t, coaitest.Whole("ok")), nil)
		price(t, p, "gpt-test", "1000000") // 18 dollars each
		body := ask("gpt-test", object{"max_tokens": 5})
		for i, period := range []string{"daily", "monthly"} {
			user := fmt.Sprintf("u%d@example.com", i)
			keyless := p.OtherUserKey(user, keyInput("x"))
			amount := 30 * models.Dollar
			var in models.CreateAPIKeyInput
			if err := json.Unmarshal(fmt.Appendf(nil, `{"name":"b","budgets":{%q:30}}`, period), &in); err != nil {
				t.Fatal(err)
			}
			of := map[string]string{
				"key":  p.OtherUserKey("k"+user, in),
				"user": keyless,
			}
			var me struct{ ID string }
			p.Do("GET", "/v1/users/me", keyless, nil).JSON(t, &me)
			if errs := p.GraphQL(coaitest.AdminKey, `mutation($id: ID!, $in: BudgetsInput!) { updateUserBudgets(userId: $id, input: $in) { userErrors { message } } }`, object{"id": me.ID, "in": object{period: "30"}}, nil); len(errs) > 0 {
				t.Fatal(errs)
			}
			for whose, key := range of {
				for n, want := range []int{200, 429} {
					res := p.Do("POST", "/v1/chat/completions", key, body)
					if res.Status != want || want == 429 && (res.Error(t).Code != "budget_exceeded" || res.Header.Get("X-Should-Retry") != "false" || !strings.Contains(res.Error(t).Message, period)) {
						t.Errorf("%s budget of a %s, request %d: %d %s", period, whose, n, res.Status, res.Body)
					}
				}
				errs := p.GraphQL(key, `mutation { createChatCompletion(input: {model: "gpt-test", maxTokens: 50, messages: [{role: USER, content: {text: "Hello there, world"}}]}) { userErrors { code } } }`, nil, nil)
				if len(errs) != 1 || errs[0].Extensions.Code != "budget_exceeded" {
					t.Errorf("%s budget of a %s over GraphQL: %+v", period, whose, errs)
				}
				var q struct {
					Viewer struct{ Budgets []budgetReset }
				}
				var shown []budgetReset
				if whose == "user" {
					if errs := p.GraphQL(key, `{ viewer { budgets { period limit { amount } spent { amount } resetsAt } } }`, nil, &q); len(errs) > 0 {
						t.Fatal(errs)
					}
					shown = q.Viewer.Budgets
				} else {
					var keys struct {
						APIKeys struct {
							Nodes []struct{ Budgets []budgetReset }
						} `json:"apiKeys"`
					}
					if errs := p.GraphQL(key, `{ apiKeys { nodes { budgets { period limit { amount } spent { amount } resetsAt } } } }`, nil, &keys); len(errs) > 0 {
						t.Fatal(errs)
					}
					shown = keys.APIKeys.Nodes[0].Budgets
				}
				end := models.Period(map[string]string{"daily": "day", "monthly": "month"}[period]).End(time.Now())
				if len(shown) != 1 || shown[0].Limit.Amount != amount.String() || shown[0].Spent.Amount != "18" || !shown[0].ResetsAt.Equal(*end) || shown[0].ResetsAt.Hour() != 0 {
					t.Errorf("%s budget of a %s: %+v, ends %s", period, whose, shown, end)
				}
			}
		}
	})
}

type budgetReset struct {
	Period       string
	Limit, Spent struct{ Amount string }
	ResetsAt     time.Time
}
