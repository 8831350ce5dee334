package webhooks

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coaidev/coai/models"
)

// sweep delivers all that is due, once.
func (w *world) sweep() (n int) {
	w.t.Helper()
	ids, err := w.s.Due(w.ctx, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, id := range ids {
		w.deliver(id)
	}
	return len(ids)
}

func TestAnEndpointThatFailsIsAskedByOneAtATime(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		r := newReceiver(t, status(503))
		x, _ := w.endpoint(w.ada, r.URL)
		for range 12 {
			w.happen(w.ada, models.EventPaymentFailed)
		}
		w.sweep()
		if got := w.reload(x.ID); len(r.requests()) != probing || got.Failures != probing || got.PausedUntil == nil || got.FailingSince == nil {
			t.Fatalf("%d requests, %+v", len(r.requests()), got)
		}
		if n := w.sweep(); n != 0 {
			t.Errorf("%d are offered while the endpoint rests", n)
		}
		w.later(sweepAgain + firstRest) // they have been offered already, and it has rested
		w.sweep()
		if n := len(r.requests()); n != probing+1 {
			t.Errorf("%d requests after one rest", n)
		}
		for _, d := range w.deliveries(x.ID) {
			if d.Status == models.DeliveryFailed || d.Tries > 2 {
				t.Errorf("waiting has cost attempts: %+v", d)
			}
		}
		r.answer(nil)
		w.later(time.Hour)
		for range 5 {
			w.sweep()
			w.later(time.Minute)
		}
		if got := w.reload(x.ID); got.Failures != 0 || got.FailingSince != nil || got.PausedUntil != nil {
			t.Errorf("after a success: %+v", got)
		}
		for _, d := range w.deliveries(x.ID) {
			if d.Status != models.DeliveryDelivered {
				t.Errorf("%s after the endpoint has come back", d.Status)
			}
		}
	})
}

func TestFiveDaysOfFailureDisable(t *testing.T) {
	told := new(atomic.Int32)
	cfg := Config{OnDisabled: func(context.Context, *models.Webhook) { told.Add(1) }}
	each(t, cfg, func(t *testing.T, w *world) {
		told.Store(0)
		r, other := newReceiver(t, status(500)), newReceiver(t, nil)
		x, _ := w.endpoint(w.ada, r.URL)
		y, _ := w.endpoint(w.ada, other.URL, func(in *models.CreateWebhookInput) { in.Events = []string{"webhook.disabled"} })
		for day := range 6 {
			if got := w.reload(x.ID); !got.Enabled {
				t.Fatalf("disabled on day %d", day)
			}
			w.happen(w.ada, models.EventPaymentFailed)
			for range 4 {
				w.sweep()
				w.later(6 * time.Hour)
			}
		}
		got := w.reload(x.ID)
		if got.Enabled || *got.DisabledReason != models.WebhookDisabledFailing || got.DisabledAt == nil || told.Load() != 1 {
			t.Fatalf("%+v, told %d times", got, told.Load())
		}
		for _, d := range w.deliveries(x.ID) {
			if d.Status == models.DeliveryPending {
				t.Errorf("%+v is still pending", d)
			}
		}
		w.sweep()
		if n := len(other.requests()); n != 1 || w.only(y.ID).EventType != models.EventWebhookDisabled {
			t.Errorf("the owner's other endpoint got %d requests", n)
		}
		before := len(w.deliveries(x.ID))
		w.happen(w.ada, models.EventPaymentFailed)
		if n := len(w.deliveries(x.ID)); n != before {
			t.Error("a disabled endpoint gets deliveries")
		}
		_, err := w.s.RedeliverWebhook(w.ctx, w.ada, x.ID, w.deliveries(x.ID)[0].ID)
		refused(t, err, models.KindConflict, "id")

		yes := true
		if _, err := w.s.UpdateWebhook(w.ctx, w.ada, x.ID, models.UpdateWebhookInput{Enabled: &yes}); err != nil {
			t.Fatal(err)
		}
		if got := w.reload(x.ID); !got.Enabled || got.Failures != 0 || got.FailingSince != nil || got.DisabledReason != nil {
			t.Errorf("enabled again: %+v", got)
		}
		r.answer(nil)
		since, cancelled := time.Now().Add(-time.Hour), models.DeliveryCancelled
		n := 0
		for _, d := range w.deliveries(x.ID) {
			if d.Status == cancelled {
				n++
			}
		}
		p, err := w.s.RedeliverWebhooks(w.ctx, w.ada, x.ID, models.RedeliverWebhooksInput{Since: &since, Status: &cancelled})
		if err != nil || *p.Count != n || n == 0 || p.HasMore {
			t.Fatalf("%+v of %d, %v", p, n, err)
		}
		w.sweep()
		for _, d := range w.deliveries(x.ID) {
			if d.Trigger == models.TriggerManual && d.Status != models.DeliveryDelivered {
				t.Errorf("%+v", d)
			}
		}
	})
}

