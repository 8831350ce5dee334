package storage_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
)

// schema describes all tables, columns, keys and indexes.
func schema(t *testing.T, db *storage.DB) []string {
	t.Helper()
	query := `SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_master WHERE name NOT LIKE '%goose%' AND name NOT LIKE 'sqlite%'`
	if db.Dialect() == storage.Postgres {
		query = `SELECT concat_ws(' ', table_name, ordinal_position, column_name, data_type, is_nullable, column_default)
				FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '%goose%'
			UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE '%goose%'
			UNION ALL SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
				WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT LIKE '%goose%'`
	}
	var lines []string
	if err := db.Read().NewRaw(query).Scan(t.Context(), &lines); err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

func TestMigrateUpDownUp(t *testing.T) {
	for _, dialect := range testdb.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			db := open(t, testdb.Open(t, dialect))
			status := func(applied bool) int {
				list, err := db.MigrationStatus(t.Context())
				if err != nil || len(list) == 0 {
					t.Fatalf("MigrationStatus = %v, %v", list, err)
				}
				if first := list[0]; first.Version != 1 || first.Name != "00001_initial.sql" {
					t.Errorf("the first migration is %+v", first)
				}
				for _, m := range list {
					if (m.AppliedAt != nil) != applied {
						t.Errorf("%s applied at %v; want applied = %v", m.Name, m.AppliedAt, applied)
					}
					if m.AppliedAt != nil && time.Since(*m.AppliedAt).Abs() > time.Hour {
						t.Errorf("%s applied at %s, which is not now", m.Name, m.AppliedAt)
					}
				}
				return len(list)
			}
			if lines := schema(t, db); len(lines) != 0 {
				t.Fatalf("a new database has %q", lines)
			}
			all := status(false)
			if n, err := db.Migrate(t.Context()); err != nil || n != all {
				t.Fatalf("Migrate = %d, %v; want %d", n, err, all)
			}
			status(true)
			first := schema(t, db)
			if len(first) < 16 {
				t.Errorf("the schema is only %q", first)
			}
			if n, err := db.Migrate(t.Context()); err != nil || n != 0 {
				t.Errorf("a second Migrate = %d, %v; want nothing to do", n, err)
			}
			insert(t, db, user("user_1", "a@example.com"))
			if err := db.MigrateDown(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			status(false)
			if lines := schema(t, db); len(lines) != 0 {
				t.Errorf("left after all the way down: %q", lines)
			}
			if n, err := db.Migrate(t.Context()); err != nil || n != all {
				t.Fatalf("Migrate again = %d, %v; want %d", n, err, all)
			}
			if again := schema(t, db); !slices.Equal(again, first) {
				t.Errorf("the schema was\n%q\nand is\n%q", first, again)
			}
			if n := count(t, db); n != 0 {
				t.Errorf("%d users came back", n)
			}
		})
	}
}

// Handles of their own stand for processes that start together.
func TestMigrateByManyAtOnce(t *testing.T) {
	for _, dialect := range testdb.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			url := testdb.Open(t, dialect)
			const processes = 6
			applied, errs := make([]int, processes), make([]error, processes)
			dbs := make([]*storage.DB, processes)
			for i := range dbs {
				dbs[i] = open(t, url)
			}
			var wg sync.WaitGroup
			start := make(chan struct{})
			for i, db := range dbs {
				wg.Go(func() {
					<-start
					applied[i], errs[i] = db.Migrate(t.Context())
				})
			}
			close(start)
			wg.Wait()
			total := 0
			for i := range dbs {
				if errs[i] != nil {
					t.Errorf("process %d: %v", i, errs[i])
				}
				total += applied[i]
			}
			list, err := dbs[0].MigrationStatus(t.Context())
			if err != nil || total != len(list) {
				t.Errorf("%v steps were taken, %d in all, %v; want %d", applied, total, err, len(list))
			}
		})
	}
}

func TestMigrateEndsWithItsContext(t *testing.T) {
	for _, dialect := range testdb.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			db := open(t, testdb.Open(t, dialect))
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := db.Migrate(ctx); err == nil {
				t.Error("migrated")
			}
			if n, err := db.Migrate(t.Context()); err != nil || n == 0 {
				t.Errorf("Migrate afterwards = %d, %v", n, err)
			}
		})
	}
}
