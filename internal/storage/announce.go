package storage

import "context"

// announcements is how many ids wait for whoever listens; further ones are
// dropped.
const announcements = 4096

type announceKey struct{}

// announced are the ids that a transaction has made work for.
type announced struct{ ids []string }

// Announce tells, once the transaction that ctx belongs to has committed, that
// there is work to do on a row. It is a hint: it reaches this process alone, and
// is lost when nobody listens, so somebody must look for the work too. Outside
// [DB.Tx] it does nothing.
func Announce(ctx context.Context, id string) {
	if a, ok := ctx.Value(announceKey{}).(*announced); ok {
		a.ids = append(a.ids, id)
	}
}

// Announced gives the ids of [Announce]. One listener gets each.
func (db *DB) Announced() <-chan string { return db.announced }

func (db *DB) announce(ids []string) {
	for _, id := range ids {
		select {
		case db.announced <- id:
		default: // nobody listens, or not fast enough
			return
		}
	}
}
