package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

const (
	// uploadTimeout bounds an upload, however steadily it comes.
	uploadTimeout = 2 * time.Hour
	// tidyTimeout bounds the deletion of what an upload leaves.
	tidyTimeout = 15 * time.Second
	// maxUploads is how many uploads of an account may run at a time.
	maxUploads = 32
)

// UploadFile keeps a file of the viewer's. Its bytes go to the blob store as they
// arrive; the file is there once all of it is, and nothing is left of an upload
// that fails or whose client leaves. A file that is too large is a KindTooLarge
// error; an account that is full, or has too many uploads at a time, a
// KindRateLimited one. Scope: files.
func (s *Service) UploadFile(ctx context.Context, v *models.Viewer, in models.UploadFileInput) (*models.UploadFilePayload, error) {
	p := new(models.UploadFilePayload)
	f, err := s.upload(ctx, v, &in)
	if p.Fail(err) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	p.File = f
	return p, nil
}

func (s *Service) upload(ctx context.Context, v *models.Viewer, in *models.UploadFileInput) (*models.File, error) {
	if err := v.Require(models.ScopeFiles); err != nil {
		return nil, err
	}
	check := in.Validate
	if in.Rest != nil {
		check = in.ValidateGiven
	}
	if err := check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, uploadTimeout)
	defer cancel()
	f := &models.File{
		ID: models.NewID(models.FilePrefix), UserID: v.UserID, Status: models.FileUploading, CreatedAt: now(),
	}
	f.Key = prefix + v.UserID + "/" + f.ID
	room, err := s.begin(ctx, f)
	if err != nil {
		return nil, err
	}
	if err := s.receive(ctx, f, in, room); err != nil {
		s.abandon(ctx, f)
		return nil, err
	}
	return f, nil
}

// begin opens the row of an upload, so that whatever is written has one, and says
// how many bytes the account has room for.
func (s *Service) begin(ctx context.Context, f *models.File) (room int64, err error) {
	return room, s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		files, uploads, size, err := s.held(ctx, tx, f)
		if err != nil {
			return err
		}
		room = s.cfg.MaxTotal - size
		switch {
		case uploads >= maxUploads:
			e := limited(models.CodeRateLimitExceeded, "An account can have at most %d uploads at a time. Try again when one has ended.", maxUploads)
			e.Retry = 5 * time.Second
			return e
		case s.cfg.MaxFiles > 0 && files >= s.cfg.MaxFiles:
			return full("An account can have at most %d files; delete one first.", s.cfg.MaxFiles)
		case s.cfg.MaxTotal > 0 && room <= 0:
			return s.full()
		}
		if _, err := tx.NewInsert().Model(f).Exec(ctx); err != nil {
			return fmt.Errorf("insert file: %w", err)
		}
		return nil
	})
}

// held is what the account has beside the file f. It keeps the account locked
// until the transaction ends, so that two uploads do not take the same room.
func (s *Service) held(ctx context.Context, tx bun.Tx, f *models.File) (files, uploads, size int64, err error) {
	lock := tx.NewSelect().Table("users").Column("id").Where("id = ?", f.UserID)
	if s.db.Dialect() == storage.Postgres {
		lock = lock.For("UPDATE")
	}
	var id string
	if err := lock.Scan(ctx, &id); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return 0, 0, 0, models.NotFound("user", f.UserID)
		}
		return 0, 0, 0, fmt.Errorf("lock the account: %w", err)
	}
	err = tx.NewSelect().Model((*models.File)(nil)).
		ColumnExpr("COUNT(*)").ColumnExpr("COUNT(CASE WHEN status = ? THEN 1 END)", models.FileUploading).ColumnExpr("CAST(COALESCE(SUM(bytes), 0) AS BIGINT)").
		Where("user_id = ?", f.UserID).Where("id <> ?", f.ID).
		Where("expires_at IS NULL OR expires_at > ?", now()).Scan(ctx, &files, &uploads, &size)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("count files: %w", err)
	}
	return files, uploads, size, nil
}

func (s *Service) full() *models.Error {
	return full("The files of an account can have at most %d bytes together; delete some first.", s.cfg.MaxTotal)
}

// full reports a quota that no waiting helps against.
func full(format string, args ...any) *models.Error {
	e := limited(models.CodeInsufficientQuota, format, args...)
	e.Final = true
	return e
}

func limited(code, format string, args ...any) *models.Error {
	return &models.Error{Kind: models.KindRateLimited, Code: code, Param: "file", Message: fmt.Sprintf(format, args...)}
}

