package accounts

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

const (
	defaultSessionIdle     = 7 * 24 * time.Hour
	defaultSessionLifetime = 30 * 24 * time.Hour

	// maxSessions is how many sessions a user has; another one ends the oldest.
	maxSessions  = 100
	maxUserAgent = 256

	tokenBytes = 32
	tokenLen   = 43 // in base64url
)

// newToken makes a secret of 256 random bits, and what is kept of it.
func newToken() (token string, hash []byte) {
	var b [tokenBytes]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24: it aborts the program instead
	token = base64.RawURLEncoding.EncodeToString(b[:])
	return token, tokenHash(token)
}

func tokenHash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// seenEvery is the number of seconds in which a session's last use is written
// down at most once: often enough for it not to be taken for idle.
func (s *Service) seenEvery() int64 {
	const parts = 4
	return max(0, min(usedEvery, int64(s.cfg.SessionIdle/time.Second)/parts))
}

// AuthenticateSession finds out who a session's token belongs to, as
// [Service.Authenticate] does for an API key. The viewer has the scopes of the
// user's role. Failures have the codes invalid_session, expired_session or
// account_suspended.
func (s *Service) AuthenticateSession(ctx context.Context, token string) (*models.Viewer, error) {
	if len(token) != tokenLen {
		return nil, invalidSession()
	}
	hash := tokenHash(token)
	now := s.now()
	// Under a name of its own in the cache: an API key is no session.
	cred, err := s.credential(ctx, sha256.Sum256(hash), now, func(ctx context.Context, _ digest) (*credential, error) {
		return s.loadSession(ctx, hash)
	})
	if err != nil {
		return nil, err
	}
	seen := cred.used.Load()
	switch idle := time.Unix(seen, 0).Add(s.cfg.SessionIdle); {
	case !cred.known:
		return nil, invalidSession()
	case !now.Before(*cred.expiresAt), !now.Before(idle):
		return nil, unauthenticated(models.CodeExpiredSession, "This session has expired. Sign in again.")
	case cred.suspended:
		return nil, suspended()
	}
	if second := now.Unix(); second-seen >= s.seenEvery() && second > seen && cred.used.CompareAndSwap(seen, second) {
		s.seen.note(cred.viewer.SessionID, second)
	}
	return cred.viewer, nil
}

func invalidSession() error {
	return unauthenticated(models.CodeInvalidSession, "This session is not known, or was ended. Sign in again.")
}

func suspended() error {
	return models.Forbidden(models.CodeAccountSuspended, "This account has been suspended.")
}

// sessionRow is a session with what its user adds to it.
type sessionRow struct {
	bun.BaseModel `bun:"table:sessions,alias:s"`
	models.Session

	Groups  []string          `bun:"user_groups,type:jsonb,scanonly"`
	Role    models.Role       `bun:"role,scanonly"`
	Tier    models.Tier       `bun:"tier,scanonly"`
	Status  models.UserStatus `bun:"status,scanonly"`
	Metered bool              `bun:"metered,scanonly"`

	Concurrency *int `bun:"concurrency,scanonly"` // of the account's plan
}

func (s *Service) loadSession(ctx context.Context, hash []byte) (*credential, error) {
	row := new(sessionRow)
	err := s.db.Read().NewSelect().Model(row).ColumnExpr("s.*, u.role, u.tier, u.status, u.user_groups").
		ColumnExpr("(SELECT p.concurrency FROM plans AS p WHERE p.tier = u.tier) AS concurrency").
		ColumnExpr("EXISTS (SELECT 1 FROM budgets AS b WHERE b.owner = s.user_id) AS metered").
		Join("JOIN users AS u ON u.id = s.user_id").Where("s.hash = ?", hash).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return &credential{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load session: %w", err)
	}
	cred := &credential{
		known: true, expiresAt: &row.ExpiresAt, suspended: row.Status != models.UserActive,
		viewer: &models.Viewer{
			UserID: row.UserID, SessionID: row.ID, Role: row.Role, Tier: row.Tier, Groups: row.Groups,
			Scopes: roleScopes(row.Role), Metered: row.Metered, OnDisconnect: models.OnDisconnectCancel,
			Limits: models.NewViewerLimits(models.KeyLimits{}, row.Concurrency),
		},
	}
	cred.used.Store(row.LastSeenAt.Unix())
	return cred, nil
}

func roleScopes(r models.Role) []models.Scope {
	if r == models.RoleAdmin {
		return models.AllScopes()
	}
	return models.DefaultScopes()
}

// newSession makes a session of the client's, and gives its token.
func (s *Service) newSession(c *models.Client, userID string) (*models.Session, string) {
	now := s.time()
	agent := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(c.UserAgent, ""))
	if runes := []rune(agent); len(runes) > maxUserAgent {
		agent = string(runes[:maxUserAgent])
	}
	token, hash := newToken()
	return &models.Session{
		ID: models.NewID(models.SessionPrefix), UserID: userID, Hash: hash, Address: addressText(c.Address),
		UserAgent: agent, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(s.cfg.SessionLifetime), Current: true,
	}, token
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// insertSession writes a session down, and ends the oldest of too many.
func insertSession(ctx context.Context, tx bun.Tx, session *models.Session) error {
	if err := insert(ctx, tx, session); err != nil {
		return fmt.Errorf("insert session: %w", err)
	}
	newest := tx.NewSelect().Model((*models.Session)(nil)).Column("id").Where("user_id = ?", session.UserID).
		OrderExpr("id DESC").Limit(maxSessions)
	_, err := tx.NewDelete().Model((*models.Session)(nil)).Where("user_id = ?", session.UserID).Where("id NOT IN (?)", newest).Exec(ctx)
	return wrap("end the oldest session", err)
}

