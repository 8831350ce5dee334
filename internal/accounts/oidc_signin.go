package accounts

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/uptrace/bun"
	"golang.org/x/oauth2"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// flowTTL is how long people may take at the issuer.
const flowTTL = 10 * time.Minute

// flow is what a browser carries to the issuer and back, in a cookie: it binds the
// answer to the browser that asked.
type flow struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"` // of PKCE
	ReturnTo string `json:"r"`
	Until    int64  `json:"u"` // Unix seconds
}

// identity links a user to who the issuer says they are.
type identity struct {
	bun.BaseModel `bun:"table:identities,alias:o"`

	Issuer    string    `bun:"issuer,pk"`
	Subject   string    `bun:"subject,pk"`
	UserID    string    `bun:"user_id"`
	CreatedAt time.Time `bun:"created_at"`
}

func noIssuer() error {
	return &models.Error{
		Kind: models.KindNotFound, Code: models.CodeResourceNotFound,
		Message: "This server has no identity provider to sign in with.",
	}
}

// StartOIDCSignIn gives the issuer's URL to send the browser to, and has the
// browser carry what [Service.FinishOIDCSignIn] needs.
func (s *Service) StartOIDCSignIn(ctx context.Context, c *models.Client, returnTo *string) (*models.StartOIDCPayload, error) {
	if s.cfg.OIDC == nil {
		return nil, noIssuer()
	}
	if err := c.CanSignIn(); err != nil {
		return nil, err
	}
	to := "/"
	if returnTo != nil && *returnTo != "" {
		to = *returnTo
	}
	if !localPath(to) {
		return nil, models.Invalid("return_to", "'return_to' must be a path of this server, such as /chat.")
	}
	ctx, cancel := context.WithTimeout(ctx, issuerTimeout)
	defer cancel()
	p, err := s.discover(ctx)
	if err != nil {
		return nil, err
	}
	f := flow{Verifier: oauth2.GenerateVerifier(), ReturnTo: to, Until: s.now().Add(flowTTL).Unix()}
	f.State, _ = newToken()
	f.Nonce, _ = newToken()
	text, err := json.Marshal(f)
	if err != nil {
		return nil, wrap("encode the state of a sign-in", err)
	}
	c.SetFlow(base64.RawURLEncoding.EncodeToString(text), s.now().Add(flowTTL))
	url := s.oauth(p).AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier))
	return &models.StartOIDCPayload{URL: &url}, nil
}

// carried is the flow that the browser has brought back, if the issuer's answer
// belongs to it.
func (s *Service) carried(c *models.Client, state string) (*flow, error) {
	f := new(flow)
	text, err := base64.RawURLEncoding.DecodeString(c.Flow)
	if err != nil || json.Unmarshal(text, f) != nil || f.State == "" ||
		subtle.ConstantTimeCompare([]byte(f.State), []byte(state)) != 1 || s.now().Unix() >= f.Until || !localPath(f.ReturnTo) {
		return nil, models.Invalid("state", "This sign-in was not begun in this browser, or too long ago. Begin again.")
	}
	return f, nil
}

// FinishOIDCSignIn starts a session of the user whom the issuer names: the one
// linked to the issuer and its subject, else the one with the same address, if
// both the issuer and the account have it verified, who is linked by that; else,
// where the settings permit it, a new one.
func (s *Service) FinishOIDCSignIn(ctx context.Context, c *models.Client, in models.FinishOIDCInput) (*models.SignInPayload, error) {
	if s.cfg.OIDC == nil {
		return nil, noIssuer()
	}
	if err := c.CanSignIn(); err != nil {
		return nil, err
	}
	f, err := s.carried(c, in.State)
	if err != nil {
		return nil, err
	}
	c.SetFlow("", time.Time{}) // it counts once
	switch {
	case in.Error != nil && *in.Error != "":
		return nil, refusedSignIn("The identity provider refused the sign-in: %s.", readable(*in.Error))
	case in.Code == nil || *in.Code == "":
		return nil, models.Missing("code")
	}
	who, err := s.exchange(ctx, *in.Code, f.Verifier)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(who.Nonce), []byte(f.Nonce)) != 1 {
		return nil, refusedSignIn("The identity provider's token is for another sign-in.")
	}
	if err := s.allowed(who); err != nil {
		return nil, err
	}
	userID, err := s.link(ctx, who)
	if err != nil {
		return nil, wrap("sign in", err)
	}
	p, err := s.startSession(ctx, c, userID, func(context.Context, bun.Tx, *models.User) error { return nil })
	if err != nil {
		return nil, wrap("sign in", err)
	}
	p.ReturnTo = &f.ReturnTo
	return p, nil
}

