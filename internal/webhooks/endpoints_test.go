package webhooks

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/jsonschema/v6"
	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/events"
	"github.com/coaidev/coai/internal/safehttp"
	"github.com/coaidev/coai/models"
)

var update = flag.Bool("update", false, "write the golden files") //nolint:gochecknoglobals // a flag of the test

func TestWhatAnEndpointMayBe(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		many := models.StringMap{}
		for i := range 21 {
			many[fmt.Sprintf("X-%d", i)] = "x"
		}
		for name, c := range map[string]struct {
			in    models.CreateWebhookInput
			param string
		}{
			"no url":            {models.CreateWebhookInput{}, "url"},
			"no scheme":         {models.CreateWebhookInput{URL: "example.com"}, "url"},
			"another scheme":    {models.CreateWebhookInput{URL: "ftp://example.com"}, "url"},
			"credentials":       {models.CreateWebhookInput{URL: "https://a:b@example.com"}, "url"},
			"fragment":          {models.CreateWebhookInput{URL: "https://example.com/#x"}, "url"},
			"long":              {models.CreateWebhookInput{URL: "https://example.com/" + strings.Repeat("x", 2048)}, "url"},
			"control character": {models.CreateWebhookInput{URL: "https://example.com/\n"}, "url"},
			"private":           {models.CreateWebhookInput{URL: "https://10.0.0.1/"}, "url"},
			"metadata":          {models.CreateWebhookInput{URL: "http://169.254.169.254/latest"}, "url"},
			"unspecified":       {models.CreateWebhookInput{URL: "http://0.0.0.0/"}, "url"},
			"mapped":            {models.CreateWebhookInput{URL: "http://[::ffff:169.254.169.254]/"}, "url"},
			"description":       {models.CreateWebhookInput{URL: "https://example.com", Description: text(strings.Repeat("x", 501))}, "description"},
			"no events":         {models.CreateWebhookInput{URL: "https://example.com", Events: []string{}}, "events"},
			"unknown event":     {models.CreateWebhookInput{URL: "https://example.com", Events: []string{"*", "user.died"}}, "events[1]"},
			"test":              {models.CreateWebhookInput{URL: "https://example.com", Events: []string{"webhook.test"}}, "events[0]"},
			"repeated event":    {models.CreateWebhookInput{URL: "https://example.com", Events: []string{"*", "*"}}, "events[1]"},
			"many headers":      {models.CreateWebhookInput{URL: "https://example.com", Headers: many}, "headers"},
			"host":              {models.CreateWebhookInput{URL: "https://example.com", Headers: models.StringMap{"hoSt": "x"}}, "headers"},
			"hop by hop":        {models.CreateWebhookInput{URL: "https://example.com", Headers: models.StringMap{"Connection": "x"}}, "headers"},
			"own":               {models.CreateWebhookInput{URL: "https://example.com", Headers: models.StringMap{"Webhook-Signature": "x"}}, "headers"},
			"header name":       {models.CreateWebhookInput{URL: "https://example.com", Headers: models.StringMap{"a b": "x"}}, "headers"},
			"header value":      {models.CreateWebhookInput{URL: "https://example.com", Headers: models.StringMap{"X": "a\r\nb"}}, "headers.X"},
			"short secret":      {models.CreateWebhookInput{URL: "https://example.com", Secret: text("whsec_AAAA")}, "secret"},
		} {
			_, err := w.s.CreateWebhook(w.ctx, w.ada, c.in)
			kind := models.KindInvalid
			t.Run(name, func(t *testing.T) { refused(t, err, kind, c.param) })
		}
		strict := New(w.db, w.s.box, Config{}, zerolog.Nop())
		for _, url := range []string{"http://example.com", "https://localhost/", "https://127.0.0.1/", "https://[::1]/", "https://x.localhost."} {
			_, err := strict.CreateWebhook(w.ctx, w.ada, models.CreateWebhookInput{URL: url})
			refused(t, err, models.KindInvalid, "url")
		}
		_, err := w.s.CreateWebhook(w.ctx, w.ada, models.CreateWebhookInput{URL: "https://example.com", Events: []string{"user.registered"}})
		refused(t, err, models.KindForbidden, "")
		secret := newSecret()
		for range maxEndpoints {
			w.endpoint(w.ada, "https://example.com", func(in *models.CreateWebhookInput) { in.Secret = &secret })
		}
		_, err = w.s.CreateWebhook(w.ctx, w.ada, models.CreateWebhookInput{URL: "https://example.com"})
		refused(t, err, models.KindConflict, "")
		w.endpoint(w.bob, "https://example.com")
	})
}

