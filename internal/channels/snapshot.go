package channels

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/coaidev/coai/models"
)

// snapshot is what the registry knew at one revision.
type snapshot struct {
	revision int64
	byID     map[string]*upstream
	routes   map[string]*route        // by the name that clients use
	models   map[string]*models.Model // served or described, by name
	aliases  map[string]string        // alias -> name
	names    []string                 // served, sorted
	closed   bool                     // some channels or models are for some users alone
	until    time.Time                // when the next planned price begins; zero: none is planned
}

// index works out who serves what; a model that says no strategy has the default.
func (s *snapshot) index(catalogue []*models.Model, strategy models.RoutingStrategy) {
	s.routes = map[string]*route{}
	s.models = map[string]*models.Model{}
	s.aliases = map[string]string{}
	for _, m := range catalogue {
		s.models[m.Name] = m
	}
	for _, u := range s.sorted() {
		if !u.row.Enabled {
			continue
		}
		for _, name := range u.row.Models {
			s.serve(name, u, strategy)
		}
	}
	s.names = slices.Sorted(maps.Keys(s.routes))
	for _, r := range s.routes {
		slices.SortStableFunc(r.tiers, func(a, b *tier) int { return cmp.Compare(a.rank, b.rank) })
		s.closed = s.closed || r.closed || r.restricted
	}
	for _, m := range catalogue {
		for _, alias := range m.Aliases {
			if s.routes[alias] == nil {
				s.aliases[alias] = m.Name
			}
		}
	}
}

// serve adds a channel to a model's route.
func (s *snapshot) serve(name string, u *upstream, strategy models.RoutingStrategy) {
	m := s.models[name]
	if m == nil {
		m = undescribed(name, &u.row)
		s.models[name] = m
	}
	r := s.routes[name]
	if r == nil {
		r = &route{strategy: strategy, restricted: m.Restricted()}
		if m.Routing != nil {
			r.strategy = *m.Routing
		}
		s.routes[name] = r
	}
	t := r.tier(rank(r.strategy, &u.row))
	t.seats = append(t.seats, seat{upstream: u, weight: u.row.Weight})
	r.closed = r.closed || len(u.row.Groups) > 0
}

// tier finds the tier of a rank, or makes it.
func (r *route) tier(rank int64) *tier {
	for _, t := range slices.Backward(r.tiers) { // channels come by priority: mostly it is the last
		if t.rank == rank {
			return t
		}
	}
	t := &tier{strategy: r.strategy, rank: rank}
	r.tiers = append(r.tiers, t)
	return t
}

// sorted are the channels, the highest priority and then the oldest first.
func (s *snapshot) sorted() []*upstream {
	list := make([]*upstream, 0, len(s.byID))
	for _, u := range s.byID {
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b *upstream) int {
		return cmp.Or(cmp.Compare(b.row.Priority, a.row.Priority), cmp.Compare(a.row.ID, b.row.ID))
	})
	return list
}

func undescribed(name string, c *models.Channel) *models.Model {
	return &models.Model{
		Name: name, DisplayName: name, OwnedBy: string(c.Type),
		Capabilities: []string{}, Aliases: []string{}, CreatedAt: &c.CreatedAt,
	}
}

// resolve turns an alias into the model's name.
func (s *snapshot) resolve(name string) string {
	if to, ok := s.aliases[name]; ok {
		return to
	}
	return name
}

// allows says whether the key's allow-list names the model or one of its aliases.
func (s *snapshot) allows(v *models.Viewer, name string) bool {
	if v.MayUse(name) {
		return true
	}
	m := s.models[name]
	return m != nil && slices.ContainsFunc(m.Aliases, func(a string) bool { return s.aliases[a] == name && v.MayUse(a) })
}

// reaches says whether the viewer may use the model, and some channel that serves
// it is open to the viewer.
func (s *snapshot) reaches(v *models.Viewer, name string) bool {
	r := s.routes[name]
	return r != nil && r.opensTo(v) && (!r.restricted || s.models[name].VisibleTo(v))
}
