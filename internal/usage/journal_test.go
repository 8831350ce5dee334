package usage_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/budgets"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

// journals are the files beside a SQLite database that tell what has begun.
func journals(t *testing.T, db *storage.DB) []string {
	t.Helper()
	list, err := filepath.Glob(db.Path() + "-begun-*")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func free(name string) *models.UsageRecord {
	return &models.UsageRecord{
		ID: models.NewID(models.RequestPrefix), RequestID: name, UserID: alice, APIKeyID: key, ChannelID: "ch", Model: "m",
		UpstreamModel: "up", Operation: models.OperationEmbeddings, Stream: true, PromptTokens: 7, Cost: models.Dollar,
	}
}

func read(t *testing.T, db *storage.DB, id string) *models.UsageRecord {
	t.Helper()
	r := new(models.UsageRecord)
	if err := db.Read().NewSelect().Model(r).Where("id = ?", id).Scan(t.Context()); err != nil {
		t.Fatalf("record %s: %v", id, err)
	}
	return r
}

// What a process leaves open is closed by the next one, with what was noted
// last, and charged to the budgets; what it has settled is left alone.
func TestJournalOfAnEndedProcess(t *testing.T) {
	t.Parallel()
	db, now := testdb.New(t, storage.SQLite), time.Now()
	died := open(t, db)
	whole, plain, streamed := free("whole"), free("plain"), free("streamed")
	for _, r := range []*models.UsageRecord{whole, plain, streamed} {
		if err := died.Begin(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	died.Checkpoint(streamed.ID, 40, 3*models.Dollar)
	if err := died.SaveCheckpoints(); err != nil {
		t.Fatal(err)
	}
	if err := died.Settle(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	limit(t, db, budgets.Owner{UserID: alice}, models.PeriodTotal, 100*models.Dollar, now)

	next := open(t, db)
	if n, err := next.Recover(t.Context(), now); err != nil || n != 0 {
		t.Fatalf("recovered %d of a process that lives, %v", n, err)
	}
	if err := died.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := next.Recover(t.Context(), now); err != nil || n != 2 {
		t.Fatalf("recovered %d, %v", n, err)
	}
	if r := read(t, db, whole.ID); r.Status != models.UsageSettled {
		t.Errorf("settled record = %+v", r)
	}
	r := read(t, db, plain.ID)
	want := *plain
	want.Status, want.Estimated, want.EstimatedPromptTokens, want.SettledAt = models.UsageRecovered, true, 7, r.SettledAt
	want.CreatedAt = plain.CreatedAt.UTC()
	if r.CreatedAt = r.CreatedAt.UTC(); fmt.Sprint(*r) != fmt.Sprint(want) {
		t.Errorf("record = %+v, want %+v", *r, want)
	}
	if r := read(t, db, streamed.ID); r.CompletionTokens != 40 || r.Cost != 3*models.Dollar {
		t.Errorf("streamed record = %+v", r)
	}
	if b := budget(t, db, alice, models.PeriodTotal, now); b.Spent != 5*models.Dollar || b.Held != 0 {
		t.Errorf("budget = %+v", b)
	}
	if left := journals(t, db); len(left) != 0 {
		t.Errorf("files are left: %v", left)
	}
	if n, err := next.Recover(t.Context(), now); err != nil || n != 0 {
		t.Errorf("recovered %d again, %v", n, err)
	}
}

// A process that ends in order leaves no file, however much it has begun, and
// what stays open over many turns of the journal is not lost.
func TestJournalTurnsOver(t *testing.T) {
	t.Parallel()
	db := testdb.New(t, storage.SQLite)
	l := open(t, db)
	long := free("long")
	long.Model = strings.Repeat("m", 10_000)
	if err := l.Begin(t.Context(), long); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		var list []*models.UsageRecord
		for range 100 { // 400 of them fill a half
			r := free("short")
			r.UpstreamModel = strings.Repeat("u", 5_000)
			if err := l.Begin(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			list = append(list, r)
		}
		if i == 15 { // and a thousand do not fit in
			continue
		}
		for _, r := range list[:3] {
			if err := l.Settle(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := open(t, db)
	if n, err := next.Recover(t.Context(), time.Now()); err != nil || n != 1+20*100-19*3 {
		t.Errorf("recovered %d, %v", n, err)
	}
	if r := read(t, db, long.ID); r.Model != long.Model {
		t.Errorf("the model is %d long", len(r.Model))
	}
	r := free("last")
	if err := next.Begin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := next.Settle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := next.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := journals(t, db); len(left) != 0 {
		t.Errorf("files are left: %v", left)
	}
}

// A frame that was cut off by the end of the process, or spoiled by that of the
// machine, takes nothing with it that was whole before.
func TestJournalThatIsTorn(t *testing.T) {
	t.Parallel()
	db := testdb.New(t, storage.SQLite)
	l := open(t, db)
	first, second := free("first"), free("second")
	for _, r := range []*models.UsageRecord{first, second} {
		if err := l.Begin(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := strings.TrimSuffix(journals(t, db)[0], ".lock")
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(file), second.ID)
	file[at] ^= 1
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	next := open(t, db)
	if n, err := next.Recover(t.Context(), time.Now()); err != nil || n != 1 {
		t.Errorf("recovered %d, %v", n, err)
	}
	read(t, db, first.ID)
}

// A record whose caller gave it up in a living process is closed by that one.
func TestForsakenRecordIsRecovered(t *testing.T) {
	t.Parallel()
	db := testdb.New(t, storage.SQLite)
	l := open(t, db)
	given, kept := free("given up"), free("kept")
	for _, r := range []*models.UsageRecord{given, kept} {
		if err := l.Begin(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // the writer may be as fast as the context
		_ = l.Settle(gone, given)
	}
	if n, err := l.Recover(t.Context(), time.Now()); err != nil || n != 0 {
		t.Fatalf("recovered %d before the lease ran out, %v", n, err)
	}
	if _, err := l.Recover(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	read(t, db, given.ID)
	read(t, db, kept.ID)
	if n, err := db.Read().NewSelect().Table("usage_records").Count(t.Context()); err != nil || n != 2 {
		t.Errorf("%d records, %v", n, err)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte{})
	f.Add(usage.JournalOf(free("a"), free("b")))
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, r := range usage.Replay(file) {
			if r == nil {
				t.Error("a record is nothing")
			}
		}
		// The same entries in a frame that is whole.
		usage.Replay(usage.Framed(file))
	})
}
