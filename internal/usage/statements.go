package usage

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// The writer's statements are written by hand: on the way of every request, an
// ORM's reflection costs more than the rest of it.

const (
	holdColumns = "id, request_id, user_id, api_key_id, channel_id, model, upstream_model, operation, stream, " +
		"prompt_tokens, completion_tokens, cost, metered, held, created_at, lease_until"
	recordColumns = "id, request_id, user_id, api_key_id, channel_id, model, upstream_model, operation, stream, " +
		"status, error_code, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, estimated, cost, " +
		"latency_ms, ttft_ms, created_at, settled_at, estimated_prompt_tokens, estimated_completion_tokens"
)

// statement is a text that repeats a part for each row, such as a tuple of
// VALUES. On SQLite it is prepared once for each power of two, and rows are cut
// into such chunks; PostgreSQL, where poolers forbid prepared statements, gets
// the arguments inside the text.
type statement struct {
	head, tail string
	columns    int // in each row; 1: a list instead of tuples
	prepared   []*sql.Stmt
	texts      map[int]string
}

// powers is how many sizes are prepared: 1, 2, 4, … 64 rows.
const powers = 7

func newStatement(head string, columns int, tail string) *statement {
	return &statement{head: head, tail: tail, columns: columns, texts: map[int]string{}}
}

func insertStatement(table, columns string) *statement {
	return newStatement("INSERT INTO "+table+" ("+columns+") VALUES (", strings.Count(columns, ",")+1, ") ON CONFLICT (id) DO NOTHING")
}

func (s *statement) text(dialect string, rows int) string {
	if text, ok := s.texts[rows]; ok {
		return text
	}
	var b strings.Builder
	b.WriteString(s.head)
	for i := range rows * s.columns {
		switch {
		case i == 0:
		case i%s.columns == 0 && s.columns > 1:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		if dialect == storage.Postgres {
			b.WriteString("$" + strconv.Itoa(i+1))
		} else {
			b.WriteByte('?')
		}
	}
	b.WriteString(s.tail)
	s.texts[rows] = b.String()
	return s.texts[rows]
}

// prepare makes the statement ready on SQLite, before a transaction takes the
// only connection.
func (s *statement) prepare(ctx context.Context, db *storage.DB) error {
	if db.Dialect() == storage.Postgres {
		return nil
	}
	for len(s.prepared) < powers {
		stmt, err := db.Write().DB.PrepareContext(ctx, s.text(storage.SQLite, 1<<len(s.prepared))) //nolint:sqlclosecheck // kept as long as the database
		if err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
		s.prepared = append(s.prepared, stmt)
	}
	return nil
}

// exec runs the statement for all rows of args, and gives the number of rows in
// the database that it changed.
func (s *statement) exec(ctx context.Context, tx *sql.Tx, args []any) (changed int64, err error) {
	rows := len(args) / s.columns
	if rows == 0 {
		return 0, nil
	}
	if len(s.prepared) == 0 {
		return affected(tx.ExecContext(ctx, s.text(storage.Postgres, rows), args...))
	}
	for power := powers - 1; power >= 0; power-- {
		for n := 1 << power; rows >= n; rows -= n {
			done, err := affected(tx.StmtContext(ctx, s.prepared[power]).ExecContext(ctx, args[:n*s.columns]...)) //nolint:sqlclosecheck // ends with the transaction
			if err != nil {
				return changed, err
			}
			changed, args = changed+done, args[n*s.columns:]
		}
	}
	return changed, nil
}

func affected(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// stamp writes a time as bun does, in a form that both databases read.
func stamp(t time.Time) string { return t.Format("2006-01-02 15:04:05.999999-07:00") }

func holdArgs(args []any, r *models.UsageRecord, lease string) []any {
	return append(args, r.ID, r.RequestID, r.UserID, r.APIKeyID, r.ChannelID, r.Model, r.UpstreamModel, string(r.Operation), r.Stream,
		r.PromptTokens, r.CompletionTokens, int64(r.Cost), r.Metered, int64(r.Held), stamp(r.CreatedAt), lease)
}

func recordArgs(args []any, r *models.UsageRecord) []any {
	return append(args, r.ID, r.RequestID, r.UserID, r.APIKeyID, r.ChannelID, r.Model, r.UpstreamModel, string(r.Operation), r.Stream,
		string(r.Status), r.ErrorCode, r.PromptTokens, r.CompletionTokens, r.CachedTokens, r.ReasoningTokens, r.Estimated, int64(r.Cost),
		r.LatencyMS, r.TTFTMS, stamp(r.CreatedAt), stamp(*r.SettledAt), r.EstimatedPromptTokens, r.EstimatedCompletionTokens)
}
