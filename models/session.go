package models

import (
	"context"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun"
)

// SignUpMode says who may make an account for themselves.
type SignUpMode string

// The modes.
const (
	SignUpClosed SignUpMode = "closed"
	SignUpInvite SignUpMode = "invite"
	SignUpOpen   SignUpMode = "open"
)

// Session is a browser in which a user has signed in. Of its token only a
// SHA-256 is kept.
type Session struct {
	bun.BaseModel `bun:"table:sessions,alias:s" json:"-"`

	ID         string    `bun:"id,pk" json:"id"`
	UserID     string    `bun:"user_id" json:"user_id"`
	Hash       []byte    `bun:"hash" json:"-"`
	Address    string    `bun:"address" json:"address"`       // from where the user signed in
	UserAgent  string    `bun:"user_agent" json:"user_agent"` // what the browser called itself then
	CreatedAt  time.Time `bun:"created_at" json:"-"`
	LastSeenAt time.Time `bun:"last_seen_at" json:"-"` // exact to a minute
	ExpiresAt  time.Time `bun:"expires_at" json:"-"`   // at the latest: see [SignInMethods.SessionIdleSeconds]
	Current    bool      `bun:"-" json:"current"`      // the request was made in it
}

// Client is the program at the other end of a request, as the server sees it.
type Client struct {
	Address   netip.Addr
	UserAgent string
	// Cookies says whether the answer can still set cookies: one over a websocket
	// cannot. Nil: it cannot.
	Cookies func() bool
	// SetSession lets the answer hand a session's token to the browser, or take it
	// away when the token is empty.
	SetSession func(token string, until time.Time)
	// SetFlow does the same for what a browser carries to an OpenID issuer and back,
	// and Flow is what it carried.
	SetFlow func(flow string, until time.Time)
	Flow    string
	// Renew checks the session of the request again; nil when it was not made in one.
	Renew func(context.Context) (*Viewer, error)
}

// CanSignIn fails when the answer cannot set cookies.
func (c *Client) CanSignIn() error {
	if c.Cookies == nil || !c.Cookies() {
		return Invalid("", "Signing in sets a cookie, which this connection cannot: use a plain HTTP request.")
	}
	return nil
}

// WithClient puts the client into a request's context. Only the faces read it
// back; the domain takes it as a parameter.
func WithClient(ctx context.Context, c *Client) context.Context {
	return context.WithValue(ctx, clientKey, c)
}

// ClientFrom is the client of the request; one without abilities outside of any.
func ClientFrom(ctx context.Context) *Client {
	if c, ok := ctx.Value(clientKey).(*Client); ok {
		return c
	}
	return new(Client)
}

// Bounds of a password's length in characters, as NIST has them.
// https://pages.nist.gov/800-63-4/sp800-63b.html#passwordver
const (
	MinPassword = 8
	MaxPassword = 256
)

// ValidPassword checks a new password. There are no rules of composition; it must
// only not be the account's address.
func ValidPassword(param, password, email string) error {
	n := utf8.RuneCountInString(password)
	switch {
	case password == "":
		return Missing(param)
	case !utf8.ValidString(password) || strings.ContainsRune(password, 0):
		return Invalid(param, "'%s' must be valid UTF-8 without the character NUL.", param)
	case n < MinPassword || n > MaxPassword:
		return Invalid(param, "'%s' must have %d to %d characters; got %d.", param, MinPassword, MaxPassword, n)
	case email != "" && strings.EqualFold(password, email):
		return Invalid(param, "'%s' must not be the e-mail address.", param)
	}
	return nil
}

// presentPassword checks a password that is to be compared: one that could not
// have been set is not hashed.
func presentPassword(param, password string) error {
	if password == "" {
		return Missing(param)
	}
	if len(password) > MaxPassword*utf8.UTFMax {
		return Invalid(param, "'%s' must have at most %d characters.", param, MaxPassword)
	}
	return nil
}

// SignUpInput makes an account for whoever sends it.
type SignUpInput struct {
	Email      string  `json:"email"`
	Password   string  `json:"password"`
	Name       string  `json:"name,omitempty"`
	Invitation *string `json:"invitation,omitempty"` // the token of one
}

