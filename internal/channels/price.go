package channels

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

// loadPrices reads all prices, by model, the oldest first.
func loadPrices(ctx context.Context, db bun.IDB) (map[string][]models.ModelPrice, error) {
	var rows []models.ModelPrice
	if err := db.NewSelect().Model(&rows).OrderExpr("model, effective_from").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read prices: %w", err)
	}
	by := map[string][]models.ModelPrice{}
	for _, p := range rows {
		by[p.Model] = append(by[p.Model], p)
	}
	return by, nil
}

// price gives every model its prices.
func (s *snapshot) price(prices map[string][]models.ModelPrice, at time.Time) {
	for name, m := range s.models {
		m.Prices = prices[name]
		m.Pricing = m.PriceAt(at)
		if next := m.NextPrice(at); !next.IsZero() && (s.until.IsZero() || next.Before(s.until)) {
			s.until = next
		}
	}
}

// savePrice writes an admin's price of a model, now or from a time on. A price
// that counts from now on replaces those that were planned. m gets its prices.
func savePrice(ctx context.Context, tx bun.IDB, m *models.Model, p *models.Pricing, from *time.Time, at time.Time) error {
	row := &models.ModelPrice{Model: m.Name, Source: models.PriceAdmin, EffectiveFrom: at, Pricing: p}
	if from != nil {
		row.EffectiveFrom = from.UTC().Truncate(time.Microsecond)
	} else {
		_, err := tx.NewDelete().Model((*models.ModelPrice)(nil)).Where("model = ?", m.Name).
			Where("source = ?", models.PriceAdmin).Where("effective_from > ?", at).Exec(ctx)
		if err != nil {
			return fmt.Errorf("delete planned prices: %w", err)
		}
	}
	if err := putPrice(ctx, tx, row); err != nil {
		return err
	}
	err := tx.NewSelect().Model(&m.Prices).Where("model = ?", m.Name).OrderExpr("effective_from").Scan(ctx)
	if err != nil {
		return fmt.Errorf("read prices: %w", err)
	}
	return nil
}

func putPrice(ctx context.Context, tx bun.IDB, row *models.ModelPrice) error {
	_, err := tx.NewInsert().Model(row).On("CONFLICT (model, source, effective_from) DO UPDATE").
		Set("pricing = EXCLUDED.pricing").Exec(ctx)
	if err != nil {
		return fmt.Errorf("save price: %w", err)
	}
	return nil
}
