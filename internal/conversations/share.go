package conversations

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

// tokenBytes are the random bytes of a link's token.
const tokenBytes = 16

// share is a row of conversation_shares. Of the token only a hash is kept.
type share struct {
	bun.BaseModel `bun:"table:conversation_shares,alias:sh"`

	ConversationID string      `bun:"conversation_id,pk"`
	Hash           []byte      `bun:"hash"`
	Snapshot       models.JSON `bun:"snapshot"`
	CreatedAt      time.Time   `bun:"created_at"`
	ExpiresAt      *time.Time  `bun:"expires_at"`
}

// Share makes a link to a conversation as it is now: what is said later does not
// show. It replaces the link there was. Scope: conversations.
func (s *Service) Share(ctx context.Context, v *models.Viewer, id string, in *models.ShareConversationInput) (*models.ShareConversationPayload, error) {
	if err := v.Require(models.ScopeConversations); err != nil {
		return nil, err
	}
	if err := in.Validate(time.Now()); err != nil {
		return nil, err
	}
	secret := make([]byte, tokenBytes)
	_, _ = rand.Read(secret) // never fails since Go 1.24: it aborts the program instead
	out := &models.ConversationShare{ConversationID: id, Token: base64.RawURLEncoding.EncodeToString(secret), CreatedAt: now()}
	if in != nil && in.ExpiresAt != nil {
		at := in.ExpiresAt.UTC().Truncate(time.Microsecond)
		out.ExpiresAt = &at
	}
	_, err := s.change(ctx, v, id, func(ctx context.Context, tx bun.Tx, c *models.Conversation) error {
		c.SharedAt = &out.CreatedAt
		shot, err := snapshot(ctx, tx, c, out)
		if err != nil {
			return err
		}
		if err := unshare(ctx, tx, id); err != nil {
			return err
		}
		hash := sha256.Sum256([]byte(out.Token))
		row := &share{ConversationID: id, Hash: hash[:], Snapshot: shot, CreatedAt: out.CreatedAt, ExpiresAt: out.ExpiresAt}
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return fmt.Errorf("insert share: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &models.ShareConversationPayload{Share: out}, nil
}

// snapshot is what a link shows: what the user and the assistant said in the active
// branch.
func snapshot(ctx context.Context, tx bun.IDB, c *models.Conversation, s *models.ConversationShare) (models.JSON, error) {
	out := models.SharedConversation{
		Title: c.Title, Model: c.Model, CreatedAt: c.CreatedAt, SharedAt: s.CreatedAt, ExpiresAt: s.ExpiresAt, Messages: []models.SharedMessage{},
	}
	if c.LeafID != nil {
		rows, err := branch(ctx, tx, &models.ConversationMessage{ID: *c.LeafID})
		if err != nil {
			return nil, err
		}
		for _, m := range rows {
			if m.Role != models.RoleMessageUser && m.Role != models.RoleMessageAssistant || m.Status == models.MessageInProgress {
				continue
			}
			said := models.SharedMessage{Role: m.Role, Content: m.Text(), Images: []string{}, Model: m.Model, CreatedAt: m.CreatedAt}
			if content := m.Message().Content; content != nil {
				for _, p := range content.Parts {
					if p.ImageURL != nil {
						said.Images = append(said.Images, p.ImageURL.URL)
					}
				}
			}
			if said.Content != "" || len(said.Images) > 0 {
				out.Messages = append(out.Messages, said)
			}
		}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode share: %w", err)
	}
	return b, nil
}

func unshare(ctx context.Context, tx bun.IDB, id string) error {
	if _, err := tx.NewDelete().Model((*share)(nil)).Where("conversation_id = ?", id).Exec(ctx); err != nil {
		return fmt.Errorf("delete share: %w", err)
	}
	return nil
}

// Unshare revokes the link to a conversation. One without a link stays so. Scope:
// conversations.
func (s *Service) Unshare(ctx context.Context, v *models.Viewer, id string) (*models.UnshareConversationPayload, error) {
	if err := v.Require(models.ScopeConversations); err != nil {
		return nil, err
	}
	c, err := s.change(ctx, v, id, func(ctx context.Context, tx bun.Tx, c *models.Conversation) error {
		c.SharedAt = nil
		return unshare(ctx, tx, id)
	})
	if err != nil {
		return nil, err
	}
	return &models.UnshareConversationPayload{Conversation: c}, nil
}

// Shared is what a link shows, to anybody. A link that was revoked, is past its
// time, or never was is not found.
func (s *Service) Shared(ctx context.Context, token string) (*models.SharedConversation, error) {
	missing := &models.Error{
		Kind: models.KindNotFound, Code: models.CodeResourceNotFound, Param: "token",
		Message: "No shared conversation found: the link is wrong, was revoked, or is past its time.",
	}
	if raw, err := base64.RawURLEncoding.DecodeString(token); err != nil || len(raw) != tokenBytes {
		return nil, missing
	}
	hash := sha256.Sum256([]byte(token))
	row := new(share)
	err := s.db.Read().NewSelect().Model(row).Where("sh.hash = ?", hash[:]).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) || err == nil && row.ExpiresAt != nil && !row.ExpiresAt.After(time.Now()) {
		return nil, missing
	}
	if err != nil {
		return nil, fmt.Errorf("load share: %w", err)
	}
	out := new(models.SharedConversation)
	if err := json.Unmarshal(row.Snapshot, out); err != nil {
		return nil, fmt.Errorf("decode share: %w", err)
	}
	return out, nil
}
