// Package files keeps what clients upload: the rows in the database, the bytes in
// a blob store. A file is of one account, and nobody else finds it.
package files

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// Config holds the limits of a [Service]; 0 means none.
type Config struct {
	MaxSize  int64 // bytes of one file
	MaxFiles int64 // of an account
	MaxTotal int64 // bytes of all files of an account
	// CacheDir is where the PDF engine keeps its compiled form, 5 seconds of work; empty:
	// it is interpreted, which takes no preparation and ten times as long a page.
	CacheDir string
}

// Service keeps files. It is safe for concurrent use. End it with [Service.Close].
type Service struct {
	db    *storage.DB
	store *Store
	cfg   Config
	pdf   reader
}

// New makes the service over the database and the blob store, which is closed
// with it.
func New(db *storage.DB, store *Store, cfg Config) *Service {
	return &Service{db: db, store: store, cfg: cfg, pdf: reader{cacheDir: cfg.CacheDir}}
}

// Close releases the blob store and the PDF engine.
func (s *Service) Close() error { return errors.Join(s.pdf.close(), s.store.close()) }

// Ping asks whether the blob store can be reached.
func (s *Service) Ping(ctx context.Context) error { return s.store.ping(ctx) }

// MaxSize is how many bytes a file may have; 0: any number.
func (s *Service) MaxSize() int64 { return s.cfg.MaxSize }

// owned narrows a query of files to the viewer's that are whole and not past
// their time.
func owned(v *models.Viewer) func(*bun.SelectQuery) *bun.SelectQuery {
	return func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("f.user_id = ?", v.UserID).Where("f.status = ?", models.FileProcessed).
			Where("f.expires_at IS NULL OR f.expires_at > ?", now())
	}
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// Files lists the viewer's files. Scope: files.
func (s *Service) Files(ctx context.Context, v *models.Viewer, args models.PageArgs, filter *models.FileFilter) (*models.Connection[models.File], error) {
	if err := v.Require(models.ScopeFiles); err != nil {
		return nil, err
	}
	page, err := args.PageUpTo(models.MaxFilesPage)
	if err != nil {
		return nil, err
	}
	if err := filter.Validate(); err != nil {
		return nil, err
	}
	return storage.List(ctx, s.db.Read(), page, "id", func(f *models.File) string { return f.ID },
		func(q *bun.SelectQuery) *bun.SelectQuery {
			q = q.Apply(owned(v))
			if filter != nil && filter.Purpose != nil {
				q = q.Where("f.purpose = ?", *filter.Purpose)
			}
			return q
		})
}

// File is one of the viewer's files. One that is deleted, expired, or somebody
// else's is not found. Scope: files.
func (s *Service) File(ctx context.Context, v *models.Viewer, id string) (*models.File, error) {
	if err := v.Require(models.ScopeFiles); err != nil {
		return nil, err
	}
	if !storage.StorableID(id) {
		return nil, models.NotFound("file", id)
	}
	f := new(models.File)
	err := s.db.Read().NewSelect().Model(f).Apply(owned(v)).Where("f.id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, models.NotFound("file", id)
	}
	if err != nil {
		return nil, fmt.Errorf("load file: %w", err)
	}
	return f, nil
}

// Piece is a piece of what is in one of the viewer's files: by default the first
// [models.MaxFilePiece] bytes. Scope: files.
func (s *Service) Piece(ctx context.Context, v *models.Viewer, id string, offset *int64, length *int) (*models.FileContent, error) {
	most := int64(models.MaxFilePiece)
	piece := new(models.FileContent)
	if length != nil {
		if *length < 1 || *length > models.MaxFilePiece {
			return nil, models.Invalid("length", "'length' must be between 1 and %d; got %d.", models.MaxFilePiece, *length)
		}
		most = int64(*length)
	}
	if offset != nil {
		if *offset < 0 {
			return nil, models.Invalid("offset", "'offset' must not be negative.")
		}
		piece.Offset = *offset
	}
	f, err := s.Open(ctx, v, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Body.Close() }()
	if most = min(most, f.File.Bytes-piece.Offset); most <= 0 {
		return piece, nil
	}
	b := make([]byte, most)
	if _, err = f.Body.Seek(piece.Offset, io.SeekStart); err == nil {
		_, err = io.ReadFull(f.Body, b)
	}
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	piece.Data = base64.StdEncoding.EncodeToString(b)
	return piece, nil
}

// Open is one of the viewer's files with what is in it. The caller closes its
// body. Scope: files.
func (s *Service) Open(ctx context.Context, v *models.Viewer, id string) (*models.OpenFile, error) {
	f, err := s.File(ctx, v, id)
	if err != nil {
		return nil, err
	}
	return &models.OpenFile{File: f, Body: &body{ctx: ctx, store: s.store, key: f.Key, size: f.Bytes}}, nil
}

// Read is what is in a file, of at most most bytes, for those who have found it by
// [Service.File]. It fails when the blob store has lost it.
func (s *Service) Read(ctx context.Context, f *models.File, most int64) ([]byte, error) {
	if f.Bytes > most {
		return nil, models.Invalid("", "The file '%s' has %d bytes; at most %d can be given to a model.", f.ID, f.Bytes, most)
	}
	r, err := s.store.open(ctx, f.Key, 0, f.Bytes)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	b := make([]byte, f.Bytes)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	return b, nil
}

// DeleteFile deletes one of the viewer's files for ever. Scope: files.
func (s *Service) DeleteFile(ctx context.Context, v *models.Viewer, id string) (*models.DeleteFilePayload, error) {
	p := new(models.DeleteFilePayload)
	err := s.deleteFile(ctx, v, id)
	if p.Fail(err) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	p.DeletedFileID = &id
	return p, nil
}

func (s *Service) deleteFile(ctx context.Context, v *models.Viewer, id string) error {
	f, err := s.File(ctx, v, id)
	if err != nil {
		return err
	}
	res, err := s.db.Write().NewDelete().Model((*models.File)(nil)).
		Where("id = ?", f.ID).Where("user_id = ?", v.UserID).Exec(ctx)
	if err != nil {
		return fmt.Errorf("delete file: %w", err)
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 { // by somebody else, just now
		return models.NotFound("file", id)
	}
	// The clean-up deletes a blob that stays behind.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	return s.store.remove(ctx, f.Key)
}

// body reads ranges of a blob. Nothing is opened before something is read.
type body struct {
	ctx   context.Context //nolint:containedctx // of the request that it is the answer of
	store *Store
	key   string
	size  int64
	at    int64
	open  io.ReadCloser
}

// Read is io.Reader's.
func (b *body) Read(p []byte) (int, error) {
	if b.at >= b.size {
		return 0, io.EOF
	}
	if b.open == nil {
		r, err := b.store.open(b.ctx, b.key, b.at, b.size-b.at)
		if err != nil {
			return 0, err
		}
		b.open = r
	}
	n, err := b.open.Read(p)
	b.at += int64(n)
	if errors.Is(err, io.EOF) && b.at < b.size {
		err = io.ErrUnexpectedEOF
	}
	return n, err //nolint:wrapcheck // a reader's
}

// Seek is io.Seeker's.
func (b *body) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.at
	case io.SeekEnd:
		offset += b.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	if offset != b.at {
		_ = b.Close()
		b.at = offset
	}
	return offset, nil
}

// Close is io.Closer's.
func (b *body) Close() error {
	if b.open == nil {
		return nil
	}
	err := b.open.Close()
	b.open = nil
	return err //nolint:wrapcheck // a reader's
}
