// Package graph is the GraphQL face: resolvers of one statement each over the
// domain packages, and the HTTP handler that executes documents against them.
// The REST face calls the same resolvers as Go methods, so nothing here that
// only a transport or the executor runs may carry a rule.
package graph

import (
	"context"

	"github.com/coaidev/coai/graph/generated"
	"github.com/coaidev/coai/internal/accounts"
	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/internal/chat"
	"github.com/coaidev/coai/internal/payments"
	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

// Deps are the domain packages that resolvers call. All are required.
type Deps struct {
	Accounts  *accounts.Service
	Channels  *channels.Registry
	Chat      *chat.Service
	Payments  *payments.Service
	Usage     *usage.Ledger
	Analytics *usage.Analytics
	Limiter   *ratelimit.Limiter // charged for each operation over a websocket
}

// Resolver resolves the schema's fields. It is safe for concurrent use.
type Resolver struct {
	accounts  *accounts.Service
	channels  *channels.Registry
	chat      *chat.Service
	payments  *payments.Service
	usage     *usage.Ledger
	analytics *usage.Analytics
	limiter   *ratelimit.Limiter
}

var _ generated.ResolverRoot = (*Resolver)(nil)

// NewResolver makes the resolver over the domain packages.
func NewResolver(d Deps) *Resolver {
	return &Resolver{
		accounts: d.Accounts, channels: d.Channels, chat: d.Chat, payments: d.Payments,
		usage: d.Usage, analytics: d.Analytics, limiter: d.Limiter,
	}
}

// Query resolves what can be read.
func (r *Resolver) Query() generated.QueryResolver { return query{r} }

// Mutation resolves what can be changed.
func (r *Resolver) Mutation() generated.MutationResolver { return mutation{r} }

// Subscription resolves what can be followed.
func (r *Resolver) Subscription() generated.SubscriptionResolver { return subscription{r} }

// User resolves a user's fields that are not columns.
func (r *Resolver) User() generated.UserResolver { return user{r} }

// ApiKey resolves a key's fields that are not columns.
func (r *Resolver) ApiKey() generated.ApiKeyResolver { return apiKey{r} } //nolint:revive // gqlgen spells it so

// ChatCompletionInput resolves input fields whose Go type differs from the schema's.
func (r *Resolver) ChatCompletionInput() generated.ChatCompletionInputResolver {
	return chatCompletionInput{}
}

type (
	query               struct{ *Resolver }
	mutation            struct{ *Resolver }
	subscription        struct{ *Resolver }
	user                struct{ *Resolver }
	apiKey              struct{ *Resolver }
	chatCompletionInput struct{}
)

func viewer(ctx context.Context) *models.Viewer { return models.ViewerFrom(ctx) }

// settle puts an error that a person can mend into the mutation's payload. Any
// other error stays one.
func settle[T any, P interface {
	*T
	Fail(error) bool
}](payload P, err error) (P, error) {
	if err == nil {
		return payload, nil
	}
	failed := P(new(T))
	if failed.Fail(err) {
		return failed, nil
	}
	return nil, err
}

// Outcome takes the error that a mutation put into its payload out again, for
// a face that answers with statuses: it is called around the mutation, as in
// Outcome(r.Mutation().DeleteChannel(ctx, id)).
func Outcome[P interface{ Err() error }](payload P, err error) (P, error) {
	if err == nil {
		err = payload.Err()
	}
	return payload, err
}
