package usage

import (
	"time"

	"github.com/coaidev/coai/internal/storage"
)

// SetNow gives the analytics another clock.
func (a *Analytics) SetNow(now func() time.Time) { a.now = now }

// RecordQuery is the statement that reads records, of everybody or of a user.
func RecordQuery(db *storage.DB, from, to time.Time, user string) string {
	var values [dimensions][]string
	if user != "" {
		values[byUser] = []string{user}
	}
	return recordQuery(db.Read(), span{from.UnixMicro(), to.UnixMicro()}, values).String()
}
