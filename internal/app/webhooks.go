package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/runs"
	"github.com/coaidev/coai/internal/safehttp"
	"github.com/coaidev/coai/internal/sealed"
	"github.com/coaidev/coai/internal/webhooks"
	"github.com/coaidev/coai/models"
)

// webhooks makes the service that tells endpoints of events.
func (c *core) webhooks(tel *telemetry) (*webhooks.Service, error) {
	key, err := sealed.LoadKey(c.cfg.MasterKey, c.cfg.masterKeyFile())
	if err != nil {
		return nil, fmt.Errorf("load the master key: %w", err)
	}
	box, err := sealed.New(key)
	if err != nil {
		return nil, fmt.Errorf("use the master key: %w", err)
	}
	policy, err := safehttp.ParsePolicy(c.cfg.WebhookAllowNetworks, false)
	if err != nil {
		return nil, fmt.Errorf("read COAI_WEBHOOK_ALLOW_NETWORKS: %w", err)
	}
	return webhooks.New(c.db, box, webhooks.Config{
		Policy: policy, AllowHTTP: c.cfg.WebhookAllowHTTP, Retention: c.cfg.WebhookRetention, Timeout: c.cfg.WebhookTimeout,
		PerEndpoint: max(c.cfg.WebhookConcurrency/4, 1), Meter: tel.meter,
	}, c.log), nil
}

// percentages are those of a setting such as 50,80,100.
func percentages(list []string) ([]int, bool) {
	var all []int
	for _, s := range list {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || n < 1 || n > 100 {
			return nil, false
		}
		all = append(all, n)
	}
	return all, len(all) <= 10
}

// RunJob runs a periodic job in this process, now, beside whatever serves.
func RunJob(ctx context.Context, cfg *Config, log zerolog.Logger, name string) error {
	w, err := NewWorker(ctx, cfg, log)
	if err != nil {
		return err
	}
	ctx = log.WithContext(ctx)
	return errors.Join(w.runNow(ctx, name), w.Close(ctx))
}

// Jobs lists the periodic jobs and their last runs.
func (o *Operator) Jobs(ctx context.Context) ([]*models.Job, error) {
	return runs.New(o.db).Jobs(ctx, o.admin)
}
