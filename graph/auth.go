package graph

import (
	"context"

	"github.com/coaidev/coai/models"
)

func caller(ctx context.Context) *models.Client { return models.ClientFrom(ctx) }

func (r query) SignInMethods(context.Context) (*models.SignInMethods, error) {
	return r.accounts.SignInMethods(), nil
}

func (r query) Sessions(
	ctx context.Context, first *int, after *string, last *int, before *string, order *models.OrderDirection,
) (*models.SessionConnection, error) {
	page := models.PageArgs{First: first, After: after, Last: last, Before: before, Order: order}
	return r.accounts.Sessions(ctx, viewer(ctx), page)
}

func (r query) Invitations(
	ctx context.Context, first *int, after *string, last *int, before *string, order *models.OrderDirection,
) (*models.InvitationConnection, error) {
	page := models.PageArgs{First: first, After: after, Last: last, Before: before, Order: order}
	return r.accounts.Invitations(ctx, viewer(ctx), page)
}

func (r mutation) SignUp(ctx context.Context, in models.SignUpInput) (*models.SignInPayload, error) {
	return settle(r.accounts.SignUp(ctx, caller(ctx), in))
}

func (r mutation) SignIn(ctx context.Context, in models.SignInInput) (*models.SignInPayload, error) {
	return settle(r.accounts.SignIn(ctx, caller(ctx), in))
}

func (r mutation) SignOut(ctx context.Context) (*models.SignOutPayload, error) {
	return settle(r.accounts.SignOut(ctx, viewer(ctx), caller(ctx)))
}

func (r mutation) DeleteSession(ctx context.Context, id string) (*models.DeleteSessionPayload, error) {
	return settle(r.accounts.DeleteSession(ctx, viewer(ctx), caller(ctx), id))
}

func (r mutation) DeleteSessions(ctx context.Context, keepCurrent *bool) (*models.DeleteSessionsPayload, error) {
	return settle(r.accounts.DeleteSessions(ctx, viewer(ctx), caller(ctx), keepCurrent))
}

func (r mutation) ChangePassword(ctx context.Context, in models.ChangePasswordInput) (*models.ChangePasswordPayload, error) {
	return settle(r.accounts.ChangePassword(ctx, viewer(ctx), in))
}

func (r mutation) VerifyEmail(ctx context.Context, in models.TokenInput) (*models.VerifyEmailPayload, error) {
	return settle(r.accounts.VerifyEmail(ctx, in))
}

func (r mutation) RequestEmailVerification(ctx context.Context) (*models.RequestedPayload, error) {
	return settle(r.accounts.RequestEmailVerification(ctx, viewer(ctx)))
}

func (r mutation) RequestPasswordReset(ctx context.Context, in models.EmailInput) (*models.RequestedPayload, error) {
	return settle(r.accounts.RequestPasswordReset(ctx, caller(ctx), in))
}

func (r mutation) ResetPassword(ctx context.Context, in models.ResetPasswordInput) (*models.ResetPasswordPayload, error) {
	return settle(r.accounts.ResetPassword(ctx, in))
}

func (r mutation) StartOidcSignIn(ctx context.Context, returnTo *string) (*models.StartOIDCPayload, error) {
	return settle(r.accounts.StartOIDCSignIn(ctx, caller(ctx), returnTo))
}

func (r mutation) FinishOidcSignIn(ctx context.Context, in models.FinishOIDCInput) (*models.SignInPayload, error) {
	return settle(r.accounts.FinishOIDCSignIn(ctx, caller(ctx), in))
}

func (r mutation) CreateInvitation(ctx context.Context, in models.CreateInvitationInput) (*models.CreateInvitationPayload, error) {
	return settle(r.accounts.CreateInvitation(ctx, viewer(ctx), in))
}

func (r mutation) DeleteInvitation(ctx context.Context, id string) (*models.DeleteInvitationPayload, error) {
	return settle(r.accounts.DeleteInvitation(ctx, viewer(ctx), id))
}
