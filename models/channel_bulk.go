package models

import (
	"slices"
	"time"
)

// MaxBulk is how many channels one request may change.
const MaxBulk = 1000

// ChannelOrderField is what a list of channels is ordered by.
type ChannelOrderField string

// The orders. Channels that are equal are ordered by their creation.
const (
	ChannelsByCreation ChannelOrderField = "created_at"
	ChannelsByName     ChannelOrderField = "name"
	ChannelsByPriority ChannelOrderField = "priority"
)

// ChannelOrderFields are all orders there are.
func ChannelOrderFields() []ChannelOrderField {
	return []ChannelOrderField{ChannelsByCreation, ChannelsByName, ChannelsByPriority}
}

// Validate checks the order.
func (f ChannelOrderField) Validate() error {
	if slices.Contains(ChannelOrderFields(), f) {
		return nil
	}
	return Invalid("order_by", "'order_by' must be one of %s; got '%s'.", oneOf(ChannelOrderFields()), clip(string(f), 40))
}

// ChannelFilter narrows a list of channels.
type ChannelFilter struct {
	Type   *ChannelType   `json:"type,omitempty"`
	Status *ChannelStatus `json:"status,omitempty"` // unhealthy as this process sees it
	Model  *string        `json:"model,omitempty"`  // that it serves
	Tag    *string        `json:"tag,omitempty"`
	Group  *string        `json:"group,omitempty"`
	Q      *string        `json:"q,omitempty"` // part of its name or base URL, in any case, or its id
}

// Validate checks the filter.
func (f *ChannelFilter) Validate() error {
	if f == nil {
		return nil
	}
	if f.Type != nil && !slices.Contains(ChannelTypes(), *f.Type) {
		return Invalid("type", "'type' must be one of %s; got '%s'.", oneOf(ChannelTypes()), clip(string(*f.Type), 40))
	}
	if f.Status != nil {
		switch *f.Status {
		case ChannelEnabled, ChannelDisabled, ChannelUnhealthy:
		default:
			return Invalid("status", "'status' must be enabled, disabled or unhealthy; got '%s'.", clip(string(*f.Status), 40))
		}
	}
	for _, t := range []struct {
		param string
		v     *string
	}{{"model", f.Model}, {"tag", f.Tag}, {"group", f.Group}, {"q", f.Q}} {
		if t.v != nil {
			if err := validName(t.param, *t.v, 1, maxModelName); err != nil {
				return err
			}
		}
	}
	return nil
}

// CloneChannelInput says how a copy of a channel differs from it.
type CloneChannelInput struct {
	Name   *string        `json:"name,omitempty"`   // default: its name with " (copy)"
	Status *ChannelStatus `json:"status,omitempty"` // default disabled
}

// CloneChannelPayload answers cloneChannel.
type CloneChannelPayload struct {
	Payload
	Channel *Channel
}

// ChannelPriority gives a channel its place.
type ChannelPriority struct {
	ID       string `json:"id"`
	Priority int    `json:"priority"`
}

// ReorderChannelsInput sets the priorities of several channels at once.
type ReorderChannelsInput struct {
	Channels []ChannelPriority `json:"channels"`
}

// Validate checks the input but for the channels' existence.
func (in *ReorderChannelsInput) Validate() error {
	if len(in.Channels) == 0 {
		return Missing("channels")
	}
	if len(in.Channels) > MaxBulk {
		return Invalid("channels", "'channels' must have at most %d entries; got %d.", MaxBulk, len(in.Channels))
	}
	seen := map[string]bool{}
	for i, c := range in.Channels {
		at := indexed("channels", i)
		if err := validPriority(at+".priority", c.Priority); err != nil {
			return err
		}
		if seen[c.ID] {
			return Invalid(at+".id", "The channel '%s' is named twice.", clip(c.ID, 80))
		}
		seen[c.ID] = true
	}
	return nil
}

func validPriority(param string, n int) error {
	if n < -1000 || n > 1000 {
		return Invalid(param, "'%s' must be between -1000 and 1000; got %d.", param, n)
	}
	return nil
}

// ReorderChannelsPayload answers reorderChannels.
type ReorderChannelsPayload struct {
	Payload
	Channels []*Channel // in the input's order
}

// BulkAction is what is done to many channels at once.
type BulkAction string

