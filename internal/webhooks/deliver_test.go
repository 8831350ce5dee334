package webhooks

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/events"
	"github.com/coaidev/coai/models"
)

// verify checks a request as its receivers do: with Standard Webhooks' own library
// and with OpenAI's.
func verify(t *testing.T, secret string, r received) error {
	t.Helper()
	wh, err := standard.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	client := openai.NewClient(option.WithAPIKey("none"), option.WithWebhookSecret(secret))
	_, errUnwrap := client.Webhooks.Unwrap(r.body, r.header)
	errVerify := wh.Verify(r.body, r.header)
	if (errVerify == nil) != (errUnwrap == nil) {
		t.Errorf("the libraries disagree: %v, %v", errVerify, errUnwrap)
	}
	return errVerify
}

func TestDeliveriesAreSigned(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		r := newReceiver(t, nil)
		x, secret := w.endpoint(w.ada, r.URL+"/hooks?token=t0p", func(in *models.CreateWebhookInput) {
			in.Headers = models.StringMap{"Authorization": "Bearer hush", "X-Team": "billing"}
		})
		e := w.happen(w.ada, models.EventConversationCreated)
		d := w.only(x.ID)
		w.deliver(d.ID)
		got := r.requests()
		if len(got) != 1 {
			t.Fatalf("%d requests", len(got))
		}
		h := got[0].header
		if h.Get("Webhook-Id") != e.ID || h.Get("Content-Type") != "application/json" || h.Get("Authorization") != "Bearer hush" || h.Get("X-Team") != "billing" {
			t.Errorf("headers %v", h)
		}
		if err := verify(t, secret, got[0]); err != nil {
			t.Error(err)
		}
		if verify(t, newSecret(), got[0]) == nil {
			t.Error("any secret fits")
		}
		var body struct {
			ID, Object, Type, Timestamp string
			APIVersion                  string `json:"api_version"`
			CreatedAt                   int64  `json:"created_at"`
			Data                        struct{ Object string }
		}
		if err := json.Unmarshal(got[0].body, &body); err != nil {
			t.Fatal(err)
		}
		if body.ID != e.ID || body.Object != "event" || body.Type != "conversation.created" || body.APIVersion != "v1" ||
			body.CreatedAt != e.CreatedAt.Unix() || body.Timestamp != e.CreatedAt.Format(time.RFC3339) || body.Data.Object != "thing" {
			t.Errorf("body %s", got[0].body)
		}
		d = w.only(x.ID)
		if d.Status != models.DeliveryDelivered || d.Attempts != 1 || *d.LastStatus != 200 || d.LastError != nil || d.CompletedAt == nil {
			t.Errorf("%+v", d)
		}
		w.deliver(d.ID) // has ended
		if n := len(r.requests()); n != 1 {
			t.Errorf("%d requests", n)
		}

		// For a day after a rotation both secrets sign.
		p, err := w.s.RotateWebhookSecret(w.ctx, w.ada, x.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		shown, err := w.s.WebhookSecret(w.ctx, w.ada, x.ID)
		if err != nil || shown.Secret != *p.Secret || *shown.Previous != secret {
			t.Errorf("%+v, %v", shown, err)
		}
		for _, after := range []struct {
			shift time.Duration
			both  bool
		}{{0, true}, {24*time.Hour + time.Minute, false}} {
			w.later(after.shift)
			w.happen(w.ada, models.EventConversationCompleted)
			list := w.deliveries(x.ID)
			w.deliver(list[len(list)-1].ID)
			got = r.requests()
			last := got[len(got)-1]
			fresh, old := signedBy(last, *p.Secret), signedBy(last, secret)
			if !fresh || old != after.both {
				t.Errorf("%v after the rotation: new %v, old %v", after.shift, fresh, old)
			}
		}
		if strings.Contains(w.logs.String(), "whsec_") || strings.Contains(w.logs.String(), "hush") {
			t.Errorf("a secret in the log: %s", w.logs)
		}
		var kept []byte
		if err := w.db.Read().NewSelect().Model((*models.Webhook)(nil)).Column("secret").Scan(w.ctx, &kept); err != nil || strings.Contains(string(kept), "whsec_") {
			t.Errorf("the secret is kept as %q, %v", kept, err)
		}
	})
}

