package jobs

import (
	"context"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/accounts"
	"github.com/coaidev/coai/internal/archive"
	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

func TestHousekeeping(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		ctx := t.Context()
		now := time.Now().UTC().Truncate(time.Microsecond)
		ledger := usage.New(db, zerolog.Nop())
		defer func() {
			if err := ledger.Close(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
		}()
		acc := accounts.New(db, accounts.Config{})
		user, err := acc.MakeUser(ctx, models.CreateUserInput{Email: "ada@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		insert := func(row any) {
			t.Helper()
			if _, err := db.Write().NewInsert().Model(row).Exec(ctx); err != nil {
				t.Fatal(err)
			}
		}
		ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
		day := 24 * time.Hour
		key := func(name string, expired, revoked *time.Time) {
			insert(&models.APIKey{
				ID: "key_" + name, UserID: user.ID, Name: name, Hash: []byte(name), Scopes: []models.Scope{models.ScopeChat},
				AllowedModels: []string{}, AllowedCIDRs: []string{}, ExpiresAt: expired, RevokedAt: revoked, CreatedAt: *ago(400 * day),
			})
		}
		key("alive", nil, nil)
		key("fresh", ago(day), nil)
		key("expired", ago(91*day), nil)
		key("revoked", nil, ago(91*day))
		record := func(id string, age time.Duration) *models.UsageRecord {
			return &models.UsageRecord{
				ID: id, RequestID: id, UserID: user.ID, Model: "echo", Status: models.UsageSettled, PromptTokens: 7,
				CreatedAt: *ago(age), SettledAt: ago(age),
			}
		}
		insert(record("req_old", 40*day))
		insert(record("req_new", 20*day))
		lost := usage.New(db, zerolog.Nop()) // of a process that ends with it open
		if err := lost.Begin(ctx, record("req_lost", time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := lost.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Write().ExecContext(ctx, "UPDATE usage_holds SET lease_until = created_at"); err != nil {
			t.Fatal(err)
		}
		insert(&models.AuditEntry{ID: "aud_old", ActorID: user.ID, Action: "x", TargetType: "x", CreatedAt: *ago(31 * day)})
		insert(&models.AuditEntry{ID: "aud_new", ActorID: user.ID, Action: "x", TargetType: "x", CreatedAt: *ago(29 * day)})
		for name, at := range map[string]time.Time{"job:x:old": *ago(time.Hour), "job:x:now": now, "other": *ago(time.Hour)} {
			if ok, err := db.Acquire(ctx, name, "somebody", at, 30*time.Minute); err != nil || !ok {
				t.Fatalf("lease %s: %t, %v", name, ok, err)
			}
		}

		deps := Deps{Accounts: acc, Usage: ledger, Archive: archive.New(db), KeyRetention: DefaultKeyRetention}
		check := func(table, column string, want ...string) {
			t.Helper()
			var got []string
			if err := db.Read().NewSelect().Table(table).Column(column).Order(column).Scan(ctx, &got); err != nil {
				t.Fatal(err)
			}
			if len(got) != len(want) {
				t.Errorf("%s holds %v, want %v", table, got, want)
				return
			}
			for i := range got {
				if got[i] != want[i] {
					t.Errorf("%s holds %v, want %v", table, got, want)
				}
			}
		}
		if err := housekeeping(ctx, db, deps, now); err != nil {
			t.Fatal(err)
		}
		check("api_keys", "id", "key_alive", "key_fresh")
		check("usage_records", "id", "req_lost", "req_new", "req_old")
		check("leases", "name", "job:x:now", "other")
		var status models.UsageStatus
		if err := db.Read().NewSelect().Table("usage_records").Column("status").Where("id = 'req_lost'").Scan(ctx, &status); err != nil {
			t.Fatal(err)
		}
		if status != models.UsageRecovered {
			t.Errorf("the record whose process died is %s", status)
		}

		deps.UsageRetention = 30 * day
		if err := housekeeping(ctx, db, deps, now); err != nil {
			t.Fatal(err)
		}
		check("usage_records", "id", "req_lost", "req_new")

		deps.Audit = audit.New(db)
		if err := housekeeping(ctx, db, deps, now); err != nil { // kept for ever
			t.Fatal(err)
		}
		deps.AuditRetention = 30 * day
		if err := housekeeping(ctx, db, deps, now); err != nil {
			t.Fatal(err)
		}
		var left []string
		if err := db.Read().NewSelect().Table("audit_log").Column("id").Where("id IN ('aud_old', 'aud_new')").Scan(ctx, &left); err != nil || len(left) != 1 || left[0] != "aud_new" {
			t.Errorf("the audit log holds %v, %v", left, err)
		}
	})
}

func TestFailingPartsDoNotStopTheOthers(t *testing.T) {
	db := testdb.New(t, storage.SQLite)
	ctx, now := t.Context(), time.Now()
	ledger := usage.New(db, zerolog.Nop())
	defer func() { _ = ledger.Close(context.WithoutCancel(ctx)) }()
	if _, err := db.Acquire(ctx, "job:x:old", "somebody", now.Add(-time.Hour), time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Write().ExecContext(ctx, "DROP TABLE api_keys"); err != nil {
		t.Fatal(err)
	}
	deps := Deps{Accounts: accounts.New(db, accounts.Config{}), Usage: ledger, Archive: archive.New(db), KeyRetention: DefaultKeyRetention}
	if err := housekeeping(ctx, db, deps, now); err == nil {
		t.Error("housekeeping does not tell that it could not delete keys")
	}
	n, err := db.Read().NewSelect().Table("leases").Count(ctx)
	if err != nil || n != 0 {
		t.Errorf("%d leases are left (%v): a later part did not run", n, err)
	}
}