// A name that leads to a private address is refused when it is dialled, whatever it
// led to before.
func TestPrivateAddressesAreNotDialled(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		r := newReceiver(t, nil)
		x, _ := w.endpoint(w.ada, strings.Replace(r.URL, "127.0.0.1", "localhost", 1))
		w.s.cfg.Policy = safehttp.Policy{}
		w.s.client = newClient(w.s.cfg)
		w.happen(w.ada, models.EventPaymentFailed)
		w.sweep()
		d := w.only(x.ID)
		contains(t, d.LastError, "not allowed")
		if len(r.requests()) != 0 || strings.Contains(*d.LastError, "127") {
			t.Errorf("%d requests, error %q", len(r.requests()), *d.LastError)
		}
	})
}

func TestTenantsDoNotMeet(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		r := newReceiver(t, nil)
		x, _ := w.endpoint(w.ada, r.URL)
		own, _ := w.endpoint(w.bob, r.URL)
		w.happen(w.ada, models.EventPaymentFailed)
		d := w.only(x.ID)
		since := time.Now().Add(-time.Hour)
		calls := map[string]func(v *models.Viewer, id, delivery string) error{
			"webhook": func(v *models.Viewer, id, _ string) error { _, err := w.s.Webhook(w.ctx, v, id); return err },
			"secret":  func(v *models.Viewer, id, _ string) error { _, err := w.s.WebhookSecret(w.ctx, v, id); return err },
			"update": func(v *models.Viewer, id, _ string) error {
				_, err := w.s.UpdateWebhook(w.ctx, v, id, models.UpdateWebhookInput{})
				return err
			},
			"delete": func(v *models.Viewer, id, _ string) error { _, err := w.s.DeleteWebhook(w.ctx, v, id); return err },
			"rotate": func(v *models.Viewer, id, _ string) error {
				_, err := w.s.RotateWebhookSecret(w.ctx, v, id, nil)
				return err
			},
			"test": func(v *models.Viewer, id, _ string) error { _, err := w.s.TestWebhook(w.ctx, v, id); return err },
			"list": func(v *models.Viewer, id, _ string) error {
				_, err := w.s.Deliveries(w.ctx, v, id, models.PageArgs{}, nil)
				return err
			},
			"delivery": func(v *models.Viewer, id, d string) error { _, err := w.s.Delivery(w.ctx, v, id, d); return err },
			"again": func(v *models.Viewer, id, d string) error {
				_, err := w.s.RedeliverWebhook(w.ctx, v, id, d)
				return err
			},
			"range": func(v *models.Viewer, id, _ string) error {
				_, err := w.s.RedeliverWebhooks(w.ctx, v, id, models.RedeliverWebhooksInput{Since: &since})
				return err
			},
			"watch": func(v *models.Viewer, id, _ string) error { _, err := w.s.Watch(w.ctx, v, id); return err },
			"by id": func(v *models.Viewer, _, d string) error { _, err := w.s.DeliveryByID(w.ctx, v, d); return err },
		}
		powerless := &models.Viewer{UserID: w.ada.UserID, Scopes: []models.Scope{models.ScopeChat}}
		for name, call := range calls {
			refused(t, call(w.bob, x.ID, d.ID), models.KindNotFound, "id")
			refused(t, call(w.admin, x.ID, d.ID), models.KindNotFound, "id")
			refused(t, call(w.ada, "we_\x00", "whd_\xff"), models.KindNotFound, "id")
			refused(t, call(powerless, x.ID, d.ID), models.KindForbidden, "")
			refused(t, call(nil, x.ID, d.ID), models.KindUnauthenticated, "")
			if t.Failed() {
				t.Fatalf("at %s", name)
			}
		}
		// A delivery is found below its own endpoint alone.
		refused(t, calls["delivery"](w.bob, own.ID, d.ID), models.KindNotFound, "id")
		refused(t, calls["again"](w.bob, own.ID, d.ID), models.KindNotFound, "id")
		list, err := w.s.Webhooks(w.ctx, w.bob, models.PageArgs{}, nil)
		if err != nil || len(list.Nodes()) != 1 || list.Nodes()[0].ID != own.ID {
			t.Errorf("%v, %v", list, err)
		}
		if !w.reload(x.ID).UpdatedAt.Equal(x.UpdatedAt) || len(r.requests()) != 0 {
			t.Error("something was done")
		}
	})
}

