package usage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
)

const (
	// rollAfter is how long after its end an hour is packed. What settles later
	// marks its hour, and costs packing it again.
	rollAfter = 10 * time.Minute
	// A step packs so many hours at most, and stops at the end of an hour after
	// so many records.
	rollHours   = 7 * 24
	rollRecords = 200_000
)

// errOvertaken says that another process has rolled up meanwhile.
var errOvertaken = errors.New("another process is rolling up")

// RollUp packs the hours that are over, and again those whose records came or
// went since, and gives their number. It may run in several processes at once.
//
// An hour is sealed first: from then on, who writes a record of it marks the
// hour (by a trigger, see migration 11). It is packed when all transactions that
// may have missed the seal have ended. So at any time the packed hours before
// rolled_until, but for the marked ones, hold exactly what the records do.
func (a *Analytics) RollUp(ctx context.Context, now time.Time) (int, error) {
	hours := 0
	for {
		n, more, err := a.rollStep(ctx, now.UTC())
		hours += n
		switch {
		case errors.Is(err, errOvertaken):
			return hours, nil
		case err != nil:
			return hours, fmt.Errorf("roll up usage: %w", err)
		case !more:
			return hours, nil
		}
	}
}

// rollStep does the next thing, and says whether there may be another.
func (a *Analytics) rollStep(ctx context.Context, now time.Time) (hours int, more bool, err error) {
	st, err := readRollupState(ctx, a.db.Write())
	if err != nil {
		return 0, false, err
	}
	rolled := st.RolledUntil.UnixMicro()
	var late []int64
	err = a.db.Read().NewSelect().Table("usage_late").Column("hour").Where("hour < ?", rolled/hourMicros).
		OrderExpr("hour").Limit(1).Scan(ctx, &late)
	if err != nil {
		return 0, false, fmt.Errorf("find changed hours: %w", err)
	}
	if len(late) > 0 {
		from := late[0] * hourMicros
		n, err := a.pack(ctx, span{from, min(from+rollHours*hourMicros, rolled)}, false)
		return n, true, err
	}
	if target := now.Add(-rollAfter).Truncate(time.Hour); !st.RolledUntil.Before(st.SealedUntil) {
		if !target.After(st.SealedUntil) {
			return 0, false, nil
		}
		return 0, true, a.seal(ctx, target)
	}
	if settled, err := a.sealed(ctx, st); err != nil || !settled {
		return 0, false, err
	}
	from, to := rolled, st.SealedUntil.UnixMicro()
	first, err := a.firstRecord(ctx, from)
	if err != nil {
		return 0, false, err
	}
	if first < to {
		to = min(to, first/hourMicros*hourMicros+rollHours*hourMicros)
	}
	hours, err = a.pack(ctx, span{from, to}, true)
	return hours, true, err
}

// firstRecord is when the first record from a time on was created.
func (a *Analytics) firstRecord(ctx context.Context, from int64) (int64, error) {
	var at []time.Time
	err := a.db.Read().NewSelect().Table("usage_records").Column("created_at").
		Where("created_at >= ?", time.UnixMicro(from).UTC()).OrderExpr("created_at").Limit(1).Scan(ctx, &at)
	if err != nil {
		return 0, fmt.Errorf("find the first record: %w", err)
	}
	if len(at) == 0 {
		return 1 << 62, nil
	}
	return at[0].UnixMicro(), nil
}

