package coaitest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

// price gives a model a price in dollars per million tokens.
func price(t *testing.T, p *coaitest.Product, model, pricing string) {
	t.Helper()
	errs := p.GraphQL(coaitest.AdminKey, `mutation($in: SaveModelInput!) { saveModel(input: $in) { model { name } userErrors { message } } }`,
		object{"in": object{"name": model, "pricing": object{"prompt": pricing, "completion": pricing}}}, nil)
	if len(errs) > 0 {
		t.Fatalf("save model: %+v", errs)
	}
}

type budgetView struct {
	Period             string
	Limit, Spent, Held models.Money
}

// keyBudgets are the budgets of the only key of that name.
func keyBudgets(t *testing.T, p *coaitest.Product, name string) []budgetView {
	t.Helper()
	var list struct {
		Data []struct {
			Name    string
			Budgets []budgetView
		}
	}
	p.Do("GET", "/v1/api-keys", coaitest.AdminKey, nil).JSON(t, &list)
	for _, k := range list.Data {
		if k.Name == name {
			return k.Budgets
		}
	}
	t.Fatalf("no key %s", name)
	return nil
}

// Fifty clients at once cannot spend more than a budget for ten, and what the
// key shows is the sum of its records.
func TestBudgetIsExactUnderParallelClients(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		release := make(chan struct{})
		up := coaitest.NewUpstream(t, func(w http.ResponseWriter, c *coaitest.Call) {
			<-release
			coaitest.Whole("ok")(w, c)
		})
		p.Channel(up, nil)
		price(t, p, "gpt-test", "1000000") // a dollar for each token
		// A request holds the bytes of its prompt, 32 for what surrounds it, and 100 of
		// the answer. When that does not fit in, its 11 tokens are counted, twice.
		body := ask("gpt-test", object{"max_tokens": 100})
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		daily := 10*(len(raw)+32+100) + 100
		key := p.UserKey(object{"name": "limited", "budgets": object{"daily": daily, "total": object{"value": 5000, "currency": "usd"}}})
		var clients sync.WaitGroup
		var served, refused atomic.Int64
		for range 50 {
			clients.Go(func() {
				res := p.Do("POST", "/v1/chat/completions", key, body)
				switch res.Status {
				case http.StatusOK:
					served.Add(1)
				case http.StatusTooManyRequests:
					if e := res.Error(t); e.Code != "budget_exceeded" || res.Header.Get("X-Should-Retry") != "false" || !strings.Contains(e.Message, fmt.Sprintf("daily budget of $%d", daily)) {
						t.Errorf("refusal: %+v %v", e, res.Header)
					}
					if refused.Add(1) == 40 {
						close(release)
					}
				default:
					t.Errorf("%d %s", res.Status, res.Body)
				}
			})
		}
		clients.Wait()
		if served.Load() != 10 || len(up.Calls()) != 10 {
			t.Errorf("%d were served, %d refused, the upstream was asked %d times", served.Load(), refused.Load(), len(up.Calls()))
		}
		rows := p.Usage(10)
		var cost models.Nanos
		for _, r := range rows {
			cost += r.Cost
		}
		for _, b := range keyBudgets(t, p, "limited") {
			if b.Spent.Amount != cost || b.Held.Amount != 0 {
				t.Errorf("the records cost %s, the %s budget says %+v", cost, b.Period, b)
			}
		}
		if cost != 180*models.Dollar { // the upstream's 18 tokens each, not what was held
			t.Errorf("the records cost %s", cost)
		}
		if res := p.Do("POST", "/v1/chat/completions", key, body); res.Status != http.StatusOK {
			t.Errorf("what was held and not spent is not given back: %d %s", res.Status, res.Body)
		}
	})
}