// signedBy leaves the time aside: the world's clock is ahead of the library's.
func signedBy(r received, secret string) bool {
	wh, err := standard.NewWebhook(secret)
	return err == nil && wh.VerifyIgnoringTimestamp(r.body, r.header) == nil
}

func TestOutcomes(t *testing.T) {
	each(t, Config{Timeout: 500 * time.Millisecond}, func(t *testing.T, w *world) {
		hold := make(chan struct{})
		var once sync.Once
		t.Cleanup(func() { once.Do(func() { close(hold) }) })
		for name, c := range map[string]struct {
			then   func(http.ResponseWriter, *http.Request)
			status models.WebhookDeliveryStatus
			code   int
			error  string
			wait   time.Duration // until the next attempt, at least
		}{
			"no content": {status(204), models.DeliveryDelivered, 204, "", 0},
			"failure":    {status(500), models.DeliveryPending, 500, "status 500", 4 * time.Second},
			"redirect":   {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, models.DeliveryPending, 302, "not followed", 4 * time.Second},
			"gone":       {status(410), models.DeliveryFailed, 410, "status 410", 0},
			"not now":    {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "600"); w.WriteHeader(429) }, models.DeliveryPending, 429, "status 429", 599 * time.Second},
			"not soon": {func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "999999999")
				w.WriteHeader(503)
			}, models.DeliveryPending, 503, "status 503", 23 * time.Hour},
			"reset":       {func(w http.ResponseWriter, _ *http.Request) { reset(t, w) }, models.DeliveryPending, 0, "closed without an answer", 4 * time.Second},
			"hang":        {func(_ http.ResponseWriter, r *http.Request) { <-hold }, models.DeliveryPending, 0, "no answer within", 4 * time.Second},
			"endless":     {endless, models.DeliveryDelivered, 200, "", 0},
			"drip":        {drip(hold), models.DeliveryDelivered, 200, "", 0},
			"wide header": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 64<<10)) }, models.DeliveryPending, 0, "connection failed", 4 * time.Second},
		} {
			r := newReceiver(t, c.then)
			x, _ := w.endpoint(w.ada, r.URL)
			e := w.happen(w.ada, models.EventPaymentFailed)
			_ = e
			d := w.only(x.ID)
			began := time.Now()
			w.deliver(d.ID)
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("%s: it took %v", name, took)
			}
			d = w.only(x.ID)
			code := 0
			if d.LastStatus != nil {
				code = *d.LastStatus
			}
			if d.Status != c.status || code != c.code || d.Attempts != 1 || (d.LastError == nil) != (c.error == "") {
				t.Errorf("%s: %s, status %d, error %v", name, d.Status, code, d.LastError)
			}
			if c.error != "" {
				contains(t, d.LastError, c.error)
			}
			if c.status == models.DeliveryPending && (d.DueAt.Before(began.Add(c.wait)) || d.DueAt.After(time.Now().Add(24*time.Hour))) {
				t.Errorf("%s: the next attempt is due in %v", name, d.DueAt.Sub(began))
			}
			attempts, err := w.s.Attempts(w.ctx, d)
			if err != nil || len(attempts) != 1 || attempts[0].N != 1 || (attempts[0].Response == nil) != (c.code == 0) {
				t.Errorf("%s: attempts %+v, %v", name, attempts, err)
			} else if a := attempts[0].Response; a != nil && len(*a) > maxResponse {
				t.Errorf("%s: %d bytes are kept", name, len(*a))
			}
			if len(r.requests()) != 1 {
				t.Errorf("%s: %d requests", name, len(r.requests()))
			}
			if name == "hang" {
				once.Do(func() { close(hold) })
			}
			w.exec(w.db.Write().NewDelete().Model((*models.Webhook)(nil)).Where("id = ?", x.ID))
		}
	})
}

