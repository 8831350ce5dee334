package models

import "sync"

// APIKeyUsage is what was used by a key so far, in UTC days and months.
type APIKeyUsage struct {
	RequestsToday     int64 `json:"requests_today"`
	TokensToday       int64 `json:"tokens_today"`
	CostToday         Money `json:"cost_today"`
	RequestsThisMonth int64 `json:"requests_this_month"`
	TokensThisMonth   int64 `json:"tokens_this_month"`
	CostThisMonth     Money `json:"cost_this_month"`
}

// APIKeyBatch are the keys of a page, whose usage is summed up at once when
// somebody asks for that of one of them.
type APIKeyBatch struct {
	IDs []string

	once sync.Once
	by   map[string]*APIKeyUsage
	err  error
}

// Usage gives the usage by key; load is called once.
func (b *APIKeyBatch) Usage(load func(ids []string) (map[string]*APIKeyUsage, error)) (map[string]*APIKeyUsage, error) {
	b.once.Do(func() { b.by, b.err = load(b.IDs) })
	return b.by, b.err
}
