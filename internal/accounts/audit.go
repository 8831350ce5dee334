package accounts

import (
	"bytes"
	"context"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/budgets"
	"github.com/coaidev/coai/models"
)

func userTarget(id string) audit.Target { return audit.Target{Type: "user", ID: id} }

// operatedKey notes what the operator does to a user's key. What users do to their
// own is no business of the audit log.
func operatedKey(ctx context.Context, tx bun.Tx, v *models.Viewer, before, after *models.APIKey) error {
	if !v.Operator {
		return nil
	}
	on := audit.Target{Type: "api_key", ID: after.ID}
	switch {
	case before == nil:
		return audit.Append(ctx, tx, v, "api_key.created", on, nil, after)
	case after.RevokedAt != nil:
		return audit.Append(ctx, tx, v, "api_key.deleted", on, before, nil)
	case !bytes.Equal(before.Hash, after.Hash):
		return audit.Append(ctx, tx, v, "api_key.rotated", on, before, after)
	}
	return audit.Append(ctx, tx, v, "api_key.updated", on, before, after)
}

// limitsOf are a user's budgets by period, as the audit log shows them.
func (s *Service) limitsOf(ctx context.Context, tx bun.Tx, userID string) (map[string]models.Money, error) {
	by, err := budgets.Of(ctx, tx, s.now(), userID)
	if err != nil {
		return nil, err
	}
	list := map[string]models.Money{}
	for _, b := range by[userID] {
		if b.Period != models.PeriodBalance {
			list[string(b.Period)] = b.LimitMoney()
		}
	}
	return list, nil
}
