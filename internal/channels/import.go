package channels

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"regexp"
	"slices"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/models"
)

// maxCatalogue bounds the models of a catalogue; LiteLLM's has about 3,000.
const maxCatalogue = 20_000

// ImportModelPrices takes over the prices of a catalogue as LiteLLM publishes
// it. An admin's own prices stay above them. Numbers are read exactly: one that
// is finer than a nano-dollar for a million tokens is not taken. Admins only.
func (r *Registry) ImportModelPrices(ctx context.Context, v *models.Viewer, in models.ImportModelPricesInput) (*models.ImportModelPricesPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	var catalogue map[string]json.RawMessage
	if err := json.Unmarshal(in.Catalogue, &catalogue); err != nil || catalogue == nil {
		return nil, models.Invalid("catalogue", "'catalogue' must be an object of models such as {\"gpt-5\": {\"input_cost_per_token\": 1.25e-06, …}}.")
	}
	if len(catalogue) > maxCatalogue {
		return nil, models.Invalid("catalogue", "'catalogue' must have at most %d models; got %d.", maxCatalogue, len(catalogue))
	}
	p := &models.ImportModelPricesPayload{Skipped: []models.SkippedPrice{}}
	found := map[string]*models.Pricing{}
	for _, name := range slices.Sorted(maps.Keys(catalogue)) {
		pricing, reason := cataloguePricing(name, catalogue[name])
		if reason != "" {
			p.Skipped = append(p.Skipped, models.SkippedPrice{Model: name, Reason: reason})
			continue
		}
		found[name] = pricing
	}
	overwrite, dryRun := in.Overwrite != nil && *in.Overwrite, in.DryRun != nil && *in.DryRun
	err := r.save(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := importPrices(ctx, tx, found, overwrite, dryRun, p); err != nil || dryRun {
			return err
		}
		return audit.Append(ctx, tx, v, "model_prices.imported", audit.Target{Type: "model"}, nil,
			map[string]any{"imported": p.Imported, "skipped": len(p.Skipped), "overwrite": overwrite})
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func importPrices(ctx context.Context, tx bun.IDB, found map[string]*models.Pricing, overwrite, dryRun bool, p *models.ImportModelPricesPayload) error {
	prices, err := loadPrices(ctx, tx)
	if err != nil {
		return err
	}
	at := now()
	for _, name := range slices.Sorted(maps.Keys(found)) {
		had := imported(prices[name])
		switch {
		case had != nil && reflect.DeepEqual(had, found[name]):
			p.Skipped = append(p.Skipped, models.SkippedPrice{Model: name, Reason: "the price is the same"})
			continue
		case had != nil && !overwrite:
			p.Skipped = append(p.Skipped, models.SkippedPrice{Model: name, Reason: "another price was imported before; ask to overwrite it"})
			continue
		}
		p.Imported++
		if dryRun {
			continue
		}
		row := &models.ModelPrice{Model: name, Source: models.PriceImport, EffectiveFrom: at, Pricing: found[name]}
		if err := putPrice(ctx, tx, row); err != nil {
			return err
		}
	}
	return nil
}

// imported is the newest imported price.
func imported(prices []models.ModelPrice) *models.Pricing {
	for _, p := range slices.Backward(prices) {
		if p.Source == models.PriceImport {
			return p.Pricing
		}
	}
	return nil
}

// cataloguePricing reads an entry of LiteLLM's catalogue, or says why it cannot
// be used.
func cataloguePricing(name string, raw json.RawMessage) (p *models.Pricing, reason string) {
	if name == "sample_spec" {
		return nil, "it describes the catalogue"
	}
	in := models.SaveModelInput{Name: name}
	if err := in.Validate(); err != nil {
		return nil, "the name cannot be a model's"
	}
	var entry map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if dec.Decode(&entry) != nil {
		return nil, "it is not an object"
	}
	p = new(models.Pricing)
	image := "output_cost_per_image"
	if entry["mode"] == "image_generation" && entry[image] == nil {
		image = "input_cost_per_image" // as the catalogue says it for older models
	}
	used := false
	const million = 1_000_000
	for _, f := range []struct {
		field string
		to    **models.Nanos
		units int64 // of the catalogue's in one of ours
	}{
		{"input_cost_per_token", ptrTo(&p.Prompt), million},
		{"output_cost_per_token", ptrTo(&p.Completion), million},
		{"cache_read_input_token_cost", &p.CachedRead, million},
		{"cache_creation_input_token_cost", &p.CacheWrite, million},
		{"output_cost_per_reasoning_token", &p.Reasoning, million},
		{"input_cost_per_image_token", &p.ImageInput, million},
		{"input_cost_per_audio_token", &p.AudioInput, million},
		{"output_cost_per_audio_token", &p.AudioOutput, million},
		{image, &p.Image, 1},
		{"input_cost_per_character", &p.PerCharacter, 1},
		{"input_cost_per_second", &p.PerMinute, 60},
		{"input_cost_per_query", &p.PerRequest, 1},
	} {
		value, ok := entry[f.field]
		if !ok || value == nil {
			continue
		}
		amount, err := exactNanos(value, f.units)
		if err != nil {
			return nil, fmt.Sprintf("'%s' %s", f.field, err)
		}
		used = true
		if *f.to == nil {
			*f.to = new(models.Nanos)
		}
		**f.to = amount
	}
	if reason := catalogueTiers(entry, p); reason != "" {
		return nil, reason
	}
	if !used {
		return nil, "it has no price of a kind that is charged here"
	}
	in.Pricing = p
	if err := in.Validate(); err != nil {
		return nil, "a price is out of range"
	}
	return p, ""
}

func ptrTo(n *models.Nanos) **models.Nanos { return &n }

// plainNumber bounds what is given to [big.Rat], whose memory an exponent could fill.
var plainNumber = regexp.MustCompile(`^-?[0-9]{1,30}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?$`)

// exactNanos is a catalogue's amount of dollars for so many units. LiteLLM
// writes some numbers as strings.
func exactNanos(value any, units int64) (models.Nanos, error) {
	text := ""
	switch v := value.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	}
	if !plainNumber.MatchString(text) {
		return 0, errors.New("is not a number")
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, errors.New("is not a number")
	}
	r.Mul(r, new(big.Rat).SetInt64(units))
	r.Mul(r, new(big.Rat).SetInt64(int64(models.Dollar)))
	switch {
	case r.Sign() < 0:
		return 0, errors.New("is negative")
	case !r.IsInt():
		return 0, errors.New("is finer than a nano-dollar for its unit, which is a million tokens")
	case !r.Num().IsInt64():
		return 0, errors.New("is out of range")
	}
	return models.Nanos(r.Num().Int64()), nil
}
