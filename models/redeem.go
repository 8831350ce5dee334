package models

import (
	"time"

	"github.com/uptrace/bun"
)

// RedeemCodePrefix is of the ids of redeem codes.
const RedeemCodePrefix = "rc_"

// RedeemCode gives credit, or a tier for some days, to who redeems it.
type RedeemCode struct {
	bun.BaseModel `bun:"table:redeem_codes,alias:c" json:"-"`

	ID         string     `bun:"id,pk" json:"id"`
	Hash       string     `bun:"hash" json:"-"`
	Display    string     `bun:"display" json:"display"` // its last four characters, behind stars
	Batch      string     `bun:"batch" json:"batch"`     // the id that all codes made at once share
	Credit     Nanos      `bun:"credit" json:"-"`
	Tier       *Tier      `bun:"tier" json:"tier"`
	TierDays   int        `bun:"tier_days" json:"tier_days"`
	Uses       int        `bun:"uses" json:"uses"`
	MaxUses    int        `bun:"max_uses" json:"max_uses"` // by different users
	Note       string     `bun:"note" json:"note"`
	ExpiresAt  *time.Time `bun:"expires_at" json:"-"`
	DisabledAt *time.Time `bun:"disabled_at" json:"-"`
	ActorID    string     `bun:"actor_id" json:"-"`
	CreatedAt  time.Time  `bun:"created_at" json:"-"`
}

// CreditMoney is the credit as GraphQL shows it.
func (c *RedeemCode) CreditMoney() Money { return USD(c.Credit) }

// RedeemCodeFilter narrows a list of codes.
type RedeemCodeFilter struct {
	Batch *string `json:"batch"`
	// Usable says whether the codes can still be redeemed by somebody.
	Usable *bool `json:"usable"`
}

// CreateRedeemCodesInput makes codes that are worth the same.
type CreateRedeemCodesInput struct {
	Count     *int       `json:"count,omitempty"` // default 1
	Credit    *Nanos     `json:"credit,omitempty"`
	Tier      *Tier      `json:"tier,omitempty"`
	TierDays  *int       `json:"tier_days,omitempty"`
	MaxUses   *int       `json:"max_uses,omitempty"` // of each, by different users; default 1
	ExpiresAt *time.Time `json:"expires_at,omitzero"`
	Note      *string    `json:"note,omitempty"`
}

const (
	maxRedeemCodes = 1000
	maxRedeemUses  = 1_000_000
	maxTierDays    = 3660
)

// Validate checks the input and fills in defaults.
func (in *CreateRedeemCodesInput) Validate(now time.Time) error {
	one := 1
	if in.Count == nil {
		in.Count = &one
	}
	if in.MaxUses == nil {
		in.MaxUses = &one
	}
	if err := validNumbers(
		number[int]{"count", in.Count, 1, maxRedeemCodes},
		number[int]{"max_uses", in.MaxUses, 1, maxRedeemUses},
		number[int]{"tier_days", in.TierDays, 1, maxTierDays},
	); err != nil {
		return err
	}
	if in.Credit == nil && in.Tier == nil {
		return Invalid("credit", "Give 'credit', or 'tier' with 'tier_days': these codes are worth nothing.")
	}
	if in.Credit != nil && (*in.Credit <= 0 || *in.Credit > maxPayment) {
		return Invalid("credit", "'credit' must be above 0 and at most %s dollars.", maxPayment)
	}
	if (in.Tier == nil) != (in.TierDays == nil) {
		return Invalid("tier_days", "'tier' and 'tier_days' go together.")
	}
	if in.Tier != nil {
		if err := paidTier("tier", *in.Tier); err != nil {
			return err
		}
	}
	if in.ExpiresAt != nil && !in.ExpiresAt.After(now) {
		return Invalid("expires_at", "'expires_at' must be in the future.")
	}
	if in.Note != nil {
		return validName("note", *in.Note, 0, 500)
	}
	return nil
}

// CreateRedeemCodesPayload answers createRedeemCodes.
type CreateRedeemCodesPayload struct {
	Payload
	Batch       *string
	Codes       []string // in clear, shown here alone
	RedeemCodes []*RedeemCode
}

// DisableRedeemCodePayload answers disableRedeemCode.
type DisableRedeemCodePayload struct {
	Payload
	RedeemCode *RedeemCode
}

// RedeemCodeInput redeems a code.
type RedeemCodeInput struct {
	Code string `json:"code"`
}

// RedeemCodePayload answers redeemCode.
type RedeemCodePayload struct {
	Payload
	Payment *Payment
}

type (
	// RedeemCodeConnection is a page of codes.
	RedeemCodeConnection = Connection[RedeemCode]
	// RedeemCodeEdge is one of them.
	RedeemCodeEdge = Edge[RedeemCode]
)