// receive takes the bytes in, then what comes behind them, and makes the file
// visible.
func (s *Service) receive(ctx context.Context, f *models.File, in *models.UploadFileInput, room int64) error {
	m := &meter{ctx: ctx, from: in.File.Reader, sum: sha256.New(), most: s.cfg.MaxSize}
	quota := s.cfg.MaxTotal > 0 && (m.most <= 0 || room < m.most)
	if quota {
		m.most = room
	}
	err := s.store.put(ctx, f.Key, m)
	var client *models.Error
	switch {
	case m.over && quota:
		return s.full()
	case m.over:
		return &models.Error{
			Kind: models.KindTooLarge, Code: models.CodeRequestTooLarge, Param: "file",
			Message: fmt.Sprintf("'file' must have at most %d bytes.", s.cfg.MaxSize),
		}
	case errors.As(m.err, &client):
		return client
	case ctx.Err() != nil:
		return fmt.Errorf("upload: %w", ctx.Err())
	case m.err != nil:
		return models.Invalid("file", "The file did not arrive whole.")
	case err != nil:
		return stored(ctx, err)
	}
	if in.Rest != nil {
		if err := in.Rest(in); err != nil {
			return err
		}
	}
	if err := in.Validate(); err != nil {
		return err
	}
	if m.size == 0 {
		return models.Invalid("file", "'file' must not be empty.")
	}
	f.Filename = models.CleanFilename(in.File.Filename())
	f.ContentType = sniff(m.head.Bytes(), f.Filename, in.File.ContentType())
	f.Bytes, f.SHA256, f.Purpose = m.size, hex.EncodeToString(m.sum.Sum(nil)), *in.Purpose
	if e := in.ExpiresAfter; e != nil {
		at := f.CreatedAt.Add(time.Duration(e.Seconds) * time.Second)
		f.ExpiresAt = &at
	}
	return s.finish(ctx, f)
}

// stored is a failure of the blob store, for the client.
func stored(ctx context.Context, err error) error {
	zerolog.Ctx(ctx).Error().Err(err).Msg("file not stored")
	e := models.Unavailable(models.CodeOverloaded, "The file could not be stored. Try again.")
	e.Retry, e.Cause = time.Second, err
	return e
}

// finish makes the file visible, if there is still room for it.
func (s *Service) finish(ctx context.Context, f *models.File) error {
	f.Status = models.FileProcessed
	return s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, _, size, err := s.held(ctx, tx, f)
		if err != nil {
			return err
		}
		if s.cfg.MaxTotal > 0 && size+f.Bytes > s.cfg.MaxTotal {
			return s.full()
		}
		res, err := tx.NewUpdate().Model(f).WherePK().Where("status = ?", models.FileUploading).Exec(ctx)
		if err != nil {
			return fmt.Errorf("finish file: %w", err)
		}
		if n, err := res.RowsAffected(); err == nil && n == 0 {
			return models.Unavailable(models.CodeOverloaded, "The upload took too long and was given up.")
		}
		return nil
	})
}

// abandon deletes what an upload has left. What it cannot delete the clean-up does.
func (s *Service) abandon(ctx context.Context, f *models.File) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	_, err := s.db.Write().NewDelete().Model((*models.File)(nil)).Where("id = ?", f.ID).Exec(ctx)
	if err = errors.Join(err, s.store.remove(ctx, f.Key)); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Str("file_id", f.ID).Msg("a failed upload is left to the clean-up")
	}
}

// meter watches the bytes on their way: their number, their hash, their first.
type meter struct {
	ctx  context.Context //nolint:containedctx // of the upload
	from io.Reader
	most int64 // 0: any number
	sum  hash.Hash
	head bytes.Buffer
	size int64
	over bool
	err  error // the client's end of it
}

var errOver = errors.New("too many bytes")

// Read is io.Reader's.
func (m *meter) Read(p []byte) (int, error) {
	if m.err = m.ctx.Err(); m.err != nil {
		return 0, m.err
	}
	n, err := m.from.Read(p)
	m.size += int64(n)
	if m.most > 0 && m.size > m.most {
		m.over = true
		return 0, errOver
	}
	_, _ = m.sum.Write(p[:n]) // a hash never fails
	if missing := headSize - m.head.Len(); missing > 0 {
		m.head.Write(p[:min(n, missing)])
	}
	if err != nil && !errors.Is(err, io.EOF) {
		m.err = err
	}
	return n, err //nolint:wrapcheck // a reader's
}
