package webhooks

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coaidev/coai/models"
)

func TestScheduleLastsThreeDays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, attempts := time.Now(), 1
		for {
			d, more := pause(Schedule(), attempts, 0)
			if !more {
				break
			}
			nominal := Schedule()[attempts-1]
			if d < nominal*8/10 || d > nominal*12/10 {
				t.Errorf("the pause after attempt %d is %v, nominal %v", attempts, d, nominal)
			}
			<-time.After(d)
			attempts++
		}
		took := time.Since(began)
		if attempts != 10 || took < 60*time.Hour || took > 91*time.Hour {
			t.Errorf("%d attempts in %v", attempts, took)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, " 7 ": 7 * time.Second, "-5": 0, "1.5": 0, "soon": 0, "+5": 0,
		"86401": maxRetryAfter, "99999999999999999999999": maxRetryAfter,
		now.Add(time.Hour).Format(http.TimeFormat):        time.Hour,
		now.Add(-time.Hour).Format(http.TimeFormat):       0,
		now.Add(1000 * time.Hour).Format(http.TimeFormat): maxRetryAfter,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"1", "Fri, 02 Jan 2026 03:04:05 GMT", "９", "1e9", "Friday, 02-Jan-26 03:04:05 GMT"} {
		f.Add(s)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		if d := retryAfter(s, now); d < 0 || d > maxRetryAfter {
			t.Errorf("%q: %v", s, d)
		}
	})
}

func FuzzParseWebhookSecret(f *testing.F) {
	for _, s := range []string{newSecret(), "whsec_", "whsec_AAAA", "sk_" + newSecret()} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, ok := models.ParseWebhookSecret(s)
		if !ok {
			return
		}
		if len(key) < 24 || len(key) > 64 {
			t.Errorf("%q is a key of %d bytes", s, len(key))
		}
		h := http.Header{}
		if err := sign(h, "evt_1", time.Unix(1, 0), []byte("{}"), []string{s}); err != nil || !signedBy(received{h, []byte("{}")}, s) {
			t.Errorf("%q does not sign: %v", s, err)
		}
	})
}