// The bulk actions.
const (
	BulkEnable      BulkAction = "enable"
	BulkDisable     BulkAction = "disable"
	BulkDelete      BulkAction = "delete"
	BulkSetTags     BulkAction = "set_tags"
	BulkSetPriority BulkAction = "set_priority"
)

// BulkActions are all of them.
func BulkActions() []BulkAction {
	return []BulkAction{BulkEnable, BulkDisable, BulkDelete, BulkSetTags, BulkSetPriority}
}

// BulkChannelsInput does the same to many channels: to those with these ids, or to
// those that a filter finds.
type BulkChannelsInput struct {
	Action   BulkAction     `json:"action"`
	IDs      []string       `json:"ids,omitempty"`
	Filter   *ChannelFilter `json:"filter,omitempty"`
	Tags     []string       `json:"tags,omitempty"`     // of set_tags
	Priority *int           `json:"priority,omitempty"` // of set_priority
}

// Validate checks the input but for the channels' existence.
func (in *BulkChannelsInput) Validate() error {
	switch {
	case in.Action == "":
		return Missing("action")
	case !slices.Contains(BulkActions(), in.Action):
		return Invalid("action", "'action' must be one of %s; got '%s'.", oneOf(BulkActions()), clip(string(in.Action), 40))
	case (len(in.IDs) > 0) == (in.Filter != nil):
		return Invalid("ids", "Give either 'ids' or 'filter'.")
	case len(in.IDs) > MaxBulk:
		return Invalid("ids", "'ids' must have at most %d entries; got %d.", MaxBulk, len(in.IDs))
	case in.Action == BulkSetPriority && in.Priority == nil:
		return Missing("priority")
	case in.Action != BulkSetPriority && in.Priority != nil:
		return Invalid("priority", "'priority' goes with the action set_priority.")
	case in.Action != BulkSetTags && in.Tags != nil:
		return Invalid("tags", "'tags' goes with the action set_tags.")
	}
	seen := map[string]bool{}
	for i, id := range in.IDs {
		if seen[id] {
			return Invalid(indexed("ids", i), "The channel '%s' is named twice.", clip(id, 80))
		}
		seen[id] = true
	}
	if in.Priority != nil {
		if err := validPriority("priority", *in.Priority); err != nil {
			return err
		}
	}
	if err := validNames("tags", in.Tags, maxTags, 64); err != nil {
		return err
	}
	return in.Filter.Validate()
}

// Apply lays the action over a channel; deleting is the caller's.
func (in *BulkChannelsInput) Apply(c *Channel) {
	switch in.Action {
	case BulkEnable, BulkDisable:
		c.Enabled = in.Action == BulkEnable
	case BulkSetTags:
		c.Tags = in.Tags
		notNil(&c.Tags)
	case BulkSetPriority:
		c.Priority = *in.Priority
	case BulkDelete:
	}
}

// BulkChannelsPayload answers bulkChannels. When one channel cannot be changed,
// none is, and Failures say why.
type BulkChannelsPayload struct {
	Payload
	ChannelIDs []string
	Failures   []BulkFailure
}

// BulkFailure is why a channel could not be changed.
type BulkFailure struct {
	ID      string `json:"id"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// ChannelModels compares the models that a channel serves with those that its
// upstream lists. Names on the channel's side are those that clients use.
type ChannelModels struct {
	ChannelID string    `json:"channel_id"`
	Upstream  []string  `json:"upstream"` // all that it lists, by its own names
	Added     []string  `json:"added"`    // listed, and not served under any name
	Missing   []string  `json:"missing"`  // served, and not listed, whatever the mapping calls them
	Kept      []string  `json:"kept"`     // served and listed
	FetchedAt time.Time `json:"-"`
}

// SyncChannelModelsInput says what of the upstream's list a channel takes over.
type SyncChannelModelsInput struct {
	Only          []string `json:"only,omitempty"`           // of those that would be added; absent: all
	RemoveMissing *bool    `json:"remove_missing,omitempty"` // stop to serve what the upstream does not list; default false
}

// Validate checks the input.
func (in *SyncChannelModelsInput) Validate() error {
	return validNames("only", in.Only, 1000, maxModelName)
}

// SyncChannelModelsPayload answers syncChannelModels.
type SyncChannelModelsPayload struct {
	Payload
	Channel *Channel
	Added   []string
	Removed []string
}
