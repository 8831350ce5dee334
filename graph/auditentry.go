package graph

import (
	"context"

	"github.com/coaidev/coai/models"
)

func (r query) AuditLog(
	ctx context.Context, first *int, after *string, last *int, before *string,
	order *models.OrderDirection, filter *models.AuditFilter,
) (*models.AuditEntryConnection, error) {
	page := models.PageArgs{First: first, After: after, Last: last, Before: before, Order: order}
	return r.audit.Entries(ctx, viewer(ctx), page, filter)
}
