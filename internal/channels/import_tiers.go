package channels

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/coaidev/coai/models"
)

// tierFields are the names of LiteLLM's catalogue for what longer prompts cost,
// such as input_cost_per_token_above_200k_tokens.
func tierFields() *regexp.Regexp {
	return regexp.MustCompile(`^(input_cost_per_token|output_cost_per_token|cache_read_input_token_cost|cache_creation_input_token_cost)_above_(\d{1,6})k_tokens$`)
}

// catalogueTiers reads the prices of longer prompts, or says why it cannot.
func catalogueTiers(entry map[string]any, p *models.Pricing) (reason string) {
	pattern := tierFields()
	tiers := map[int]*models.PricingTier{}
	for _, field := range slices.Sorted(maps.Keys(entry)) {
		name := pattern.FindStringSubmatch(field)
		if name == nil || entry[field] == nil {
			continue
		}
		amount, err := exactNanos(entry[field], 1_000_000)
		if err != nil {
			return fmt.Sprintf("'%s' %s", field, err)
		}
		thousands, err := strconv.Atoi(name[2])
		if err != nil {
			return fmt.Sprintf("'%s' names no number of tokens", field)
		}
		t := tiers[thousands]
		if t == nil {
			t = &models.PricingTier{AbovePromptTokens: thousands * 1000}
			tiers[thousands] = t
		}
		switch name[1] {
		case "input_cost_per_token":
			t.Prompt = &amount
		case "output_cost_per_token":
			t.Completion = &amount
		case "cache_read_input_token_cost":
			t.CachedRead = &amount
		case "cache_creation_input_token_cost":
			t.CacheWrite = &amount
		}
	}
	for _, t := range tiers {
		p.Tiers = append(p.Tiers, *t)
	}
	slices.SortFunc(p.Tiers, func(a, b models.PricingTier) int { return cmp.Compare(a.AbovePromptTokens, b.AbovePromptTokens) })
	return ""
}
