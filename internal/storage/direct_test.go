package storage_test

import (
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
)

func leases(t *testing.T, db *storage.DB) int64 {
	t.Helper()
	var n int64
	if err := db.Read().NewRaw("SELECT COUNT(*) FROM leases").Scan(t.Context(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// What fails leaves nothing behind, and the writer is free for others again.
func TestDirectIsATransaction(t *testing.T) {
	t.Parallel()
	db := testdb.New(t, storage.SQLite)
	const insert = "INSERT INTO leases (name, holder, expires_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING"
	failure := errors.New("no")
	for _, fail := range []bool{false, true, false} {
		err := db.Direct(t.Context(), func(d *storage.Direct) error {
			for _, name := range []string{"a", "b", "a"} {
				if _, err := d.Exec(insert, name, "me", time.Now().UTC().Format(storage.TimeLayout)); err != nil {
					return err
				}
			}
			if fail {
				return failure
			}
			return nil
		})
		if fail != errors.Is(err, failure) || !fail && err != nil {
			t.Fatal(err)
		}
		if fail {
			continue
		}
		if n := leases(t, db); n != 2 {
			t.Errorf("%d rows", n)
		}
		if _, err := db.Write().ExecContext(t.Context(), "DELETE FROM leases WHERE name = 'c'"); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	err := db.Direct(t.Context(), func(d *storage.Direct) error {
		n, err := d.Exec("DELETE FROM leases WHERE name = ?", "b")
		if n != 1 {
			t.Errorf("%d rows deleted", n)
		}
		return errors.Join(err, d.Query("SELECT name FROM leases ORDER BY name", func(row []driver.Value) error {
			names = append(names, row[0].(string))
			return nil
		}))
	})
	if err != nil || len(names) != 1 || names[0] != "a" {
		t.Errorf("%v, %v", names, err)
	}
}

// All statements of a pipeline count, or none.
func TestPipelineIsATransaction(t *testing.T) {
	t.Parallel()
	db := testdb.New(t, storage.Postgres)
	const insert = "INSERT INTO leases (name, holder, expires_at) SELECT * FROM unnest($1, $2, $3) ON CONFLICT (name) DO NOTHING"
	names, holders, times := storage.NewTexts(), storage.NewTexts(), storage.NewTimes()
	at := time.Date(2026, 2, 3, 4, 5, 6, 789_000, time.UTC)
	for _, name := range []string{"a", "", "ü'\"\\"} {
		names.Text(name)
		holders.Text("me")
		times.Time(at)
	}
	var p storage.Pipeline
	p.Add(insert, names, holders, times)
	p.Add("DELETE FROM leases WHERE name = ANY ($1)", names)
	p.Add(insert, names, holders, times)
	changed, err := db.Send(t.Context(), &p)
	if err != nil || len(changed) != 3 || changed[0] != 3 || changed[1] != 3 || changed[2] != 3 {
		t.Fatalf("%v, %v", changed, err)
	}
	var expires time.Time
	if err := db.Read().NewRaw("SELECT expires_at FROM leases WHERE name = ?", "ü'\"\\").Scan(t.Context(), &expires); err != nil || !expires.Equal(at) {
		t.Errorf("%s, %v", expires, err)
	}
	numbers, flags := storage.NewInts(), storage.NewBools()
	for _, n := range []int64{-1, 1 << 62} {
		numbers.Int(n)
		flags.Bool(n > 0)
	}
	var broken storage.Pipeline
	broken.Add("DELETE FROM leases WHERE (-1 = ANY ($1)) AND (TRUE = ANY ($2))", numbers, flags)
	broken.Add("DELETE FROM no_such_table")
	if _, err := db.Send(t.Context(), &broken); err == nil {
		t.Error("a statement without its table succeeds")
	}
	if n := leases(t, db); n != 3 {
		t.Errorf("%d rows after a failure", n)
	}
}
