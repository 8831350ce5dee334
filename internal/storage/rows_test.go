package storage_test

import (
	"bytes"
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

// awkward is text that is easily spoilt between Go, JSON and SQL.
const awkward = `a'b"c\d\\e\u0041 ?0 ?TableAlias $1 -- /* %s; ` + "tab\tline\n é 世界 🙂"

func moment() time.Time { return time.Date(2026, 2, 28, 23, 59, 59, 123456000, time.UTC) }

func insert(t *testing.T, db *storage.DB, row any) {
	t.Helper()
	err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(row).Exec(ctx)
		return err
	})
	if err != nil {
		t.Fatalf("insert %T: %v", row, err)
	}
}

// roundTrip writes a row and reads it back.
func roundTrip[T any](t *testing.T, db *storage.DB, row *T) *T {
	t.Helper()
	insert(t, db, row)
	return readBack(t, db, row)
}

func readBack[T any](t *testing.T, db *storage.DB, row *T) *T {
	t.Helper()
	key := reflect.ValueOf(row).Elem().FieldByName("ID")
	column := "id"
	for _, other := range []string{"Name", "Model"} {
		if !key.IsValid() {
			key, column = reflect.ValueOf(row).Elem().FieldByName(other), strings.ToLower(other)
		}
	}
	got := new(T)
	if err := db.Read().NewSelect().Model(got).Where("? = ?", bun.Ident(column), key.String()).Scan(t.Context()); err != nil {
		t.Fatalf("read %T: %v", row, err)
	}
	return got
}

// same compares rows, times by their moment. It also wants each time to have
// no offset, and no field to be left at its zero value if full.
func same(t *testing.T, got, want any, full bool) {
	t.Helper()
	g, w := reflect.ValueOf(got).Elem(), reflect.ValueOf(want).Elem()
	for i := range g.NumField() {
		field := g.Type().Field(i)
		if field.Type == reflect.TypeFor[bun.BaseModel]() || strings.HasPrefix(field.Tag.Get("bun"), "-") {
			continue
		}
		gv, wv := g.Field(i), w.Field(i)
		if full && wv.IsZero() {
			t.Errorf("%s of the test's %T is not set", field.Name, want)
		}
		gt, isTime := moments(gv)
		wt, _ := moments(wv)
		switch {
		case isTime && (gt == nil) != (wt == nil), !isTime && !reflect.DeepEqual(gv.Interface(), wv.Interface()):
			t.Errorf("%s = %#v; want %#v", field.Name, gv.Interface(), wv.Interface())
		case gt != nil:
			if _, offset := gt.Zone(); !gt.Equal(*wt) || offset != 0 {
				t.Errorf("%s = %s; want %s", field.Name, gt, wt.UTC())
			}
		}
	}
}

func moments(v reflect.Value) (at *time.Time, isTime bool) {
	switch m := v.Interface().(type) {
	case time.Time:
		return &m, true
	case *time.Time:
		return m, true
	}
	return nil, false
}

func user(id, email string) *models.User {
	return &models.User{
		ID: id, Email: email, Role: models.RoleUser, Tier: models.TierFree, Status: models.UserActive,
		CreatedAt: moment(), UpdatedAt: moment(), Preferences: models.JSON("{}"),
	}
}

