package usage_test

import (
	"testing"

	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

// All tokens of a request cost what the length of its prompt says.
func TestPriceOfLongPrompts(t *testing.T) {
	t.Parallel()
	n := func(v models.Nanos) *models.Nanos { return &v }
	p := &models.Pricing{
		Prompt: 1_000_000, Completion: 10_000_000, CachedRead: n(100_000), Reasoning: n(20_000_000),
		Tiers: []models.PricingTier{
			{AbovePromptTokens: 1000, Prompt: n(2_000_000), Completion: n(15_000_000), CachedRead: n(200_000)},
			{AbovePromptTokens: 5000, Prompt: n(500_000)},
		},
	}
	for name, c := range map[string]struct {
		prompt, completion, cached, reasoning int64
		want                                  models.Nanos
	}{
		"short":            {1000, 10, 0, 0, 1000*1 + 10*10},
		"longer":           {1001, 10, 0, 0, 1001*2 + 10*15},
		"longer, cached":   {2000, 0, 1500, 0, 500*2 + 300},
		"longer, thought":  {2000, 10, 0, 4, 2000*2 + 6*15 + 4*20},
		"longest":          {6000, 10, 0, 0, 3000 + 10*10},
		"longest, cached":  {6000, 0, 6000, 0, 600},
		"nothing was used": {0, 0, 0, 0, 0},
	} {
		u := models.Usage{
			PromptTokens: c.prompt, CompletionTokens: c.completion,
			PromptTokensDetails:     &models.PromptTokensDetails{CachedTokens: c.cached},
			CompletionTokensDetails: &models.CompletionTokensDetails{ReasoningTokens: c.reasoning},
		}
		if usage.Price(p, &u); *u.Cost != c.want {
			t.Errorf("%s costs %d, want %d", name, *u.Cost, c.want)
		}
	}
	// A prompt of at most 6000 tokens may be one of 5000, which costs more.
	if got, want := usage.HoldFor(p, models.Usage{PromptTokens: 6000, CompletionTokens: 100}), models.Nanos(6000*2+100*20); got != want {
		t.Errorf("hold = %d, want %d", got, want)
	}
	if got, want := usage.HoldFor(p, models.Usage{PromptTokens: 1000, CompletionTokens: 100}), models.Nanos(1000*1+100*20); got != want {
		t.Errorf("hold of a short prompt = %d, want %d", got, want)
	}
}
