package coaitest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/internal/events"
	"github.com/coaidev/coai/models"
)

// inbox is an endpoint that keeps what it is sent.
type inbox struct {
	*httptest.Server
	mu     sync.Mutex
	counts map[string]int // by webhook-id
	bodies []string
	valid  func(body []byte, h http.Header) error
	wrong  error
}

func newInbox(t *testing.T) *inbox {
	t.Helper()
	in := &inbox{counts: map[string]int{}}
	in.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		in.counts[r.Header.Get("Webhook-Id")]++
		in.bodies = append(in.bodies, string(body))
		if in.valid != nil && in.wrong == nil {
			in.wrong = in.valid(body, r.Header)
		}
	}))
	t.Cleanup(in.Close)
	return in
}

// verify has all that follows checked with the secret.
func (in *inbox) verify(t *testing.T, secret string) {
	t.Helper()
	wh, err := standard.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.valid = wh.Verify
}

func (in *inbox) has(parts ...string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, body := range in.bodies {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(body, part)
		}
		if all {
			return true
		}
	}
	return false
}

// distinct is how many events came, and how many requests too many.
func (in *inbox) distinct() (events, again int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, n := range in.counts {
		again += n - 1
	}
	return len(in.counts), again
}

func TestWebhooksOverBothFaces(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b, "COAI_WEBHOOK_ALLOW_HTTP=true", "COAI_WEBHOOK_ALLOW_NETWORKS=127.0.0.1")
		in := newInbox(t)
		user := p.OtherUserKey("ada@example.com", models.CreateAPIKeyInput{Name: "k", Scopes: []models.Scope{models.ScopeWebhooks, models.ScopeProfile}})
		var made struct{ ID, Object, Secret string }
		res := p.Do("POST", "/v1/webhooks", user, map[string]any{"url": in.URL, "events": []string{"*"}, "headers": map[string]string{"Authorization": "Bearer hush"}})
		if res.JSON(t, &made); res.Status != http.StatusOK || made.Object != "webhook" || !strings.HasPrefix(made.Secret, "whsec_") {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		in.verify(t, made.Secret)
		path := "/v1/webhooks/" + made.ID
		if res := p.Do("GET", path, user, nil); res.Status != http.StatusOK || strings.Contains(string(res.Body), "whsec_") || strings.Contains(string(res.Body), "hush") {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		if res := p.Do("GET", path+"/secret", user, nil); !strings.Contains(string(res.Body), made.Secret) {
			t.Errorf("%d %s", res.Status, res.Body)
		}

		socket := p.Socket(user)
		socket.Subscribe("1", `subscription($id: ID!) { webhookDeliveries(endpointId: $id) { sequence delivery { status eventType trigger } error { code } } }`, map[string]string{"id": made.ID})

		// The test answers with its outcome.
		var tested struct {
			Object, Status, Trigger string
			Attempts                []struct{ Status, Number int }
			Event                   struct{ Type string }
		}
		res = p.Do("POST", path+"/test", user, nil)
		if res.JSON(t, &tested); tested.Status != "delivered" || tested.Trigger != "test" || len(tested.Attempts) != 1 || tested.Attempts[0].Status != 200 || tested.Event.Type != "webhook.test" {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		// It sees what comes after its beginning, of which nothing tells: where that was
		// too late for the first test, it sees another.
		m, ok := socket.ReceiveWithin(2 * time.Second)
		for tries := 0; !ok && tries < 10; tries++ {
			p.Do("POST", path+"/test", user, nil)
			m, ok = socket.ReceiveWithin(2 * time.Second)
		}
		if !ok || m.Type != "next" || !strings.Contains(string(m.Payload), `"eventType":"webhook.test"`) {
			t.Errorf("the live view says %s %s, %t", m.Type, m.Payload, ok)
		}

		// An event of the user's own, by the transaction of its cause.
		var me struct{ ID string }
		p.Do("GET", "/v1/users/me", user, nil).JSON(t, &me)
		happen := func(kind models.EventType) {
			t.Helper()
			err := p.DB.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := events.AppendFor(ctx, tx, me.ID, kind, map[string]any{"object": "conversation", "id": "conv_1", "user_id": me.ID})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		happen(models.EventConversationCreated)
		coaitest.Eventually(t, "the event arrives", func() bool { return in.has(`"type":"conversation.created"`, `"api_version":"v1"`) })
		var log struct {
			Data []struct {
				ID, Status string
				EventType  string `json:"event_type"`
			}
		}
		coaitest.Eventually(t, "it is in the log", func() bool {
			p.Do("GET", path+"/deliveries?event=conversation.created&status=delivered", user, nil).JSON(t, &log)
			return len(log.Data) == 1
		})

		// Redelivered over GraphQL.
		var again struct {
			RedeliverWebhook struct {
				Delivery   *struct{ Status, Trigger string }
				UserErrors []struct{ Message string }
			}
		}
		errs := p.GraphQL(user, `mutation($e: ID!, $id: ID!) { redeliverWebhook(endpointId: $e, id: $id) { delivery { status trigger } userErrors { message } } }`,
			map[string]string{"e": made.ID, "id": log.Data[0].ID}, &again)
		if len(errs) > 0 || again.RedeliverWebhook.Delivery == nil || again.RedeliverWebhook.Delivery.Trigger != "MANUAL" {
			t.Errorf("%+v, %+v", errs, again)
		}
		coaitest.Eventually(t, "it arrives again", func() bool { _, n := in.distinct(); return n == 1 })
		var seen struct {
			Webhook           struct{ URL string }
			WebhookDeliveries struct {
				TotalCount int
				Nodes      []struct {
					AttemptCount int
					Event        struct{ Type string }
					Attempts     []struct{ Number, Status int }
				}
			}
			Node struct{ ID string }
		}
		coaitest.Eventually(t, "both attempts are in the log", func() bool {
			errs = p.GraphQL(user, `query($id: ID!, $d: ID!) { webhook(id: $id) { url } node(id: $d) { id }
				webhookDeliveries(endpointId: $id, first: 5, filter: {event: "conversation.created"}) { totalCount nodes { attemptCount event { type data } attempts { number status response } } } }`,
				map[string]string{"id": made.ID, "d": log.Data[0].ID}, &seen)
			return len(errs) == 0 && len(seen.WebhookDeliveries.Nodes) == 1 && len(seen.WebhookDeliveries.Nodes[0].Attempts) == 2
		})
		if seen.WebhookDeliveries.TotalCount != 1 || seen.Node.ID != log.Data[0].ID || seen.Webhook.URL != in.URL {
			t.Errorf("%+v", seen)
		}

		// Rotated: both secrets sign, so the inbox, which has the old one, is content.
		if res := p.Do("POST", path+"/rotate-secret", user, nil); res.Status != http.StatusOK {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		happen(models.EventConversationCompleted)
		coaitest.Eventually(t, "the event after the rotation", func() bool { return in.has(`"type":"conversation.completed"`) })
		if res := p.Do("POST", path+"/redeliver", user, map[string]any{"since": "2026-01-01T00:00:00Z"}); !strings.Contains(string(res.Body), `"count":0`) {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		in.mu.Lock()
		if in.wrong != nil {
			t.Errorf("a signature: %v", in.wrong)
		}
		in.mu.Unlock()

		// Another tenant, and a key without the scope.
		for _, route := range []string{"GET " + path, "GET " + path + "/secret", "GET " + path + "/deliveries", "POST " + path + "/test", "DELETE " + path, "POST " + path + "/deliveries/" + log.Data[0].ID + "/redeliver"} {
			method, to, _ := strings.Cut(route, " ")
			if res := p.Do(method, to, coaitest.AdminKey, nil); res.Status != http.StatusNotFound {
				t.Errorf("%s by another: %d %s", route, res.Status, res.Body)
			}
		}
		if res := p.Do("GET", "/v1/webhooks", p.UserKey(map[string]any{"scopes": []string{"chat"}}), nil); res.Status != http.StatusForbidden {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		if e := p.Do("POST", "/v1/webhooks", user, map[string]any{"url": "https://10.0.0.1/"}).Error(t); e.Param == nil || *e.Param != "url" {
			t.Errorf("%+v", e)
		}
		var types struct {
			Data []struct {
				Type    string
				Schema  json.RawMessage
				Example json.RawMessage
			}
		}
		if p.Do("GET", "/v1/webhooks/events", user, nil).JSON(t, &types); len(types.Data) != len(models.EventTypes()) || len(types.Data[0].Schema) == 0 {
			t.Errorf("%+v", types)
		}
		if res := p.Do("DELETE", path, user, nil); res.Status != http.StatusOK {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		coaitest.Eventually(t, "the live view ends with the endpoint", func() bool {
			m, err := socket.Receive()
			return err != nil || m.Type == "complete" || strings.Contains(string(m.Payload), "resource_not_found")
		})

		// Jobs.
		var jobs struct {
			Data []struct {
				Name, Object string
				Outcome      *string
				NextAt       int64 `json:"next_at"`
			}
		}
		coaitest.Eventually(t, "jobs are listed", func() bool {
			p.Do("GET", "/v1/jobs", coaitest.AdminKey, nil).JSON(t, &jobs)
			return len(jobs.Data) >= 3
		})
		if res := p.Do("GET", "/v1/jobs", user, nil); res.Status != http.StatusForbidden {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		if res := p.Do("POST", "/v1/jobs/purge-webhooks/run", coaitest.AdminKey, nil); res.Status != http.StatusOK {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		if res := p.Do("POST", "/v1/jobs/nothing/run", coaitest.AdminKey, nil); res.Status != http.StatusNotFound {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		coaitest.Eventually(t, "the job has run", func() bool {
			var seen struct {
				Jobs []struct {
					Name, Outcome, RequestedAt string
					DurationMs                 *int
				}
			}
			errs := p.GraphQL(coaitest.AdminKey, `{ jobs { name outcome requestedAt durationMs } }`, nil, &seen)
			for _, j := range seen.Jobs {
				if len(errs) == 0 && j.Name == "purge-webhooks" {
					return j.Outcome == "OK" && j.RequestedAt == "" && j.DurationMs != nil
				}
			}
			return false
		})
	})
}

// What an admin is told of: the health of channels.
func TestAdminsAreToldOfChannels(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_WEBHOOK_ALLOW_HTTP=true", "COAI_WEBHOOK_ALLOW_NETWORKS=127.0.0.1", "COAI_UPSTREAM_RETRIES=0")
	in := newInbox(t)
	if res := p.Do("POST", "/v1/webhooks", coaitest.AdminKey, map[string]any{"url": in.URL, "events": []string{"channel.health_changed"}}); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	defer down.Close()
	res := p.Do("POST", "/v1/channels", coaitest.AdminKey, map[string]any{"name": "down", "type": "openai", "base_url": down.URL, "credential": coaitest.UpstreamKey, "models": []string{"gpt-down"}})
	if res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	ask := map[string]any{"model": "gpt-down", "messages": []map[string]string{{"role": "user", "content": "hello"}}}
	coaitest.Eventually(t, "the event of the channel's failure", func() bool {
		p.Do("POST", "/v1/chat/completions", coaitest.AdminKey, ask)
		return in.has(`"type":"channel.health_changed"`, `"unhealthy"`)
	})
}