func TestEveryRowRoundTrips(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		elsewhere := moment().In(time.FixedZone("there", -5*3600-1800))
		hash := []byte{0, 1, '\'', '\\', 0xff, '"', 0}

		t.Run("user", func(t *testing.T) {
			full := &models.User{
				ID: "user_1", Email: "a@example.com", Name: awkward, AvatarURL: new(awkward),
				Role: models.RoleAdmin, Tier: models.TierEnterprise, Status: models.UserSuspended, Groups: []string{"team", awkward},
				CreatedAt: elsewhere, UpdatedAt: moment(),
				PendingEmail: new(awkward), EmailVerifiedAt: new(moment()), Preferences: models.JSON("{}"),
				PasswordHash: new("$argon2id$…"), DeletedAt: new(moment()),
			}
			same(t, roundTrip(t, db, full), full, true)
			bare := user("user_2", "b@example.com")
			same(t, roundTrip(t, db, bare), bare, false)
		})
		t.Run("api key", func(t *testing.T) {
			full := &models.APIKey{
				ID: "key_1", UserID: "user_1", Name: awkward, Display: "sk-coai-…AbC1", Hash: hash,
				Scopes: models.AllScopes(), AllowedModels: []string{"gpt-4o", awkward}, AllowedCIDRs: []string{"10.0.0.0/8", "::1/128"}, ChannelTags: []string{"eu"},
				Limits:    models.KeyLimits{RPM: new(1), TPM: new(2), Concurrency: new(3)},
				ExpiresAt: new(elsewhere), RevokedAt: new(moment()), LastUsedAt: new(moment()), CreatedAt: moment(),
				PreviousHash: append(hash, 1), PreviousExpiresAt: new(elsewhere), CacheTTLSeconds: 60,
			}
			same(t, roundTrip(t, db, full), full, true)
			bare := &models.APIKey{ID: "key_2", UserID: "user_1", Hash: []byte{1}, CreatedAt: moment()}
			got := roundTrip(t, db, bare)
			if got.Scopes == nil || got.AllowedModels == nil || got.AllowedCIDRs == nil || got.PreviousHash != nil {
				t.Errorf("absent lists came back as %#v", got)
			}
			same(t, got, bare, false)
			isNull(t, db, "api_keys", "key_2", "previous_hash", "expires_at")
		})
		t.Run("plan", func(t *testing.T) {
			got := readBack(t, db, &models.Plan{ID: "plan_free"})
			want := &models.Plan{ID: "plan_free", Tier: models.TierFree, RequestsPerMinute: 60, RequestsPerHour: 1000, RequestsPerDay: 10000}
			same(t, got, want, false)
			odd := &models.Plan{ID: "plan_x", Tier: "x", RequestsPerMinute: 1, RequestsPerHour: 2, RequestsPerDay: 1_000_000_000, Concurrency: new(7)}
			same(t, roundTrip(t, db, odd), odd, true)
		})
		t.Run("channel", func(t *testing.T) {
			full := &models.Channel{
				ID: "ch_1", Name: awkward, Type: models.ChannelOpenAI, BaseURL: "https://example.com/v1?a=b",
				Models: []string{"a", awkward}, ModelMapping: models.StringMap{"a": "b", awkward: awkward},
				Priority: -5, Weight: 7, Enabled: true,
				Limits: models.ChannelLimits{RPM: new(1), TPM: new(2), Concurrency: new(3)},
				Settings: models.ChannelSettings{
					Headers: models.StringMap{"X-A": awkward}, Organization: new("org"), ProxyURL: new("socks5://p:1"),
					ConnectTimeoutMS: new(1), FirstByteTimeoutMS: new(2), IdleTimeoutMS: new(3),
				},
				Sealed: hash, KeyHint: new("****1234"), KeyHints: []string{"****1234", "****5678"},
				Tags: []string{"eu", awkward}, Groups: []string{"team"}, CreatedAt: elsewhere, UpdatedAt: moment(),
			}
			same(t, roundTrip(t, db, full), full, true)
			bare := &models.Channel{ID: "ch_2", Type: models.ChannelEcho, CreatedAt: moment(), UpdatedAt: moment()}
			got := roundTrip(t, db, bare)
			if got.Models == nil || got.ModelMapping == nil || got.Sealed != nil {
				t.Errorf("absent lists came back as %#v", got)
			}
			same(t, got, bare, false)
			isNull(t, db, "channels", "ch_2", "sealed_credential", "key_hint")
		})
		t.Run("model", func(t *testing.T) {
			full := &models.Model{
				Name: awkward, DisplayName: awkward, OwnedBy: "coai", ContextWindow: new(1 << 30), MaxOutputTokens: new(4096),
				Capabilities: []string{"vision"}, Aliases: []string{awkward},
				Routing: new(models.RoutingCacheSticky), Tiers: models.Tiers(), Groups: []string{"team", awkward},
				CreatedAt: new(elsewhere), UpdatedAt: new(moment()),
			}
			same(t, roundTrip(t, db, full), full, true)
			bare := &models.Model{Name: "bare"}
			got := roundTrip(t, db, bare)
			if got.Capabilities == nil || got.Aliases == nil {
				t.Errorf("absent lists came back as %#v", got)
			}
			same(t, got, bare, false)
		})
		t.Run("price", func(t *testing.T) {
			full := &models.ModelPrice{
				Model: awkward, Source: models.PriceAdmin, EffectiveFrom: elsewhere,
				Pricing: &models.Pricing{Prompt: 37, Completion: 1_000_000 * models.Dollar, CachedRead: new(models.Nanos(1))},
			}
			same(t, roundTrip(t, db, full), full, false)
			free := &models.ModelPrice{Model: "free", Source: models.PriceImport, EffectiveFrom: moment(), Pricing: &models.Pricing{}}
			same(t, roundTrip(t, db, free), free, false)
			none := &models.ModelPrice{Model: "none", Source: models.PriceImport, EffectiveFrom: moment()}
			same(t, roundTrip(t, db, none), none, false)
		})
		t.Run("usage record", func(t *testing.T) {
			full := &models.UsageRecord{
				ID: "req_1", RequestID: "req_0", UserID: "user_1", APIKeyID: "key_1", ChannelID: "ch_1",
				Model: awkward, UpstreamModel: awkward, Operation: models.OperationChat, Stream: true, Status: models.UsageSettled, ErrorCode: "upstream_error",
				PromptTokens: 1, CompletionTokens: 2, CachedTokens: 3, ReasoningTokens: 4, Estimated: true,
				Cost: -9_000_000_000_000_000_001, LatencyMS: 5, TTFTMS: 6,
				CreatedAt: elsewhere, SettledAt: new(moment()), EstimatedPromptTokens: 7, EstimatedCompletionTokens: 8,
			}
			same(t, roundTrip(t, db, full), full, true)
			bare := &models.UsageRecord{ID: "req_2", Status: models.UsagePending, CreatedAt: moment()}
			same(t, roundTrip(t, db, bare), bare, false)
			isNull(t, db, "usage_records", "req_2", "settled_at")
		})
		t.Run("many at once", func(t *testing.T) {
			rows := []*models.Model{{Name: "many 1"}, {Name: "many 2"}}
			insert(t, db, &rows)
			for _, row := range rows {
				if got := readBack(t, db, row); got.Aliases == nil {
					t.Error("absent lists came back as nil")
				}
			}
		})
		t.Run("update", func(t *testing.T) {
			row := readBack(t, db, &models.Channel{ID: "ch_1"})
			row.Models, row.ModelMapping, row.Limits, row.KeyHint, row.Sealed = nil, nil, models.ChannelLimits{}, nil, nil
			if _, err := db.Write().NewUpdate().Model(row).WherePK().Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
			same(t, readBack(t, db, row), row, false)
			isNull(t, db, "channels", "ch_1", "sealed_credential", "key_hint")
		})
	})
}

