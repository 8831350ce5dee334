package coaitest_test

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

const onceHeader = "Idempotency-Key"

func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		keys := func() (list struct{ Total int }) {
			p.Do("GET", "/v1/api-keys", coaitest.AdminKey, nil).JSON(t, &list)
			return list
		}
		conflict := func(res *coaitest.Response) {
			t.Helper()
			if e := res.Error(t); res.Status != http.StatusConflict || e.Code != "conflict" || e.Param == nil || *e.Param != onceHeader {
				t.Errorf("%d %s", res.Status, res.Body)
			}
		}
		in := object{"name": "once", "scopes": []string{"chat", "keys"}}
		before := keys().Total
		first := p.Do("POST", "/v1/api-keys", coaitest.AdminKey, in, onceHeader, "k1")
		again := p.Do("POST", "/v1/api-keys", coaitest.AdminKey, in, onceHeader, "k1")
		if first.Status != http.StatusOK || again.Status != first.Status || !bytes.Equal(first.Body, again.Body) || keys().Total != before+1 {
			t.Fatalf("%d %s, then %d %s; %d keys", first.Status, first.Body, again.Status, again.Body, keys().Total-before)
		}
		if first.Header.Get("Idempotent-Replayed") != "" || again.Header.Get("Idempotent-Replayed") != "true" || again.Header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", again.Header)
		}
		if again.Header.Get("X-Request-Id") == first.Header.Get("X-Request-Id") || again.Header.Get("X-Ratelimit-Limit") == "" {
			t.Errorf("headers %v", again.Header)
		}
		var made struct{ Secret string }
		first.JSON(t, &made)
		var rows []map[string]any
		if err := p.DB.Read().NewSelect().Table("idempotency_keys").Scan(t.Context(), &rows); err != nil || len(rows) != 1 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		for name, value := range rows[0] {
			if raw, ok := value.([]byte); ok && bytes.Contains(raw, []byte(made.Secret)) {
				t.Errorf("%s holds the secret", name)
			}
		}

		conflict(p.Do("POST", "/v1/api-keys", coaitest.AdminKey, object{"name": "another"}, onceHeader, "k1"))
		conflict(p.Do("DELETE", "/v1/api-keys/x", coaitest.AdminKey, nil, onceHeader, "k1"))
		conflict(p.Do("POST", "/v1/api-keys", made.Secret, in, onceHeader, "k1")) // the account's, but may it see the answer?
		other := p.OtherUserKey("other@example.com", models.CreateAPIKeyInput{Name: "k"})
		if res := p.Do("POST", "/v1/api-keys", other, in, onceHeader, "k1"); res.Status != http.StatusOK || strings.Contains(string(res.Body), made.Secret) {
			t.Errorf("another account: %d %s", res.Status, res.Body)
		}
		for name, key := range map[string]string{"long": strings.Repeat("x", 256), "not ASCII": "ä", "a tab": "a\tb", "empty": ""} {
			if res := p.Do("POST", "/v1/api-keys", coaitest.AdminKey, in, onceHeader, key); res.Status != http.StatusBadRequest || *res.Error(t).Param != onceHeader {
				t.Errorf("%s: %d %s", name, res.Status, res.Body)
			}
		}
		if res := p.Do("GET", "/v1/models", coaitest.AdminKey, nil, onceHeader, "k1"); res.Status != http.StatusOK {
			t.Errorf("a safe request: %d %s", res.Status, res.Body)
		}

		// A mistake stays one; what may pass does not.
		for range 2 {
			if res := p.Do("POST", "/v1/api-keys", coaitest.AdminKey, `{"name":1}`, onceHeader, "k2"); res.Status != http.StatusBadRequest {
				t.Errorf("%d %s", res.Status, res.Body)
			}
		}
		failing := ask("echo", object{"metadata": object{"echo_fail": "before"}})
		for range 2 {
			if res := p.Do("POST", "/v1/chat/completions", coaitest.AdminKey, failing, onceHeader, "k3"); res.Status != http.StatusServiceUnavailable || res.Header.Get("Idempotent-Replayed") != "" {
				t.Errorf("%d %s", res.Status, res.Body)
			}
		}
		for range 2 {
			events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", coaitest.AdminKey, ask("echo", object{"stream": true}), onceHeader, "k4")).All()
			if len(events) < 3 || events[len(events)-1] != "[DONE]" {
				t.Errorf("a stream: %q", events)
			}
		}
		if b.DatabaseURL != "" {
			two := coaitest.Start(t, b, "COAI_WORKER=false")
			if res := two.Do("POST", "/v1/api-keys", coaitest.AdminKey, in, onceHeader, "k1"); !bytes.Equal(res.Body, first.Body) {
				t.Errorf("at another process: %d %s", res.Status, res.Body)
			}
		}
	})
}

func TestIdempotencyKeyInFlight(t *testing.T) {
	t.Parallel()
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		u := coaitest.NewUpstream(t)
		release := make(chan struct{})
		u.Then(func(w http.ResponseWriter, c *coaitest.Call) {
			<-release
			coaitest.Whole("late")(w, c)
		})
		p.Channel(u, nil)
		in := ask("gpt-test", nil)
		var first *coaitest.Response
		var client sync.WaitGroup
		client.Go(func() { first = p.Do("POST", "/v1/chat/completions", coaitest.AdminKey, in, onceHeader, "slow") })
		coaitest.Eventually(t, "the upstream is asked", func() bool { return len(u.Calls()) == 1 })
		if res := p.Do("POST", "/v1/chat/completions", coaitest.AdminKey, in, onceHeader, "slow"); res.Status != http.StatusConflict || res.Header.Get("Retry-After") == "" {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		close(release)
		client.Wait()
		again := p.Do("POST", "/v1/chat/completions", coaitest.AdminKey, in, onceHeader, "slow")
		if first.Status != http.StatusOK || !bytes.Equal(first.Body, again.Body) || len(u.Calls()) != 1 {
			t.Errorf("%d %s, then %d %s; %d calls", first.Status, first.Body, again.Status, again.Body, len(u.Calls()))
		}
	})
}
