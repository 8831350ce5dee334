package storage

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
)

// TimeLayout is how SQLite keeps times: as bun writes them, in UTC.
const TimeLayout = "2006-01-02 15:04:05.999999-07:00"

// Direct is a transaction on SQLite's only writer that speaks to the driver
// itself, with statements that stay prepared: for what every request writes, the
// general way costs more than the database does. It is for one goroutine, until
// the function that was given it returns.
type Direct struct {
	ctx   context.Context // without an end: the driver starts a watcher for one that has
	conn  driver.Conn
	stmts map[string]driver.Stmt // by their text
	args  []driver.NamedValue
	row   []driver.Value
}

// Direct runs fn in a transaction on SQLite's writer, which takes the write lock
// at once, and commits it, or rolls it back when fn fails. The end of ctx ends
// the wait for the writer and for the lock; what runs then is short.
func (db *DB) Direct(ctx context.Context, fn func(*Direct) error) error {
	conn, err := db.write.DB.Conn(ctx)
	if err != nil {
		return fmt.Errorf("take the writer: %w", err)
	}
	defer func() { _ = conn.Close() }()
	return conn.Raw(func(c any) error {
		d := &db.direct
		if d.conn != c { // the first time, or after the pool has replaced it
			*d = Direct{conn: c.(driver.Conn), stmts: make(map[string]driver.Stmt)}
		}
		d.ctx = context.WithoutCancel(ctx)
		if _, err := d.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		err := fn(d)
		if err == nil {
			_, err = d.Exec("COMMIT")
		}
		if err != nil {
			_, _ = d.Exec("ROLLBACK") // the first error tells more
		}
		return err
	})
}

// Exec runs one statement and gives how many rows it changed. The text must be
// one of few: it stays prepared.
func (d *Direct) Exec(query string, args ...any) (int64, error) {
	return d.exec(d.ctx, query, args...)
}

func (d *Direct) exec(ctx context.Context, query string, args ...any) (int64, error) {
	s, err := d.prepared(query)
	if err != nil {
		return 0, err
	}
	res, err := s.(driver.StmtExecContext).ExecContext(ctx, d.named(args))
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// Query runs one statement that gives rows, and hands each to fn, which must not
// keep it.
func (d *Direct) Query(query string, fn func(row []driver.Value) error, args ...any) (err error) {
	s, err := d.prepared(query)
	if err != nil {
		return err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(d.ctx, d.named(args))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	n := len(rows.Columns())
	for len(d.row) < n {
		d.row = append(d.row, nil)
	}
	for {
		if err := rows.Next(d.row[:n]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := fn(d.row[:n]); err != nil {
			return err
		}
	}
}

func (d *Direct) prepared(query string) (driver.Stmt, error) {
	if s, ok := d.stmts[query]; ok {
		return s, nil
	}
	s, err := d.conn.Prepare(query)
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	d.stmts[query] = s
	return s, nil
}

func (d *Direct) named(args []any) []driver.NamedValue {
	d.args = d.args[:0]
	for i, a := range args {
		d.args = append(d.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return d.args
}

// closeDirect ends the prepared statements, without which SQLite would keep the
// connection, and its log, open.
func (db *DB) closeDirect() error {
	if db.dialect != SQLite {
		return nil
	}
	conn, err := db.write.DB.Conn(context.Background()) //nolint:forbidigo // Close waits for whoever has the writer
	if err != nil {
		return nil // closed already
	}
	defer func() { _ = conn.Close() }()
	return conn.Raw(func(c any) error {
		var err error
		if db.direct.conn == c {
			for _, s := range db.direct.stmts {
				err = errors.Join(err, s.Close())
			}
		}
		db.direct = Direct{}
		return err
	})
}