// isNull checks that the columns hold SQL's NULL, not JSON's.
func isNull(t *testing.T, db *storage.DB, table, id string, columns ...string) {
	t.Helper()
	for _, column := range columns {
		var null bool
		err := db.Read().NewSelect().Table(table).ColumnExpr("? IS NULL", bun.Ident(column)).Where("id = ?", id).Scan(t.Context(), &null)
		if err != nil || !null {
			t.Errorf("%s.%s of %s is not NULL (%v)", table, column, id, err)
		}
	}
}

func TestPriceWithoutPricingIsNull(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		insert(t, db, &models.ModelPrice{Model: "bare", Source: models.PriceAdmin, EffectiveFrom: moment()})
		var null bool
		if err := db.Read().NewRaw("SELECT pricing IS NULL FROM model_prices").Scan(t.Context(), &null); err != nil || !null {
			t.Errorf("pricing IS NULL = %v, %v", null, err)
		}
	})
}

// Rows are found by bytes and by time, so both must compare as in Go.
func TestComparisons(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		insert(t, db, user("user_1", "a@example.com"))
		base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		steps := []time.Duration{
			0, time.Microsecond, 10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, 99 * time.Millisecond,
			100 * time.Millisecond, 500 * time.Millisecond, 510 * time.Millisecond, time.Second, time.Minute, 24 * time.Hour,
		}
		zones := []*time.Location{time.UTC, time.FixedZone("east", 9*3600), time.FixedZone("west", -8*3600)}
		for i, step := range steps {
			at := base.Add(step).In(zones[i%len(zones)])
			insert(t, db, &models.APIKey{ID: "key_" + step.String(), UserID: "user_1", Hash: []byte{byte(i)}, CreatedAt: at})
		}
		for i, step := range steps {
			at := base.Add(step)
			n, err := db.Read().NewSelect().Model((*models.APIKey)(nil)).Where("created_at < ?", at.In(zones[(i+1)%len(zones)])).Count(t.Context())
			if err != nil || n != int64(i) {
				t.Errorf("%d keys are older than %s, %v; want %d", n, at, err, i)
			}
			var key models.APIKey
			err = db.Read().NewSelect().Model(&key).Where("hash = ?", []byte{byte(i)}).Scan(t.Context())
			if err != nil || !bytes.Equal(key.Hash, []byte{byte(i)}) || !key.CreatedAt.Equal(at) {
				t.Errorf("the key of hash %d: %v, %v", i, key, err)
			}
		}
		var ids []string
		err := db.Read().NewSelect().Model((*models.APIKey)(nil)).Column("id").OrderBy("created_at", bun.OrderDesc).Scan(t.Context(), &ids)
		if err != nil || len(ids) != len(steps) || ids[0] != "key_24h0m0s" || ids[len(ids)-1] != "key_0s" {
			t.Errorf("the newest first: %v, %v", ids, err)
		}
	})
}