// What an admin's key may see, a lesser key of the same admin may not.
func TestLesserKeysOfAnAdmin(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		x, _ := w.endpoint(w.admin, "https://example.com")
		lesser := *w.admin
		lesser.Scopes = models.DefaultScopes()
		_, err := w.s.WebhookSecret(w.ctx, &lesser, x.ID)
		refused(t, err, models.KindForbidden, "")
		_, err = w.s.UpdateWebhook(w.ctx, &lesser, x.ID, models.UpdateWebhookInput{URL: text("https://evil.example")})
		refused(t, err, models.KindForbidden, "")
		_, err = w.s.Deliveries(w.ctx, &lesser, x.ID, models.PageArgs{}, nil)
		refused(t, err, models.KindForbidden, "")
		if _, err := w.s.WebhookSecret(w.ctx, w.admin, x.ID); err != nil {
			t.Error(err)
		}
	})
}

func TestChangesListsAndTests(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		r := newReceiver(t, status(500))
		x, _ := w.endpoint(w.ada, r.URL, func(in *models.CreateWebhookInput) {
			in.Headers, in.Events = models.StringMap{"X-A": "1"}, []string{"payment.failed"}
		})
		no := false
		p, err := w.s.UpdateWebhook(w.ctx, w.ada, x.ID, models.UpdateWebhookInput{
			Description: text("new"), Enabled: &no, Headers: models.OmittableOf(models.StringMap{"X-B": "2"}),
		})
		if err != nil || p.Webhook.Enabled || *p.Webhook.DisabledReason != models.WebhookDisabledByOwner || p.Webhook.Description != "new" ||
			len(p.Webhook.HeaderNames) != 1 || p.Webhook.HeaderNames[0] != "X-B" {
			t.Fatalf("%+v, %v", p, err)
		}
		// A test reaches it all the same, once, and says what came of it.
		test, err := w.s.TestWebhook(w.ctx, w.ada, x.ID)
		if err != nil || test.Delivery.Status != models.DeliveryFailed || *test.Delivery.LastStatus != 500 || test.Delivery.Trigger != models.TriggerTest {
			t.Fatalf("%+v, %v", test, err)
		}
		if got := r.requests(); len(got) != 1 || got[0].header.Get("X-B") != "2" || got[0].header.Get("X-A") != "" || w.reload(x.ID).Failures != 0 {
			t.Errorf("%+v", got)
		}
		r.answer(nil)
		if test, err = w.s.TestWebhook(w.ctx, w.ada, x.ID); err != nil || test.Delivery.Status != models.DeliveryDelivered {
			t.Errorf("%+v, %v", test, err)
		}
		yes := true
		if _, err := w.s.UpdateWebhook(w.ctx, w.ada, x.ID, models.UpdateWebhookInput{Enabled: &yes}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			w.happen(w.ada, models.EventPaymentFailed)
		}
		first, failed := 2, models.DeliveryFailed
		list, err := w.s.Deliveries(w.ctx, w.ada, x.ID, models.PageArgs{First: &first}, nil)
		if err != nil || len(list.Nodes()) != 2 || !list.PageInfo.HasNextPage {
			t.Fatalf("%+v, %v", list, err)
		}
		if n, err := list.TotalCount(w.ctx); err != nil || n != 5 {
			t.Errorf("%d, %v", n, err)
		}
		future := time.Now().Add(time.Hour)
		for _, c := range []struct {
			f models.WebhookDeliveryFilter
			n int
		}{
			{models.WebhookDeliveryFilter{Status: &failed}, 1}, {models.WebhookDeliveryFilter{Event: text("payment.failed")}, 3},
			{models.WebhookDeliveryFilter{Since: &future}, 0}, {models.WebhookDeliveryFilter{Until: &future}, 5},
		} {
			list, err := w.s.Deliveries(w.ctx, w.ada, x.ID, models.PageArgs{}, &c.f)
			if err != nil || len(list.Nodes()) != c.n {
				t.Errorf("%+v: %d, %v", c.f, len(list.Nodes()), err)
			}
		}
		_, err = w.s.Deliveries(w.ctx, w.ada, x.ID, models.PageArgs{}, &models.WebhookDeliveryFilter{Event: text("nothing")})
		refused(t, err, models.KindInvalid, "event")
		for f, n := range map[models.WebhookFilter]int{{Enabled: &yes}: 1, {Enabled: &no}: 0, {Event: text("payment.failed")}: 1, {Event: text("payment.succeeded")}: 0} {
			list, err := w.s.Webhooks(w.ctx, w.ada, models.PageArgs{}, &f)
			if err != nil || len(list.Nodes()) != n {
				t.Errorf("%+v: %d, %v", f, len(list.Nodes()), err)
			}
		}
		w.sweep()
		d := w.deliveries(x.ID)[4]
		again, err := w.s.RedeliverWebhook(w.ctx, w.ada, x.ID, d.ID)
		if err != nil || again.Delivery.Status != models.DeliveryPending {
			t.Fatalf("%+v, %v", again, err)
		}
		w.sweep()
		if e, err := w.s.Event(w.ctx, d); err != nil || e.ID != d.EventID {
			t.Errorf("%+v, %v", e, err)
		}
		attempts, err := w.s.Attempts(w.ctx, d)
		got := r.requests()
		if err != nil || len(attempts) != 2 || attempts[0].N != 2 || attempts[0].Trigger != models.TriggerManual ||
			got[len(got)-1].header.Get("Webhook-Id") != d.EventID {
			t.Errorf("%+v, %v", attempts, err)
		}
		if _, err := w.s.DeleteWebhook(w.ctx, w.ada, x.ID); err != nil || len(w.deliveries(x.ID)) != 0 {
			t.Error(err)
		}
		_, err = w.s.RedeliverWebhooks(w.ctx, w.ada, x.ID, models.RedeliverWebhooksInput{})
		refused(t, err, models.KindInvalid, "since")
	})
}

