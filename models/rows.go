package models

import (
	"context"

	"github.com/uptrace/bun"
)

// BeforeAppendModel makes absent lists empty before bun writes the row: the
// schema promises lists, and JSON would say null.
func (k *APIKey) BeforeAppendModel(context.Context, bun.Query) error {
	notNil(&k.Scopes)
	notNil(&k.AllowedModels)
	notNil(&k.AllowedCIDRs)
	notNil(&k.ChannelTags)
	if k.OnDisconnect == "" {
		k.OnDisconnect = OnDisconnectCancel
	}
	return nil
}

// BeforeAppendModel makes absent lists and maps empty before bun writes the row.
func (c *Channel) BeforeAppendModel(context.Context, bun.Query) error {
	notNil(&c.Models)
	notNil(&c.Tags)
	notNil(&c.Groups)
	notNil(&c.KeyHints)
	if c.ModelMapping == nil {
		c.ModelMapping = StringMap{}
	}
	return nil
}

// AfterScanRow gives a channel of the time when it could have one credential
// only its list of hints.
func (c *Channel) AfterScanRow(context.Context) error {
	if len(c.KeyHints) == 0 && c.KeyHint != nil {
		c.KeyHints = []string{*c.KeyHint}
	}
	notNil(&c.KeyHints)
	return nil
}

// BeforeAppendModel makes absent lists empty before bun writes the row.
func (u *User) BeforeAppendModel(context.Context, bun.Query) error {
	notNil(&u.Groups)
	return nil
}

// BeforeAppendModel makes absent lists empty before bun writes the row.
func (m *Model) BeforeAppendModel(context.Context, bun.Query) error {
	notNil(&m.Capabilities)
	notNil(&m.Aliases)
	notNil(&m.Tiers)
	notNil(&m.Groups)
	return nil
}

func notNil[T any](list *[]T) {
	if *list == nil {
		*list = []T{}
	}
}
