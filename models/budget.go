package models

import (
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/uptrace/bun"
)

// Period is how long a budget lasts before it begins anew.
type Period string

// The periods. Days and months are those of UTC.
const (
	PeriodDay     Period = "day"
	PeriodMonth   Period = "month"
	PeriodTotal   Period = "total"   // never begins anew
	PeriodBalance Period = "balance" // prepaid credit: a total that payments raise
)

// Start is when the period that holds t began.
func (p Period) Start(t time.Time) time.Time {
	t = t.UTC()
	switch p {
	case PeriodDay:
		return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	case PeriodMonth:
		return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	case PeriodTotal, PeriodBalance:
	}
	return time.Unix(0, 0).UTC()
}

// End is when the period that holds t ends, and the budget begins anew; nil for
// one that never does.
func (p Period) End(t time.Time) *time.Time {
	start := p.Start(t)
	switch p {
	case PeriodDay:
		start = start.AddDate(0, 0, 1)
	case PeriodMonth:
		start = start.AddDate(0, 1, 0)
	case PeriodTotal, PeriodBalance:
		return nil
	}
	return &start
}

// Budget is what a user or an API key may spend in a period. A completion is
// begun only if what it may cost at most still fits in.
type Budget struct {
	bun.BaseModel `bun:"table:budgets,alias:b" json:"-"`

	Owner  string    `bun:"owner,pk" json:"-"` // a user or an API key
	Period Period    `bun:"period,pk" json:"period"`
	Limit  Nanos     `bun:"amount" json:"-"`
	Spent  Nanos     `bun:"spent" json:"-"` // by attempts that began in this period
	Held   Nanos     `bun:"held" json:"-"`  // by attempts that have not ended
	Since  time.Time `bun:"since" json:"-"` // when the period began
}

// Left is what a new attempt may cost at most.
func (b *Budget) Left() Nanos { return b.Limit - b.Spent - b.Held }

// ResetsAt is when the budget begins anew; nil for never.
func (b *Budget) ResetsAt() *time.Time { return b.Period.End(b.Since) }

// LimitMoney is the limit as GraphQL shows it.
func (b *Budget) LimitMoney() Money { return USD(b.Limit) }

// SpentMoney is what was spent as GraphQL shows it.
func (b *Budget) SpentMoney() Money { return USD(b.Spent) }

// HeldMoney is what is held as GraphQL shows it.
func (b *Budget) HeldMoney() Money { return USD(b.Held) }

// BudgetsInput sets limits, in US dollars. Absent ones stay as they are, null
// takes one away. What was spent is not forgotten by a change.
type BudgetsInput struct {
	Daily   graphql.Omittable[*Nanos] `json:"daily,omitzero"`
	Monthly graphql.Omittable[*Nanos] `json:"monthly,omitzero"`
	Total   graphql.Omittable[*Nanos] `json:"total,omitzero"`
}

// Limits are the limits to set, by period, where nil takes one away.
func (in *BudgetsInput) Limits() map[Period]*Nanos {
	limits := make(map[Period]*Nanos)
	if in == nil {
		return limits
	}
	for _, f := range []struct {
		period Period
		v      graphql.Omittable[*Nanos]
	}{{PeriodDay, in.Daily}, {PeriodMonth, in.Monthly}, {PeriodTotal, in.Total}} {
		if v, ok := f.v.ValueOK(); ok {
			limits[f.period] = v
		}
	}
	return limits
}

// maxBudget is a billion dollars.
const maxBudget = 1_000_000_000 * Dollar

func (in *BudgetsInput) validate(at string) error {
	if in == nil {
		return nil
	}
	for _, f := range []struct {
		param string
		v     graphql.Omittable[*Nanos]
	}{{"daily", in.Daily}, {"monthly", in.Monthly}, {"total", in.Total}} {
		if v, _ := f.v.ValueOK(); v != nil && (*v < 0 || *v > maxBudget) {
			return Invalid(at+"."+f.param, "'%s.%s' must be between 0 and %s dollars.", at, f.param, maxBudget)
		}
	}
	return nil
}

// Validate checks the input.
func (in *BudgetsInput) Validate() error { return in.validate("budgets") }

// UpdateUserBudgetsPayload answers updateUserBudgets.
type UpdateUserBudgetsPayload struct {
	Payload
	User *User
}

// BalanceEntry is one change of a user's prepaid credit. Entries are never
// changed.
type BalanceEntry struct {
	bun.BaseModel `bun:"table:balance_entries,alias:e" json:"-"`

	ID        string    `bun:"id,pk" json:"id"`
	UserID    string    `bun:"user_id" json:"user_id"`
	ActorID   string    `bun:"actor_id" json:"actor_id"` // who changed it
	Amount    Nanos     `bun:"amount" json:"-"`
	Balance   Nanos     `bun:"balance" json:"-"` // afterwards
	Note      string    `bun:"note" json:"note"`
	CreatedAt time.Time `bun:"created_at" json:"-"`
}

// AmountMoney is the change as GraphQL shows it.
func (e *BalanceEntry) AmountMoney() Money { return USD(e.Amount) }

// BalanceMoney is the balance afterwards as GraphQL shows it.
func (e *BalanceEntry) BalanceMoney() Money { return USD(e.Balance) }

// AdjustBalanceInput changes a user's prepaid credit by an amount of US dollars,
// which may be negative. The first one makes the user prepaid.
type AdjustBalanceInput struct {
	Amount Nanos   `json:"amount"`
	Note   *string `json:"note,omitempty"`
}

// Validate checks the input.
func (in *AdjustBalanceInput) Validate() error {
	if in.Amount < -maxBudget || in.Amount > maxBudget {
		return Invalid("amount", "'amount' must be between -%s and %s dollars.", maxBudget, maxBudget)
	}
	if in.Note != nil {
		return validName("note", *in.Note, 0, 500)
	}
	return nil
}

// AdjustBalancePayload answers adjustBalance.
type AdjustBalancePayload struct {
	Payload
	User  *User
	Entry *BalanceEntry
}

// OnDisconnect says what becomes of a completion whose client leaves.
type OnDisconnect string

// The policies.
const (
	OnDisconnectCancel OnDisconnect = "cancel" // stop the upstream, charge what was produced
	OnDisconnectDrain  OnDisconnect = "drain"  // let it finish within bounds, charge what it reports
)

func (o OnDisconnect) validate(param string) error {
	if o == OnDisconnectCancel || o == OnDisconnectDrain {
		return nil
	}
	return Invalid(param, "'%s' must be one of cancel, drain.", param)
}
