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
	done, ok := h.admit(&models.ChannelLimits{}, time.Now())
	if ok {
		h.finish(err, 0, time.Now(), done)
	}
	return ok
}

func TestOneBlipDoesNotRestAChannel(t *testing.T) {
	h := newHealth("c")
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
		h := newHealth("c")
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
		probe, ok := h.admit(&models.ChannelLimits{}, time.Now())
		if !ok {
			t.Fatal("no probe after the rest")
		}
		if try(h, nil) {
			t.Fatal("a second request while the probe runs")
		}
		h.finish(nil, 0, time.Now(), probe)
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
			h := newHealth("c")
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

func TestRetryAfterCoolsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHealth("c")
		try(h, &providers.Error{Class: providers.RateLimited, Message: "slow down", Retry: 10 * time.Second})
		if try(h, nil) {
			t.Fatal("asked again at once")
		}
		time.Sleep(11 * time.Second) //nolint:forbidigo // the clock is synthetic
		if !try(h, nil) {
			t.Fatal("not asked again after the cool-down")
		}
	})
}

func TestLimits(t *testing.T) {
	at := time.Unix(600, 0)
	n := func(i int) *int { return &i }
	t.Run("concurrency", func(t *testing.T) {
		h, l := newHealth("c"), &models.ChannelLimits{Concurrency: n(2)}
		first, _ := h.admit(l, at)
		_, ok := h.admit(l, at)
		if _, third := h.admit(l, at); !ok || third {
			t.Fatalf("second %v, third %v", ok, third)
		}
		h.finish(nil, 0, at, first)
		if _, ok := h.admit(l, at); !ok {
			t.Error("a place was freed and not given")
		}
	})
	t.Run("rpm", func(t *testing.T) {
		h, l := newHealth("c"), &models.ChannelLimits{RPM: n(1)}
		_, first := h.admit(l, at)
		_, second := h.admit(l, at.Add(59*time.Second))
		_, third := h.admit(l, at.Add(60*time.Second))
		if !first || second || !third {
			t.Errorf("got %v %v %v", first, second, third)
		}
	})
	t.Run("tpm", func(t *testing.T) {
		h, l := newHealth("c"), &models.ChannelLimits{TPM: n(100)}
		done, _ := h.admit(l, at)
		h.finish(nil, 100, at, done)
		if _, ok := h.admit(l, at); ok {
			t.Error("over the limit and admitted")
		}
		if _, ok := h.admit(l, at.Add(time.Minute)); !ok {
			t.Error("refused in the next minute")
		}
	})
}

func TestSuccessRateLooksBackOnAHundred(t *testing.T) {
	h := newHealth("c")
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