func TestLiveView(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		r := newReceiver(t, nil)
		x, _ := w.endpoint(w.ada, r.URL)
		ctx, cancel := context.WithCancel(w.ctx)
		live, err := w.s.Watch(ctx, w.ada, x.ID)
		if err != nil {
			t.Fatal(err)
		}
		w.happen(w.ada, models.EventPaymentFailed)
		first, err := live.Next()
		if err != nil || first.Sequence != 0 || first.Delivery.Status != models.DeliveryPending {
			t.Fatalf("%+v, %v", first, err)
		}
		w.sweep()
		second, err := live.Next()
		if err != nil || second.Sequence != 1 || second.Delivery.Status != models.DeliveryDelivered || second.Delivery.ID != first.Delivery.ID {
			t.Fatalf("%+v, %v", second, err)
		}
		cancel()
		if _, err := live.Next(); err != io.EOF { //nolint:errorlint // it is promised as it is
			t.Error(err)
		}
	})
}

// TestCatalogue: each type has a schema, and an example that keeps to it. The
// examples are golden files: what endpoints are sent does not change by accident.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	list, err := Catalogue()
	if err != nil || len(list) != len(models.EventTypes()) {
		t.Fatalf("%d of %d types, %v", len(list), len(models.EventTypes()), err)
	}
	for _, e := range list {
		t.Run(string(e.Type), func(t *testing.T) {
			valid(t, e, e.Example)
			golden := filepath.Join("testdata", "events", string(e.Type)+".json")
			shown, err := json.MarshalIndent(json.RawMessage(e.Example), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			shown = append(shown, '\n')
			if *update {
				if err := os.WriteFile(golden, shown, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden) //nolint:gosec // ours
			if err != nil || string(want) != string(shown) {
				t.Errorf("%v; the example is now %s", err, shown)
			}
		})
	}
}

// valid checks a body against the published schema of its type.
func valid(t *testing.T, e *models.EventDescription, body []byte) {
	t.Helper()
	schema, err := jsonschema.UnmarshalJSON(strings.NewReader(string(e.Schema)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("event.json", schema); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("event.json")
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Validate(value); err != nil {
		t.Errorf("%s does not keep to its schema: %v\n%s", e.Type, err, body)
	}
}

// TestPayloadsKeepToTheirSchemas: what this program appends is what it publishes.
func TestPayloadsKeepToTheirSchemas(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		list, err := Catalogue()
		if err != nil {
			t.Fatal(err)
		}
		now, problem := time.Now().UTC(), "status 503"
		x, _ := w.endpoint(w.ada, "https://example.com")
		disable(x, models.WebhookDisabledGone, now)
		payloads := map[string]any{
			string(models.EventChannelHealthChanged): models.ChannelHealthChange{
				Object: "channel", ID: "ch_1", Name: "x", Type: models.ChannelOpenAI, Status: models.ChannelUnhealthy,
				State: models.HealthUnhealthy, PreviousState: models.HealthHealthy, RestsUntil: &now, Error: &problem,
			},
			string(models.EventUsageThresholdReached): models.UsageThreshold{
				Object: "budget", UserID: w.ada.UserID, Period: models.PeriodDay, Percent: 50,
				Limit: models.USD(models.Dollar), Spent: models.USD(models.Dollar), ResetsAt: &now,
			},
			string(models.EventWebhookTest):     testData(x),
			string(models.EventWebhookDisabled): notice(x),
		}
		for _, d := range list {
			data, ok := payloads[d.TypeName()]
			if !ok {
				continue
			}
			e, err := events.Insert(w.ctx, w.db.Write(), w.ada.UserID, d.Type, data)
			if err != nil {
				t.Fatal(err)
			}
			body, err := e.Body()
			if err != nil {
				t.Fatal(err)
			}
			valid(t, d, body)
		}
	})
}
