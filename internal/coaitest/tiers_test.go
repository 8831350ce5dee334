package coaitest_test

import (
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

// A price that changes above a length of the prompt is set, imported, shown and
// charged.
func TestTieredPrices(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	p.Channel(coaitest.NewUpstream(t, coaitest.Whole("ok")), nil) // 11 tokens of prompt, 7 of the answer
	save := func(pricing string) []string {
		var out struct {
			SaveModel struct {
				UserErrors []struct{ Field []string }
			}
		}
		errs := p.GraphQL(coaitest.AdminKey, `mutation { saveModel(input: {name: "gpt-test", pricing: `+pricing+`}) { userErrors { field } } }`, nil, &out)
		if len(errs) > 0 {
			t.Fatalf("save model: %+v", errs)
		}
		var fields []string
		for _, e := range out.SaveModel.UserErrors {
			fields = append(fields, strings.Join(e.Field, "."))
		}
		return fields
	}
	tiered := `{prompt: "100000", completion: "100000", tiers: [{abovePromptTokens: 10, prompt: "200000"}, {abovePromptTokens: 11, completion: "900000"}]}`
	if got := save(tiered); got != nil {
		t.Fatalf("refused: %v", got)
	}
	key := p.UserKey(object{"budgets": object{"total": 1000}})
	p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", object{"max_tokens": 10}))
	if r := p.Usage(1)[0]; r.Cost != (11*2+7)*models.Dollar/10 {
		t.Errorf("cost = %s", r.Cost)
	}
	for pricing, field := range map[string]string{
		`{prompt: 1, completion: 1, tiers: [{abovePromptTokens: 0, prompt: 1}]}`:                                    "above",
		`{prompt: 1, completion: 1, tiers: [{abovePromptTokens: 5, prompt: 1}, {abovePromptTokens: 5, prompt: 1}]}`: "above",
		`{prompt: 1, completion: 1, tiers: [{abovePromptTokens: 5, cachedRead: -1}]}`:                               "cached",
	} {
		if got := save(pricing); len(got) != 1 || !strings.Contains(got[0], field) {
			t.Errorf("%s is refused for %v", pricing, got)
		}
	}
	catalogue := object{"long": object{
		"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "cache_read_input_token_cost": 1e-7,
		"input_cost_per_token_above_200k_tokens": 2e-6, "output_cost_per_token_above_200k_tokens": 3e-6,
		"cache_read_input_token_cost_above_200k_tokens": 2e-7, "cache_creation_input_token_cost_above_200k_tokens": 4e-6,
		"input_cost_per_token_above_128k_tokens": 1.5e-6, "input_cost_per_token_priority": 9,
	}}
	if res := p.Do("POST", "/v1/models/import", coaitest.AdminKey, object{"catalogue": catalogue}); res.Status != 200 {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	p.Channel(coaitest.NewUpstream(t, coaitest.Whole("ok")), object{"name": "long", "models": []string{"long"}})
	var m struct {
		Pricing struct {
			Tiers []struct {
				Above int           `json:"above_prompt_tokens"`
				P     *models.Money `json:"prompt"`
				C     *models.Money `json:"completion"`
				R     *models.Money `json:"cached_read"`
				W     *models.Money `json:"cache_write"`
			}
		}
	}
	res := p.Do("GET", "/v1/models/long", coaitest.AdminKey, nil)
	res.JSON(t, &m)
	tiers := m.Pricing.Tiers
	if len(tiers) != 2 || tiers[0].Above != 128_000 || tiers[0].P.Amount != models.Dollar*3/2 || tiers[0].C != nil ||
		tiers[1].Above != 200_000 || tiers[1].P.Amount != 2*models.Dollar || tiers[1].C.Amount != 3*models.Dollar ||
		tiers[1].R.Amount != models.Dollar/5 || tiers[1].W.Amount != 4*models.Dollar {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	var shown struct {
		Model struct {
			Pricing struct {
				Tiers []struct {
					AbovePromptTokens int
					CacheWrite        *string
				}
			}
		}
	}
	if errs := p.GraphQL(key, `{ model(name: "long") { pricing { tiers { abovePromptTokens cacheWrite } } } }`, nil, &shown); len(errs) > 0 ||
		len(shown.Model.Pricing.Tiers) != 2 || *shown.Model.Pricing.Tiers[1].CacheWrite != "4" {
		t.Errorf("%+v %+v", shown, errs)
	}
}