func TestBalanceRunsOut(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		up := coaitest.NewUpstream(t, coaitest.Whole("ok"))
		p.Channel(up, nil)
		price(t, p, "gpt-test", "1000000")
		key := p.UserKey(nil)
		var me struct {
			ID      string
			Balance *models.Money
		}
		p.Do("GET", "/v1/users/me", key, nil).JSON(t, &me)
		if me.Balance != nil {
			t.Errorf("balance = %+v", me.Balance)
		}
		if res := p.Do("POST", "/v1/users/"+me.ID+"/balance", key, object{"amount": 5}); res.Status != http.StatusForbidden {
			t.Errorf("a user raised a balance: %d %s", res.Status, res.Body)
		}
		res := p.Do("POST", "/v1/users/"+me.ID+"/balance", coaitest.AdminKey, object{"amount": "60.5", "note": "first"})
		var entry struct {
			Amount, Balance models.Money
			Note            string
		}
		if res.JSON(t, &entry); res.Status != 200 || entry.Balance.Amount != 60*models.Dollar+models.Dollar/2 || entry.Note != "first" {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		body := ask("gpt-test", object{"max_tokens": 10})
		for i, want := range []int{200, 200, 429} { // 18 dollars each
			if res := p.Do("POST", "/v1/chat/completions", key, body); res.Status != want || want == 429 && res.Error(t).Code != "insufficient_quota" {
				t.Errorf("request %d: %d %s", i, res.Status, res.Body)
			}
		}
		if n := len(up.Calls()); n != 2 {
			t.Errorf("the upstream was asked %d times", n)
		}
		p.Do("GET", "/v1/users/me", key, nil).JSON(t, &me)
		if me.Balance == nil || me.Balance.Amount != 24*models.Dollar+models.Dollar/2 {
			t.Errorf("balance = %+v", me.Balance)
		}
	})
}

// Failed attempts, failovers and clients that leave hold nothing afterwards.
func TestNoHoldIsLeftAfterErrors(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		bad, good := coaitest.NewUpstream(t, coaitest.Status(500, "text/plain", "no")), coaitest.NewUpstream(t, coaitest.Whole("ok"))
		p.Channel(bad, object{"priority": 1})
		p.Channel(good, nil)
		price(t, p, "gpt-test", "1000000")
		key := p.UserKey(object{"name": "k", "budgets": object{"monthly": 100000}})
		p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", nil))
		good.Then(coaitest.Events(coaitest.FirstChunk, coaitest.Chunk("half")))
		p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", object{"stream": true}))
		asked := make(chan struct{})
		good.Then(func(w http.ResponseWriter, c *coaitest.Call) {
			coaitest.StartEvents(w)
			coaitest.Event(w, coaitest.FirstChunk)
			close(asked)
			<-c.Gone
		})
		ctx, leave := context.WithCancel(t.Context())
		res := p.Open(ctx, "POST", "/v1/chat/completions", key, ask("gpt-test", object{"stream": true}))
		<-asked
		leave()
		_ = res.Body.Close()
		rows := p.Usage(6)
		var cost models.Nanos
		for _, r := range rows {
			cost += r.Cost
			if r.ChannelID == rows[0].ChannelID && r.Cost != 0 {
				t.Errorf("an error was charged: %+v", r)
			}
		}
		if got := keyBudgets(t, p, "k")[0]; got.Held.Amount != 0 || got.Spent.Amount != cost || cost == 0 {
			t.Errorf("the records cost %s, the budget says %+v", cost, got)
		}
	})
}

// A key that drains is charged what the upstream reports, although its client
// left, and whether or not a client asked for the usage.
func TestDrain(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		left := make(chan struct{})
		up := coaitest.NewUpstream(t, func(w http.ResponseWriter, c *coaitest.Call) {
			coaitest.StartEvents(w)
			coaitest.Event(w, coaitest.FirstChunk)
			coaitest.Event(w, coaitest.Chunk("one"))
			<-left
			for _, e := range []string{coaitest.Chunk("two"), coaitest.FinishChunk, coaitest.UsageChunk, coaitest.Done} {
				coaitest.Event(w, e)
			}
		})
		p.Channel(up, nil)
		price(t, p, "gpt-test", "1000000")
		key := p.UserKey(object{"name": "k", "on_disconnect": "drain", "budgets": object{"total": 100000}})
		ctx, leave := context.WithCancel(t.Context())
		s := coaitest.NewEventStream(t, p.Open(ctx, "POST", "/v1/chat/completions", key, ask("gpt-test", object{"stream": true})))
		s.Next()
		s.Next()
		leave()
		close(left)
		r := p.Usage(1)[0]
		// The server may hear only afterwards that the client has left: then the answer was delivered.
		if r.ErrorCode != "client_closed_request" && r.ErrorCode != "" || r.Estimated || r.PromptTokens != 11 || r.CompletionTokens != 7 || r.Cost != 18*models.Dollar || r.EstimatedPromptTokens == 0 {
			t.Errorf("record = %+v", r)
		}
		if got := keyBudgets(t, p, "k")[0]; got.Held.Amount != 0 || got.Spent.Amount != 18*models.Dollar {
			t.Errorf("budget = %+v", got)
		}
	})
}

