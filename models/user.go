package models

import (
	"time"

	"github.com/uptrace/bun"
)

// Role is what a user is to the organisation.
type Role string

// The roles.
const (
	RoleUser  Role = "user"
	RoleAdmin Role = "admin"
)

// Tier names the plan whose limits apply to a user.
type Tier string

// The tiers.
const (
	TierFree       Tier = "free"
	TierPro        Tier = "pro"
	TierEnterprise Tier = "enterprise"
)

// Tiers are all tiers, the smallest first.
func Tiers() []Tier { return []Tier{TierFree, TierPro, TierEnterprise} }

// UserStatus says whether an account may be used.
type UserStatus string

// The user statuses.
const (
	UserActive    UserStatus = "active"
	UserSuspended UserStatus = "suspended"
)

// User is an account.
type User struct {
	bun.BaseModel `bun:"table:users,alias:u" json:"-"`

	ID        string     `bun:"id,pk" json:"id"`
	Email     string     `bun:"email" json:"email"`
	Name      string     `bun:"name" json:"name"`
	AvatarURL *string    `bun:"avatar_url" json:"avatar_url"`
	Role      Role       `bun:"role" json:"role"`
	Tier      Tier       `bun:"tier" json:"tier"`
	Status    UserStatus `bun:"status" json:"status"`
	Groups    []string   `bun:"user_groups,type:jsonb" json:"groups"` // opens the channels that are for one of them alone
	CreatedAt time.Time  `bun:"created_at" json:"-"`
	UpdatedAt time.Time  `bun:"updated_at" json:"-"`

	// PendingEmail takes the place of Email once its owner has verified it.
	PendingEmail    *string    `bun:"pending_email" json:"pending_email"`
	EmailVerifiedAt *time.Time `bun:"email_verified_at" json:"-"`
	Preferences     JSON       `bun:"preferences,type:jsonb" json:"preferences"` // an object, for the user's programs
	PasswordHash    *string    `bun:"password_hash" json:"-"`                    // argon2id in PHC form; nil: no sign-in by password
	// DeletedAt is when the account was deleted. Its row stays, without the person,
	// for the records that name it; whoever keeps more of the account's finds by
	// this what is to go too.
	DeletedAt *time.Time `bun:"deleted_at" json:"-"`
}

// EmailVerified says whether the owner of the address has shown to be the user.
func (u *User) EmailVerified() bool { return u.EmailVerifiedAt != nil }

// HasPassword says whether the user can sign in by a password.
func (u *User) HasPassword() bool { return u.PasswordHash != nil }

// IsNode makes User a Relay node.
func (User) IsNode() {}

// UsageSummary is what an account has used so far, in UTC days and months.
type UsageSummary struct {
	RequestsToday   int64 `json:"requests_today"`
	TokensThisMonth int64 `json:"tokens_this_month"`
	CostThisMonth   Money `json:"cost_this_month"`
}

func (t Tier) validate(param string) error {
	switch t {
	case TierFree, TierPro, TierEnterprise:
		return nil
	}
	return Invalid(param, "'%s' must be one of free, pro, enterprise.", param)
}

func (r Role) validate() error {
	switch r {
	case RoleUser, RoleAdmin:
		return nil
	}
	return Invalid("role", "'role' must be one of user, admin.")
}

func (s UserStatus) validate() error {
	switch s {
	case UserActive, UserSuspended:
		return nil
	}
	return Invalid("status", "'status' must be one of active, suspended.")
}

// Quota is the narrowest bound of what an account may still spend: its balance,
// or the one of its budgets that has the least left.
type Quota struct {
	Limit     Money      `json:"limit"`
	Spent     Money      `json:"spent"`
	Remaining Money      `json:"remaining"` // what requests that run hold is taken off
	ResetsAt  *time.Time `json:"resets_at"` // null: never
}
