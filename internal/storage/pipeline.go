package storage

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
)

// Pipeline is some statements that PostgreSQL gets in one message and runs in
// one transaction: one round trip, and nothing prepared, which poolers forbid.
type Pipeline struct {
	batch  pgconn.Batch
	oids   []uint32
	values [][]byte
	binary []int16
}

// Add appends a statement, whose parameters are the arrays.
func (p *Pipeline) Add(query string, arrays ...*Array) {
	p.oids, p.values, p.binary = p.oids[:0], p.values[:0], p.binary[:0]
	for _, a := range arrays {
		p.oids, p.values, p.binary = append(p.oids, a.kind.array), append(p.values, a.bytes()), append(p.binary, pgtype.BinaryFormatCode)
	}
	p.batch.ExecParams(query, p.values, p.oids, p.binary, nil)
}

// Send runs the pipeline and gives how many rows each statement changed. When one
// of them fails, none has changed anything.
func (db *DB) Send(ctx context.Context, p *Pipeline) (changed []int64, err error) {
	conn, err := db.write.DB.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("take a connection: %w", err)
	}
	defer func() { _ = conn.Close() }()
	err = conn.Raw(func(c any) error {
		results := c.(*stdlib.Conn).Conn().PgConn().ExecBatch(ctx, &p.batch)
		for results.NextResult() {
			tag, err := results.ResultReader().Close()
			if err != nil {
				_ = results.Close() // the first error tells more
				return err
			}
			changed = append(changed, tag.RowsAffected())
		}
		return results.Close()
	})
	return changed, err
}

// Array is a parameter of a [Pipeline], a column of many rows. It is used again
// after Reset.
type Array struct {
	kind kind
	n    uint32
	buf  []byte
}

type kind struct{ array, element uint32 }

// NewTexts makes an array of text.
func NewTexts() *Array { return newArray(kind{pgtype.TextArrayOID, pgtype.TextOID}) }

// NewInts makes an array of bigint.
func NewInts() *Array { return newArray(kind{pgtype.Int8ArrayOID, pgtype.Int8OID}) }

// NewBools makes an array of boolean.
func NewBools() *Array { return newArray(kind{pgtype.BoolArrayOID, pgtype.BoolOID}) }

// NewTimes makes an array of timestamptz.
func NewTimes() *Array { return newArray(kind{pgtype.TimestamptzArrayOID, pgtype.TimestamptzOID}) }

// The binary form of an array of one dimension: dimensions, whether it has nulls,
// the type of its elements, their number, and the first index.
const arrayHeader = 5 * 4

func newArray(k kind) *Array { return &Array{kind: k, buf: make([]byte, arrayHeader, 1024)} }

// Reset empties the array.
func (a *Array) Reset() { a.n, a.buf = 0, a.buf[:arrayHeader] }

func (a *Array) bytes() []byte {
	header := a.buf[:0:arrayHeader]
	for _, v := range [...]uint32{1, 0, a.kind.element, a.n, 1} {
		header = binary.BigEndian.AppendUint32(header, v)
	}
	return a.buf
}

// Text appends a text, which must not hold a zero byte.
func (a *Array) Text(s string) {
	a.n++
	a.buf = binary.BigEndian.AppendUint32(a.buf, uint32(len(s)))
	a.buf = append(a.buf, s...)
}

// Int appends a number.
func (a *Array) Int(v int64) {
	a.n++
	a.buf = append(a.buf, 0, 0, 0, 8)
	a.buf = binary.BigEndian.AppendUint64(a.buf, uint64(v))
}

// Bool appends a boolean.
func (a *Array) Bool(v bool) {
	a.n++
	a.buf = append(a.buf, 0, 0, 0, 1, 0)
	if v {
		a.buf[len(a.buf)-1] = 1
	}
}

// postgresEpoch is 2000-01-01 in microseconds since 1970.
const postgresEpoch = 946_684_800_000_000

// Time appends a time, cut to microseconds.
func (a *Array) Time(t time.Time) { a.Int(t.UnixMicro() - postgresEpoch) }