// readable is a text from elsewhere as an error may show it.
func readable(s string) string {
	const longest = 60
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), longest)]
}

// allowed holds the address against the domains that may sign in.
func (s *Service) allowed(who *claims) error {
	if len(s.cfg.OIDC.Domains) == 0 {
		return nil
	}
	_, domain, _ := strings.Cut(who.Email, "@")
	if !who.EmailVerified || !slices.ContainsFunc(s.cfg.OIDC.Domains, func(d string) bool { return strings.EqualFold(d, domain) }) {
		return refusedSignIn("Only people with a verified e-mail address of certain domains can sign in here.")
	}
	return nil
}

// link finds or makes the user, and keeps the role as the issuer has it.
func (s *Service) link(ctx context.Context, who *claims) (userID string, err error) {
	if !storage.Storable(who.Subject) || who.Subject == "" {
		return "", refusedSignIn("The identity provider names nobody.")
	}
	u, err := s.linked(ctx, s.db.Read(), who)
	if err != nil {
		return "", err
	}
	if u != nil && (who.Role == nil || u.Role == *who.Role) {
		return u.ID, nil // nothing to write
	}
	err = s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		if u, err = s.linked(ctx, tx, who); err != nil {
			return err
		}
		if u == nil {
			if u, err = s.adopt(ctx, tx, who); err != nil {
				return err
			}
			row := &identity{Issuer: who.Issuer, Subject: who.Subject, UserID: u.ID, CreatedAt: s.time()}
			if err := insert(ctx, tx, row); err != nil {
				return fmt.Errorf("insert identity: %w", err)
			}
		}
		return s.follow(ctx, tx, u, who.Role)
	})
	if err != nil {
		return "", err
	}
	return u.ID, nil
}

func (s *Service) linked(ctx context.Context, db bun.IDB, who *claims) (*models.User, error) {
	u := new(models.User)
	err := db.NewSelect().Model(u).Join("JOIN identities AS o ON o.user_id = u.id").
		Where("o.issuer = ?", who.Issuer).Where("o.subject = ?", who.Subject).Where("u.deleted_at IS NULL").Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // nobody
	}
	return u, wrap("load identity", err)
}

// adopt gives the account with the address of somebody who is not linked yet, or a
// new one.
func (s *Service) adopt(ctx context.Context, tx bun.Tx, who *claims) (*models.User, error) {
	if !who.EmailVerified {
		return nil, refusedSignIn("The identity provider has not verified the e-mail address, so no account can be linked to it.")
	}
	in := models.CreateUserInput{Email: who.Email, Name: who.Name}
	if in.Validate() != nil {
		if in.Name = ""; in.Validate() != nil {
			return nil, refusedSignIn("The identity provider gives no usable e-mail address.")
		}
	}
	u, err := s.byEmail(ctx, tx, in.Email)
	switch {
	case err != nil:
		return nil, err
	case u != nil && !u.EmailVerified():
		// Somebody may have signed up with another's address, to wait for them.
		return nil, models.Conflict("email", "There is an account with this e-mail address, but the address was never verified. Sign in there by password and verify it, or reset the password.")
	case u != nil:
		return u, nil
	case !s.cfg.OIDC.Create:
		return nil, models.Forbidden(models.CodeSignUpClosed, "There is no account for you here. Ask an admin for one.")
	}
	now := s.time()
	u = s.newUser(in)
	u.EmailVerifiedAt = &now
	if who.Role != nil {
		u.Role = *who.Role
	}
	return u, s.register(ctx, tx, u)
}

// follow gives a user the role that the issuer says. The last active admin stays
// one.
func (s *Service) follow(ctx context.Context, tx bun.Tx, u *models.User, role *models.Role) error {
	if role == nil || u.Role == *role {
		return nil
	}
	was := *u
	u.Role, u.UpdatedAt = *role, s.time()
	err := keepsAdmin(ctx, tx, &was, u)
	if e, ok := models.AsError(err); ok && e.Kind == models.KindConflict {
		*u = was
		return nil
	}
	if err != nil {
		return err
	}
	_, err = tx.NewUpdate().Model(u).Column("role", "updated_at").WherePK().Exec(ctx)
	return wrap("update role", err)
}
