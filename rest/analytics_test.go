package rest_test

import (
	"encoding/csv"
	"net/http"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

type usageResult struct {
	Object           string
	Model            *string
	UserID           *string `json:"user_id"`
	ChannelID        *string `json:"channel_id"`
	APIKeyID         *string `json:"api_key_id"`
	NumModelRequests int     `json:"num_model_requests"`
	NumErrors        int     `json:"num_errors"`
	InputTokens      int64   `json:"input_tokens"`
	OutputTokens     int64   `json:"output_tokens"`
	TotalTokens      int64   `json:"total_tokens"`
	Cost             struct {
		Value    float64
		Currency string
	}
	Latency struct{ Avg, P50, P95, P99 *float64 } `json:"latency_ms"`
	TTFT    struct{ P50, P95 *float64 }           `json:"ttft_ms"`
}

type usagePage struct {
	Object   string
	Data     []usageBucket
	HasMore  *bool   `json:"has_more"`
	NextPage *string `json:"next_page"`
	Totals   *usageResult
	Groups   []usageResult
	Previous *struct{ Totals usageResult }
}

type usageBucket struct {
	Object    string
	StartTime int64 `json:"start_time"`
	EndTime   int64 `json:"end_time"`
	Start     string
	End       string
	Results   []usageResult
	Previous  *usageBucket
}

func TestUsageOverREST(t *testing.T) {
	t.Parallel()
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		key := p.UserKey(nil)
		other := p.OtherUserKey("other@example.com", models.CreateAPIKeyInput{Name: "k"})
		ask := object{"model": "echo", "messages": []object{{"role": "user", "content": "hi"}}}
		for _, k := range []string{key, key, other} {
			if res := p.Do("POST", "/v1/chat/completions", k, ask); res.Status != http.StatusOK {
				t.Fatalf("%d %s", res.Status, res.Body)
			}
		}
		p.Usage(3)
		whole := get[usagePage](t, p, coaitest.AdminKey, "/v1/analytics/usage")
		if whole.Object != "page" || *whole.HasMore || whole.NextPage != nil || len(whole.Data) != 30 || len(whole.Groups) != 0 || whole.Previous != nil {
			t.Errorf("%+v", whole)
		}
		n := 0
		for i, b := range whole.Data {
			if b.Object != "bucket" || b.Results == nil || b.EndTime-b.StartTime != 86400 || i > 0 && b.Start != whole.Data[i-1].End {
				t.Errorf("%+v", b)
			}
			for _, r := range b.Results {
				n += r.NumModelRequests
			}
		}
		tot := whole.Totals
		if n != 3 || tot.NumModelRequests != 3 || tot.Object != "usage.result" || tot.Model != nil || tot.InputTokens == 0 || tot.TotalTokens != tot.InputTokens+tot.OutputTokens || tot.Cost.Currency != "usd" || tot.Latency.P99 == nil {
			t.Errorf("%d requests, totals %+v", n, tot)
		}

		mine := get[usagePage](t, p, other, "/v1/analytics/usage?group_by=model,user,api_key&granularity=hour&compare=previous_period")
		if g := mine.Groups; len(g) != 1 || *g[0].Model != "echo" || g[0].UserID == nil || g[0].APIKeyID == nil || g[0].ChannelID != nil || mine.Totals.NumModelRequests != 1 {
			t.Errorf("another's usage: %+v", mine)
		}
		if mine.Previous == nil || mine.Previous.Totals.NumModelRequests != 0 || mine.Data[0].Previous == nil {
			t.Errorf("no comparison: %+v", mine.Previous)
		}
		id := *mine.Groups[0].UserID
		if one := get[usagePage](t, p, coaitest.AdminKey, "/v1/analytics/usage?user_id="+id+"&model=echo&model=none"); one.Totals.NumModelRequests != 1 {
			t.Errorf("one user: %+v", one.Totals)
		}
		if none := get[usagePage](t, p, coaitest.AdminKey, "/v1/analytics/usage?model[]=none"); none.Totals.NumModelRequests != 0 || none.Totals.Latency.Avg != nil {
			t.Errorf("no such model: %+v", none.Totals)
		}
		refused(t, p.Do("GET", "/v1/analytics/usage?user_id="+id, key, nil), 404, "resource_not_found", "user_id")
		refused(t, p.Do("GET", "/v1/analytics/usage?group_by=channel", key, nil), 403, "insufficient_scope", "")
		chatOnly := p.UserKey(object{"scopes": []string{"chat"}})
		refused(t, p.Do("GET", "/v1/analytics/usage", chatOnly, nil), 403, "insufficient_scope", "")
		for query, param := range map[string]string{
			"start_date=x": "start_date", "end_date=2026-13-01": "end_date", "granularity=minute": "granularity", "timezone=X/Y": "timezone", "group_by=a": "group_by",
			"limit=0": "limit", "limit=1001": "limit", "page=x": "page", "compare=x": "compare", "format=xml": "format", "model=%00": "model", "user_id=%ff": "user_id",
			"format=csv&compare=previous_period": "compare",
		} {
			refused(t, p.Do("GET", "/v1/analytics/usage?"+query, coaitest.AdminKey, nil), 400, "invalid_value", param)
		}
		checkUsageGraphQL(t, p, id)
	})
}