// seal makes writers mark hours before target from now on.
func (a *Analytics) seal(ctx context.Context, target time.Time) error {
	var barrier any = bun.NullZero(0)
	if a.db.Dialect() == storage.SQLite {
		barrier = 0 // there is one writer at a time
	}
	_, err := a.db.Write().NewRaw("UPDATE usage_rollup SET sealed_until = ?, barrier = ? WHERE sealed_until < ?", target, barrier, target).Exec(ctx)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

// sealed says whether all who may not have seen the seal have ended.
func (a *Analytics) sealed(ctx context.Context, st *rollupState) (bool, error) {
	if a.db.Dialect() == storage.SQLite {
		return true, nil
	}
	if st.Barrier == nil {
		// After the seal is visible: who read the old one has a transaction id below this.
		_, err := a.db.Write().NewRaw("UPDATE usage_rollup SET barrier = pg_snapshot_xmax(pg_current_snapshot())::text::bigint " +
			"WHERE barrier IS NULL").Exec(ctx)
		if err != nil {
			return false, fmt.Errorf("note the transactions that run: %w", err)
		}
	}
	var ended bool
	err := a.db.Read().NewRaw("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= barrier FROM usage_rollup").Scan(ctx, &ended)
	if err != nil {
		return false, fmt.Errorf("look for transactions that run: %w", err)
	}
	return ended, nil
}

// pack replaces the packed hours of a span, or of its first part. With advance
// it is what comes next, and rolled_until moves.
func (a *Analytics) pack(ctx context.Context, s span, advance bool) (int, error) {
	var st *rollupState
	var marks []struct{ Hour, N int64 }
	segments := map[int64][]byte{}
	err := a.snapshot(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		if st, err = readRollupState(ctx, tx); err != nil {
			return err
		}
		if advance && st.RolledUntil.UnixMicro() != s.from {
			return errOvertaken
		}
		err = tx.NewSelect().Table("usage_late").Column("hour", "n").
			Where("hour >= ?", s.from/hourMicros).Where("hour < ?", s.to/hourMicros).OrderExpr("hour").Scan(ctx, &marks)
		if err != nil {
			return fmt.Errorf("find changed hours: %w", err)
		}
		if !advance { // the marked hours at the beginning, as far as they follow each other
			n := 0
			for n < len(marks) && marks[n].Hour == s.from/hourMicros+int64(n) {
				n++
			}
			s.to = s.from + int64(n)*hourMicros
		}
		s.to, err = packRecords(ctx, tx, s, segments)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(segments), a.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		q := tx.NewUpdate().Table("usage_rollup").Set("version = version + 1").Where("version = ?", st.Version)
		if advance {
			q = q.Set("rolled_until = ?", time.UnixMicro(s.to).UTC())
		}
		if n, err := affected(q.Exec(ctx)); err != nil || n == 0 {
			return errors.Join(err, errOvertaken)
		}
		from, to := s.from/hourMicros, s.to/hourMicros
		if _, err := tx.NewDelete().Table("usage_hours").Where("hour >= ?", from).Where("hour < ?", to).Exec(ctx); err != nil {
			return fmt.Errorf("drop packed hours: %w", err)
		}
		for hour, data := range segments {
			_, err := tx.NewRaw("INSERT INTO usage_hours (hour, version, size, data) VALUES (?, ?, ?, ?)", hour, st.Version+1, len(data), data).Exec(ctx)
			if err != nil {
				return fmt.Errorf("write packed hours: %w", err)
			}
		}
		for _, m := range marks {
			if m.Hour >= to {
				break
			}
			// Who has marked it again since has changed n.
			if _, err := tx.NewDelete().Table("usage_late").Where("hour = ?", m.Hour).Where("n = ?", m.N).Exec(ctx); err != nil {
				return fmt.Errorf("take back marks: %w", err)
			}
		}
		return nil
	})
}

// packRecords packs the records of a span by the hour, and gives the end of what
// it has read.
func packRecords(ctx context.Context, tx bun.IDB, s span, into map[int64][]byte) (int64, error) {
	var hour int64
	cells, read, end := map[cell]*tally{}, 0, s.to
	flush := func() {
		if len(cells) > 0 {
			into[hour] = packSegment(cells)
			cells = map[cell]*tally{}
		}
	}
	err := eachRecord(ctx, tx, s, [dimensions][]string{}, func(r *rawRecord) error {
		if h := r.createdAt / hourMicros; h != hour {
			flush()
			if read >= rollRecords {
				end = h * hourMicros
				return errEnough
			}
			hour = h
		}
		read++
		c := cell{quarter: int(r.createdAt % hourMicros / quarterMicros), names: r.names}
		t := cells[c]
		if t == nil {
			t = new(tally)
			cells[c] = t
		}
		t.record(r)
		return nil
	})
	if errors.Is(err, errEnough) {
		return end, nil
	}
	flush()
	return end, err
}

// errEnough ends a reading early.
var errEnough = errors.New("enough has been read")