func reset(t *testing.T, w http.ResponseWriter) {
	t.Helper()
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// endless answers more than anybody wants to read.
func endless(w http.ResponseWriter, _ *http.Request) {
	chunk := []byte(strings.Repeat("a\x00\xff", 10_000))
	for range 30_000 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// drip begins an answer and never ends it.
func drip(hold chan struct{}) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, "well")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}
}

func TestTenAttemptsThenNoMore(t *testing.T) {
	each(t, Config{DisableAfter: 1000 * time.Hour}, func(t *testing.T, w *world) {
		r := newReceiver(t, status(500))
		x, _ := w.endpoint(w.ada, r.URL)
		w.happen(w.ada, models.EventPaymentFailed)
		for n := 1; n <= 10; n++ {
			d := w.only(x.ID)
			w.deliver(d.ID)
			if d = w.only(x.ID); d.Attempts != n || n < 10 && d.Status != models.DeliveryPending {
				t.Fatalf("after %d: %+v", n, d)
			}
			w.deliver(d.ID) // not due
			w.later(30 * time.Hour)
		}
		d := w.only(x.ID)
		if d.Status != models.DeliveryFailed || d.CompletedAt == nil || len(r.requests()) != 10 {
			t.Errorf("%s after %d requests", d.Status, len(r.requests()))
		}
	})
}

