package channels

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

func quotas(t *testing.T, url string) (one, two *quota) {
	t.Helper()
	open := func() *quota {
		o, err := redis.ParseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		o.MaxRetries, o.DialTimeout = -1, time.Second
		client := redis.NewClient(o)
		t.Cleanup(func() { _ = client.Close() })
		return newQuota(t.Context(), client, zerolog.Nop())
	}
	return open(), open()
}

func TestQuotaIsOneForAllProcesses(t *testing.T) {
	one, two := quotas(t, testdb.Redis(t))
	n := func(i int) *int { return &i }
	now := time.Now()
	places := &models.ChannelLimits{Concurrency: n(2)}
	first, no := one.take("ch_a", places, now)
	if _, again := two.take("ch_a", places, now); no != "" || again != "" {
		t.Fatalf("two places: %q, %q", no, again)
	}
	if _, no := one.take("ch_a", places, now); no != models.ReasonConcurrency {
		t.Errorf("a third place: %q", no)
	}
	if no := two.peek("ch_a", places, now); no != models.ReasonConcurrency {
		t.Errorf("peek: %q", no)
	}
	if err := one.beat(t.Context()); err != nil {
		t.Error(err)
	}
	one.give("ch_a", places, permit{lease: first}, 0)
	if no := two.peek("ch_a", places, now); no != "" {
		t.Errorf("a freed place: %q", no)
	}
	requests := &models.ChannelLimits{RPM: n(2), TPM: n(10)}
	lease, _ := one.take("ch_b", requests, now)
	if no := two.peek("ch_b", requests, now); no != "" {
		t.Errorf("one of two requests: %q", no)
	}
	two.take("ch_b", requests, now)
	if _, no := one.take("ch_b", requests, now); no != models.ReasonRPM {
		t.Errorf("a third request: %q", no)
	}
	one.give("ch_b", requests, permit{lease: lease}, 10)
	if no := two.peek("ch_b", &models.ChannelLimits{TPM: n(10)}, time.Now()); no != models.ReasonTPM {
		t.Errorf("after ten tokens: %q", no)
	}
	if no := two.peek("ch_b", requests, now.Add(time.Minute)); no != "" {
		t.Errorf("in the next minute: %q", no)
	}
}

func TestWithoutRedisTheProcessCounts(t *testing.T) {
	r := world(models.RoutingPriority, models.Channel{Limits: models.ChannelLimits{RPM: new(2)}})
	r.quota, _ = quotas(t, "redis://127.0.0.1:1/0")
	began := time.Now()
	got := ""
	for range 5 {
		got += asked(plan(t, r, someone()), nil)
	}
	if took := time.Since(began); got != "aa" && got != "aaaa" || took > 3*time.Second { // "aaaa": a minute began meanwhile
		t.Errorf("asked %q in %s; want two requests", got, took)
	}
}
