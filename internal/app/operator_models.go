package app

import (
	"context"

	"github.com/coaidev/coai/models"
)

// ImportPrices takes over the prices of a catalogue.
func (o *Operator) ImportPrices(ctx context.Context, in models.ImportModelPricesInput) (*models.ImportModelPricesPayload, error) {
	return mended(o.channels.ImportModelPrices(ctx, o.admin, in))
}
