package storage

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// Migrations are the files of SQL that [DB.Migrate] runs, by name: those for
// both databases, and folders of those for one of them, where they differ.
func Migrations() (fs.FS, error) { return fs.Sub(migrations, "migrations") }

// Migration is a step of the schema.
type Migration struct {
	Version   int64
	Name      string     // of its file, such as 00001_initial.sql
	AppliedAt *time.Time // nil: not yet
}

// Migrate brings the schema up to date and says how many steps it took. Any
// number of processes may do so at once: one works, the others wait for it, for
// five minutes at most on PostgreSQL, else until ctx ends.
func (db *DB) Migrate(ctx context.Context) (applied int, err error) {
	err = db.migrate(ctx, func(p *goose.Provider) error {
		results, err := p.Up(ctx)
		applied = len(results)
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			applied = len(partial.Applied)
		}
		return err
	})
	return applied, err
}

// MigrateDown takes back all steps above version to; 0 takes back all. The
// records in what it drops are lost.
func (db *DB) MigrateDown(ctx context.Context, to int64) error {
	return db.migrate(ctx, func(p *goose.Provider) error {
		_, err := p.DownTo(ctx, to)
		return err
	})
}

// MigrationStatus lists all steps that this program knows, the first first.
func (db *DB) MigrationStatus(ctx context.Context) ([]Migration, error) {
	var list []Migration
	err := db.migrate(ctx, func(p *goose.Provider) error {
		status, err := p.Status(ctx)
		for _, s := range status {
			m := Migration{Version: s.Source.Version, Name: path.Base(s.Source.Path)}
			if s.State == goose.StateApplied {
				at := s.AppliedAt.UTC()
				m.AppliedAt = &at
			}
			list = append(list, m)
		}
		return err
	})
	return list, err
}

// migrate runs fn while no other process can change the schema. Both locks go
// away with the process that holds them.
func (db *DB) migrate(ctx context.Context, fn func(*goose.Provider) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("migrate the %s schema: %w", db.dialect, err)
		}
	}()
	files, err := Migrations()
	if err != nil {
		return err
	}
	dialect := goose.DialectSQLite3
	options := []goose.ProviderOption{goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true)}
	if db.dialect == Postgres {
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
	} else {
		unlock, err := lockFile(ctx, db.path+".migrate.lock")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	p, err := goose.NewProvider(dialect, db.write.DB, ownMigrations{files, db.dialect}, options...)
	if err != nil {
		return err
	}
	return fn(p)
}

// lockFile waits for the lock. The file stays: removing it would let two
// processes lock two files of one name.
func lockFile(ctx context.Context, name string) (unlock func() error, err error) {
	f := flock.New(name, flock.SetPermissions(0o600))
	if _, err := f.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f.Unlock, nil
}

// ownMigrations are the files for all databases and those in the folder of one,
// as if they were in one folder.
type ownMigrations struct {
	fs.FS
	dialect string
}

func (m ownMigrations) Open(name string) (fs.File, error) {
	f, err := m.FS.Open(path.Join(m.dialect, name))
	if errors.Is(err, fs.ErrNotExist) {
		return m.FS.Open(name)
	}
	return f, err
}

// ReadDir is fs.ReadDirFS's, which fs.Glob looks for.
func (m ownMigrations) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(m.FS, name)
	if err != nil {
		return nil, err
	}
	own, err := fs.ReadDir(m.FS, path.Join(m.dialect, name))
	if errors.Is(err, fs.ErrNotExist) {
		return list, nil
	}
	return append(list, own...), err
}
