package models

import (
	"encoding/json"
	"maps"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
)

const (
	maxEmail          = 254 // https://www.rfc-editor.org/errata/eid1690
	maxPreferences    = 16 << 10
	maxPreferenceKeys = 100
)

// CanonEmail is an e-mail address as accounts keep and compare it: in lower case.
func CanonEmail(address string) string { return strings.ToLower(address) }

// canonEmail checks a plain address and makes it canonical.
func canonEmail(address *string) error {
	const param = "email"
	if *address == "" {
		return Missing(param)
	}
	parsed, err := mail.ParseAddress(*address)
	bad := func(r rune) bool { return r <= ' ' || r == 0x7f }
	if err != nil || parsed.Address != *address || len(*address) > maxEmail || strings.ContainsFunc(*address, bad) {
		return Invalid(param, "'%s' must be a plain e-mail address of at most %d characters.", param, maxEmail)
	}
	*address = CanonEmail(*address)
	return nil
}

// CreateUserInput makes an account.
type CreateUserInput struct {
	Email    string   `json:"email"`
	Name     string   `json:"name"`
	Role     Role     `json:"role,omitempty"` // default [RoleUser]
	Tier     Tier     `json:"tier,omitempty"` // default [TierFree]
	Groups   []string `json:"groups,omitempty"`
	Password *string  `json:"password,omitempty"` // nil: no sign-in by password until it is set by a reset
}

// Validate checks the input and fills in defaults.
func (in *CreateUserInput) Validate() error {
	if in.Role == "" {
		in.Role = RoleUser
	}
	if in.Tier == "" {
		in.Tier = TierFree
	}
	if err := canonEmail(&in.Email); err != nil {
		return err
	}
	if err := in.Role.validate(); err != nil {
		return err
	}
	if err := in.Tier.validate("tier"); err != nil {
		return err
	}
	if err := validNames("groups", in.Groups, maxTags, 64); err != nil {
		return err
	}
	if in.Password != nil {
		if err := ValidPassword("password", *in.Password, in.Email); err != nil {
			return err
		}
	}
	return validName("name", in.Name, 0, 100)
}

// CreateUserPayload answers createUser.
type CreateUserPayload struct {
	Payload
	User *User
}

// UpdateUserInput changes an account, for admins. Absent fields stay as they are.
type UpdateUserInput struct {
	Email  graphql.Omittable[*string]     `json:"email,omitzero"` // counts as verified: the admin vouches for it
	Name   graphql.Omittable[*string]     `json:"name,omitzero"`
	Role   graphql.Omittable[*Role]       `json:"role,omitzero"`
	Tier   graphql.Omittable[*Tier]       `json:"tier,omitzero"`
	Status graphql.Omittable[*UserStatus] `json:"status,omitzero"`
	Groups graphql.Omittable[[]string]    `json:"groups,omitzero"`
}

// Validate checks the input, and makes the address canonical.
func (in *UpdateUserInput) Validate() error {
	if v, ok := in.Email.ValueOK(); ok {
		if err := given("email", v, canonEmail); err != nil {
			return err
		}
	}
	if v, ok := in.Name.ValueOK(); ok {
		if err := given("name", v, func(s *string) error { return validName("name", *s, 0, 100) }); err != nil {
			return err
		}
	}
	if v, ok := in.Role.ValueOK(); ok {
		if err := given("role", v, func(r *Role) error { return r.validate() }); err != nil {
			return err
		}
	}
	if v, ok := in.Tier.ValueOK(); ok {
		if err := given("tier", v, func(t *Tier) error { return t.validate("tier") }); err != nil {
			return err
		}
	}
	if v, ok := in.Status.ValueOK(); ok {
		if err := given("status", v, func(s *UserStatus) error { return s.validate() }); err != nil {
			return err
		}
	}
	return validNames("groups", in.Groups.Value(), maxTags, 64)
}

// given checks a value that may be absent but not null.
func given[T any](param string, v *T, check func(*T) error) error {
	if v == nil {
		return Invalid(param, "'%s' must not be null.", param)
	}
	return check(v)
}

// UpdateUserPayload answers updateUser.
type UpdateUserPayload struct {
	Payload
	User *User
}

// DeleteUserPayload answers deleteUser.
type DeleteUserPayload struct {
	Payload
	DeletedUserID *string
}

