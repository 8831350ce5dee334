package models

import (
	"net/mail"
	"net/url"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
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
}

// IsNode makes User a Relay node.
func (User) IsNode() {}

// UsageSummary is what an account has used so far, in UTC days and months.
type UsageSummary struct {
	RequestsToday   int64 `json:"requests_today"`
	TokensThisMonth int64 `json:"tokens_this_month"`
	CostThisMonth   Money `json:"cost_this_month"`
}

// CreateUserInput makes an account.
type CreateUserInput struct {
	Email  string   `json:"email"`
	Name   string   `json:"name"`
	Role   Role     `json:"role"` // default [RoleUser]
	Tier   Tier     `json:"tier"` // default [TierFree]
	Groups []string `json:"groups"`
}

// Validate checks the input and fills in defaults.
func (in *CreateUserInput) Validate() error {
	if in.Role == "" {
		in.Role = RoleUser
	}
	if in.Tier == "" {
		in.Tier = TierFree
	}
	addr, err := mail.ParseAddress(in.Email)
	if err != nil || addr.Address != in.Email || len(in.Email) > 254 {
		return Invalid("email", "'email' must be a plain e-mail address of at most 254 characters.")
	}
	in.Email = strings.ToLower(in.Email)
	if in.Role != RoleUser && in.Role != RoleAdmin {
		return Invalid("role", "'role' must be one of user, admin.")
	}
	if err := in.Tier.validate("tier"); err != nil {
		return err
	}
	if err := validNames("groups", in.Groups, maxTags, 64); err != nil {
		return err
	}
	return validName("name", in.Name, 0, 100)
}

// UpdateUserInput changes an account, for admins. Absent fields stay as they are.
type UpdateUserInput struct {
	Groups graphql.Omittable[[]string] `json:"groups,omitzero"`
}

// Validate checks the input.
func (in *UpdateUserInput) Validate() error {
	return validNames("groups", in.Groups.Value(), maxTags, 64)
}

// UpdateUserPayload answers updateUser.
type UpdateUserPayload struct {
	Payload
	User *User
}

func (t Tier) validate(param string) error {
	switch t {
	case TierFree, TierPro, TierEnterprise:
		return nil
	}
	return Invalid(param, "'%s' must be one of free, pro, enterprise.", param)
}

// UpdateViewerInput changes the viewer's own profile. Absent fields stay as
// they are.
type UpdateViewerInput struct {
	Name      graphql.Omittable[*string] `json:"name,omitzero"`
	AvatarURL graphql.Omittable[*string] `json:"avatar_url,omitzero"`
}

// Validate checks the input.
func (in *UpdateViewerInput) Validate() error {
	if v, ok := in.Name.ValueOK(); ok {
		if v == nil {
			return Invalid("name", "'name' must not be null.")
		}
		if err := validName("name", *v, 1, 100); err != nil {
			return err
		}
	}
	if v, ok := in.AvatarURL.ValueOK(); ok && v != nil {
		u, err := url.Parse(*v)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || len(*v) > 2048 {
			return Invalid("avatar_url", "'avatar_url' must be an https URL of at most 2048 characters, or null.")
		}
	}
	return nil
}

// UpdateViewerPayload answers updateViewer.
type UpdateViewerPayload struct {
	Payload
	Viewer *User
}
