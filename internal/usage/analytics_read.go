package usage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"
)

const (
	// loadBytes is how much of packed hours is read before it is counted.
	loadBytes = 32 << 20
	// loadHours is how many hours one statement reads.
	loadHours = 256
)

// rollupState is the row of usage_rollup.
type rollupState struct {
	bun.BaseModel `bun:"table:usage_rollup"`

	RolledUntil time.Time `bun:"rolled_until"`
	SealedUntil time.Time `bun:"sealed_until"`
	Barrier     *int64    `bun:"barrier"`
	Version     int64     `bun:"version"`
}

func readRollupState(ctx context.Context, db bun.IDB) (*rollupState, error) {
	st := new(rollupState)
	if err := db.NewSelect().Model(st).Scan(ctx); err != nil {
		return nil, fmt.Errorf("read the state of the roll-up: %w", err)
	}
	return st, nil
}

// packed says where a packed hour is.
type packed struct {
	Hour    int64
	Version int64
	Size    int64
}

// span is a range of time in Unix microseconds; the end is outside.
type span struct{ from, to int64 }

// ask counts everything between the first and the last bound.
func (a *Analytics) ask(ctx context.Context, q *question) (counted counts, err error) {
	err = a.snapshot(ctx, func(ctx context.Context, tx bun.Tx) error {
		st, err := readRollupState(ctx, tx)
		if err != nil {
			return err
		}
		all := span{q.bounds[0], q.bounds[len(q.bounds)-1]}
		raw, err := rawSpans(ctx, tx, q, all, st.RolledUntil.UnixMicro())
		if err != nil {
			return err
		}
		list, err := packedHours(ctx, tx, all, raw)
		if err != nil {
			return err
		}
		if counted, err = a.askPacked(ctx, tx, q, list); err != nil {
			return err
		}
		for _, s := range raw {
			err := eachRecord(ctx, tx, s, q.values, func(r *rawRecord) error { return q.count(r, a.names, counted) })
			if err != nil {
				return err
			}
		}
		return nil
	})
	return counted, err
}

// rawSpans are the parts of all that have to be read from the records: what is
// not rolled up, hours that changed since, and hours in which a bucket ends
// between quarters. They are whole hours, but for the ends of all.
func rawSpans(ctx context.Context, tx bun.IDB, q *question, all span, rolled int64) ([]span, error) {
	hours := map[int64]bool{}
	for _, b := range q.bounds {
		if b%quarterMicros != 0 {
			hours[b/hourMicros] = true
		}
	}
	var late []int64
	err := tx.NewSelect().Table("usage_late").Column("hour").
		Where("hour >= ?", all.from/hourMicros).Where("hour <= ?", all.to/hourMicros).Scan(ctx, &late)
	if err != nil {
		return nil, fmt.Errorf("find changed hours: %w", err)
	}
	for _, h := range late {
		hours[h] = true
	}
	var list []span
	for h := range hours {
		if s := (span{max(all.from, h*hourMicros), min(all.to, (h+1)*hourMicros, rolled)}); s.from < s.to {
			list = append(list, s)
		}
	}
	if s := (span{max(all.from, rolled), all.to}); s.from < s.to {
		list = append(list, s)
	}
	slices.SortFunc(list, func(x, y span) int { return int(x.from/hourMicros - y.from/hourMicros) })
	joined := list[:0]
	for _, s := range list {
		if n := len(joined); n > 0 && joined[n-1].to == s.from {
			joined[n-1].to = s.to
			continue
		}
		joined = append(joined, s)
	}
	return joined, nil
}

// packedHours are the packed hours in all that no raw span has.
func packedHours(ctx context.Context, tx bun.IDB, all span, raw []span) ([]packed, error) {
	var list []packed
	err := tx.NewSelect().Table("usage_hours").Column("hour", "version", "size").
		Where("hour >= ?", all.from/hourMicros).Where("hour < ?", (all.to+hourMicros-1)/hourMicros).
		OrderExpr("hour").Scan(ctx, &list)
	if err != nil {
		return nil, fmt.Errorf("find packed hours: %w", err)
	}
	at := 0
	return slices.DeleteFunc(list, func(p packed) bool {
		from := p.Hour * hourMicros
		for at < len(raw) && raw[at].to <= from {
			at++
		}
		return at < len(raw) && raw[at].from < from+hourMicros
	}), nil
}

// askPacked counts packed hours, a bounded part of them at a time.
func (a *Analytics) askPacked(ctx context.Context, tx bun.IDB, q *question, list []packed) (counts, error) {
	counted := counts{}
	for len(list) > 0 {
		n, size := 0, int64(0)
		part := make([]hourSegment, 0, len(list))
		var missing []packed
		for ; n < len(list) && size < loadBytes; n++ {
			if s, ok := a.segments.GetIfPresent(list[n].Hour); ok && s.version == list[n].Version {
				part = append(part, hourSegment{list[n].Hour, s})
				continue
			}
			missing = append(missing, list[n])
			size += list[n].Size
		}
		list = list[n:]
		loaded, err := a.load(ctx, tx, missing)
		if err != nil {
			return nil, err
		}
		q.resolve(a.names)
		found, err := q.scan(ctx, append(part, loaded...))
		if err != nil {
			return nil, err
		}
		if len(counted) == 0 {
			counted = found
		} else if err := counted.merge(found); err != nil {
			return nil, err
		}
	}
	return counted, nil
}

