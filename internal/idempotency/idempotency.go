// Package idempotency keeps the first answer to a request that carries an
// Idempotency-Key, so that a client that did not see it can ask again without
// doing anything twice. What is kept lies in the database, sealed: answers may
// hold secrets that are shown once.
// https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
package idempotency

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/sealed"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

const (
	// Keep is how long an answer is kept.
	Keep = 24 * time.Hour
	// LeaseTTL is how long a key belongs to a process that works on its request,
	// without a sign of life; LeaseBeat is the time between two signs.
	LeaseTTL  = 60 * time.Second
	LeaseBeat = 20 * time.Second

	table     = "idempotency_keys"
	purgeSize = 1000
)

// Store keeps answers for accounts. It is safe for concurrent use, also by many
// processes.
type Store struct {
	db  *storage.DB
	box *sealed.Box
	now func() time.Time
}

// New makes a store that seals with box.
func New(db *storage.DB, box *sealed.Box) *Store { return &Store{db: db, box: box, now: time.Now} }

// Answer is what was answered first.
type Answer struct {
	Request []byte // a hash of all that the request was
	Status  int
	Header  map[string]string
	Body    []byte
}

// Claim is a key that the caller has to itself. The caller owes it a
// [Claim.Finish] or a [Claim.Release], and a [Claim.Extend] now and then.
type Claim struct {
	s                   *Store
	userID, key, holder string
}

type row struct {
	bun.BaseModel `bun:"table:idempotency_keys"`

	UserID    string            `bun:"user_id,pk"`
	Key       string            `bun:"key,pk"`
	Request   []byte            `bun:"request"`
	Holder    string            `bun:"holder"`
	Status    int               `bun:"status"` // 0: the request is at work
	Header    map[string]string `bun:"header"`
	Body      []byte            `bun:"body"`
	ExpiresAt time.Time         `bun:"expires_at"`
}

// Claim takes the key of an account, or gives the answer that is kept for it.
// Both are nil while somebody else works on the key's request.
func (s *Store) Claim(ctx context.Context, userID, key string) (*Claim, *Answer, error) {
	const tries = 3
	for range tries {
		now := s.time()
		c := &Claim{s: s, userID: userID, key: key, holder: models.NewID("")}
		res, err := s.db.Write().NewRaw(`INSERT INTO idempotency_keys (user_id, key, request, holder, status, header, body, expires_at)
			VALUES (?, ?, ?, ?, 0, '{}', NULL, ?)
			ON CONFLICT (user_id, key) DO UPDATE SET request = excluded.request, holder = excluded.holder, status = 0, header = '{}',
				body = NULL, expires_at = excluded.expires_at
			WHERE idempotency_keys.expires_at <= ?`,
			userID, key, []byte{}, c.holder, now.Add(LeaseTTL), now).Exec(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("claim an idempotency key: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return c, nil, err
		}
		answer, found, err := s.find(ctx, userID, key)
		if err != nil || found {
			return nil, answer, err
		}
	}
	return nil, nil, nil
}

// find gives the answer that is kept; nil while there is none yet.
func (s *Store) find(ctx context.Context, userID, key string) (a *Answer, found bool, err error) {
	var rows []row
	err = s.db.Write().NewSelect().Model(&rows).Where("user_id = ?", userID).Where("key = ?", key).Scan(ctx)
	if err != nil || len(rows) == 0 {
		return nil, false, err
	}
	r := &rows[0]
	if r.Status == 0 {
		return nil, true, nil
	}
	a = &Answer{Request: r.Request, Status: r.Status, Header: r.Header}
	if a.Body, err = s.box.Open(table, userID+" "+key, r.Body); err != nil {
		return nil, false, fmt.Errorf("open a kept answer: %w", err)
	}
	return a, true, nil
}

// Extend is a sign of life. It fails when the claim is lost.
func (c *Claim) Extend(ctx context.Context) error {
	return c.change(ctx, "extend an idempotency key", func(q *bun.UpdateQuery) *bun.UpdateQuery {
		return q.Set("expires_at = ?", c.s.time().Add(LeaseTTL))
	})
}

// Finish keeps the answer.
func (c *Claim) Finish(ctx context.Context, a *Answer) error {
	body, err := c.s.box.Seal(table, c.userID+" "+c.key, a.Body)
	if err != nil {
		return fmt.Errorf("seal an answer: %w", err)
	}
	r := &row{UserID: c.userID, Key: c.key, Request: a.Request, Status: a.Status, Header: a.Header, Body: body, ExpiresAt: c.s.time().Add(Keep)}
	return c.change(ctx, "keep an answer", func(q *bun.UpdateQuery) *bun.UpdateQuery {
		return q.Model(r).Column("request", "status", "header", "body", "expires_at")
	})
}

var errLost = errors.New("somebody else has the key by now")

func (c *Claim) change(ctx context.Context, what string, set func(*bun.UpdateQuery) *bun.UpdateQuery) error {
	res, err := set(c.s.db.Write().NewUpdate().Model((*row)(nil))).
		Where("user_id = ?", c.userID).Where("key = ?", c.key).Where("holder = ?", c.holder).Where("status = 0").Exec(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return fmt.Errorf("%s: %w", what, errors.Join(err, errLost))
	}
	return nil
}

// Release gives the key back, as if it had never been used.
func (c *Claim) Release(ctx context.Context) error {
	_, err := c.s.db.Write().NewDelete().Model((*row)(nil)).
		Where("user_id = ?", c.userID).Where("key = ?", c.key).Where("holder = ?", c.holder).Where("status = 0").Exec(ctx)
	if err != nil {
		return fmt.Errorf("release an idempotency key: %w", err)
	}
	return nil
}

// Purge deletes what is kept no longer, and gives the number of answers.
func (s *Store) Purge(ctx context.Context, now time.Time) (int, error) {
	total := 0
	for {
		old := s.db.Write().NewSelect().Model((*row)(nil)).Column("user_id", "key").Where("expires_at < ?", now.UTC()).Limit(purgeSize)
		res, err := s.db.Write().NewDelete().Model((*row)(nil)).Where("(user_id, key) IN (?)", old).Where("expires_at < ?", now.UTC()).Exec(ctx)
		if err != nil {
			return total, fmt.Errorf("purge idempotency keys: %w", err)
		}
		n, err := res.RowsAffected()
		total += int(n)
		if err != nil || n < purgeSize {
			return total, err
		}
	}
}

func (s *Store) time() time.Time { return s.now().UTC().Truncate(time.Microsecond) }