// Validate checks the input, and makes the address canonical.
func (in *SignUpInput) Validate() error {
	if err := canonEmail(&in.Email); err != nil {
		return err
	}
	if err := ValidPassword("password", in.Password, in.Email); err != nil {
		return err
	}
	if in.Invitation != nil {
		if err := validSecret("invitation", *in.Invitation); err != nil {
			return err
		}
	}
	return validName("name", in.Name, 0, 100)
}

// SignInInput starts a session.
type SignInInput struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

// Validate checks the input, and makes the address canonical.
func (in *SignInInput) Validate() error {
	if err := canonEmail(&in.Email); err != nil {
		return err
	}
	return presentPassword("password", in.Password)
}

// SignInPayload answers signIn, signUp and finishOidcSignIn. The token of the
// session is in the answer's cookie alone.
type SignInPayload struct {
	Payload
	Viewer   *User
	Session  *Session
	ReturnTo *string // of an OpenID sign-in: a path of this server
}

// SignOutPayload answers signOut.
type SignOutPayload struct {
	Payload
	SignedOut bool
}

// DeleteSessionPayload answers deleteSession.
type DeleteSessionPayload struct {
	Payload
	DeletedSessionID *string
}

// DeleteSessionsPayload answers deleteSessions.
type DeleteSessionsPayload struct {
	Payload
	Count int
}

// ChangePasswordInput gives the viewer's account another password.
type ChangePasswordInput struct {
	CurrentPassword string `json:"current_password"`
	NewPassword     string `json:"new_password"`
}

// Validate checks the input.
func (in *ChangePasswordInput) Validate() error {
	if err := presentPassword("current_password", in.CurrentPassword); err != nil {
		return err
	}
	return ValidPassword("new_password", in.NewPassword, "")
}

// ChangePasswordPayload answers changePassword.
type ChangePasswordPayload struct {
	Payload
	Viewer *User
}

// TokenInput carries a token that was sent by e-mail.
type TokenInput struct {
	Token string `json:"token"`
}

// Validate checks the input.
func (in *TokenInput) Validate() error { return validSecret("token", in.Token) }

func validSecret(param, token string) error {
	const longest = 100
	if token == "" {
		return Missing(param)
	}
	if len(token) > longest || !utf8.ValidString(token) {
		return BadToken(param)
	}
	return nil
}

// BadToken reports a token that nobody was sent, or that counts no more.
func BadToken(param string) *Error {
	return &Error{
		Kind: KindInvalid, Code: CodeInvalidToken, Param: param,
		Message: "The token is not valid: it was used, or has expired, or was never given out.",
	}
}

// VerifyEmailPayload answers verifyEmail.
type VerifyEmailPayload struct {
	Payload
	Email *string
}

// EmailInput names an account.
type EmailInput struct {
	Email string `json:"email"`
}

// Validate checks the input, and makes the address canonical.
func (in *EmailInput) Validate() error { return canonEmail(&in.Email) }

// RequestedPayload answers requests for an e-mail.
type RequestedPayload struct {
	Payload
	Accepted bool // always, also when there is nobody to write to
}

// ResetPasswordInput sets a new password by a token that was sent by e-mail.
type ResetPasswordInput struct {
	Token    string `json:"token"`
	Password string `json:"password"`
}

// Validate checks the input.
func (in *ResetPasswordInput) Validate() error {
	if err := validSecret("token", in.Token); err != nil {
		return err
	}
	return ValidPassword("password", in.Password, "")
}

// ResetPasswordPayload answers resetPassword.
type ResetPasswordPayload struct {
	Payload
	Email *string
}

// StartOIDCPayload answers startOidcSignIn.
type StartOIDCPayload struct {
	Payload
	URL *string // of the issuer
}

// FinishOIDCInput is what the issuer sends the browser back with.
type FinishOIDCInput struct {
	State string  `json:"state"`
	Code  *string `json:"code"`
	Error *string `json:"error"` // why there is no code
}

// SignInMethods are the ways into this server, for those who draw its door.
type SignInMethods struct {
	SignUp             SignUpMode `json:"sign_up"`
	Password           bool       `json:"password"`
	OIDC               bool       `json:"oidc"`
	SessionIdleSeconds int64      `json:"session_idle_seconds"` // without a request a session ends
}