// Sessions lists the viewer's sessions. Scope: profile.
func (s *Service) Sessions(ctx context.Context, v *models.Viewer, args models.PageArgs) (*models.Connection[models.Session], error) {
	if err := v.Require(models.ScopeProfile); err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	now := s.time()
	list, err := storage.List(ctx, s.db.Read(), page, "id", func(x *models.Session) string { return x.ID },
		func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("s.user_id = ?", v.UserID).Where("s.expires_at > ?", now).Where("s.last_seen_at > ?", now.Add(-s.cfg.SessionIdle))
		})
	if err != nil {
		return nil, wrap("list sessions", err)
	}
	for _, e := range list.Edges {
		e.Node.Current = e.Node.ID == v.SessionID
	}
	return list, nil
}

// SignOut ends the session that the viewer is in, if any, and has the client
// forget it.
func (s *Service) SignOut(ctx context.Context, v *models.Viewer, c *models.Client) (*models.SignOutPayload, error) {
	p := new(models.SignOutPayload)
	if v != nil && v.SessionID != "" {
		n, err := s.endSessions(ctx, func(q *bun.DeleteQuery) *bun.DeleteQuery { return q.Where("id = ?", v.SessionID) })
		if err != nil {
			return nil, wrap("sign out", err)
		}
		p.SignedOut = n > 0
	}
	forget(c)
	return p, nil
}

func forget(c *models.Client) {
	if c.SetSession != nil && c.CanSignIn() == nil {
		c.SetSession("", time.Time{})
	}
}

// DeleteSession ends one of the viewer's sessions. Scope: profile.
func (s *Service) DeleteSession(ctx context.Context, v *models.Viewer, c *models.Client, id string) (*models.DeleteSessionPayload, error) {
	if err := v.Require(models.ScopeProfile); err != nil {
		return nil, err
	}
	if !storage.Storable(id) {
		return nil, models.NotFound("session", id)
	}
	n, err := s.endSessions(ctx, func(q *bun.DeleteQuery) *bun.DeleteQuery { return q.Where("user_id = ?", v.UserID).Where("id = ?", id) })
	if err != nil {
		return nil, wrap("delete session", err)
	}
	if n == 0 {
		return nil, models.NotFound("session", id)
	}
	if id == v.SessionID {
		forget(c)
	}
	return &models.DeleteSessionPayload{DeletedSessionID: &id}, nil
}

// DeleteSessions ends all sessions of the viewer, but for the present one if that
// is to go on. Scope: profile.
func (s *Service) DeleteSessions(ctx context.Context, v *models.Viewer, c *models.Client, keepCurrent *bool) (*models.DeleteSessionsPayload, error) {
	if err := v.Require(models.ScopeProfile); err != nil {
		return nil, err
	}
	keep := ""
	if keepCurrent != nil && *keepCurrent {
		keep = v.SessionID
	}
	n, err := s.endSessions(ctx, func(q *bun.DeleteQuery) *bun.DeleteQuery {
		return q.Where("user_id = ?", v.UserID).Where("id <> ?", keep)
	})
	if err != nil {
		return nil, wrap("delete sessions", err)
	}
	if keep == "" && v.SessionID != "" {
		forget(c)
	}
	return &models.DeleteSessionsPayload{Count: n}, nil
}

// endSessions deletes sessions, at once in this process and within a second in
// others.
func (s *Service) endSessions(ctx context.Context, which func(*bun.DeleteQuery) *bun.DeleteQuery) (n int, err error) {
	err = s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		n, err = deleted(which(tx.NewDelete().Model((*models.Session)(nil))).Exec(ctx))
		return err
	})
	return n, err
}

func deleted(res sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// PurgeExpired deletes sessions, tokens from e-mails and invitations that count no
// more, and gives their number. Invitations are kept for another 30 days.
func (s *Service) PurgeExpired(ctx context.Context, now time.Time) (int, error) {
	const keepInvitations = 30 * 24 * time.Hour
	now = stored(now)
	total := 0
	for _, q := range []*bun.DeleteQuery{
		s.db.Write().NewDelete().Model((*models.Session)(nil)).Where("expires_at <= ? OR last_seen_at <= ?", now, now.Add(-s.cfg.SessionIdle)),
		s.db.Write().NewDelete().Model((*accountToken)(nil)).Where("expires_at <= ?", now),
		s.db.Write().NewDelete().Model((*models.Invitation)(nil)).Where("expires_at <= ?", now.Add(-keepInvitations)),
	} {
		n, err := deleted(q.Exec(ctx))
		if err != nil {
			return total, fmt.Errorf("delete what has expired: %w", err)
		}
		total += n
	}
	return total, nil
}