// UpdateViewerInput changes the viewer's own profile. Absent fields stay as
// they are.
type UpdateViewerInput struct {
	Name      graphql.Omittable[*string] `json:"name,omitzero"`
	AvatarURL graphql.Omittable[*string] `json:"avatar_url,omitzero"`
	// Email counts once its owner has verified it: see [User.PendingEmail]. The
	// present address takes a pending change back.
	Email graphql.Omittable[*string] `json:"email,omitzero"`
	// CurrentPassword is needed to change the address of an account with a password.
	CurrentPassword *string `json:"current_password,omitempty"`
	// Preferences are merged into those there are, name by name: a value of null
	// removes the name, and null in place of the object removes all.
	Preferences graphql.Omittable[JSON] `json:"preferences,omitzero"`
}

// Validate checks the input, and makes the address canonical.
func (in *UpdateViewerInput) Validate() error {
	if v, ok := in.Name.ValueOK(); ok {
		if err := given("name", v, func(s *string) error { return validName("name", *s, 1, 100) }); err != nil {
			return err
		}
	}
	if v, ok := in.AvatarURL.ValueOK(); ok && v != nil {
		u, err := url.Parse(*v)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || len(*v) > 2048 {
			return Invalid("avatar_url", "'avatar_url' must be an https URL of at most 2048 characters, or null.")
		}
	}
	if v, ok := in.Email.ValueOK(); ok {
		if err := given("email", v, canonEmail); err != nil {
			return err
		}
	}
	_, err := MergePreferences(nil, in.Preferences.Value())
	return err
}

// MergePreferences gives the preferences after a change: see [UpdateViewerInput].
// Both are JSON objects or empty. The outcome has at most 100 names and 16 KiB.
func MergePreferences(old, change JSON) (JSON, error) {
	const param = "preferences"
	merged := map[string]json.RawMessage{}
	if len(change) > 0 && string(change) != "null" {
		if len(old) > 0 {
			if err := json.Unmarshal(old, &merged); err != nil {
				return nil, err
			}
		}
		var names map[string]json.RawMessage
		if err := json.Unmarshal(change, &names); err != nil {
			return nil, Invalid(param, "'%s' must be a JSON object, or null.", param)
		}
		maps.Copy(merged, names)
		maps.DeleteFunc(merged, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	}
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		if err := validName(param, name, 1, 100); err != nil {
			return nil, err
		}
	}
	b, err := json.Marshal(merged)
	if err != nil {
		return nil, err
	}
	switch {
	case len(merged) > maxPreferenceKeys:
		return nil, Invalid(param, "'%s' must have at most %d names; got %d.", param, maxPreferenceKeys, len(merged))
	case len(b) > maxPreferences:
		return nil, Invalid(param, "'%s' must have at most %d bytes of JSON; got %d.", param, maxPreferences, len(b))
	case strings.Contains(string(b), `\u0000`):
		return nil, Invalid(param, "'%s' must not contain the character NUL.", param)
	}
	return b, nil
}

// UpdateViewerPayload answers updateViewer.
type UpdateViewerPayload struct {
	Payload
	Viewer *User
}

// UserOrderField is what a list of users is sorted by.
type UserOrderField string

// The fields.
const (
	UserOrderCreatedAt UserOrderField = "created_at"
	UserOrderEmail     UserOrderField = "email"
)

// UserOrder sorts a list of users.
type UserOrder struct {
	Field     UserOrderField // empty: [UserOrderCreatedAt]
	Direction *OrderDirection
}

// Validate checks the order and fills in the default.
func (o *UserOrder) Validate() error {
	switch o.Field {
	case "":
		o.Field = UserOrderCreatedAt
	case UserOrderCreatedAt, UserOrderEmail:
	default:
		return Invalid("order_by", "'order_by' must be one of created_at, email.")
	}
	return nil
}

// UserFilter narrows a list of users. What is nil does not.
type UserFilter struct {
	Q             *string // part of the address or the name, in any case
	Role          *Role
	Tier          *Tier
	Status        *UserStatus
	CreatedAfter  *time.Time // or at it
	CreatedBefore *time.Time
}

// Validate checks the filter.
func (f *UserFilter) Validate() error {
	if f.Q != nil {
		if err := validName("q", *f.Q, 0, 100); err != nil {
			return err
		}
	}
	if f.Role != nil {
		if err := f.Role.validate(); err != nil {
			return err
		}
	}
	if f.Tier != nil {
		if err := f.Tier.validate("tier"); err != nil {
			return err
		}
	}
	if f.Status != nil {
		return f.Status.validate()
	}
	return nil
}

// UserRegistered is the payload of [EventUserRegistered].
type UserRegistered struct {
	Object string `json:"object"` // user
	*User
	EmailVerified bool  `json:"email_verified"`
	CreatedAt     int64 `json:"created_at"`
	UpdatedAt     int64 `json:"updated_at"`
}