func TestOneOfManyMakesADelivery(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		r := newReceiver(t, nil)
		x, _ := w.endpoint(w.ada, r.URL)
		w.happen(w.ada, models.EventPaymentFailed)
		d := w.only(x.ID)
		other := newSecond(w)
		var all sync.WaitGroup
		for i := range 8 {
			s := []*Service{w.s, other}[i%2]
			all.Go(func() {
				if err := s.Deliver(w.ctx, d.ID); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := len(r.requests()); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// newSecond is the service of another process on the same database.
func newSecond(w *world) *Service {
	s := *w.s
	s.slots = newSlots(s.cfg.PerEndpoint)
	return &s
}

func TestAProcessThatDiedIsFollowedByAnother(t *testing.T) {
	each(t, Config{Timeout: time.Second}, func(t *testing.T, w *world) {
		r := newReceiver(t, nil)
		x, _ := w.endpoint(w.ada, r.URL)
		w.happen(w.ada, models.EventPaymentFailed)
		d := w.only(x.ID)
		dead, err := w.s.claim(w.ctx, d)
		if err != nil || dead == nil {
			t.Fatal(dead, err)
		}
		w.deliver(d.ID) // under a lease
		if ids, err := w.s.Due(w.ctx, 10); err != nil || len(ids) != 0 || len(r.requests()) != 0 {
			t.Fatalf("%v, %v, %d requests", ids, err, len(r.requests()))
		}
		w.later(time.Second + leaseMargin + time.Second)
		ids, err := w.s.Due(w.ctx, 10)
		if err != nil || len(ids) != 1 {
			t.Fatalf("%v, %v", ids, err)
		}
		w.deliver(ids[0])
		if d = w.only(x.ID); d.Status != models.DeliveryDelivered || d.Attempts != 2 {
			t.Errorf("%+v", d)
		}
		// The first one was not dead, but slow: it changes nothing any more.
		if err := w.s.finish(w.ctx, dead, &outcome{err: "late"}, time.Now().UTC()); err != nil {
			t.Fatal(err)
		}
		if d = w.only(x.ID); d.Status != models.DeliveryDelivered || d.LastError != nil {
			t.Errorf("%+v", d)
		}
	})
}

func TestAnAttemptThatIsGivenUpIsNotCounted(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		reached, hold := make(chan struct{}, 1), make(chan struct{})
		r := newReceiver(t, func(http.ResponseWriter, *http.Request) { reached <- struct{}{}; <-hold })
		x, _ := w.endpoint(w.ada, r.URL)
		w.happen(w.ada, models.EventPaymentFailed)
		d := w.only(x.ID)
		ctx, cancel := context.WithCancel(w.ctx)
		done := make(chan error, 1)
		go func() { done <- w.s.Deliver(ctx, d.ID) }()
		<-reached
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		close(hold)
		if d = w.only(x.ID); d.Status != models.DeliveryPending || d.Tries != 0 || w.reload(x.ID).Failures != 0 {
			t.Errorf("%+v", d)
		}
		r.answer(nil)
		ids, err := w.s.Due(w.ctx, 10)
		if err != nil || len(ids) != 1 {
			t.Fatalf("%v, %v", ids, err)
		}
		w.deliver(ids[0])
		if d = w.only(x.ID); d.Status != models.DeliveryDelivered {
			t.Errorf("%+v", d)
		}
	})
}

func TestWhoIsToldOfWhat(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		only := func(kinds ...string) func(*models.CreateWebhookInput) {
			return func(in *models.CreateWebhookInput) { in.Events = kinds }
		}
		const url = "http://127.0.0.1:1/"
		ada, _ := w.endpoint(w.ada, url)
		some, _ := w.endpoint(w.ada, url, only("payment.failed", "conversation.created"))
		off, _ := w.endpoint(w.ada, url, func(in *models.CreateWebhookInput) { no := false; in.Enabled = &no })
		bob, _ := w.endpoint(w.bob, url)
		admin, _ := w.endpoint(w.admin, url)
		narrow := *w.admin
		narrow.Scopes = models.DefaultScopes()
		lesser, _ := w.endpoint(&narrow, url) // an admin's, by a key that is not for admins
		counts := func() (n [6]int) {
			for i, x := range []*models.Webhook{ada, some, off, bob, admin, lesser} {
				n[i] = len(w.deliveries(x.ID))
			}
			return n
		}
		w.happen(w.ada, models.EventPaymentSucceeded)
		if got := counts(); got != [6]int{1, 0, 0, 0, 0, 0} {
			t.Errorf("payment.succeeded: %v", got)
		}
		w.happen(w.ada, models.EventConversationCreated)
		if got := counts(); got != [6]int{2, 1, 0, 0, 0, 0} {
			t.Errorf("conversation.created: %v", got)
		}
		w.happen(w.ada, models.EventUserRegistered)
		w.happen(w.ada, models.EventChannelHealthChanged)
		if got := counts(); got != [6]int{2, 1, 0, 0, 2, 0} {
			t.Errorf("events for admins: %v", got)
		}
		w.exec(w.db.Write().NewUpdate().Model((*models.User)(nil)).Set("role = ?", models.RoleUser).Where("id = ?", w.admin.UserID))
		w.exec(w.db.Write().NewUpdate().Model((*models.User)(nil)).Set("status = ?", models.UserSuspended).Where("id = ?", w.ada.UserID))
		w.happen(w.ada, models.EventConversationCreated)
		w.happen(w.ada, models.EventChannelHealthChanged)
		if got := counts(); got != [6]int{2, 1, 0, 0, 2, 0} {
			t.Errorf("after both lost their rights: %v", got)
		}
		undone := fmt.Errorf("undone")
		err := w.db.Tx(w.ctx, func(ctx context.Context, tx bun.Tx) error {
			_, err := events.AppendFor(ctx, tx, w.bob.UserID, models.EventPaymentFailed, map[string]string{})
			if err != nil {
				return err
			}
			return undone
		})
		if got := counts(); err == nil || got[3] != 0 {
			t.Errorf("a transaction that was undone left %v (%v)", got, err)
		}
	})
}
