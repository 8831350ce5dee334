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
		name: "housekeeping", about: "Closes usage records that lost their process, and deletes what is past its time.", every: time.Minute, timeout: 5 * time.Minute,
		run: func(ctx context.Context, now time.Time) error { return housekeeping(ctx, db, d, now) },
	}}
	if d.Payments != nil {
		list = append(list, job{
			name: "expire-payments", about: "Ends tiers whose time is over or whose payment failed, and payments that nobody made.",
			every: time.Minute, timeout: 5 * time.Minute, run: func(ctx context.Context, _ time.Time) error {
				ended, err := d.Payments.Expire(ctx)
				if ended > 0 {
					zerolog.Ctx(ctx).Info().Int("ended_subscriptions", ended).Msg("subscriptions ended")
				}
				return wrap("expire payments", err)
			},
		})
	}
	if d.Analytics != nil {
		list = append(list, job{
			name: "roll-up-usage", about: "Packs the usage of hours that are over.", every: 20 * time.Second, timeout: 10 * time.Minute,
			run: func(ctx context.Context, now time.Time) error {
				_, err := d.Analytics.RollUp(ctx, now)
				return err
			},
		})
	}
	if d.ProbeChannels != nil {
		list = append(list, job{
			name: "probe-channels", about: "Asks the channels that are due whether they answer.",
			every: 5 * time.Second, timeout: 2 * time.Minute, run: d.ProbeChannels,
		})
	}
	if d.Webhooks != nil {
		list = append(list, job{
			name: "purge-webhooks", about: "Deletes events and deliveries that are past their retention.",
			every: 10 * time.Minute, timeout: 5 * time.Minute,
			run: func(ctx context.Context, now time.Time) error {
				_, err := d.Webhooks.Purge(ctx, now)
				return wrap("delete old deliveries", err)
			},
		})
	}
	if d.Conversations != nil {
		list = append(list, job{
			name: "recover-answers", about: "Interrupts answers in conversations whose process died.", every: 10 * time.Second, timeout: time.Minute,
			run: func(ctx context.Context, now time.Time) error {
				_, err := d.Conversations.Recover(ctx, now)
				return wrap("recover answers", err)
			},
		}, job{
			name: "purge-conversations", about: "Removes conversations that were deleted.", every: time.Minute, timeout: 5 * time.Minute,
			run: func(ctx context.Context, now time.Time) error {
				_, err := d.Conversations.Purge(ctx, now.Add(-d.ConversationRetention))
				return wrap("purge conversations", err)
			},
		})
	}
	return append(list, fileJobs(d.Files)...)
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
	var entries int
	var errEntries error
	if d.Audit != nil && d.AuditRetention > 0 {
		entries, errEntries = d.Audit.Purge(ctx, now.Add(-d.AuditRetention))
	}
	responses, errResponses := d.Archive.Purge(ctx, now)
	expired, errExpired := d.Accounts.PurgeExpired(ctx, now)
	var errAnswers error
	if d.Idempotency != nil {
		_, errAnswers = d.Idempotency.Purge(ctx, now)
	}
	errLeases := purgeLeases(ctx, db, now)
	if recovered+keys+records+responses+entries+expired > 0 {
		zerolog.Ctx(ctx).Info().Int("recovered_usage_records", recovered).Int("deleted_api_keys", keys).
			Int("deleted_usage_records", records).Int("deleted_responses", responses).
			Int("deleted_audit_entries", entries).Int("deleted_sessions_and_tokens", expired).Msg("housekeeping")
	}
	return errors.Join(
		wrap("recover usage records", errRecover), wrap("delete dead API keys", errKeys),
		wrap("delete old usage records", errRecords), wrap("delete expired responses", errResponses), wrap("delete old leases", errLeases),
		wrap("delete old entries of the audit log", errEntries), wrap("delete answers that are kept no longer", errAnswers),
		wrap("delete expired sessions", errExpired))
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
