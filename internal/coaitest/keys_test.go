package coaitest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
)

func TestKeysOverREST(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		type key struct {
			ID, Secret, Name, Display string
			Scopes                    []string
			Deleted                   bool
		}
		var k, rotated, got key
		p.Do("POST", "/v1/api-keys", coaitest.AdminKey, object{"name": "one"}).JSON(t, &k)
		if !strings.HasPrefix(k.Secret, "sk-coai-") || strings.Contains(strings.Join(k.Scopes, " "), "admin") {
			t.Fatalf("made %+v", k)
		}
		status := func(secret string) int { return p.Do("GET", "/v1/models", secret, nil).Status }
		if status(k.Secret) != http.StatusOK {
			t.Error("a new key is refused")
		}
		if res := p.Do("GET", "/v1/channels", k.Secret, nil); res.Status != http.StatusForbidden || res.Error(t).Code != "insufficient_scope" {
			t.Errorf("a key without the admin scope lists channels: %d", res.Status)
		}
		p.Do("PATCH", "/v1/api-keys/"+k.ID, coaitest.AdminKey, object{"name": "two"}).JSON(t, &got)
		if got.Name != "two" || got.Secret != "" || len(got.Scopes) != len(k.Scopes) {
			t.Errorf("changed to %+v", got)
		}
		p.Do("POST", "/v1/api-keys/"+k.ID+"/rotate", coaitest.AdminKey, nil).JSON(t, &rotated)
		if rotated.Secret == k.Secret || status(rotated.Secret) != http.StatusOK || status(k.Secret) != http.StatusOK {
			t.Error("both secrets must count during the grace period")
		}
		p.Do("POST", "/v1/api-keys/"+k.ID+"/rotate", coaitest.AdminKey, object{"grace_seconds": 0}).JSON(t, &got)
		if status(rotated.Secret) != http.StatusUnauthorized || status(k.Secret) != http.StatusUnauthorized || status(got.Secret) != http.StatusOK {
			t.Error("without a grace period only the new secret may count")
		}
		var deleted key
		p.Do("DELETE", "/v1/api-keys/"+k.ID, coaitest.AdminKey, nil).JSON(t, &deleted)
		if res := p.Do("GET", "/v1/models", got.Secret, nil); !deleted.Deleted || res.Status != http.StatusUnauthorized || res.Error(t).Code != "revoked_api_key" {
			t.Errorf("after deletion: %+v, %d %s", deleted, res.Status, res.Body)
		}
		if res := p.Do("GET", "/v1/api-keys/"+k.ID, coaitest.AdminKey, nil); res.Status != http.StatusNotFound {
			t.Errorf("a deleted key is shown: %d", res.Status)
		}
	})
}

func TestWhoIsRefused(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	elsewhere := p.UserKey(object{"allowed_cidrs": []string{"10.1.0.0/16"}})
	onlyOther := p.UserKey(object{"allowed_models": []string{"other"}})
	last := "x"
	if strings.HasSuffix(elsewhere, last) {
		last = "y"
	}
	typo := elsewhere[:len(elsewhere)-1] + last
	for _, c := range []struct {
		key    string
		status int
		code   string
	}{
		{"", 401, "missing_api_key"},
		{"nonsense", 401, "invalid_api_key"},
		{typo, 401, "invalid_api_key"},
		{elsewhere, 403, "ip_not_allowed"},
		{onlyOther, 403, "model_not_allowed"},
	} {
		res := p.Do("POST", "/v1/chat/completions", c.key, ask("echo", nil))
		if e := res.Error(t); res.Status != c.status || e.Code != c.code || e.RequestID == "" || e.RequestID != res.Header.Get("X-Request-Id") {
			t.Errorf("got %d %s, want %d %s", res.Status, res.Body, c.status, c.code)
		}
		for _, h := range []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "X-Ratelimit-Limit-Requests"} {
			if res.Header.Get(h) == "" {
				t.Errorf("%s: the header %s is absent", c.code, h)
			}
		}
	}
}

func TestForeignObjectsAreNotFound(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	var channels struct{ Data []struct{ ID string } }
	p.Do("GET", "/v1/channels", coaitest.AdminKey, nil).JSON(t, &channels)
	var node struct{ Node *object }
	key := p.UserKey(nil)
	if errs := p.GraphQL(key, `query($id: ID!) { node(id: $id) { id } }`, object{"id": channels.Data[0].ID}, &node); len(errs) > 0 || node.Node != nil {
		t.Errorf("a channel for a key without the admin scope: %v, %v", node.Node, errs)
	}
	if errs := p.GraphQL(coaitest.AdminKey, `query($id: ID!) { node(id: $id) { id ... on Channel { name } } }`, object{"id": channels.Data[0].ID}, &node); len(errs) > 0 || node.Node == nil {
		t.Errorf("a channel for the admin: %v, %v", node.Node, errs)
	}
}

