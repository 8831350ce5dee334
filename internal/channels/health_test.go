package channels

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

func refused() error { return &providers.Error{Class: providers.Unavailable, Message: "refused"} }

// try makes one request that ends with err, and says whether it was admitted.
func try(h *health, err error) bool {
	p, no := h.admit(&models.ChannelLimits{}, time.Now())
	if no.reason == "" {
		h.finish(err, 0, p, time.Now())
	}
	return no.reason == ""
}

func TestOneBlipDoesNotRestAChannel(t *testing.T) {
	h := new(health)
	for range 20 {
		for range failuresToRest - 1 {
			try(h, refused())
		}
		if !try(h, nil) {
			t.Fatal("the channel rests although it answered in between")
		}
	}
	if got := h.report(); got.State != models.HealthHealthy || got.ConsecutiveFailures != 0 || *got.LastError != "refused" {
		t.Errorf("health = %+v", got)
	}
}

func TestFailingChannelRestsAndIsTriedByOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(health)
		for range failuresToRest {
			if !try(h, refused()) {
				t.Fatal("rests too early")
			}
		}
		if try(h, nil) {
			t.Fatal("still admitted")
		}
		if got := h.report(); got.State != models.HealthUnhealthy || got.ConsecutiveFailures != failuresToRest || *got.SuccessRate != 0 {
			t.Errorf("health = %+v", got)
		}
		time.Sleep(restTime + time.Second) //nolint:forbidigo // the clock is synthetic
		probe, no := h.admit(&models.ChannelLimits{}, time.Now())
		if no.reason != "" {
			t.Fatal("no probe after the rest")
		}
		if try(h, nil) {
			t.Fatal("a second request while the probe runs")
		}
		h.finish(nil, 0, probe, time.Now())
		if !try(h, nil) || h.report().State != models.HealthHealthy {
			t.Errorf("not back: %+v", h.report())
		}
	})
}

func TestWhatIsNoFailureOfTheChannel(t *testing.T) {
	for name, err := range map[string]error{
		"cancelled":    context.Canceled,
		"rejected":     &providers.Error{Class: providers.Rejected},
		"rate limited": &providers.Error{Class: providers.RateLimited},
		"no model":     &providers.Error{Class: providers.NoModel},
	} {
		t.Run(name, func(t *testing.T) {
			h := new(health)
			for range 3 * failuresToRest {
				if !try(h, err) {
					t.Fatal("the channel rests")
				}
			}
			if got := h.report(); got.ConsecutiveFailures != 0 || got.SuccessRate != nil {
				t.Errorf("health = %+v", got)
			}
		})
	}
}

// An answer that began before the rest says nothing about how the channel is now.
func TestOldAnswersDoNotEndARest(t *testing.T) {
	h := new(health)
	old, _ := h.admit(&models.ChannelLimits{}, time.Now())
	for range failuresToRest {
		try(h, refused())
	}
	if e := h.finish(nil, 0, old, time.Now()); e.state != "" || try(h, nil) {
		t.Errorf("the rest ended with %+v", e)
	}
}

// A long answer that has begun is enough: others need not wait for its end.
func TestTheFirstByteEndsARest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(health)
		for range failuresToRest {
			try(h, refused())
		}
		time.Sleep(restTime + time.Second) //nolint:forbidigo // the clock is synthetic
		p, _ := h.admit(&models.ChannelLimits{}, time.Now())
		if e := h.firstByte(time.Second, p, time.Now()); e.state != stateHealthy || !try(h, nil) {
			t.Errorf("after the first byte: %+v", e)
		}
		if e := h.finish(refused(), 0, p, time.Now()); e.state != "" || h.report().State != models.HealthHealthy {
			t.Errorf("a later failure of the same answer: %+v", e)
		}
	})
}

func TestACancelledTrialLeavesItToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(health)
		for range failuresToRest {
			try(h, refused())
		}
		time.Sleep(restTime + time.Second) //nolint:forbidigo // the clock is synthetic
		if !try(h, context.Canceled) || h.report().State != models.HealthUnhealthy || !try(h, nil) || h.report().State != models.HealthHealthy {
			t.Errorf("health = %+v", h.report())
		}
	})
}

func TestLimits(t *testing.T) {
	at := time.Unix(600, 0)
	n := func(i int) *int { return &i }
	admit := func(h *health, l *models.ChannelLimits, at time.Time) (permit, models.RouteReason) {
		p, no := h.admit(l, at)
		return p, no.reason
	}
	t.Run("concurrency", func(t *testing.T) {
		h, l := new(health), &models.ChannelLimits{Concurrency: n(2)}
		first, _ := admit(h, l, at)
		_, second := admit(h, l, at)
		if _, third := admit(h, l, at); second != "" || third != models.ReasonConcurrency {
			t.Fatalf("second %v, third %v", second, third)
		}
		h.finish(nil, 0, first, at)
		if _, no := admit(h, l, at); no != "" {
			t.Error("a place was freed and not given")
		}
	})
	t.Run("rpm", func(t *testing.T) {
		h, l := new(health), &models.ChannelLimits{RPM: n(1)}
		p, first := admit(h, l, at)
		_, second := admit(h, l, at.Add(59*time.Second))
		_, third := admit(h, l, at.Add(60*time.Second))
		if first != "" || second != models.ReasonRPM || third != "" {
			t.Errorf("got %v %v %v", first, second, third)
		}
		h.giveBack(p) // of the minute before
		if _, no := admit(h, l, at.Add(60*time.Second)); no != models.ReasonRPM {
			t.Errorf("got %v", no)
		}
	})
	t.Run("tpm", func(t *testing.T) {
		h, l := new(health), &models.ChannelLimits{TPM: n(100)}
		p, _ := admit(h, l, at)
		h.finish(nil, 100, p, at)
		if _, no := admit(h, l, at); no != models.ReasonTPM {
			t.Error("over the limit and admitted")
		}
		if _, no := admit(h, l, at.Add(time.Minute)); no != "" {
			t.Error("refused in the next minute")
		}
	})
}

func TestSuccessRateLooksBackOnAHundred(t *testing.T) {
	h := new(health)
	for range 300 {
		h.record(1)
	}
	for range 75 {
		h.record(0)
	}
	h.last = time.Now()
	if got := *h.report().SuccessRate; got != 0.75 {
		t.Errorf("success rate = %v", got)
	}
}
