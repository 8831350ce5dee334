package storage

import (
	"context"
	"fmt"
	"time"
)

// Acquire takes the lease of a name for ttl from now on, and says whether holder
// has it. It is free when nobody took it, when it ran out, or when holder has it
// already, which extends it. Clocks of processes that compete must agree to well
// within ttl.
func (db *DB) Acquire(ctx context.Context, name, holder string, now time.Time, ttl time.Duration) (bool, error) {
	now = now.UTC().Truncate(time.Microsecond)
	// One statement, so that of two who find it free, the second finds it taken.
	res, err := db.write.NewRaw(`INSERT INTO leases (name, holder, expires_at) VALUES (?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
		WHERE leases.holder = excluded.holder OR leases.expires_at <= ?`,
		name, holder, now.Add(ttl), now).Exec(ctx)
	if err != nil {
		return false, fmt.Errorf("acquire lease %s: %w", name, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("acquire lease %s: %w", name, err)
	}
	return n == 1, nil
}

// Release gives the lease back early. It does nothing when holder has lost it.
func (db *DB) Release(ctx context.Context, name, holder string) error {
	_, err := db.write.NewRaw(`DELETE FROM leases WHERE name = ? AND holder = ?`, name, holder).Exec(ctx)
	if err != nil {
		return fmt.Errorf("release lease %s: %w", name, err)
	}
	return nil
}
