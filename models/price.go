package models

import (
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
}

// maxPrice is a million dollars per million tokens, or per unit: with it no
// completion of fewer than 9 billion tokens can overflow.
const maxPrice = 1_000_000 * Dollar

func (p *Pricing) validate(at string) error {
	if p == nil {
		return nil
	}
	for _, f := range []struct {
		param string
		v     *Nanos
	}{
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
		if f.v != nil && (*f.v < 0 || *f.v > maxPrice) {
			return Invalid(at+"."+f.param, "'%s.%s' must be between 0 and %s dollars.", at, f.param, maxPrice)
		}
	}
	return nil
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
