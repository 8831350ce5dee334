package app

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/coaidev/coai/internal/archive"
	"github.com/coaidev/coai/internal/chat"
	"github.com/coaidev/coai/models"
)

// ChannelInput is what the command line can say of a channel. What is nil is
// left to the default, or as it is. Its JSON is that of
// [models.CreateChannelInput] and [models.UpdateChannelInput].
type ChannelInput struct {
	Name         *string                 `json:"name,omitempty"`
	Preset       *string                 `json:"preset,omitempty"` // only at creation
	Type         *models.ChannelType     `json:"type,omitempty"`   // only at creation
	BaseURL      *string                 `json:"base_url,omitempty"`
	Credential   *string                 `json:"credential,omitempty"`
	Models       []string                `json:"models,omitempty"`
	ModelMapping models.StringMap        `json:"model_mapping,omitempty"`
	Priority     *int                    `json:"priority,omitempty"`
	Weight       *int                    `json:"weight,omitempty"`
	Status       *models.ChannelStatus   `json:"status,omitempty"`
	Limits       *models.ChannelLimits   `json:"limits,omitempty"`
	Settings     *models.ChannelSettings `json:"settings,omitempty"`
}

// into decodes the input into one of the domain's inputs.
func (in ChannelInput) into(domain any) error {
	data, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode channel: %w", err)
	}
	if err := json.Unmarshal(data, domain); err != nil {
		return fmt.Errorf("decode channel: %w", err)
	}
	return nil
}

// Channels lists all channels, the newest first.
func (o *Operator) Channels(ctx context.Context) ([]*models.Channel, error) {
	return all(func(page models.PageArgs) (*models.Connection[models.Channel], error) {
		return o.channels.Channels(ctx, o.admin, page, nil, nil)
	})
}

// CreateChannel makes a channel.
func (o *Operator) CreateChannel(ctx context.Context, in ChannelInput) (*models.Channel, error) {
	var create models.CreateChannelInput
	if err := in.into(&create); err != nil {
		return nil, err
	}
	p, err := mended(o.channels.CreateChannel(ctx, o.admin, create))
	if err != nil {
		return nil, err
	}
	return p.Channel, nil
}

// UpdateChannel changes a channel. Limits and settings that are nil stay, also
// where others beside them change.
func (o *Operator) UpdateChannel(ctx context.Context, id string, in ChannelInput) (*models.Channel, error) {
	if in.Limits != nil || in.Settings != nil {
		c, err := o.channels.Channel(ctx, o.admin, id)
		if err != nil {
			return nil, err
		}
		in.keep(c)
	}
	var update models.UpdateChannelInput
	if err := in.into(&update); err != nil {
		return nil, err
	}
	p, err := mended(o.channels.UpdateChannel(ctx, o.admin, id, update))
	if err != nil {
		return nil, err
	}
	return p.Channel, nil
}

// keep fills in the limits and settings of c that the input does not name.
func (in *ChannelInput) keep(c *models.Channel) {
	if in.Limits != nil {
		in.Limits = &models.ChannelLimits{
			RPM: cmp.Or(in.Limits.RPM, c.Limits.RPM), TPM: cmp.Or(in.Limits.TPM, c.Limits.TPM),
			Concurrency: cmp.Or(in.Limits.Concurrency, c.Limits.Concurrency),
		}
	}
	if in.Settings != nil {
		settings := c.Settings
		settings.Organization = cmp.Or(in.Settings.Organization, settings.Organization)
		settings.ProxyURL = cmp.Or(in.Settings.ProxyURL, settings.ProxyURL)
		in.Settings = &settings
	}
}

// TestChannel asks the channel for a minimal completion; an empty model means
// its first.
func (o *Operator) TestChannel(ctx context.Context, id, model string) (*models.TestChannelResult, error) {
	in := &models.TestChannelInput{}
	if model != "" {
		in.Model = &model
	}
	completions := chat.New(o.channels, o.ledger(), archive.New(o.db), chat.Config{},
		chat.Telemetry{Meter: metricnoop.Meter{}, Tracer: tracenoop.Tracer{}})
	p, err := mended(completions.TestChannel(ctx, o.admin, id, in))
	if err != nil {
		return nil, err
	}
	return p.Result, nil
}

// DeleteChannel deletes a channel.
func (o *Operator) DeleteChannel(ctx context.Context, id string) error {
	_, err := mended(o.channels.DeleteChannel(ctx, o.admin, id))
	return err
}
