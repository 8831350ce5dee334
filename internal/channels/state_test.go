package channels_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

// running opens a registry that follows the others until the test ends.
func running(t *testing.T, db *storage.DB) *channels.Registry {
	t.Helper()
	r := open(t, db)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline, tick := time.After(10*time.Second), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

func state(t *testing.T, r *channels.Registry, id string) models.HealthState {
	t.Helper()
	c, err := r.Channel(t.Context(), admin(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c.Health.State
}

// attempt makes one request that ends with err; false: the channel was not asked.
func attempt(t *testing.T, r *channels.Registry, err error) bool {
	t.Helper()
	p, planErr := r.Plan(user(), "m")
	if planErr != nil {
		t.Fatal(planErr)
	}
	a := p.Next()
	if a != nil {
		a.Done(err, 0)
	}
	return a != nil
}

func healthEvents(t *testing.T, db *storage.DB) (list []models.ChannelHealthChange) {
	t.Helper()
	var rows []models.Event
	if err := db.Read().NewSelect().Model(&rows).Order("created_at", "id").Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		var change models.ChannelHealthChange
		if err := json.Unmarshal(row.Payload, &change); err != nil || row.Type != models.EventChannelHealthChanged {
			t.Fatalf("event %+v: %v", row, err)
		}
		list = append(list, change)
	}
	return list
}

func remote(name string) models.CreateChannelInput {
	return models.CreateChannelInput{Name: name, Type: models.ChannelOpenAI, BaseURL: ptr("http://127.0.0.1:1/v1")}
}

func TestEveryProcessKnowsHowAChannelIs(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		one, two := running(t, db), running(t, db)
		c := create(t, one, remote("up"))
		eventually(t, "both know the channel", func() bool { _, err := two.Plan(user(), "m"); return err == nil })
		broken := &providers.Error{Class: providers.Unavailable, Message: "The upstream failed."}
		for range 5 {
			attempt(t, one, broken)
			attempt(t, two, broken) // both see it fail: still one event
		}
		eventually(t, "one event", func() bool { return len(healthEvents(t, db)) == 1 })
		three := open(t, db) // and one that starts later
		eventually(t, "the channel rests everywhere", func() bool {
			return !attempt(t, one, nil) && !attempt(t, two, nil) && !attempt(t, three, nil)
		})
		if e := healthEvents(t, db); len(e) != 1 || e[0].ID != c.ID || e[0].Name != "up" || e[0].State != models.HealthUnhealthy ||
			e[0].PreviousState != models.HealthHealthy || e[0].Status != models.ChannelUnhealthy || e[0].RestsUntil == nil || *e[0].Error != "The upstream failed." {
			t.Errorf("events = %+v", e)
		}
		// A test that succeeds ends the rest everywhere.
		_, a, err := two.Probe(t.Context(), admin(), c.ID, "")
		if err != nil {
			t.Fatal(err)
		}
		a.Done(nil, 1)
		eventually(t, "the channel is asked everywhere", func() bool { return attempt(t, one, nil) && attempt(t, two, nil) })
		eventually(t, "an event of it", func() bool { return len(healthEvents(t, db)) == 2 })
		if e := healthEvents(t, db)[1]; e.State != models.HealthHealthy || e.PreviousState != models.HealthUnhealthy || e.Status != models.ChannelEnabled || e.RestsUntil != nil {
			t.Errorf("event = %+v", e)
		}
		// And so does an admin.
		for range 5 {
			attempt(t, one, broken)
		}
		eventually(t, "it rests again in both", func() bool {
			return state(t, one, c.ID) == models.HealthUnhealthy && state(t, two, c.ID) == models.HealthUnhealthy
		})
		p, err := one.ResetChannelHealth(t.Context(), admin(), c.ID)
		if err != nil || p.Channel.Health.State != models.HealthHealthy {
			t.Errorf("reset: %+v, %v", p, err)
		}
		eventually(t, "reset everywhere", func() bool { return attempt(t, one, nil) && attempt(t, two, nil) })
		if n := len(healthEvents(t, db)); n != 4 {
			t.Errorf("%d events; want four", n)
		}
		if _, err := one.ResetChannelHealth(t.Context(), user(), c.ID); code(err) != "insufficient_scope " {
			t.Errorf("reset by a user: %v", err)
		}
	})
}

