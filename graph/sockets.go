package graph

import (
	"context"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/models"
)

// sockets are the open websockets, which net/http no longer knows.
type sockets struct {
	mu      sync.Mutex
	open    map[*socket]struct{}
	closing bool
	empty   chan struct{} // closed when the last one ends during a shutdown
}

// add keeps a socket, unless the server is shutting down.
func (l *sockets) add(s *socket) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return false
	}
	if l.open == nil {
		l.open = map[*socket]struct{}{}
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
	if l.empty != nil && len(l.open) == 0 {
		close(l.empty)
		l.empty = nil
	}
}

// shutdown drains all sockets. When ctx ends it cuts off the rest.
func (l *sockets) shutdown(ctx context.Context) error {
	l.mu.Lock()
	l.closing = true
	if len(l.open) == 0 {
		l.mu.Unlock()
		return nil
	}
	if l.empty == nil {
		l.empty = make(chan struct{})
	}
	empty := l.empty
	list := make([]*socket, 0, len(l.open))
	for s := range l.open {
		list = append(list, s)
	}
	l.mu.Unlock()
	for _, s := range list {
		s.drain()
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
	}
	for _, s := range list {
		s.close(websocket.StatusServiceRestart, "Shutting down")
		time.AfterFunc(time.Second, s.cancel) // for peers that do not answer the close frame
	}
	return ctx.Err()
}

// admit takes a token of the viewer's account for one operation on a websocket,
// as the server does for a request.
func (r *Resolver) admit(ctx context.Context, v *models.Viewer) error {
	plan, err := r.accounts.Plan(ctx, v.Tier)
	if err != nil {
		return err
	}
	d := r.limiter.Take(ctx, "user:"+v.UserID, ratelimit.Limits{
		PerMinute: plan.RequestsPerMinute, PerHour: plan.RequestsPerHour, PerDay: plan.RequestsPerDay,
	})
	if d.Allowed {
		return nil
	}
	return d.Exceeded(time.Now())
}
