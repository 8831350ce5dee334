package graph

import (
	"context"
	"errors"
	"strings"

	"github.com/coaidev/coai/models"
)

// maxNodes is how many ids `nodes` takes.
const maxNodes = 100

func (r query) Node(ctx context.Context, id string) (models.Node, error) {
	v := viewer(ctx)
	switch {
	case strings.HasPrefix(id, models.UserPrefix):
		return asNode(r.accounts.User(ctx, v, id))
	case strings.HasPrefix(id, models.APIKeyPrefix):
		return asNode(r.accounts.APIKey(ctx, v, id))
	case strings.HasPrefix(id, models.PlanPrefix):
		return asNode(r.accounts.PlanByID(ctx, v, id))
	case strings.HasPrefix(id, models.ChannelPrefix):
		return asNode(r.channels.Channel(ctx, v, id))
	case strings.HasPrefix(id, models.PaymentPrefix):
		return asNode(r.payments.Payment(ctx, v, id))
	case strings.HasPrefix(id, models.ModelPrefix):
		return r.modelNode(ctx, v, id)
	}
	return nil, nil
}

func (r query) Nodes(ctx context.Context, ids []string) ([]models.Node, error) {
	if len(ids) > maxNodes {
		return nil, models.Invalid("ids", "'ids' must have at most %d ids; got %d.", maxNodes, len(ids))
	}
	nodes := make([]models.Node, len(ids))
	for i, id := range ids {
		node, err := r.Node(ctx, id)
		if err != nil {
			return nil, err
		}
		nodes[i] = node
	}
	return nodes, nil
}

// modelNode finds a model by the name in its id. A name that is an alias leads
// to a model with another id, which is not the one that was asked for.
func (r query) modelNode(ctx context.Context, v *models.Viewer, id string) (models.Node, error) {
	name, ok := models.ModelName(id)
	if !ok {
		return nil, nil
	}
	m, err := r.channels.Model(ctx, v, name)
	if err == nil && m.ID() != id {
		return nil, nil
	}
	return asNode(m, err)
}

// asNode makes what the viewer may not see the same as what does not exist: null.
func asNode[T models.Node](node T, err error) (models.Node, error) {
	var e *models.Error
	switch {
	case err == nil:
		return node, nil
	case errors.As(err, &e) && (e.Kind == models.KindNotFound || e.Kind == models.KindForbidden):
		return nil, nil
	}
	return nil, err
}
