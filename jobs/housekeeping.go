package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/storage"
)

// leasePrefix begins the names of the leases of slots.
const leasePrefix = "job:"

// schedule is all periodic work.
func schedule(db *storage.DB, d Deps) []job {
	list := []job{{
		name: "housekeeping", every: time.Minute, timeout: 5 * time.Minute,
		run: func(ctx context.Context, now time.Time) error { return housekeeping(ctx, db, d, now) },
	}}
	if d.Payments != nil {
		list = append(list, job{name: "expire-payments", every: time.Minute, timeout: 5 * time.Minute, run: func(ctx context.Context, _ time.Time) error {
			ended, err := d.Payments.Expire(ctx)
			if ended > 0 {
				zerolog.Ctx(ctx).Info().Int("ended_subscriptions", ended).Msg("subscriptions ended")
			}
			return wrap("expire payments", err)
		}})
	}
	if d.Analytics != nil {
		list = append(list, job{
			name: "roll-up-usage", every: 20 * time.Second, timeout: 10 * time.Minute,
			run: func(ctx context.Context, now time.Time) error {
				_, err := d.Analytics.RollUp(ctx, now)
				return err
			},
		})
	}
	if d.ProbeChannels != nil {
		list = append(list, job{name: "probe-channels", every: 5 * time.Second, timeout: 2 * time.Minute, run: d.ProbeChannels})
	}
	return list
}

// housekeeping closes usage records that lost their process and deletes what
// is past its time. A failing part does not keep the others from running.
func housekeeping(ctx context.Context, db *storage.DB, d Deps, now time.Time) error {
	recovered, errRecover := d.Usage.Recover(ctx, now)
	keys, errKeys := d.Accounts.Purge(ctx, now.Add(-d.KeyRetention))
	var records int
	var errRecords error
	if d.UsageRetention > 0 {
		records, errRecords = d.Usage.Purge(ctx, now.Add(-d.UsageRetention))
	}
	responses, errResponses := d.Archive.Purge(ctx, now)
	var errAnswers error
	if d.Idempotency != nil {
		_, errAnswers = d.Idempotency.Purge(ctx, now)
	}
	errLeases := purgeLeases(ctx, db, now)
	if recovered+keys+records+responses > 0 {
		zerolog.Ctx(ctx).Info().Int("recovered_usage_records", recovered).Int("deleted_api_keys", keys).
			Int("deleted_usage_records", records).Int("deleted_responses", responses).Msg("housekeeping")
	}
	return errors.Join(
		wrap("recover usage records", errRecover), wrap("delete dead API keys", errKeys),
		wrap("delete old usage records", errRecords), wrap("delete expired responses", errResponses), wrap("delete old leases", errLeases),
		wrap("delete answers that are kept no longer", errAnswers))
}

// purgeLeases deletes the leases of slots that are long over.
func purgeLeases(ctx context.Context, db *storage.DB, now time.Time) error {
	_, err := db.Write().NewDelete().Table("leases").
		Where("name LIKE ?", leasePrefix+"%").Where("expires_at < ?", now.UTC()).Exec(ctx)
	return err
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
