package graph

import (
	"context"

	"github.com/coaidev/coai/models"
)

func (r query) Files(
	ctx context.Context, first *int, after *string, last *int, before *string,
	order *models.OrderDirection, filter *models.FileFilter,
) (*models.FileConnection, error) {
	page := models.PageArgs{First: first, After: after, Last: last, Before: before, Order: order}
	return r.files.Files(ctx, viewer(ctx), page, filter)
}

func (r query) File(ctx context.Context, id string) (*models.File, error) {
	return r.files.File(ctx, viewer(ctx), id)
}

func (r mutation) UploadFile(
	ctx context.Context, file models.Upload, purpose models.FilePurpose, expiresAfter *models.FileExpiry,
) (*models.UploadFilePayload, error) {
	return settle(r.Upload(ctx, models.UploadFileInput{File: &file, Purpose: &purpose, ExpiresAfter: expiresAfter}))
}

func (r mutation) DeleteFile(ctx context.Context, id string) (*models.DeleteFilePayload, error) {
	return settle(r.files.DeleteFile(ctx, viewer(ctx), id))
}

// Upload is the mutation uploadFile for a form whose fields come in any order.
func (r *Resolver) Upload(ctx context.Context, in models.UploadFileInput) (*models.UploadFilePayload, error) {
	return r.files.UploadFile(ctx, viewer(ctx), in)
}

func (r query) FileContent(ctx context.Context, id string, offset *int64, length *int) (*models.FileContent, error) {
	return r.files.Piece(ctx, viewer(ctx), id, offset, length)
}

// OpenFile is the query fileContent for the face that can send bytes: a file with
// all that is in it. The caller closes its body.
func (r *Resolver) OpenFile(ctx context.Context, id string) (*models.OpenFile, error) {
	return r.files.Open(ctx, viewer(ctx), id)
}