// Beyond its bounds what drains is cut and charged by our count; so it is when
// the product stops.
func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*coaitest.Product){
		"time": nil,
		"stop": func(p *coaitest.Product) { p.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			settings := []string{"COAI_DRAIN_TIMEOUT=100ms"}
			if stop != nil {
				settings = nil
			}
			p := coaitest.Start(t, coaitest.Backends{}, settings...)
			gone := make(chan struct{})
			p.Channel(coaitest.NewUpstream(t, func(w http.ResponseWriter, c *coaitest.Call) {
				coaitest.StartEvents(w)
				coaitest.Event(w, coaitest.FirstChunk)
				coaitest.Event(w, coaitest.Chunk("some words that were produced"))
				<-c.Gone
				close(gone)
			}), nil)
			key := p.UserKey(object{"on_disconnect": "drain"})
			ctx, leave := context.WithCancel(t.Context())
			s := coaitest.NewEventStream(t, p.Open(ctx, "POST", "/v1/chat/completions", key, ask("gpt-test", object{"stream": true})))
			s.Next()
			s.Next()
			leave()
			if stop != nil {
				stop(p)
			}
			<-gone
			if r := p.Usage(1)[0]; !r.Estimated || r.CompletionTokens < 4 || r.ErrorCode == "" {
				t.Errorf("record = %+v", r)
			}
		})
	}
}

// A server that stops does not wait for an upstream that is silent to a client who
// has left.
func TestStopDoesNotWaitForSilentUpstreams(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_SHUTDOWN_TIMEOUT=60s")
	asked, gone := make(chan struct{}), make(chan struct{})
	p.Channel(coaitest.NewUpstream(t, func(_ http.ResponseWriter, c *coaitest.Call) {
		close(asked)
		<-c.Gone
		close(gone)
	}), nil)
	key := p.UserKey(object{"on_disconnect": "drain"})
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan struct{})
	go func() {
		defer close(left)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+"/v1/chat/completions", strings.NewReader(`{"model":"gpt-test","messages":[{"role":"user","content":"Hello"}]}`))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Content-Type", "application/json")
		if res, err := p.Client.Do(req); err == nil {
			_ = res.Body.Close()
			t.Error("an answer")
		}
	}()
	<-asked
	leave()
	<-left
	p.Stop() // which is impatient
	<-gone
	if r := p.Usage(1)[0]; r.ErrorCode == "" {
		t.Errorf("record = %+v", r)
	}
}

