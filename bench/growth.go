package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

const modelsPerChannel = 100

// fill writes straight into the database what years would have left there. The
// usage is userID's, of the last 30 days.
func (g growth) fill(ctx context.Context, db *storage.DB, userID, upstreamURL string) error {
	now := time.Now().UTC().Truncate(time.Microsecond)
	for chunk := range chunks(g.channels, 20) {
		rows := make([]models.Channel, 0, len(chunk))
		for _, n := range chunk {
			c := models.Channel{
				ID: models.NewID(models.ChannelPrefix), Name: "channel " + strconv.Itoa(n), Type: models.ChannelOpenAI,
				BaseURL: upstreamURL + "/v1", ModelMapping: models.StringMap{}, Weight: 1, Enabled: true, CreatedAt: now, UpdatedAt: now,
			}
			for m := range modelsPerChannel {
				c.Models = append(c.Models, fmt.Sprintf("model-%d", (n*7+m)%5000))
			}
			rows = append(rows, c)
		}
		if _, err := db.Write().NewInsert().Model(&rows).Exec(ctx); err != nil {
			return fmt.Errorf("write channels: %w", err)
		}
	}
	for chunk := range chunks(g.keys, 500) {
		rows := make([]models.APIKey, 0, len(chunk))
		for _, n := range chunk {
			hash := sha256.Sum256([]byte(strconv.Itoa(n)))
			rows = append(rows, models.APIKey{
				ID: models.NewID(models.APIKeyPrefix), UserID: userID, Name: "key " + strconv.Itoa(n), Display: "sk-coai-…",
				Hash: hash[:], Scopes: []models.Scope{models.ScopeChat}, AllowedModels: []string{}, AllowedCIDRs: []string{}, CreatedAt: now,
			})
		}
		if _, err := db.Write().NewInsert().Model(&rows).Exec(ctx); err != nil {
			return fmt.Errorf("write keys: %w", err)
		}
	}
	for chunk := range chunks(g.usage, 500) {
		rows := make([]models.UsageRecord, 0, len(chunk))
		for _, n := range chunk {
			at := now.Add(-time.Duration(n%(30*86400)) * time.Second)
			rows = append(rows, models.UsageRecord{
				ID: models.NewID(models.RequestPrefix), UserID: userID, Model: "model-" + strconv.Itoa(n%5000), Operation: models.OperationChat,
				Status: models.UsageSettled, PromptTokens: 100, CompletionTokens: 50, CreatedAt: at, SettledAt: &at,
			})
		}
		if _, err := db.Write().NewInsert().Model(&rows).Exec(ctx); err != nil {
			return fmt.Errorf("write usage: %w", err)
		}
	}
	return nil
}

// chunks are the numbers below n, so many at a time.
func chunks(n, size int) func(yield func([]int) bool) {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return slices.Chunk(all, size)
}
