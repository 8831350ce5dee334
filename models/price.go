package models

import (
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// Pricing is what a model costs, in US dollars. Prices of tokens are for a
// million; what is absent costs what the comment says.
type Pricing struct {
	Prompt      Nanos  `json:"prompt"`
	Completion  Nanos  `json:"completion"`
	CachedRead  *Nanos `json:"cached_read,omitempty"`  // prompt tokens read from the upstream's cache; absent: as Prompt
	CacheWrite  *Nanos `json:"cache_write,omitempty"`  // prompt tokens written to it; absent: as Prompt
	Reasoning   *Nanos `json:"reasoning,omitempty"`    // completion tokens spent on thinking; absent: as Completion
	ImageInput  *Nanos `json:"image_input,omitempty"`  // prompt tokens of images; absent: as Prompt
	AudioInput  *Nanos `json:"audio_input,omitempty"`  // prompt tokens of audio; absent: as Prompt
	AudioOutput *Nanos `json:"audio_output,omitempty"` // completion tokens of audio; absent: as Completion

	Image        *Nanos `json:"image,omitempty"`         // each image made; absent: nothing
	PerCharacter *Nanos `json:"per_character,omitempty"` // each character made into speech; absent: nothing
	PerMinute    *Nanos `json:"per_minute,omitempty"`    // each minute of audio transcribed, by the millisecond; absent: nothing
	PerRequest   *Nanos `json:"per_request,omitempty"`   // each request that was answered; absent: nothing

	Tiers []PricingTier `json:"tiers,omitempty"` // of longer prompts, the shortest first
}

// PricingTier is what all tokens of a request cost whose prompt is longer than
// so many tokens; what is absent costs what it does without the tier.
type PricingTier struct {
	AbovePromptTokens int    `json:"above_prompt_tokens"`
	Prompt            *Nanos `json:"prompt,omitempty"`
	Completion        *Nanos `json:"completion,omitempty"`
	CachedRead        *Nanos `json:"cached_read,omitempty"`
	CacheWrite        *Nanos `json:"cache_write,omitempty"`
}

// ForPrompt is the pricing of a request with so many prompt tokens: that of the
// last tier which the prompt is longer than.
func (p *Pricing) ForPrompt(tokens int64) *Pricing {
	last := -1
	for i := range p.Tiers {
		if tokens > int64(p.Tiers[i].AbovePromptTokens) {
			last = i
		}
	}
	if last < 0 {
		return p
	}
	return p.tier(&p.Tiers[last])
}

// Steps are all pricings that a request of at most so many prompt tokens may
// have.
func (p *Pricing) Steps(tokens int64) []*Pricing {
	list := []*Pricing{p}
	for i := range p.Tiers {
		if tokens > int64(p.Tiers[i].AbovePromptTokens) {
			list = append(list, p.tier(&p.Tiers[i]))
		}
	}
	return list
}

func (p *Pricing) tier(t *PricingTier) *Pricing {
	q := *p
	q.Tiers = nil
	if t.Prompt != nil {
		q.Prompt = *t.Prompt
	}
	if t.Completion != nil {
		q.Completion = *t.Completion
	}
	if t.CachedRead != nil {
		q.CachedRead = t.CachedRead
	}
	if t.CacheWrite != nil {
		q.CacheWrite = t.CacheWrite
	}
	return &q
}

const (
	maxTiers      = 8
	maxTierTokens = 1_000_000_000
)

func (p *Pricing) validateTiers(at string) error {
	if len(p.Tiers) > maxTiers {
		return Invalid(at, "'%s' must have at most %d tiers; got %d.", at, maxTiers, len(p.Tiers))
	}
	last := 0
	for i := range p.Tiers {
		t := &p.Tiers[i]
		param := fmt.Sprintf("%s[%d]", at, i)
		if t.AbovePromptTokens <= last || t.AbovePromptTokens > maxTierTokens {
			return Invalid(param+".above_prompt_tokens", "'%s.above_prompt_tokens' must be between %d and %d, and above that of the tier before.", param, last+1, maxTierTokens)
		}
		last = t.AbovePromptTokens
		for _, f := range []pricedField{
			{"prompt", t.Prompt}, {"completion", t.Completion}, {"cached_read", t.CachedRead}, {"cache_write", t.CacheWrite},
		} {
			if err := f.validate(param); err != nil {
				return err
			}
		}
	}
	return nil
}

// pricedField is a price and its name in JSON.
type pricedField struct {
	param string
	v     *Nanos
}

func (f pricedField) validate(at string) error {
	if f.v != nil && (*f.v < 0 || *f.v > maxPrice) {
		return Invalid(at+"."+f.param, "'%s.%s' must be between 0 and %s dollars.", at, f.param, maxPrice)
	}
	return nil
}

// maxPrice is a million dollars per million tokens, or per unit: with it no
// completion of fewer than 9 billion tokens can overflow.
const maxPrice = 1_000_000 * Dollar

func (p *Pricing) validate(at string) error {
	if p == nil {
		return nil
	}
	for _, f := range []pricedField{
		{"prompt", &p.Prompt},
		{"completion", &p.Completion},
		{"cached_read", p.CachedRead},
		{"cache_write", p.CacheWrite},
		{"reasoning", p.Reasoning},
		{"image_input", p.ImageInput},
		{"audio_input", p.AudioInput},
		{"audio_output", p.AudioOutput},
		{"image", p.Image},
		{"per_character", p.PerCharacter},
		{"per_minute", p.PerMinute},
		{"per_request", p.PerRequest},
	} {
		if err := f.validate(at); err != nil {
			return err
		}
	}
	return p.validateTiers(at + ".tiers")
}

// PriceSource says where a price came from. One that an admin has set wins over
// one that was imported.
type PriceSource string

// The sources.
const (
	PriceAdmin  PriceSource = "admin"
	PriceImport PriceSource = "import" // also those that first start knows
)

// ModelPrice is what a model costs from a time on, until the next one of its
// source. No pricing means that the source has no price from then on.
type ModelPrice struct {
	bun.BaseModel `bun:"table:model_prices,alias:mp" json:"-"`

	Model         string      `bun:"model,pk" json:"model"`
	Source        PriceSource `bun:"source,pk" json:"source"`
	EffectiveFrom time.Time   `bun:"effective_from,pk" json:"-"`
	Pricing       *Pricing    `bun:"pricing,type:jsonb" json:"pricing"`
}

// PriceAt is what the model costs at a time; nil without a price, and then usage
// costs nothing.
func (m *Model) PriceAt(t time.Time) *Pricing {
	var admin, imported *Pricing
	for i := range m.Prices {
		switch p := &m.Prices[i]; {
		case p.EffectiveFrom.After(t):
		case p.Source == PriceAdmin:
			admin = p.Pricing
		default:
			imported = p.Pricing
		}
	}
	if admin != nil {
		return admin
	}
	return imported
}

// NextPrice is when the price changes next after a time, as far as it is
// planned; zero for never.
func (m *Model) NextPrice(t time.Time) (next time.Time) {
	for i := range m.Prices {
		if at := m.Prices[i].EffectiveFrom; at.After(t) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// ImportModelPricesInput brings in a catalogue of prices as LiteLLM publishes it:
// an object of models, whose prices are dollars for a single token.
// https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json
type ImportModelPricesInput struct {
	Catalogue JSON  `json:"catalogue"`
	Overwrite *bool `json:"overwrite,omitempty"` // replace prices that were imported before; default false
	DryRun    *bool `json:"dry_run,omitempty"`   // only say what would be done
}

// ImportModelPricesPayload answers importModelPrices.
type ImportModelPricesPayload struct {
	Payload
	Imported int
	Skipped  []SkippedPrice
}

// SkippedPrice is a model of the catalogue that was not taken over.
type SkippedPrice struct {
	Model  string `json:"model"`
	Reason string `json:"reason"`
}
