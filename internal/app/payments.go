package app

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coaidev/coai/internal/payments"
	"github.com/coaidev/coai/internal/safehttp"
	"github.com/coaidev/coai/models"
)

// stripeTimeout bounds a call of Stripe's API.
const stripeTimeout = 20 * time.Second

// payments makes the service with Stripe, where it is set up.
func (c *core) payments() *payments.Service {
	cfg := payments.Config{Grace: c.cfg.PaymentGrace}
	if c.cfg.StripeSecretKey != "" {
		prices, _ := stripePrices(c.cfg.StripePrices) // checked with all settings
		// Another address is the operator's own choice, perhaps on this machine.
		policy, _ := safehttp.ParsePolicy("", c.cfg.StripeURL != "")
		cfg.Stripe = payments.NewStripe(payments.StripeConfig{
			SecretKey: c.cfg.StripeSecretKey, WebhookSecret: c.cfg.StripeWebhookSecret, Prices: prices,
			ReturnURL: c.cfg.StripeReturnURL, URL: c.cfg.StripeURL,
			HTTP: &http.Client{Timeout: stripeTimeout, Transport: safehttp.NewTransport(safehttp.Options{Policy: policy})},
		})
	}
	return payments.New(c.db, cfg, c.log)
}

// stripePrices reads pairs such as pro=price_1.
func stripePrices(pairs []string) (map[models.Tier]string, bool) {
	prices := make(map[models.Tier]string, len(pairs))
	for _, pair := range pairs {
		tier, price, _ := strings.Cut(pair, "=")
		t := models.Tier(tier)
		if t == models.TierFree || !slices.Contains(models.Tiers(), t) || price == "" || prices[t] != "" {
			return nil, false
		}
		prices[t] = price
	}
	return prices, true
}
