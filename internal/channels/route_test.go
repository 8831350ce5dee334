package channels

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// world is a registry that knows these channels, and no database.
func world(strategy models.RoutingStrategy, rows ...models.Channel) *Registry {
	r := New(nil, nil, Config{Strategy: strategy}, zerolog.Nop())
	s := &snapshot{byID: map[string]*upstream{}}
	for i, row := range rows {
		row.ID, row.Name = fmt.Sprintf("ch_%04d", i), string(rune('a'+i%26))
		row.Enabled, row.Type, row.Weight = true, models.ChannelOpenAI, max(row.Weight, 1)
		if row.Models == nil {
			row.Models = []string{"m"}
		}
		u := &upstream{registry: r, row: row, hash: Affinity(row.ID), health: new(health), close: func() {}}
		for place := range max(len(row.KeyHints), 1) {
			u.credentials = append(u.credentials, &credential{place: place})
		}
		s.byID[row.ID] = u
	}
	s.index(nil, strategy)
	r.snap.Store(s)
	return r
}

func failure(class providers.Class) *providers.Error {
	return &providers.Error{Class: class, Message: "failed"}
}

func plan(t testing.TB, r *Registry, v *models.Viewer) *Route {
	t.Helper()
	p, err := r.Plan(v, "m")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// asked ends each attempt of a request with err and gives the names of the
// channels that were asked, with the place of the credential where there are more.
func asked(p *Route, err error) string {
	var b strings.Builder
	for a := p.Next(); a != nil; a = p.Next() {
		b.WriteString(a.upstream.row.Name)
		if len(a.upstream.credentials) > 1 {
			fmt.Fprint(&b, a.credential.place)
		}
		a.Done(err, 0)
		if err == nil {
			break
		}
	}
	return b.String()
}

// firsts are the channels that n requests are sent to, when they succeed.
func firsts(t testing.TB, r *Registry, v *models.Viewer, n int) string {
	t.Helper()
	var b strings.Builder
	for range n {
		b.WriteString(asked(plan(t, r, v), nil))
	}
	return b.String()
}

func someone(tags ...string) *models.Viewer { return &models.Viewer{KeyID: "key_1", ChannelTags: tags} }

func TestARefusedCredentialRestsAndTheNextIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := world(models.RoutingPriority, models.Channel{KeyHints: []string{"", "", ""}})
		u := r.snap.Load().byID["ch_0000"]
		p := plan(t, r, someone())
		first := p.Next()
		first.Done(failure(providers.Credential), 0)
		second := p.Next()
		if second == nil || second.credential == first.credential {
			t.Fatal("the request does not go on with the next credential of the channel")
		}
		second.Done(nil, 0)
		if got := firsts(t, r, someone(), 6); strings.Contains(got, fmt.Sprint(first.credential.place)) {
			t.Errorf("the refused credential %d is used again: %s", first.credential.place, got)
		}
		if h := u.health.report(); h.State != models.HealthHealthy || h.ConsecutiveFailures != 0 {
			t.Errorf("the channel is blamed: %+v", h)
		}
		time.Sleep(refusedRest + time.Second) //nolint:forbidigo // the clock is synthetic
		if got := firsts(t, r, someone(), 6); strings.Count(got, fmt.Sprint(first.credential.place)) != 2 {
			t.Errorf("the credential works again and is not used in turn: %s", got)
		}
		// All are refused: each is asked once, and the last one's refusal is the channel's.
		if got := asked(plan(t, r, someone()), failure(providers.Credential)); len(got) != 6 {
			t.Errorf("asked %s; want each credential once", got)
		}
		if h := u.health.report(); h.State == models.HealthUnhealthy || h.ConsecutiveFailures != 1 {
			t.Errorf("one blip: %+v", h)
		}
	})
}

func TestALimitedCredentialCoolsDownAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := world(models.RoutingPriority, models.Channel{KeyHints: []string{"", ""}}, models.Channel{Priority: -1})
		limited := &providers.Error{Class: providers.RateLimited, Retry: 10 * time.Second}
		p := plan(t, r, someone())
		p.Next().Done(limited, 0)
		if a := p.Next(); a.upstream.row.Name != "a" {
			t.Fatal("the other credential of the channel is not asked first")
		} else {
			a.Done(nil, 0)
		}
		if got := firsts(t, r, someone(), 4); strings.Count(got, "a") != 4 {
			t.Errorf("the channel is limited though one credential is not: %s", got)
		}
		p = plan(t, r, someone())
		p.Next().Done(&providers.Error{Class: providers.RateLimited}, 0) // for two seconds
		if got := asked(p, nil); got != "b" {
			t.Errorf("with all credentials limited %s is asked", got)
		}
		p = plan(t, r, someone())
		if got := asked(p, failure(providers.Unavailable)); got != "b" || p.Cooldown <= 0 || p.Cooldown > limitedRest {
			t.Errorf("asked %s, cool-down %s", got, p.Cooldown)
		}
		time.Sleep(limitedRest) //nolint:forbidigo // the clock is synthetic
		p = plan(t, r, someone())
		p.Next().Done(&providers.Error{Class: providers.RateLimited}, 0) // again: for longer
		time.Sleep(limitedRest)                                          //nolint:forbidigo // as above
		if got := firsts(t, r, someone(), 1); got != "b" {
			t.Errorf("the pause did not grow: %s", got)
		}
		time.Sleep(10 * time.Second) //nolint:forbidigo // as above
		if got := firsts(t, r, someone(), 4); strings.Count(got, "a0") != 2 || strings.Count(got, "a1") != 2 {
			t.Errorf("after the pauses: %s", got)
		}
	})
}

