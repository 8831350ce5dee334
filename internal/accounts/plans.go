package accounts

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/models"
)

// planSnapshot holds all plans as they were when the database was asked, the
// smallest first. Nobody changes them.
type planSnapshot struct {
	generation uint64
	until      time.Time
	plans      []*models.Plan
}

// Plan is the plan of a tier, at most a few seconds old. It is shared: nobody
// may change it.
func (s *Service) Plan(ctx context.Context, tier models.Tier) (*models.Plan, error) {
	plans, err := s.allPlans(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		if p.Tier == tier {
			return p, nil
		}
	}
	return nil, models.NotFound("plan", string(tier))
}

// Plans are all plans, the smallest first, for everybody who is signed in. They
// are shared: nobody may change them.
func (s *Service) Plans(ctx context.Context, v *models.Viewer) ([]*models.Plan, error) {
	if err := signedIn(v); err != nil {
		return nil, err
	}
	plans, err := s.allPlans(ctx)
	return slices.Clone(plans), err
}

// PlanByID is the plan with this id, for everybody who is signed in. It is
// shared: nobody may change it.
func (s *Service) PlanByID(ctx context.Context, v *models.Viewer, id string) (*models.Plan, error) {
	plans, err := s.Plans(ctx, v)
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		if p.ID == id {
			return p, nil
		}
	}
	return nil, models.NotFound("plan", id)
}

func (s *Service) allPlans(ctx context.Context) ([]*models.Plan, error) {
	now, generation := s.now(), s.generation.Load()
	if have := s.plans.Load(); have != nil && have.generation == generation && now.Before(have.until) {
		return have.plans, nil
	}
	found := s.loads.DoChan(fmt.Sprintf("plans %d", generation), func() (any, error) {
		// The first caller may leave while others wait.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
		defer cancel()
		plans, err := loadPlans(ctx, s.db.Read())
		if err != nil {
			return nil, err
		}
		snapshot := &planSnapshot{generation: generation, until: now.Add(s.cfg.CacheTTL), plans: plans}
		s.plans.Store(snapshot)
		return snapshot, nil
	})
	select {
	case r := <-found:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*planSnapshot).plans, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("load plans: %w", ctx.Err())
	}
}

func loadPlans(ctx context.Context, db bun.IDB) ([]*models.Plan, error) {
	plans := []*models.Plan{}
	if err := db.NewSelect().Model(&plans).Scan(ctx); err != nil {
		return nil, fmt.Errorf("load plans: %w", err)
	}
	tiers := models.Tiers()
	slices.SortFunc(plans, func(a, b *models.Plan) int {
		return slices.Index(tiers, a.Tier) - slices.Index(tiers, b.Tier)
	})
	return plans, nil
}

// UpdatePlan changes a tier's limits. A minute cannot permit more than an hour,
// nor an hour more than a day. Scope: admin.
func (s *Service) UpdatePlan(ctx context.Context, v *models.Viewer, tier models.Tier, in models.UpdatePlanInput) (*models.UpdatePlanPayload, error) {
	p := new(models.UpdatePlanPayload)
	plan, err := s.updatePlan(ctx, v, tier, in)
	if p.Fail(err) {
		return p, nil
	}
	if err != nil {
		return nil, wrap("update plan", err)
	}
	p.Plan = plan
	return p, nil
}

func (s *Service) updatePlan(ctx context.Context, v *models.Viewer, tier models.Tier, in models.UpdatePlanInput) (plan *models.Plan, err error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	return plan, s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		plans, err := loadPlans(ctx, tx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(plans, func(p *models.Plan) bool { return p.Tier == tier })
		if i < 0 {
			return models.NotFound("plan", string(tier))
		}
		plan = plans[i]
		before := *plan
		if err := applyPlan(plan, &in); err != nil {
			return err
		}
		if _, err = tx.NewUpdate().Model(plan).WherePK().Exec(ctx); err != nil {
			return err
		}
		return audit.Append(ctx, tx, v, "plan.updated", audit.Target{Type: "plan", ID: plan.ID}, before, plan)
	})
}

func applyPlan(p *models.Plan, in *models.UpdatePlanInput) error {
	for to, v := range map[*int]*int{
		&p.RequestsPerMinute: in.RequestsPerMinute,
		&p.RequestsPerHour:   in.RequestsPerHour,
		&p.RequestsPerDay:    in.RequestsPerDay,
	} {
		if v != nil {
			*to = *v
		}
	}
	if n, ok := in.Concurrency.ValueOK(); ok {
		p.Concurrency = n
	}
	if p.RequestsPerMinute > p.RequestsPerHour {
		return tooMany("requests_per_minute", in.RequestsPerMinute, "requests_per_hour", p.RequestsPerMinute, p.RequestsPerHour)
	}
	if p.RequestsPerHour > p.RequestsPerDay {
		return tooMany("requests_per_hour", in.RequestsPerHour, "requests_per_day", p.RequestsPerHour, p.RequestsPerDay)
	}
	return nil
}

// tooMany blames the shorter window if it is to change, else the longer one.
func tooMany(short string, changed *int, long string, less, more int) error {
	param := short
	if changed == nil {
		param = long
	}
	return models.Invalid(param, "'%s' (%d) must not be above '%s' (%d).", short, less, long, more)
}
