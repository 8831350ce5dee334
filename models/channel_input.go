package models

import "github.com/99designs/gqlgen/graphql"

// CreateChannelInput makes a channel.
type CreateChannelInput struct {
	Name         string           `json:"name"`
	Preset       *string          `json:"preset,omitempty"`     // id of a [ChannelPreset], for what is left out here
	Type         ChannelType      `json:"type"`                 // default: the preset's
	BaseURL      *string          `json:"base_url,omitempty"`   // default: the preset's, else [ChannelType.DefaultBaseURL]
	Credential   *string          `json:"credential,omitempty"` // the upstream's API key; write-only
	Models       []string         `json:"models"`
	ModelMapping StringMap        `json:"model_mapping,omitempty"`
	Priority     *int             `json:"priority,omitempty"` // default 0
	Weight       *int             `json:"weight,omitempty"`   // default 1
	Status       *ChannelStatus   `json:"status,omitempty"`   // default enabled
	Limits       *ChannelLimits   `json:"limits,omitempty"`
	Settings     *ChannelSettings `json:"settings,omitempty"`
}

// UpdateChannelInput changes a channel. Absent fields stay as they are.
type UpdateChannelInput struct {
	Name         graphql.Omittable[*string]          `json:"name,omitzero"`
	BaseURL      graphql.Omittable[*string]          `json:"base_url,omitzero"`
	Credential   graphql.Omittable[*string]          `json:"credential,omitzero"` // null removes it
	Models       graphql.Omittable[[]string]         `json:"models,omitzero"`
	ModelMapping graphql.Omittable[StringMap]        `json:"model_mapping,omitzero"`
	Priority     graphql.Omittable[*int]             `json:"priority,omitzero"`
	Weight       graphql.Omittable[*int]             `json:"weight,omitzero"`
	Status       graphql.Omittable[*ChannelStatus]   `json:"status,omitzero"`
	Limits       graphql.Omittable[*ChannelLimits]   `json:"limits,omitzero"`
	Settings     graphql.Omittable[*ChannelSettings] `json:"settings,omitzero"`
}

// TestChannelInput says what a test asks for.
type TestChannelInput struct {
	Model *string `json:"model,omitempty"` // default: the channel's first
}

// TestChannelResult is the outcome of a minimal real completion.
type TestChannelResult struct {
	Success   bool    `json:"success"`
	LatencyMS int     `json:"latency_ms"`
	Model     string  `json:"model"`
	Error     *string `json:"error"`
}

// CreateChannelPayload answers createChannel.
type CreateChannelPayload struct {
	Payload
	Channel *Channel
}

// UpdateChannelPayload answers updateChannel.
type UpdateChannelPayload struct {
	Payload
	Channel *Channel
}

// DeleteChannelPayload answers deleteChannel.
type DeleteChannelPayload struct {
	Payload
	DeletedChannelID *string
}

// TestChannelPayload answers testChannel.
type TestChannelPayload struct {
	Payload
	Result *TestChannelResult
}

// Apply lays the input over a channel, absent fields untouched, and gives the
// credential if it is to change. The caller validates the channel afterwards.
func (in *UpdateChannelInput) Apply(c *Channel) (credential *string, changed bool, err error) {
	notNull := func(param string, isNull bool) {
		if isNull && err == nil {
			err = Invalid(param, "'%s' must not be null.", param)
		}
	}
	set := func(param string, o graphql.Omittable[*string], to *string) {
		if v, ok := o.ValueOK(); ok {
			if notNull(param, v == nil); v != nil {
				*to = *v
			}
		}
	}
	setInt := func(param string, o graphql.Omittable[*int], to *int) {
		if v, ok := o.ValueOK(); ok {
			if notNull(param, v == nil); v != nil {
				*to = *v
			}
		}
	}
	set("name", in.Name, &c.Name)
	set("base_url", in.BaseURL, &c.BaseURL)
	setInt("priority", in.Priority, &c.Priority)
	setInt("weight", in.Weight, &c.Weight)
	if v, ok := in.Models.ValueOK(); ok {
		c.Models = v
	}
	if v, ok := in.ModelMapping.ValueOK(); ok {
		c.ModelMapping = v
	}
	if v, ok := in.Status.ValueOK(); ok {
		if notNull("status", v == nil); v != nil && err == nil {
			err = c.setStatus(*v)
		}
	}
	if v, ok := in.Limits.ValueOK(); ok {
		c.Limits = ChannelLimits{}
		if v != nil {
			c.Limits = *v
		}
	}
	if v, ok := in.Settings.ValueOK(); ok {
		c.Settings = ChannelSettings{}
		if v != nil {
			c.Settings = *v
		}
	}
	credential, changed = in.Credential.ValueOK()
	return credential, changed, err
}

// Channel is the channel that the input describes, without id and credential.
func (in *CreateChannelInput) Channel() (*Channel, error) {
	if err := in.usePreset(); err != nil {
		return nil, err
	}
	c := &Channel{
		Name: in.Name, Type: in.Type, Models: in.Models, ModelMapping: in.ModelMapping,
		Weight: 1, Enabled: true,
	}
	switch {
	case in.BaseURL != nil:
		c.BaseURL = *in.BaseURL
	default:
		c.BaseURL = in.Type.DefaultBaseURL()
	}
	if in.Priority != nil {
		c.Priority = *in.Priority
	}
	if in.Weight != nil {
		c.Weight = *in.Weight
	}
	if in.Limits != nil {
		c.Limits = *in.Limits
	}
	if in.Settings != nil {
		c.Settings = *in.Settings
	}
	if in.Status != nil {
		if err := c.setStatus(*in.Status); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Channel) setStatus(s ChannelStatus) error {
	if s != ChannelEnabled && s != ChannelDisabled {
		return Invalid("status", "'status' must be enabled or disabled; got '%s'.", clip(string(s), 40))
	}
	c.Enabled = s == ChannelEnabled
	return nil
}