func TestGroupsAndTags(t *testing.T) {
	r := world(models.RoutingPriority,
		models.Channel{Groups: []string{"legal", "board"}, Tags: []string{"eu"}},
		models.Channel{Tags: []string{"eu", "cheap"}, Priority: -1},
		models.Channel{Models: []string{"m", "other"}, Priority: -2},
	)
	for _, c := range []struct {
		groups, tags []string
		want         string
	}{
		{nil, nil, "bc"},
		{[]string{"board"}, nil, "abc"},
		{nil, []string{"eu"}, "b"},
		{[]string{"legal"}, []string{"eu"}, "ab"},
		{[]string{"legal"}, []string{"cheap", "x"}, "b"},
		{nil, []string{"x"}, ""},
	} {
		v := &models.Viewer{Groups: c.groups, ChannelTags: c.tags}
		got := ""
		if p, err := r.Plan(v, "m"); err == nil {
			got = asked(p, failure(providers.NoModel))
		} else if want := models.ModelNotFound("m").Error(); err.Error() != want {
			t.Errorf("the error is %q; want %q, which says nothing of channels", err, want)
		}
		if got != c.want {
			t.Errorf("groups %v, tags %v: asked %q, want %q", c.groups, c.tags, got, c.want)
		}
	}
	if s := r.snap.Load(); s.reaches(someone("eu"), "other") || !s.reaches(someone(), "other") || !s.reaches(someone("eu"), "m") {
		t.Error("the list of models is not that of the channels")
	}
}

func TestWeightedIgnoresPriority(t *testing.T) {
	r := world(models.RoutingWeighted, models.Channel{Priority: 5}, models.Channel{Weight: 3}, models.Channel{Priority: -5})
	got := firsts(t, r, someone(), 10)
	if strings.Count(got, "a") != 2 || strings.Count(got, "b") != 6 || strings.Count(got, "c") != 2 {
		t.Errorf("weights 1:3:1 gave the turns %s", got)
	}
}

func TestLowestCost(t *testing.T) {
	cost := func(n models.Nanos) models.ChannelSettings { return models.ChannelSettings{CostMultiplier: &n} }
	r := world(models.RoutingLowestCost,
		models.Channel{Priority: 9}, models.Channel{Settings: cost(models.Dollar / 2)},
		models.Channel{Settings: cost(3 * models.Dollar)}, models.Channel{Settings: cost(models.Dollar / 2)})
	if got := asked(plan(t, r, someone()), failure(providers.NoModel)); got != "bdac" && got != "dbac" {
		t.Errorf("asked %s; want the cheapest first", got)
	}
	if got := firsts(t, r, someone(), 4); strings.Count(got, "b") != 2 || strings.Count(got, "d") != 2 {
		t.Errorf("equals do not share: %s", got)
	}
}

func TestLowestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := world(models.RoutingLowestLatency, models.Channel{Priority: 9}, models.Channel{}, models.Channel{})
		speed := map[string]time.Duration{"a": 300 * time.Millisecond, "b": 100 * time.Millisecond, "c": 200 * time.Millisecond}
		request := func() string {
			a := plan(t, r, someone()).Next()
			name := a.upstream.row.Name
			a.FirstByte(speed[name])
			a.Done(nil, 0)
			return name
		}
		if got := request() + request() + request(); !strings.Contains(got, "a") || !strings.Contains(got, "b") || !strings.Contains(got, "c") {
			t.Errorf("not each was measured: %s", got)
		}
		for range 50 {
			if got := request(); got != "b" {
				t.Fatalf("%s is asked; the fastest is b", got)
			}
		}
		if got := asked(plan(t, r, someone()), failure(providers.NoModel)); got != "bca" {
			t.Errorf("order %s; want the faster first", got)
		}
		// The slowest becomes the fastest: it is measured anew now and then.
		speed["a"] = time.Millisecond
		time.Sleep(2 * staleAfter) //nolint:forbidigo // the clock is synthetic
		seen := ""
		for range 12 * 3 * exploreEvery {
			seen += request()
			if strings.HasSuffix(seen, "aaaa") {
				break
			}
			time.Sleep(10 * time.Second) //nolint:forbidigo // as above
		}
		if !strings.HasSuffix(seen, "aaaa") {
			t.Errorf("the now fastest channel is not found: %s", seen)
		}
		if others := len(strings.ReplaceAll(seen, "b", "")); others > len(seen)/4 {
			t.Errorf("%d of %d requests explored", others, len(seen))
		}
	})
}

