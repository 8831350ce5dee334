// Package storage opens what the product keeps its records in: a SQLite or
// PostgreSQL database, and Redis, which may be lost at any moment. Every rule
// about the records lives in the packages that own them.
package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"
)

// The dialects that [DB.Dialect] gives.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// DB is an open database. It is safe for concurrent use.
//
// Times that it reads have an offset of zero. Write them in UTC, cut to
// microseconds, which is what PostgreSQL keeps; SQLite keeps them as text that
// sorts by time only because every offset is the same.
type DB struct {
	dialect string
	read    *bun.DB
	write   *bun.DB
	path    string // of the SQLite file
	direct  Direct // whoever holds the writer's connection has it

	announced chan string
}

const allowedURLs = `allowed are "sqlite:<path>" such as sqlite:./data/coai.db, and "postgres://user:password@host:5432/database"`

// Open opens the database at url and checks that it answers.
//
// "sqlite:<path>" opens a file; it and its directory are made when they do not
// exist, readable by their owner alone. "postgres://…" (or "postgresql://…")
// takes the parameters of libpq, and for the pool pool_max_conns (default 20),
// pool_max_conn_lifetime (1h) and pool_max_conn_idle_time (5m).
// https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
//
// Errors name what is allowed and never hold a password.
func Open(ctx context.Context, url string) (*DB, error) {
	scheme, rest, found := strings.Cut(url, ":")
	switch {
	case url == "":
		return nil, errors.New("the database URL is empty: " + allowedURLs)
	case found && scheme == "sqlite":
		return openSQLite(ctx, rest)
	case found && (scheme == "postgres" || scheme == "postgresql") && strings.HasPrefix(rest, "//"):
		return openPostgres(ctx, url)
	}
	return nil, errors.New("the database URL is of an unknown form: " + allowedURLs)
}

// Path is that of the SQLite file; empty on PostgreSQL.
func (db *DB) Path() string { return db.path }

// Dialect is [SQLite] or [Postgres].
func (db *DB) Dialect() string { return db.dialect }

// Read is the pool for queries outside a transaction. On SQLite it cannot
// write, and it never waits for a writer; on PostgreSQL it is the only pool.
func (db *DB) Read() *bun.DB { return db.read }

// Write is the pool for single changes. On SQLite it is one connection: whoever
// holds it, such as the function of [DB.Tx], must use what it was given and
// nothing else of this DB that writes, or it waits for itself.
func (db *DB) Write() *bun.DB { return db.write }

// Tx runs fn in a transaction and commits it, or rolls it back when fn fails or
// panics. On SQLite the transaction takes the write lock at once, so that it
// cannot fail half-way for want of it.
func (db *DB) Tx(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	a := new(announced)
	if err := db.write.RunInTx(context.WithValue(ctx, announceKey{}, a), nil, fn); err != nil {
		return err
	}
	db.announce(a.ids)
	return nil
}

// Ping asks the database for an answer.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	if err := db.read.NewSelect().ColumnExpr("1").Scan(ctx, &one); err != nil {
		return fmt.Errorf("ping %s: %w", db.dialect, err)
	}
	return nil
}

// Close waits for queries that run and closes the connections.
func (db *DB) Close() error {
	var readErr error
	if db.read != db.write {
		readErr = db.read.Close()
	}
	// The writer goes last: the last SQLite connection folds the log into the file.
	return errors.Join(readErr, db.closeDirect(), db.write.Close())
}