func checkUsageGraphQL(t *testing.T, p *coaitest.Product, id string) {
	t.Helper()
	var data struct {
		Usage struct {
			HasMore bool
			Buckets []struct {
				Start   string
				Results []struct {
					Model            string
					NumModelRequests int
				}
			}
			Totals struct {
				NumModelRequests, TotalTokens int
				Cost                          struct{ Amount, Currency string }
				LatencyMs                     struct{ P50 *float64 }
			}
			Previous struct {
				Totals struct{ NumModelRequests int }
			}
		}
	}
	query := `query($id: [ID!]) { usage(userId: $id, model: "echo", granularity: WEEK, timezone: "Asia/Kolkata", groupBy: [MODEL], compare: PREVIOUS_PERIOD) {
		hasMore buckets { start results { model numModelRequests } } totals { numModelRequests totalTokens cost { amount currency } latencyMs { p50 } } previous { totals { numModelRequests } } } }`
	if errs := p.GraphQL(coaitest.AdminKey, query, object{"id": []string{id}}, &data); len(errs) > 0 {
		t.Fatal(errs)
	}
	u := data.Usage
	if len(u.Buckets) != 12 || u.Totals.NumModelRequests != 1 || u.Totals.Cost.Currency != "usd" || u.Totals.LatencyMs.P50 == nil || !strings.Contains(u.Buckets[0].Start, "18:30") {
		t.Errorf("%+v", u)
	}
}

func TestUsageAsCSV(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	evil := `=HYPERLINK("http://evil")`
	if res := p.Do("POST", "/v1/channels", coaitest.AdminKey, object{"name": "e", "type": "echo", "models": []string{evil}}); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	if res := p.Do("POST", "/v1/chat/completions", coaitest.AdminKey, object{"model": evil, "messages": []object{{"role": "user", "content": "hi"}}}); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	p.Usage(1)
	for name, res := range map[string]*coaitest.Response{
		"format": p.Do("GET", "/v1/analytics/usage?format=csv&group_by=model&limit=7", coaitest.AdminKey, nil),
		"Accept": p.Do("GET", "/v1/analytics/usage?group_by=model", coaitest.AdminKey, nil, "Accept", "text/csv"),
	} {
		lines, err := csv.NewReader(strings.NewReader(string(res.Body))).ReadAll()
		if err != nil || res.Status != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/csv") {
			t.Fatalf("%s: %d %v %q", name, res.Status, err, res.Body)
		}
		if len(lines) != 31 || lines[0][2] != "model" {
			t.Errorf("%s: %d lines, the first is %q", name, len(lines), lines[0])
		}
		last := lines[len(lines)-1]
		if last[2] != "'"+evil || last[6] != "1" {
			t.Errorf("%s: the last line is %q", name, last)
		}
	}
}
