package conversations_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/conversations"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

// benchSize is how many conversations of two messages one account has.
const benchSize = 100_000

// fill writes the conversations of one account and half as many of another, in the
// rows that the service would write. Every message has the word "common", one in a
// thousand "seldom".
func fill(b *testing.B, w *world, v *models.Viewer, n int) {
	b.Helper()
	words := strings.Fields("river stone cloud engine garden letter market number orange pepper silver window yellow basket candle desert forest hammer island jacket")
	const chunk = 1000
	start := time.Now().Add(-time.Duration(n) * time.Second).UTC().Truncate(time.Microsecond)
	for from := 0; from < n; from += chunk {
		err := w.db.Tx(b.Context(), func(ctx context.Context, tx bun.Tx) error {
			var list []*models.Conversation
			var messages []*models.ConversationMessage
			type search struct {
				bun.BaseModel  `bun:"table:conversation_search"`
				ConversationID string `bun:"conversation_id"`
				MessageID      string `bun:"message_id"`
				Owner          string `bun:"owner"`
				Words          string `bun:"words"`
			}
			type pair struct {
				bun.BaseModel  `bun:"table:conversation_metadata"`
				ConversationID string `bun:"conversation_id"`
				UserID         string `bun:"user_id"`
				Name           string `bun:"name"`
				Value          string `bun:"value"`
			}
			var terms []*search
			var pairs []*pair
			for i := from; i < from+chunk; i++ {
				at := start.Add(time.Duration(i) * time.Second)
				suffix := fmt.Sprintf("%s%07d", v.UserID[len(v.UserID)-8:], i)
				c := &models.Conversation{
					ID: "conv_" + suffix, UserID: v.UserID, Title: "title " + words[i%20], Titled: models.TitledWords, Status: models.ConversationActive,
					Model: ptr([]string{"a", "b", "rare"}[min(i%1000, 2)]), Metadata: models.Metadata{"n": fmt.Sprint(i % 5000)}, Activity: suffix,
					CreatedAt: at, UpdatedAt: at, LastMessageAt: &at, MessageCount: 2, LastID: "msg_" + suffix + "b", LeafID: ptr("msg_" + suffix + "b"),
				}
				list = append(list, c)
				pairs = append(pairs, &pair{ConversationID: c.ID, UserID: v.UserID, Name: "n", Value: c.Metadata["n"]})
				terms = append(terms, &search{ConversationID: c.ID, Owner: strings.TrimPrefix(v.UserID, "user_"), Words: c.Title})
				for j, end := range []string{"a", "b"} {
					m := &models.ConversationMessage{
						ID: "msg_" + suffix + end, ConversationID: c.ID, Depth: j, Role: models.RoleMessageUser, Status: models.MessageCompleted, CreatedAt: at, UpdatedAt: at,
					}
					if j == 1 {
						m.ParentID, m.Role = ptr("msg_"+suffix+"a"), models.RoleMessageAssistant
					}
					text := "common"
					for k := range 40 {
						text += " " + words[(i*7+j*3+k*k)%20]
					}
					if i%1000 == 0 {
						text += " seldom"
					}
					m.Body = models.JSON(`{"role":"user","content":"` + text + `"}`)
					messages = append(messages, m)
					terms = append(terms, &search{ConversationID: c.ID, MessageID: m.ID, Owner: strings.TrimPrefix(v.UserID, "user_"), Words: text})
				}
			}
			for _, rows := range []any{&list, &messages, &terms, &pairs} {
				if _, err := tx.NewInsert().Model(rows).Exec(ctx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLargeAccount asks what an account with 100,000 conversations asks, half
// as many of another's beside it. -v shows the databases' plans too.
func BenchmarkLargeAccount(b *testing.B) {
	for _, kind := range []string{"sqlite", "postgres"} {
		b.Run(kind, func(b *testing.B) {
			db := testdb.New(b, kind)
			s := conversations.New(db, zerolog.Nop())
			b.Cleanup(func() { _ = s.Close(b.Context()) })
			w := &world{Service: s, t: b, db: db}
			ada, bob := w.user("ada"), w.user("bob")
			fill(b, w, ada, benchSize)
			fill(b, w, bob, benchSize/2)
			if kind == storage.Postgres {
				if _, err := db.Write().ExecContext(b.Context(), "VACUUM ANALYZE"); err != nil {
					b.Fatal(err)
				}
			}
			queries := map[string]func(ctx context.Context) error{}
			list := func(name string, order *models.ConversationOrder, f *models.ConversationFilter, total bool) {
				queries[name] = func(ctx context.Context) error {
					page, err := s.Conversations(ctx, ada, models.PageArgs{}, order, f)
					if err == nil && total {
						_, err = page.TotalCount(ctx)
					}
					return err
				}
			}
			search := func(name, q string) {
				list("search "+name, nil, &models.ConversationFilter{Search: &q}, true)
			}
			list("list", nil, nil, false)
			list("list with total", nil, nil, true)
			list("by activity", &models.ConversationOrder{Field: ptr(models.ConversationsByActivity)}, nil, true)
			list("model", nil, &models.ConversationFilter{Model: ptr("a")}, true)
			list("no such model", nil, &models.ConversationFilter{Model: ptr("none")}, true)
			list("metadata", nil, &models.ConversationFilter{Metadata: models.Metadata{"n": "77"}}, true)
			search("seldom", "seldom")
			search("common", "common")
			search("two", "river pepper")
			search("prefix", "se")
			search("nothing", "zebra")
			for name, query := range queries {
				b.Run(name, func(b *testing.B) {
					for b.Loop() {
						if err := query(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
			plans(b, db, queries)
		})
	}
}

// plans logs how the database goes about the queries.
func plans(b *testing.B, db *storage.DB, queries map[string]func(ctx context.Context) error) {
	b.Helper()
	said := &statements{}
	db.Read().AddQueryHook(said) //nolint:staticcheck // the service has this pool, not a copy with a hook
	for name, query := range queries {
		said.list = nil
		if err := query(b.Context()); err != nil {
			b.Fatal(err)
		}
		for _, statement := range said.list {
			if !strings.HasPrefix(statement, "SELECT") && !strings.HasPrefix(statement, "WITH") {
				continue
			}
			explain := "EXPLAIN QUERY PLAN "
			if db.Dialect() == storage.Postgres {
				explain = "EXPLAIN (ANALYZE, COSTS OFF) "
			}
			rows, err := db.Read().QueryContext(context.WithValue(b.Context(), quiet{}, true), explain+statement)
			if err != nil {
				b.Fatal(err)
			}
			b.Logf("%s: %.300s", name, statement)
			for rows.Next() {
				var line string
				var n int
				if db.Dialect() == storage.Postgres {
					err = rows.Scan(&line)
				} else {
					err = rows.Scan(&n, &n, &n, &line)
				}
				if err != nil {
					b.Fatal(err)
				}
				b.Log("    ", line)
			}
			_ = rows.Close()
		}
	}
}

type quiet struct{}

// statements remembers what was asked of a database.
type statements struct{ list []string }

// BeforeQuery implements [bun.QueryHook].
func (s *statements) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

// AfterQuery implements [bun.QueryHook].
func (s *statements) AfterQuery(ctx context.Context, e *bun.QueryEvent) {
	if ctx.Value(quiet{}) == nil {
		s.list = append(s.list, e.Query)
	}
}
