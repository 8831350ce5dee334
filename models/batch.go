package models

import "sync"

// Batch lets the rows of a page load what hangs on each of them together: the
// first row that asks loads for all, and the others wait for that. It is safe for
// concurrent use.
type Batch struct {
	IDs []string // of the rows of the page

	mu    sync.Mutex
	loads map[any]func() (any, error)
}

// Load runs load once for each key, with the ids of all rows of the page, and
// gives every caller its result.
func (b *Batch) Load(key any, load func(ids []string) (any, error)) (any, error) {
	b.mu.Lock()
	once, ok := b.loads[key]
	if !ok {
		once = sync.OnceValues(func() (any, error) { return load(b.IDs) })
		if b.loads == nil {
			b.loads = map[any]func() (any, error){}
		}
		b.loads[key] = once
	}
	b.mu.Unlock()
	return once()
}