func TestGoneDisablesAtOnce(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		r := newReceiver(t, status(http.StatusGone))
		x, _ := w.endpoint(w.ada, r.URL)
		w.happen(w.ada, models.EventPaymentFailed)
		w.happen(w.ada, models.EventPaymentFailed)
		w.sweep()
		if got := w.reload(x.ID); got.Enabled || *got.DisabledReason != models.WebhookDisabledGone {
			t.Errorf("%+v", got)
		}
		list := w.deliveries(x.ID)
		states := []models.WebhookDeliveryStatus{list[0].Status, list[1].Status}
		slices.Sort(states)
		if len(r.requests()) != 1 || states[0] != models.DeliveryCancelled || states[1] != models.DeliveryFailed {
			t.Errorf("%d requests, %v", len(r.requests()), states)
		}
	})
}

func TestRareFailuresDoNotDisable(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		r := newReceiver(t, status(500))
		x, _ := w.endpoint(w.ada, r.URL)
		for range 8 {
			w.happen(w.ada, models.EventPaymentFailed)
			list := w.deliveries(x.ID)
			w.deliver(list[len(list)-1].ID)
			w.later(3 * 24 * time.Hour)
		}
		if got := w.reload(x.ID); !got.Enabled {
			t.Errorf("%+v", got)
		}
	})
}

func TestABacklogOfOneKeepsNoOtherWaiting(t *testing.T) {
	each(t, Config{PerEndpoint: 1}, func(t *testing.T, w *world) {
		x, _ := w.endpoint(w.ada, "http://127.0.0.1:1/")
		for range sweepShare + 50 {
			w.happen(w.ada, models.EventPaymentFailed)
		}
		y, _ := w.endpoint(w.bob, "http://127.0.0.1:1/")
		w.happen(w.bob, models.EventPaymentFailed)
		ids, err := w.s.Due(w.ctx, 10)
		if err != nil || len(ids) != 10 || !slices.Contains(ids, w.only(y.ID).ID) {
			t.Errorf("%d offered (%v), the other's among them: %v", len(ids), err, slices.Contains(ids, w.only(y.ID).ID))
		}
		ids, err = w.s.Due(w.ctx, 1000)
		if err != nil || len(ids) != sweepShare {
			t.Errorf("%d offered, %v", len(ids), err)
		}
		n, age, err := w.s.Backlog(w.ctx)
		if err != nil || n != sweepShare+51 || age <= 0 || age > time.Minute {
			t.Errorf("backlog %d, %v, %v", n, age, err)
		}
		// A full endpoint costs no attempt.
		if !w.s.slots.try(x.ID) {
			t.Fatal("no slot")
		}
		for range maxWaiting {
			w.s.slots.take(x.ID, "whd_another")
		}
		d := w.deliveries(x.ID)[0]
		w.deliver(d.ID)
		w.s.slots.give(x.ID)
		if d = w.deliveries(x.ID)[0]; d.Attempts != 0 || d.Status != models.DeliveryPending || !d.SweepAt.After(time.Now()) {
			t.Errorf("%+v", d)
		}
	})
}

func TestPurgeKeepsWhatWaits(t *testing.T) {
	each(t, Config{}, func(t *testing.T, w *world) {
		r := newReceiver(t, nil)
		x, _ := w.endpoint(w.ada, r.URL)
		w.happen(w.ada, models.EventPaymentFailed)
		w.sweep()
		w.happen(w.ada, models.EventPaymentFailed)
		w.happen(w.bob, models.EventPaymentFailed) // nobody is told of it
		if n, err := w.s.Purge(w.ctx, time.Now()); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		n, err := w.s.Purge(w.ctx, time.Now().Add(31*24*time.Hour))
		if err != nil || n != 1 || w.only(x.ID).Status != models.DeliveryPending {
			t.Errorf("%d, %v", n, err)
		}
		for table, want := range map[string]int64{"events": 1, "webhook_attempts": 0, "webhook_deliveries": 1} {
			if got, err := w.db.Read().NewSelect().Table(table).Count(w.ctx); err != nil || got != want {
				t.Errorf("%s: %d rows, %v", table, got, err)
			}
		}
	})
}
