package channels

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// seedJSON describes the models that first start knows: names, sizes and the
// public list prices, for the operator to check and change.
//
//go:embed seed.json
var seedJSON []byte

// Upstreams are what was found in the environment.
type Upstreams struct {
	OpenAIKey    string
	AnthropicKey string
	GeminiKey    string
	OllamaURL    string // where to look for an Ollama; empty: nowhere

	ollamaModels []string // what was found there
}

// Seed makes the first channels: echo, one for each credential found, and one
// for an Ollama that answers. It does so once in the life of a database: what an
// admin deletes stays deleted.
func (r *Registry) Seed(ctx context.Context, found Upstreams) error {
	if err := r.findOllama(ctx, &found); err != nil {
		return fmt.Errorf("make the first channels: %w", err)
	}
	err := r.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		revision, err := r.db.Revision(ctx, topic)
		if err != nil || revision > 0 {
			return err
		}
		if err := storage.Bump(ctx, tx, topic); err != nil { // first: it makes a second process wait, and then see the seed
			return err
		}
		if found, err := tx.NewSelect().Model((*models.Channel)(nil)).Exists(ctx); err != nil || found {
			return err
		}
		return r.seed(ctx, tx, found)
	})
	if err != nil {
		return fmt.Errorf("make the first channels: %w", err)
	}
	return nil
}

func (r *Registry) seed(ctx context.Context, tx bun.IDB, found Upstreams) error {
	var described map[models.ChannelType][]models.SaveModelInput
	if err := json.Unmarshal(seedJSON, &described); err != nil {
		return fmt.Errorf("decode seed: %w", err)
	}
	first := []models.CreateChannelInput{{Name: "Echo (built in)", Type: models.ChannelEcho}}
	if found.OpenAIKey != "" {
		first = append(first, models.CreateChannelInput{Name: "OpenAI", Type: models.ChannelOpenAI, Credential: &found.OpenAIKey})
	}
	if found.AnthropicKey != "" {
		first = append(first, models.CreateChannelInput{Name: "Anthropic", Type: models.ChannelAnthropic, Credential: &found.AnthropicKey})
	}
	if found.GeminiKey != "" {
		first = append(first, models.CreateChannelInput{Name: "Gemini", Type: models.ChannelGemini, Credential: &found.GeminiKey})
	}
	if len(found.ollamaModels) > 0 {
		first = append(first, models.CreateChannelInput{
			Name: "Ollama", Type: models.ChannelOllama, BaseURL: &found.OllamaURL, Models: found.ollamaModels,
		})
	}
	for _, in := range first {
		for _, m := range described[in.Type] {
			in.Models = append(in.Models, m.Name)
			at := now()
			row := &models.Model{
				Name: m.Name, DisplayName: m.Name, OwnedBy: string(in.Type),
				ContextWindow: m.ContextWindow, MaxOutputTokens: m.MaxOutputTokens,
				Capabilities: nonNil(m.Capabilities), Aliases: nonNil(m.Aliases),
				CreatedAt: &at, UpdatedAt: &at,
			}
			if m.DisplayName != nil {
				row.DisplayName = *m.DisplayName
			}
			if err := saveModel(ctx, tx, row); err != nil {
				return err
			}
			if m.Pricing == nil {
				continue
			}
			price := &models.ModelPrice{Model: m.Name, Source: models.PriceImport, EffectiveFrom: at, Pricing: m.Pricing}
			if _, err := tx.NewInsert().Model(price).Exec(ctx); err != nil {
				return fmt.Errorf("insert price: %w", err)
			}
		}
		c, err := in.Channel()
		if err != nil {
			return err
		}
		c.ID, c.CreatedAt = models.NewID(models.ChannelPrefix), now()
		credentials, err := in.CredentialList()
		if err == nil {
			err = r.seal(c, credentials)
		}
		if err != nil {
			return err
		}
		if err := insert(ctx, tx, c); err != nil {
			return err
		}
	}
	return nil
}