func TestPricesAreImportedAndAudited(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	p.Channel(coaitest.NewUpstream(t, coaitest.Whole("ok")), nil)
	catalogue := object{
		"gpt-test":    object{"input_cost_per_token": "0.25", "output_cost_per_token": 5e-1, "mode": "chat"},
		"too-fine":    object{"input_cost_per_token": 1.5e-16},
		"sample_spec": object{"input_cost_per_token": 0},
		"no-price":    object{"mode": "chat"},
	}
	type result struct {
		Imported int
		Skipped  []struct{ Model, Reason string }
	}
	var got result
	if p.Do("POST", "/v1/models/import", coaitest.AdminKey, object{"catalogue": catalogue, "dry_run": true}).JSON(t, &got); got.Imported != 1 || len(got.Skipped) != 3 {
		t.Errorf("dry run: %+v", got)
	}
	p.Do("POST", "/v1/models/import", coaitest.AdminKey, object{"catalogue": catalogue}).JSON(t, &got)
	key := p.UserKey(nil)
	p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", nil))
	if r := p.Usage(1)[0]; r.Cost != 11*models.Dollar/4+7*models.Dollar/2 {
		t.Errorf("cost = %s", r.Cost)
	}
	price(t, p, "gpt-test", "1000000") // an admin's price wins
	p.Do("POST", "/v1/models/import", coaitest.AdminKey, object{"catalogue": catalogue, "overwrite": true}).JSON(t, &got)
	p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", nil))
	if r := p.Usage(2)[1]; r.Cost != 18*models.Dollar {
		t.Errorf("cost = %s", r.Cost)
	}
	var audit struct {
		Data []struct {
			Day                  string
			Requests             int64
			ReportedPromptTokens int64    `json:"reported_prompt_tokens"`
			DeltaPercent         *float64 `json:"delta_percent"`
			Cost                 models.Money
		}
	}
	today := time.Now().UTC()
	res := p.Do("GET", fmt.Sprintf("/v1/analytics/audit?start_date=%s&end_date=%s", today.Format(time.DateOnly), today.AddDate(0, 0, 1).Format(time.DateOnly)), coaitest.AdminKey, nil)
	if res.JSON(t, &audit); len(audit.Data) != 1 || audit.Data[0].Requests != 2 || audit.Data[0].ReportedPromptTokens != 22 || audit.Data[0].DeltaPercent == nil ||
		audit.Data[0].Cost.Amount != 18*models.Dollar+11*models.Dollar/4+7*models.Dollar/2 {
		t.Errorf("%d %s", res.Status, res.Body)
	}
}

// Killed under load again and again, the budget is the sum of the records to the
// nano, and nothing stays held.
func TestKillUnderLoadBalances(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "coai")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/coaidev/coai/cmd/coai").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	dir := t.TempDir()
	dsn := "sqlite:" + filepath.Join(dir, "coai.db")
	var whole atomic.Int64
	for round := range 3 {
		url, process := serve(t, program, dir)
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 10}}
		if round == 0 {
			prepay(t, client, url)
		}
		var clients sync.WaitGroup
		began := whole.Load()
		for i := range 8 {
			clients.Go(func() {
				for ask1(t.Context(), client, url, i%2 == 0) {
					whole.Add(1)
				}
			})
		}
		coaitest.Eventually(t, "load runs", func() bool { return whole.Load() > began+50 })
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = process.Wait()
		clients.Wait()
		client.CloseIdleConnections()
	}
	db, err := storage.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	ledger := usage.New(db, zerolog.Nop())
	defer func() { _ = ledger.Close(context.WithoutCancel(t.Context())) }()
	if _, err := ledger.Recover(t.Context(), time.Now().Add(time.Hour)); err != nil { // as housekeeping does
		t.Fatal(err)
	}
	var cost, holds, spent, budgetHeld int64
	err = db.Read().NewRaw(`SELECT (SELECT SUM(cost) FROM usage_records), (SELECT COUNT(*) FROM usage_holds), spent, held FROM budgets`).
		Scan(t.Context(), &cost, &holds, &spent, &budgetHeld)
	if err != nil || holds != 0 {
		t.Fatalf("%d holds are left, %v", holds, err)
	}
	if cost != spent || budgetHeld != 0 || cost == 0 {
		t.Errorf("the records cost %d, %d is spent and %d held", cost, spent, budgetHeld)
	}
}

// prepay prices echo and gives the admin a balance.
func prepay(t *testing.T, client *http.Client, url string) {
	t.Helper()
	post := func(path, body string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+coaitest.AdminKey)
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		answer, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || strings.Contains(string(answer), `"errors"`) {
			t.Fatalf("%s: %d %s %v", path, res.StatusCode, answer, err)
		}
		return string(answer)
	}
	post("/graphql", `{"query":"mutation{saveModel(input:{name:\"echo\",maxOutputTokens:100,pricing:{prompt:\"3\",completion:\"7.000000001\"}}){model{name}}}"}`)
	id := strings.SplitN(strings.SplitN(post("/graphql", `{"query":"{viewer{id}}"}`), `"id":"`, 2)[1], `"`, 2)[0]
	post("/v1/users/"+id+"/balance", `{"amount":1000000}`)
}