func TestEveryProcessSparesALimitedCredential(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		one, two := running(t, db), running(t, db)
		in := remote("up")
		in.Credentials = []string{"sk-upstream-0001-aaaa", "sk-upstream-0002-bbbb"}
		c := create(t, one, in)
		if len(c.KeyHints) != 2 || c.KeyHints[1] != "****bbbb" || *c.KeyHint != "****aaaa" {
			t.Errorf("hints %v, %v", c.KeyHint, c.KeyHints)
		}
		eventually(t, "both know the channel", func() bool { _, err := two.Plan(user(), "m"); return err == nil })
		p, err := one.Plan(user(), "m")
		if err != nil {
			t.Fatal(err)
		}
		limited := &providers.Error{Class: providers.RateLimited, Message: "slow down", Retry: time.Minute}
		p.Next().Done(limited, 0)
		p.Next().Done(limited, 0)
		eventually(t, "the other process waits too", func() bool { return !attempt(t, two, nil) })
		e, err := two.ExplainRoute(t.Context(), admin(), "m", nil)
		if err != nil || len(e.Excluded) != 1 || e.Excluded[0].Reason != models.ReasonCooldown || e.Excluded[0].Until == nil || time.Until(*e.Excluded[0].Until) < 50*time.Second {
			t.Errorf("explained: %+v, %v", e, err)
		}
		if n := len(healthEvents(t, db)); n != 0 {
			t.Errorf("%d events of a limit", n)
		}
		// New credentials have no past.
		change := models.UpdateChannelInput{Credentials: graphql.OmittableOf([]string{"sk-upstream-0003-cccc"})}
		if _, err := one.UpdateChannel(t.Context(), admin(), c.ID, change); err != nil || !attempt(t, one, nil) {
			t.Errorf("after new credentials: %v", err)
		}
		eventually(t, "the other process has them", func() bool { return attempt(t, two, nil) })
	})
}

func TestBadCredentials(t *testing.T) {
	r := open(t, testdb.New(t, storage.SQLite))
	many := make([]string, 65)
	for i := range many {
		many[i] = fmt.Sprint("sk-", i)
	}
	for want, change := range map[string]func(*models.CreateChannelInput){
		"invalid_value credentials":    func(in *models.CreateChannelInput) { in.Credentials = many },
		"invalid_value credentials[1]": func(in *models.CreateChannelInput) { in.Credentials = []string{"a", "b c"} },
		"invalid_value credentials[2]": func(in *models.CreateChannelInput) { in.Credentials = []string{"a", "b", "a"} },
		"invalid_value tags[1]":        func(in *models.CreateChannelInput) { in.Tags = []string{"a", "a"} },
		"invalid_value groups[0]":      func(in *models.CreateChannelInput) { in.Groups = []string{""} },
		"invalid_value settings.cost_multiplier": func(in *models.CreateChannelInput) {
			in.Settings = &models.ChannelSettings{CostMultiplier: ptr(models.Nanos(-1))}
		},
		"invalid_value settings.probe_interval_seconds": func(in *models.CreateChannelInput) {
			in.Settings = &models.ChannelSettings{ProbeIntervalSeconds: ptr(9)}
		},
	} {
		in := remote("a")
		in.Models = []string{"m"}
		change(&in)
		if _, err := r.CreateChannel(t.Context(), admin(), in); code(err) != want {
			t.Errorf("got %q, want %q", code(err), want)
		}
	}
	both := remote("a")
	both.Models, both.Credential, both.Credentials = []string{"m"}, ptr("a"), []string{"b"}
	if _, err := r.CreateChannel(t.Context(), admin(), both); code(err) != "invalid_value credentials" {
		t.Errorf("one and several: %v", err)
	}
	if _, err := r.SaveModel(t.Context(), admin(), models.SaveModelInput{Name: "m", Routing: ptr(models.RoutingStrategy("dice"))}); code(err) != "invalid_value routing" {
		t.Errorf("an unknown strategy: %v", err)
	}
}

func TestEachProbeIsDueOnce(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		one := running(t, db)
		in := remote("probed")
		in.Settings = &models.ChannelSettings{ProbeIntervalSeconds: ptr(10)}
		c := create(t, one, in)
		create(t, one, remote("not probed"))
		two := open(t, db)
		now := time.Now()
		due := func(at time.Time) (n int) {
			for _, r := range []*channels.Registry{one, two} {
				ids, err := r.DueProbes(t.Context(), at)
				if err != nil {
					t.Fatal(err)
				}
				for _, id := range ids {
					if id != c.ID {
						t.Errorf("%s is probed", id)
					}
					n++
				}
			}
			return n
		}
		if a, b, c := due(now), due(now.Add(8*time.Second)), due(now.Add(10*time.Second)); a != 1 || b != 0 || c != 1 {
			t.Errorf("due at once, after 8 and after 10 seconds: %d, %d, %d; want 1, 0, 1", a, b, c)
		}
		broken := &providers.Error{Class: providers.Unavailable, Message: "The upstream failed."}
		for i, r := range []*channels.Registry{one, two, one} {
			if got := state(t, one, c.ID); got == models.HealthUnhealthy {
				t.Fatalf("rests after %d failed probes", i)
			}
			if err := r.Probed(t.Context(), c.ID, broken); err != nil {
				t.Fatal(err)
			}
		}
		if got, n := state(t, one, c.ID), len(healthEvents(t, db)); got != models.HealthUnhealthy || n != 1 {
			t.Errorf("after three failed probes: %s, %d events", got, n)
		}
	})
}
