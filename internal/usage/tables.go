package usage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// tables are the columns in which PostgreSQL gets a batch: one array for each.
// They are used again for every batch.
type tables struct {
	holds, records               []*storage.Array
	insertHolds, replaceWithRows string
}

func newTables() *tables {
	texts, ints, bools, times := storage.NewTexts, storage.NewInts, storage.NewBools, storage.NewTimes
	t := &tables{
		holds: []*storage.Array{
			texts(), texts(), texts(), texts(), texts(), texts(), texts(), texts(), bools(),
			ints(), ints(), ints(), bools(), ints(), times(), times(),
		},
		records: []*storage.Array{
			texts(), texts(), texts(), texts(), texts(), texts(), texts(), texts(), bools(),
			texts(), texts(), ints(), ints(), ints(), ints(), bools(), ints(),
			ints(), ints(), times(), times(), ints(), ints(),
		},
	}
	t.insertHolds = "INSERT INTO usage_holds (" + holdColumns + ") SELECT * FROM unnest(" + parameters(len(t.holds)) + ") ON CONFLICT (id) DO NOTHING"
	// Those whose hold is not there, or has been given a budget, are left out.
	t.replaceWithRows = "WITH ended AS (DELETE FROM usage_holds WHERE id = ANY($1) AND NOT metered RETURNING id) " +
		"INSERT INTO usage_records (" + recordColumns + ") SELECT r.* FROM unnest(" + parameters(len(t.records)) + ") AS r (" + recordColumns + ") " +
		"WHERE r.id IN (SELECT id FROM ended) ON CONFLICT (id) DO NOTHING"
	return t
}

func parameters(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i+1)
	}
	return b.String()
}

// write inserts holds, and puts records in the places of theirs. It gives how
// many records it has written.
func (t *tables) write(ctx context.Context, db *storage.DB, begun, settled []*entry, lease time.Time) (records int64, err error) {
	var p storage.Pipeline
	if len(begun) > 0 {
		reset(t.holds)
		for _, e := range begun {
			t.hold(&e.rec, lease)
		}
		p.Add(t.insertHolds, t.holds...)
	}
	if len(settled) > 0 {
		reset(t.records)
		for _, e := range settled {
			t.record(&e.rec)
		}
		p.Add(t.replaceWithRows, t.records...)
	}
	changed, err := db.Send(ctx, &p)
	if err != nil {
		return 0, fmt.Errorf("write usage records: %w", err)
	}
	if len(settled) > 0 {
		records = changed[len(changed)-1]
	}
	return records, nil
}

func reset(arrays []*storage.Array) {
	for _, a := range arrays {
		a.Reset()
	}
}

// common fills the columns that both tables begin with.
func common(c []*storage.Array, r *models.UsageRecord) []*storage.Array {
	for i, s := range [...]string{r.ID, r.RequestID, r.UserID, r.APIKeyID, r.ChannelID, r.Model, r.UpstreamModel, string(r.Operation)} {
		c[i].Text(s)
	}
	c[8].Bool(r.Stream)
	return c[9:]
}

func (t *tables) hold(r *models.UsageRecord, lease time.Time) {
	c := common(t.holds, r)
	c[0].Int(r.PromptTokens)
	c[1].Int(r.CompletionTokens)
	c[2].Int(int64(r.Cost))
	c[3].Bool(r.Metered)
	c[4].Int(int64(r.Held))
	c[5].Time(r.CreatedAt)
	c[6].Time(lease)
}

func (t *tables) record(r *models.UsageRecord) {
	c := common(t.records, r)
	c[0].Text(string(r.Status))
	c[1].Text(r.ErrorCode)
	c[2].Int(r.PromptTokens)
	c[3].Int(r.CompletionTokens)
	c[4].Int(r.CachedTokens)
	c[5].Int(r.ReasoningTokens)
	c[6].Bool(r.Estimated)
	c[7].Int(int64(r.Cost))
	c[8].Int(r.LatencyMS)
	c[9].Int(r.TTFTMS)
	c[10].Time(r.CreatedAt)
	c[11].Time(*r.SettledAt)
	c[12].Int(r.EstimatedPromptTokens)
	c[13].Int(r.EstimatedCompletionTokens)
}
