package graph

import (
	"context"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/models"
)

// farewellGrace is how long the closing handshakes may take at the very end of
// a shutdown.
const farewellGrace = time.Second

// sockets are the open websockets, which net/http no longer knows.
type sockets struct {
	mu      sync.Mutex
	open    map[*socket]struct{}
	closing bool
	gone    chan struct{} // closed when closing and none is open
}

// add keeps a socket, unless the handler is shutting down.
func (l *sockets) add(s *socket) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return false
	}
	if l.open == nil {
		l.open = make(map[*socket]struct{})
	}
	l.open[s] = struct{}{}
	return true
}

func (l *sockets) remove(s *socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.open[s]; !known {
		return
	}
	delete(l.open, s)
	if l.closing && len(l.open) == 0 {
		close(l.gone)
	}
}

func (l *sockets) draining() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing
}

// shutdown drains all sockets, and cuts off those that are left when ctx ends.
func (l *sockets) shutdown(ctx context.Context) error {
	list, gone := l.seal()
	for _, s := range list {
		s.drain()
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	for _, s := range list {
		s.close(websocket.StatusServiceRestart, "Shutting down")
	}
	// The process may end when this returns: let the close frames leave.
	grace := time.NewTimer(farewellGrace)
	defer grace.Stop()
	select {
	case <-gone:
	case <-grace.C:
	}
	return ctx.Err()
}

// seal lets no more sockets in.
func (l *sockets) seal() (list []*socket, gone <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closing {
		l.closing = true
		l.gone = make(chan struct{})
		if len(l.open) == 0 {
			close(l.gone)
		}
	}
	for s := range l.open {
		list = append(list, s)
	}
	return list, l.gone
}

// admit takes a token of the viewer's account for one operation on a websocket,
// as the server does for a request.
func (r *Resolver) admit(ctx context.Context, v *models.Viewer) error {
	plan, err := r.accounts.Plan(ctx, v.Tier)
	if err != nil {
		return err
	}
	d := r.limiter.Admit(ctx, v, ratelimit.Limits{
		PerMinute: plan.RequestsPerMinute, PerHour: plan.RequestsPerHour, PerDay: plan.RequestsPerDay,
	}, true)
	if !d.Allowed {
		return d.Exceeded(time.Now())
	}
	return nil
}