func TestConstraints(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		insert(t, db, user("user_1", "a@example.com"))
		insert(t, db, &models.APIKey{ID: "key_1", UserID: "user_1", Hash: []byte{1}, CreatedAt: moment()})
		insert(t, db, &models.Model{Name: "m"})
		for name, c := range map[string]struct {
			row    any
			unique bool
		}{
			"email":      {user("user_2", "a@example.com"), true},
			"user id":    {user("user_1", "b@example.com"), true},
			"key hash":   {&models.APIKey{ID: "key_2", UserID: "user_1", Hash: []byte{1}, CreatedAt: moment()}, true},
			"plan tier":  {&models.Plan{ID: "plan_2", Tier: models.TierFree}, true},
			"model name": {&models.Model{Name: "m"}, true},
			"no user":    {&models.APIKey{ID: "key_3", UserID: "nobody", Hash: []byte{3}, CreatedAt: moment()}, false},
			"no hash":    {&models.APIKey{ID: "key_4", UserID: "user_1", CreatedAt: moment()}, false},
		} {
			_, err := db.Write().NewInsert().Model(c.row).Exec(t.Context())
			if err == nil || storage.UniqueViolation(err) != c.unique {
				t.Errorf("%s: %v; UniqueViolation should be %v", name, err, c.unique)
			}
		}
		if _, err := db.Write().NewDelete().Model((*models.User)(nil)).Where("id = ?", "user_1").Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, err := db.Read().NewSelect().Model((*models.APIKey)(nil)).Count(t.Context()); err != nil || n != 0 {
			t.Errorf("%d keys of a deleted user are left, %v", n, err)
		}
	})
	if storage.UniqueViolation(nil) || storage.UniqueViolation(context.Canceled) {
		t.Error("UniqueViolation of another error")
	}
}

func TestPlansAreSeeded(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		var plans []models.Plan
		if err := db.Read().NewSelect().Model(&plans).Order("requests_per_minute").Scan(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []models.Plan{
			{ID: "plan_free", Tier: models.TierFree, RequestsPerMinute: 60, RequestsPerHour: 1000, RequestsPerDay: 10000},
			{ID: "plan_pro", Tier: models.TierPro, RequestsPerMinute: 300, RequestsPerHour: 10000, RequestsPerDay: 100000},
			{ID: "plan_enterprise", Tier: models.TierEnterprise, RequestsPerMinute: 1000, RequestsPerHour: 50000, RequestsPerDay: 1000000},
		}
		if !reflect.DeepEqual(plans, want) {
			t.Errorf("plans = %+v", plans)
		}
	})
}