func TestCacheSticky(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := []models.Channel{{}, {Weight: 2}, {}, {Priority: -1}}
		r, other := world(models.RoutingCacheSticky, rows...), world(models.RoutingCacheSticky, rows...)
		request := func(r *Registry, key string, prompt uint64, err error) string {
			p := plan(t, r, &models.Viewer{KeyID: key})
			if !p.Sticky() {
				t.Fatal("the route does not ask for the prompt")
			}
			p.Stick(prompt)
			return asked(p, err)
		}
		shares := map[string]int{}
		for prompt := range uint64(4000) {
			home := request(r, "key_1", prompt, nil)
			shares[home]++
			if again := request(r, "key_1", prompt, nil); again != home {
				t.Fatalf("prompt %d goes to %s and then to %s", prompt, home, again)
			}
			if there := request(other, "key_1", prompt, nil); there != home {
				t.Fatalf("prompt %d goes to %s in another process, not to %s", prompt, there, home)
			}
		}
		if shares["a"] < 800 || shares["b"] < 1800 || shares["c"] < 800 || shares["d"] != 0 {
			t.Errorf("shares %v of weights 1:2:1 and a lower priority", shares)
		}
		keys := map[string]bool{}
		for i := range 50 {
			keys[request(r, fmt.Sprint("key_", i), 7, nil)] = true
		}
		if len(keys) != 3 {
			t.Errorf("one prompt of many keys goes to %v", keys)
		}
		home := request(r, "key_1", 1, nil)
		order := request(r, "key_1", 1, failure(providers.NoModel))
		for _, u := range r.snap.Load().byID {
			for range failuresToRest {
				if u.row.Name == home {
					try(u.health, refused())
				}
			}
		}
		for range 3 {
			if got := request(r, "key_1", 1, nil); got != order[1:2] {
				t.Fatalf("while %s rests the prompt goes to %s; want %s always", home, got, order[1:2])
			}
		}
		time.Sleep(restTime) //nolint:forbidigo // the clock is synthetic
		if got := request(r, "key_1", 1, nil); got != home {
			t.Errorf("after the rest it goes to %s, not home to %s", got, home)
		}
	})
}

func TestAnotherRoundLeavesOutWhoCannotServe(t *testing.T) {
	r := world(models.RoutingPriority, models.Channel{Priority: 3}, models.Channel{Priority: 2}, models.Channel{Priority: 1})
	p := plan(t, r, someone())
	for _, class := range []providers.Class{providers.NoModel, providers.Unavailable, providers.Credential} {
		p.Next().Done(failure(class), 0)
	}
	if p.Next() != nil {
		t.Fatal("a fourth attempt")
	}
	p.Again()
	if got := asked(p, nil); got != "b" {
		t.Errorf("the second round begins with %s", got)
	}
	p.Again()
	if got := asked(p, failure(providers.Unavailable)); got != "b" {
		t.Errorf("the third round asks %s", got)
	}
}

// BenchmarkPlan is the whole of routing for a request, with a thousand channels of
// a hundred models each; one in ten serves the model.
func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{1, 10, 1000} {
		for _, strategy := range models.RoutingStrategies() {
			b.Run(fmt.Sprintf("%s/%d", strategy, n), func(b *testing.B) {
				rows := make([]models.Channel, n)
				for i := range rows {
					rows[i].Models = hundred(i)
				}
				r := world(strategy, rows...)
				v := someone()
				b.ReportAllocs()
				for b.Loop() {
					p, err := r.Plan(v, "m")
					if err != nil {
						b.Fatal(err)
					}
					a := p.Next()
					a.FirstByte(time.Millisecond)
					a.Done(nil, 10)
				}
			})
		}
	}
}

// BenchmarkIndex is what a change of any channel costs each process.
func BenchmarkIndex(b *testing.B) {
	rows := make([]models.Channel, 1000)
	for i := range rows {
		rows[i].Models = hundred(i)
	}
	s := world(models.RoutingPriority, rows...).snap.Load()
	b.ReportAllocs()
	for b.Loop() {
		next := &snapshot{byID: s.byID}
		next.index(nil, models.RoutingPriority)
	}
}

// hundred are the models of channel i: m in every one of ten, and others.
func hundred(i int) []string {
	list := make([]string, 100)
	for j := range list {
		list[j] = fmt.Sprintf("model-%d", (i*7+j)%1000)
	}
	if i%10 == 0 {
		list[0] = "m"
	}
	return list
}
