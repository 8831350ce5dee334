package channels

import (
	"context"
	"slices"

	"github.com/coaidev/coai/models"
)

// Models lists what the viewer's key may use, by name.
func (r *Registry) Models(_ context.Context, v *models.Viewer, args models.PageArgs) (*models.Connection[models.Model], error) {
	if err := v.Require(models.ScopeModelsRead); err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	s := r.snap.Load()
	names := s.names
	if s.closed || len(v.AllowedModels) > 0 || len(v.ChannelTags) > 0 {
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !s.allows(v, n) || !s.reaches(v, n) })
	}
	total := len(names)
	count := func(context.Context) (int, error) { return total, nil }
	names, more := window(names, page)
	rows := make([]*models.Model, len(names))
	for i, n := range names {
		rows[i] = s.models[n]
	}
	return models.NewConnection(page, rows, more, func(m *models.Model) string { return m.Name }, count), nil
}

// window cuts a page out of a sorted list.
func window(names []string, p models.Page) (page []string, more bool) {
	at, found := slices.BinarySearch(names, p.Key)
	if p.Backward {
		if p.Key != "" {
			names = names[:at]
		}
		if len(names) > p.Limit {
			return names[len(names)-p.Limit:], true
		}
		return names, false
	}
	if found {
		at++
	}
	names = names[min(max(at, p.Offset), len(names)):]
	if len(names) > p.Limit {
		return names[:p.Limit], true
	}
	return names, false
}

// Model is the model with this name or alias, if the viewer's key may use it.
// Admins also see models that are described and not served.
func (r *Registry) Model(_ context.Context, v *models.Viewer, name string) (*models.Model, error) {
	if err := v.Require(models.ScopeModelsRead); err != nil {
		return nil, err
	}
	s := r.snap.Load()
	canonical := s.resolve(name)
	m := s.models[canonical]
	if m == nil || !s.reaches(v, canonical) && !v.IsAdmin() || !s.allows(v, canonical) {
		return nil, models.ModelNotFound(name)
	}
	return m, nil
}

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