// load reads packed hours, and keeps them.
func (a *Analytics) load(ctx context.Context, tx bun.IDB, list []packed) ([]hourSegment, error) {
	out := make([]hourSegment, 0, len(list))
	for part := range slices.Chunk(list, loadHours) {
		hours := make([]int64, len(part))
		for i, p := range part {
			hours[i] = p.Hour
		}
		var rows []struct {
			Hour    int64
			Version int64
			Data    []byte
		}
		err := tx.NewSelect().Table("usage_hours").Column("hour", "version", "data").Where("hour IN (?)", bun.List(hours)).Scan(ctx, &rows)
		if err != nil {
			return nil, fmt.Errorf("read packed hours: %w", err)
		}
		for _, row := range rows {
			s, err := readSegment(row.Version, row.Data, a.names)
			if err != nil {
				return nil, fmt.Errorf("hour %d: %w", row.Hour, err)
			}
			a.segments.Set(row.Hour, s)
			out = append(out, hourSegment{row.Hour, s})
		}
	}
	return out, nil
}

// Run keeps the hours of the last year in memory, as far as they fit, until ctx
// ends: so that the first who asks waits no longer than others.
func (a *Analytics) Run(ctx context.Context) error {
	const every = time.Minute
	tick := time.NewTicker(every)
	defer tick.Stop()
	for version := int64(0); ; {
		if seen, err := a.warm(ctx, version); err == nil {
			version = seen
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// warm loads what has changed since a version of the roll-up.
func (a *Analytics) warm(ctx context.Context, since int64) (int64, error) {
	const year = 366 * 24
	st, err := readRollupState(ctx, a.db.Read())
	if err != nil || st.Version == since {
		return since, err
	}
	until := st.RolledUntil.UnixMicro()
	list, err := packedHours(ctx, a.db.Read(), span{until - year*hourMicros, until}, nil)
	if err != nil {
		return since, err
	}
	slices.Reverse(list)
	room := a.capacity * 3 / 4
	var missing []packed
	for _, p := range list {
		if room -= p.Size; room < 0 {
			break
		}
		if s, ok := a.segments.GetIfPresent(p.Hour); !ok || s.version != p.Version {
			missing = append(missing, p)
		}
	}
	for part := range slices.Chunk(missing, loadHours) {
		if _, err := a.load(ctx, a.db.Read(), part); err != nil {
			return since, err
		}
	}
	return st.Version, nil
}

// recordFields is what is read of usage_records.
const recordFields = "user_id, api_key_id, model, channel_id, created_at, error_code, prompt_tokens, completion_tokens, " +
	"cached_tokens, reasoning_tokens, cost, latency_ms, ttft_ms"

// recordQuery reads the records of a span, in the order of time.
func recordQuery(db bun.IDB, s span, values [dimensions][]string) *bun.SelectQuery {
	q := db.NewSelect().Table("usage_records").ColumnExpr(recordFields).
		Where("created_at >= ?", time.UnixMicro(s.from).UTC()).Where("created_at < ?", time.UnixMicro(s.to).UTC()).
		OrderExpr("created_at")
	for d, column := range [dimensions]string{byUser: "user_id", byKey: "api_key_id", byModel: "model", byChannel: "channel_id"} {
		if len(values[d]) > 0 {
			q = q.Where("? IN (?)", bun.Ident(column), bun.List(values[d]))
		}
	}
	return q
}

// eachRecord reads the records of a span one by one.
func eachRecord(ctx context.Context, tx bun.IDB, s span, values [dimensions][]string, do func(*rawRecord) error) (err error) {
	rows, err := recordQuery(tx, s, values).Rows(ctx)
	if err != nil {
		return fmt.Errorf("read usage records: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var r rawRecord
	var at moment
	for rows.Next() {
		err := rows.Scan(&r.names[byUser], &r.names[byKey], &r.names[byModel], &r.names[byChannel], &at, &r.ErrorCode,
			&r.PromptTokens, &r.CompletionTokens, &r.CachedTokens, &r.ReasoningTokens, (*int64)(&r.Cost), &r.LatencyMS, &r.TTFTMS)
		if err != nil {
			return fmt.Errorf("read a usage record: %w", err)
		}
		r.createdAt = int64(at)
		if err := do(&r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read usage records: %w", err)
	}
	return nil
}

// moment reads a time in Unix microseconds: SQLite keeps times as text, and
// nothing but the column's type tells its driver.
type moment int64

// Scan is sql.Scanner's.
func (m *moment) Scan(src any) error {
	switch v := src.(type) {
	case time.Time:
		*m = moment(v.UnixMicro())
		return nil
	case string:
		// What all writers write, read without asking which layout it is.
		t, err := time.Parse("2006-01-02 15:04:05.999999999Z07:00", v)
		if err != nil {
			t, err = time.Parse(time.RFC3339Nano, v)
		}
		if err != nil {
			return fmt.Errorf("read a time: %w", err)
		}
		*m = moment(t.UnixMicro())
		return nil
	}
	return fmt.Errorf("read a time from %T", src)
}
