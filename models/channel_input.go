package models

import (
	"slices"
	"time"

	"github.com/99designs/gqlgen/graphql"
)

// Limits of a channel.
const (
	maxCredentials = 64
	maxCredential  = 8192 // bytes
	maxTags        = 64
)

// CreateChannelInput makes a channel.
type CreateChannelInput struct {
	Name         string           `json:"name"`
	Preset       *string          `json:"preset,omitempty"`      // id of a [ChannelPreset], for what is left out here
	Type         ChannelType      `json:"type"`                  // default: the preset's
	BaseURL      *string          `json:"base_url,omitempty"`    // default: the preset's, else [ChannelType.DefaultBaseURL]
	Credential   *string          `json:"credential,omitempty"`  // the upstream's API key; write-only
	Credentials  []string         `json:"credentials,omitempty"` // several of them, instead of Credential; write-only
	Models       []string         `json:"models"`
	ModelMapping StringMap        `json:"model_mapping,omitempty"`
	Priority     *int             `json:"priority,omitempty"` // default 0
	Weight       *int             `json:"weight,omitempty"`   // default 1
	Status       *ChannelStatus   `json:"status,omitempty"`   // default enabled
	Limits       *ChannelLimits   `json:"limits,omitempty"`
	Settings     *ChannelSettings `json:"settings,omitempty"`
	Tags         []string         `json:"tags,omitempty"`
	Groups       []string         `json:"groups,omitempty"` // default: serves everybody
}

// UpdateChannelInput changes a channel. Absent fields stay as they are.
type UpdateChannelInput struct {
	Name         graphql.Omittable[*string]          `json:"name,omitzero"`
	BaseURL      graphql.Omittable[*string]          `json:"base_url,omitzero"`
	Credential   graphql.Omittable[*string]          `json:"credential,omitzero"`  // null removes it
	Credentials  graphql.Omittable[[]string]         `json:"credentials,omitzero"` // replaces all; null or empty removes them
	Models       graphql.Omittable[[]string]         `json:"models,omitzero"`
	ModelMapping graphql.Omittable[StringMap]        `json:"model_mapping,omitzero"`
	Priority     graphql.Omittable[*int]             `json:"priority,omitzero"`
	Weight       graphql.Omittable[*int]             `json:"weight,omitzero"`
	Status       graphql.Omittable[*ChannelStatus]   `json:"status,omitzero"`
	Limits       graphql.Omittable[*ChannelLimits]   `json:"limits,omitzero"`
	Settings     graphql.Omittable[*ChannelSettings] `json:"settings,omitzero"`
	Tags         graphql.Omittable[[]string]         `json:"tags,omitzero"`
	Groups       graphql.Omittable[[]string]         `json:"groups,omitzero"`
	// IfUpdatedAt is when the caller has seen the channel changed last: if it has
	// been changed since, the update is a conflict.
	IfUpdatedAt *time.Time `json:"if_updated_at,omitempty"`
}

// TestChannelInput says what a test asks for.
type TestChannelInput struct {
	Model  *string  `json:"model,omitempty"`  // default: the channel's first
	Models []string `json:"models,omitempty"` // several, instead of Model
	All    *bool    `json:"all,omitempty"`    // all that the channel serves, instead
	Stream *bool    `json:"stream,omitempty"` // REST: as events
}

// Several says whether a list of results was asked for.
func (in *TestChannelInput) Several() bool {
	return in != nil && (len(in.Models) > 0 || in.All != nil && *in.All)
}

// Validate checks the input but for the channel's models.
func (in *TestChannelInput) Validate() error {
	switch {
	case in == nil:
		return nil
	case in.Model != nil && in.Several(), len(in.Models) > 0 && in.All != nil && *in.All:
		return Invalid("models", "Give one of 'model', 'models' and 'all'.")
	case in.Model != nil && *in.Model == "":
		return Invalid("model", "'model' must not be empty.")
	}
	return validNames("models", in.Models, 1000, maxModelName)
}

// TestChannelResult is the outcome of a minimal real completion.
type TestChannelResult struct {
	Success   bool    `json:"success"`
	LatencyMS int     `json:"latency_ms"`
	Model     string  `json:"model"`
	Error     *string `json:"error"`

	Err *Error `json:"-"` // why the test itself ended; then the rest says nothing
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
	Result  *TestChannelResult   // of the first model
	Results []*TestChannelResult // of all that were asked for, in their order
}

// Apply lays the input over a channel, absent fields untouched, and gives the
// credentials if they are to change. The caller validates the channel afterwards.
func (in *UpdateChannelInput) Apply(c *Channel) (credentials []string, changed bool, err error) {
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
	if v, ok := in.Tags.ValueOK(); ok {
		c.Tags = v
	}
	if v, ok := in.Groups.ValueOK(); ok {
		c.Groups = v
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
	one, oneSet := in.Credential.ValueOK()
	several, severalSet := in.Credentials.ValueOK()
	if err == nil {
		credentials, err = credentialList(one, several)
	}
	return credentials, oneSet || severalSet, err
}

// CredentialList are the credentials that the input gives the channel.
func (in *CreateChannelInput) CredentialList() ([]string, error) {
	return credentialList(in.Credential, in.Credentials)
}

// credentialList checks credentials: one, or several, not both.
func credentialList(one *string, several []string) ([]string, error) {
	if one != nil && *one != "" {
		if len(several) > 0 {
			return nil, Invalid("credentials", "Give 'credential' or 'credentials', not both.")
		}
		return []string{*one}, validCredential("credential", *one)
	}
	if len(several) > maxCredentials {
		return nil, Invalid("credentials", "'credentials' must have at most %d entries; got %d.", maxCredentials, len(several))
	}
	for i, s := range several {
		at := indexed("credentials", i)
		if err := validCredential(at, s); err != nil {
			return nil, err
		}
		if slices.Contains(several[:i], s) {
			return nil, Invalid(at, "'%s' repeats another one.", at)
		}
	}
	return several, nil
}

func validCredential(param, s string) error {
	if s == "" || len(s) > maxCredential {
		return Invalid(param, "'%s' must have 1 to %d characters.", param, maxCredential)
	}
	for _, b := range []byte(s) {
		if b <= 0x20 || b >= 0x7f {
			return Invalid(param, "'%s' must be printable ASCII without spaces.", param)
		}
	}
	return nil
}

// Channel is the channel that the input describes, without id and credential.
func (in *CreateChannelInput) Channel() (*Channel, error) {
	if err := in.usePreset(); err != nil {
		return nil, err
	}
	c := &Channel{
		Name: in.Name, Type: in.Type, Models: in.Models, ModelMapping: in.ModelMapping, Tags: in.Tags, Groups: in.Groups,
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
