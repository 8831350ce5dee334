package webhooks

import "sync"

// maxWaiting is how many deliveries wait in this process for a slot of their
// endpoint.
const maxWaiting = 64

// slots bounds how many attempts at one endpoint a process makes at a time, so
// that one that hangs cannot take all the workers. A few more deliveries wait for
// a slot in memory; if the process dies, a sweep finds them.
type slots struct {
	mu    sync.Mutex
	most  int
	taken map[string]*place
}

type place struct {
	taken   int
	waiting []string
}

// turn is what a delivery gets of its endpoint.
type turn int

const (
	turnNow   turn = iota // a slot
	turnWaits             // who has a slot makes this delivery next
	turnLater             // nothing
)

func newSlots(most int) *slots { return &slots{most: most, taken: map[string]*place{}} }

// try takes a slot, unless all are taken.
func (s *slots) try(endpoint string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.free(endpoint)
}

func (s *slots) free(endpoint string) bool {
	p := s.taken[endpoint]
	if p == nil {
		p = new(place)
		s.taken[endpoint] = p
	}
	if p.taken >= s.most {
		return false
	}
	p.taken++
	return true
}

// take takes a slot for a delivery, or has it wait for one.
func (s *slots) take(endpoint, id string) turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free(endpoint) {
		return turnNow
	}
	p := s.taken[endpoint]
	if len(p.waiting) >= maxWaiting {
		return turnLater
	}
	p.waiting = append(p.waiting, id)
	return turnWaits
}

// next gives the delivery that waits for the caller's slot; without one the slot is
// given back.
func (s *slots) next(endpoint string) (id string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.taken[endpoint]; p != nil && len(p.waiting) > 0 {
		id, p.waiting = p.waiting[0], p.waiting[1:]
		return id, true
	}
	s.release(endpoint)
	return "", false
}

// give gives a slot back. What waits is left to the others who have one, or, after
// the last of them, to a sweep.
func (s *slots) give(endpoint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(endpoint)
}

func (s *slots) release(endpoint string) {
	if p := s.taken[endpoint]; p != nil {
		if p.taken--; p.taken <= 0 {
			delete(s.taken, endpoint)
		}
	}
}