// Two serving processes share limits, keys and channels through PostgreSQL and Redis.
func TestTwoProcessesAreOne(t *testing.T) {
	t.Parallel()
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		if b.DatabaseURL == "" {
			t.Skip("embedded defaults are for one process")
		}
		one, two := coaitest.Start(t, b, "COAI_WORKER=false"), coaitest.Start(t, b)
		key := one.UserKey(nil)
		if res := two.Do("GET", "/v1/models", key, nil); res.Status != http.StatusOK {
			t.Errorf("a key made at one is refused at the other: %d %s", res.Status, res.Body)
		}
		up := coaitest.NewUpstream(t, coaitest.Whole("shared"))
		one.Channel(up, nil)
		coaitest.Eventually(t, "the channel serves at the other process", func() bool {
			return two.Do("POST", "/v1/chat/completions", key, ask("gpt-test", nil)).Status == http.StatusOK
		})
		if errs := one.GraphQL(coaitest.AdminKey, `mutation { updatePlan(tier: ENTERPRISE, input: {requestsPerMinute: 1000000, requestsPerHour: 1000000, requestsPerDay: 1000000}) { userErrors { message } } }`, nil, nil); len(errs) > 0 {
			t.Fatal(errs)
		}
		var ids sync.Map
		var failed atomic.Int32
		var clients sync.WaitGroup
		for i := range 10 {
			p := []*coaitest.Product{one, two}[i%2]
			clients.Go(func() {
				for j := range 10 {
					res := p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", nil), "X-Request-Id", fmt.Sprintf("r-%d-%d", i, j))
					if res.Status != http.StatusOK {
						failed.Add(1)
					}
					ids.Store(res.Header.Get("X-Request-Id"), true)
				}
			})
		}
		clients.Wait()
		if failed.Load() > 0 {
			t.Errorf("%d of 100 requests failed", failed.Load())
		}
		if n := len(up.Calls()); len(one.Usage(n)) != n {
			t.Errorf("%d calls at the upstream, %d records", n, len(one.Usage(n)))
		}
	})
}

func TestLimitIsExactOverTwoProcesses(t *testing.T) {
	t.Parallel()
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		one := coaitest.Start(t, b)
		nodes := []*coaitest.Product{one, one}
		if b.DatabaseURL != "" {
			nodes[1] = coaitest.Start(t, b)
		}
		const limit = 60
		if errs := one.GraphQL(coaitest.AdminKey, `mutation { updatePlan(tier: ENTERPRISE, input: {requestsPerMinute: 60, requestsPerHour: 60, requestsPerDay: 60}) { plan { requestsPerMinute } userErrors { message } } }`, nil, nil); len(errs) > 0 {
			t.Fatal(errs)
		}
		coaitest.Eventually(t, "both processes know the limit", func() bool {
			return nodes[1].Do("GET", "/v1/models", coaitest.AdminKey, nil).Header.Get("X-Ratelimit-Limit") == "60"
		})
		left := func() int {
			n := 0
			_, _ = fmt.Sscan(one.Do("GET", "/v1/models", coaitest.AdminKey, nil).Header.Get("X-Ratelimit-Remaining"), &n)
			return n
		}
		remaining := left()
		var ok, refused atomic.Int32
		var clients sync.WaitGroup
		for i := range 10 {
			clients.Go(func() {
				for range limit / 5 {
					switch res := nodes[i%2].Do("GET", "/v1/models", coaitest.AdminKey, nil); res.Status {
					case http.StatusOK:
						ok.Add(1)
					case http.StatusTooManyRequests:
						refused.Add(1)
						if res.Header.Get("Retry-After") == "" || res.Error(t).Code != "rate_limit_exceeded" {
							t.Errorf("refused with %v %s", res.Header, res.Body)
						}
					default:
						t.Errorf("status %d", res.Status)
					}
				}
			})
		}
		clients.Wait()
		if int(ok.Load()) != remaining || int(refused.Load()) != 2*limit-remaining {
			t.Errorf("%d requests were left; %d went through, %d were refused", remaining, ok.Load(), refused.Load())
		}
	})
}
