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
	if k.OnDisconnect == "" {
		k.OnDisconnect = OnDisconnectCancel
	}
	return nil
}

// BeforeAppendModel makes absent lists and maps empty before bun writes the row.
func (c *Channel) BeforeAppendModel(context.Context, bun.Query) error {
	notNil(&c.Models)
	if c.ModelMapping == nil {
		c.ModelMapping = StringMap{}
	}
	return nil
}

// BeforeAppendModel makes absent lists empty before bun writes the row.
func (m *Model) BeforeAppendModel(context.Context, bun.Query) error {
	notNil(&m.Capabilities)
	notNil(&m.Aliases)
	return nil
}

func notNil[T any](list *[]T) {
	if *list == nil {
		*list = []T{}
	}
}
