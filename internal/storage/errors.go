package storage

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
)

// Codes of a violated uniqueness.
// https://www.sqlite.org/rescode.html and
// https://www.postgresql.org/docs/current/errcodes-appendix.html
const (
	sqliteConstraintPrimaryKey = 1555
	sqliteConstraintUnique     = 2067
	postgresUniqueViolation    = "23505"
)

// UniqueViolation says whether err comes from a row that would repeat a primary
// key or a unique value.
func UniqueViolation(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return lite.Code() == sqliteConstraintPrimaryKey || lite.Code() == sqliteConstraintUnique
	}
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == postgresUniqueViolation
}
