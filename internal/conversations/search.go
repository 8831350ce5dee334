package conversations

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

const (
	maxWords      = 16 << 10 // bytes of a message that are searched
	maxTerms      = 10       // of a query
	maxCandidates = 500      // the newest finds, which are ranked
	newestRows    = 2000     // of an owner, which PostgreSQL reads before it asks the index
	newestFinds   = 50       // among them that are enough
	snippetRunes  = 160
	titleWeight   = 3.0
)

// find is a title or a message that holds the words.
type find struct {
	ConversationID string
	MessageID      string
	Words          string
	score          float64
}

// search finds conversations by words, the best first: those that say them more
// often in fewer other words, and titles before messages. Among very many finds the
// newest are looked at.
func (s *Service) search(ctx context.Context, v *models.Viewer, p models.Page, f *models.ConversationFilter) (*models.ConversationConnection, error) {
	switch {
	case p.Backward:
		return nil, models.Invalid("before", "A search is paged forward: its best finds come first.")
	case p.Key != "":
		return nil, models.Invalid("after", "A search is paged by the cursors that it gives, or by 'offset': it has no order by id.")
	}
	terms := termsOf(*f.Search)
	var finds []*find
	if len(terms) > 0 {
		var err error
		if finds, err = s.candidates(ctx, v, terms, f); err != nil {
			return nil, fmt.Errorf("search conversations: %w", err)
		}
	}
	best := rank(finds, terms)
	total := len(best)
	best = best[min(p.Offset, total):]
	more := len(best) > p.Limit
	if more {
		best = best[:p.Limit]
	}
	rows, err := s.found(ctx, best, terms)
	if err != nil {
		return nil, err
	}
	list := models.NewConnection(p, rows, more, func(c *models.Conversation) string { return c.ID },
		func(context.Context) (int, error) { return total, nil })
	for i := range list.Edges {
		list.Edges[i].Cursor = models.OffsetCursor(p.Offset + i + 1)
	}
	if n := len(list.Edges); n > 0 {
		list.PageInfo.StartCursor, list.PageInfo.EndCursor = &list.Edges[0].Cursor, &list.Edges[n-1].Cursor
	}
	batch(rows)
	return list, nil
}

// candidates are the newest titles and messages of the viewer's that hold all terms.
//
// On SQLite the index intersects the owner with the terms and gives rows by
// descending rowid, so that it stops after as many as are wanted; the other two
// tables are looked up by their keys.
func (s *Service) candidates(ctx context.Context, v *models.Viewer, terms []term, f *models.ConversationFilter) (finds []*find, err error) {
	if s.db.Dialect() == storage.Postgres {
		return s.postgresCandidates(ctx, v, terms, f)
	}
	err = s.db.Read().NewSelect().ColumnExpr("cs.conversation_id, cs.message_id, cs.words").
		TableExpr("conversation_terms AS ct").Join("CROSS JOIN conversation_search AS cs ON cs.id = ct.rowid").
		Join("JOIN conversations AS cv ON cv.id = cs.conversation_id").
		Where("conversation_terms MATCH ?", sqliteQuery(owner(v.UserID), terms)).Apply(narrowed(v, f)).
		OrderExpr("ct.rowid DESC").Limit(maxCandidates).Scan(ctx, &finds)
	return finds, err //nolint:wrapcheck // wrapped by the caller
}

// postgresCandidates are candidates where the GIN index gives rows in no order: to
// sort those of a frequent word would take longer than all the rest. So the newest
// rows of the owner are read first, and are enough where the words are frequent
// among them; if not, the words are seldom enough for the index. Its planner cannot
// know how frequent the beginnings of words are, and is not left the choice to read
// the whole table instead.
func (s *Service) postgresCandidates(ctx context.Context, v *models.Viewer, terms []term, f *models.ConversationFilter) (finds []*find, err error) {
	const conversation = "JOIN conversations AS cv ON cv.id = cs.conversation_id"
	query := postgresQuery(terms)
	all := func(tx bun.IDB) *bun.SelectQuery {
		return tx.NewSelect().ColumnExpr("cs.conversation_id, cs.message_id, cs.words").Apply(narrowed(v, f)).
			Where("numnode(to_tsquery('simple', ?)) > 0", query). // else all would be found
			OrderExpr("cs.id DESC").Limit(maxCandidates)
	}
	err = s.db.Read().RunInTx(ctx, &sql.TxOptions{ReadOnly: true}, func(ctx context.Context, tx bun.Tx) error {
		newest := tx.NewSelect().TableExpr("conversation_search").ColumnExpr("id, conversation_id, message_id, words, terms").
			Where("owner = ?", owner(v.UserID)).OrderExpr("id DESC").Limit(newestRows)
		err := all(tx).TableExpr("(?) AS cs", newest).Join(conversation).Where("cs.terms @@ to_tsquery('simple', ?)", query).Scan(ctx, &finds)
		if err != nil || len(finds) >= newestFinds {
			return err
		}
		_, err = tx.ExecContext(ctx, `SELECT set_config('enable_seqscan', 'off', true),
			set_config('enable_mergejoin', 'off', true), set_config('enable_hashjoin', 'off', true)`)
		if err != nil {
			return err
		}
		finds = nil
		return tx.NewRaw("WITH hits AS MATERIALIZED (SELECT id FROM conversation_search WHERE terms @@ (?::tsquery && to_tsquery('simple', ?))) ?",
			"'@"+owner(v.UserID)+"'", query,
			all(tx).TableExpr("hits").Join("JOIN conversation_search AS cs ON cs.owner = ? AND cs.id = hits.id", owner(v.UserID)).Join(conversation)).Scan(ctx, &finds)
	})
	return finds, err //nolint:wrapcheck // wrapped by the caller
}

// owner is a user's id as a term.
func owner(userID string) string { return strings.TrimPrefix(userID, models.UserPrefix) }

// term is a word, or what in the scripts without spaces stands together. The last
// of a query may be the beginning of a word.
type term struct {
	words  []string
	prefix bool
}

// termsOf are the terms of a query: what else is in it has no meaning.
func termsOf(query string) []term {
	var terms []term
	for field := range strings.FieldsSeq(spaced(query)) {
		terms = append(terms, term{words: strings.Split(strings.ReplaceAll(field, "\x00", " "), " ")})
	}
	if len(terms) > maxTerms {
		terms = terms[:maxTerms]
	} else if n := len(terms); n > 0 {
		r, _ := utf8.DecodeLastRuneInString(query)
		terms[n-1].prefix = wordRune(r)
	}
	return terms
}

func sqliteQuery(owner string, terms []term) string {
	var b strings.Builder
	b.WriteString(`owner : "` + owner + `" AND words : (`)
	for i, t := range terms {
		if i > 0 {
			b.WriteString(" AND ")
		}
		b.WriteString(`"` + strings.Join(t.words, " ") + `"`)
		if t.prefix {
			b.WriteByte('*')
		}
	}
	b.WriteByte(')')
	return b.String()
}

func postgresQuery(terms []term) string {
	var b strings.Builder
	for i, t := range terms {
		if i > 0 {
			b.WriteString(" & ")
		}
		b.WriteString("('" + strings.Join(t.words, "' <-> '") + "'")
		if t.prefix {
			b.WriteString(":*")
		}
		b.WriteByte(')')
	}
	return b.String()
}

func wordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }

// unspaced are the scripts that write no spaces between words: each character is
// a word.
func unspaced(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// spaced are the words of a text in lower case with spaces between them; between
// those of scripts without spaces there is a NUL, so that they stay together.
func spaced(text string) string {
	var b strings.Builder
	var last rune
	for _, r := range text {
		switch {
		case !wordRune(r), unicode.IsMark(r) && (last == 0 || last == ' '):
			r = ' '
			if last == ' ' {
				continue
			}
			b.WriteByte(' ')
		case unspaced(r):
			if unspaced(last) {
				b.WriteByte(0)
			} else if b.Len() > 0 && last != ' ' {
				b.WriteByte(' ')
			}
			b.WriteRune(r)
		default:
			if unspaced(last) {
				b.WriteByte(' ')
			}
			b.WriteRune(unicode.ToLower(r))
		}
		last = r
	}
	return strings.TrimSpace(b.String())
}

// indexWords makes the words of a title (without a message) or of a message found.
func indexWords(ctx context.Context, tx bun.IDB, c *models.Conversation, messageID, text string) error {
	if len(text) > maxWords {
		text = strings.ToValidUTF8(text[:maxWords], "")
	}
	words := strings.ReplaceAll(spaced(text), "\x00", " ")
	if words == "" {
		return nil
	}
	_, err := tx.NewRaw("INSERT INTO conversation_search (conversation_id, message_id, owner, words) VALUES (?, ?, ?, ?)",
		c.ID, messageID, owner(c.UserID), words).Exec(ctx)
	if err != nil {
		return fmt.Errorf("index words: %w", err)
	}
	return nil
}

// forgetWords makes a title or a message not found any more.
func forgetWords(ctx context.Context, tx bun.IDB, conversationID, messageID string) error {
	_, err := tx.NewRaw("DELETE FROM conversation_search WHERE conversation_id = ? AND message_id = ?", conversationID, messageID).Exec(ctx)
	if err != nil {
		return fmt.Errorf("forget words: %w", err)
	}
	return nil
}

// rank gives the best find of each conversation, the best first. How often a term
// occurs counts less and less, and less in a long text, as in BM25; that a term is
// rare everywhere makes no difference where all must occur.
func rank(finds []*find, terms []term) []*find {
	const k, typical = 1.2, 100.0
	best := map[string]*find{}
	var list []*find
	for _, f := range finds {
		text := " " + f.Words + " "
		length := float64(strings.Count(f.Words, " ") + 1)
		for _, t := range terms {
			needle := " " + strings.Join(t.words, " ")
			if !t.prefix {
				needle += " "
			}
			n := float64(strings.Count(text, needle))
			f.score += n * (k + 1) / (n + k*(0.25+0.75*length/typical))
		}
		if f.MessageID == "" {
			f.score *= titleWeight
		}
		was := best[f.ConversationID]
		if was == nil {
			best[f.ConversationID] = f
			list = append(list, f)
		} else if f.score > was.score {
			*was = *f
		}
	}
	slices.SortStableFunc(list, func(a, b *find) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.ConversationID, a.ConversationID))
	})
	return list
}

// found loads the conversations of finds, with the text around the words.
func (s *Service) found(ctx context.Context, finds []*find, terms []term) ([]*models.Conversation, error) {
	ids, said := make([]string, len(finds)), []string{}
	for i, f := range finds {
		ids[i] = f.ConversationID
		if f.MessageID != "" {
			said = append(said, f.MessageID)
		}
	}
	rows := map[string]*models.Conversation{}
	texts := map[string]string{}
	if len(ids) > 0 {
		var list []*models.Conversation
		if err := s.db.Read().NewSelect().Model(&list).Where("cv.id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
			return nil, fmt.Errorf("load conversations: %w", err)
		}
		for _, c := range list {
			rows[c.ID] = c
		}
	}
	if len(said) > 0 {
		var list []*models.ConversationMessage
		if err := s.db.Read().NewSelect().Model(&list).Where("cm.id IN (?)", bun.List(said)).Scan(ctx); err != nil {
			return nil, fmt.Errorf("load messages: %w", err)
		}
		for _, m := range list {
			texts[m.ID] = m.Text()
		}
	}
	out := make([]*models.Conversation, 0, len(finds))
	for _, f := range finds {
		c := rows[f.ConversationID]
		if c == nil {
			continue
		}
		text := c.Title
		if f.MessageID != "" {
			text = texts[f.MessageID]
		}
		cut := snippet(text, terms)
		c.Snippet = &cut
		out = append(out, c)
	}
	return out, nil
}

// snippet is the text around the first of the terms, on one line.
func snippet(text string, terms []term) string {
	if len(text) > maxWords {
		text = strings.ToValidUTF8(text[:maxWords], "")
	}
	line := []rune(strings.Join(strings.Fields(text), " "))
	if len(line) <= snippetRunes {
		return string(line)
	}
	lower := make([]rune, len(line))
	for i, r := range line {
		lower[i] = unicode.ToLower(r)
	}
	at := len(line)
	for _, t := range terms {
		word := []rune(strings.Join(t.words, ""))
		for i := 0; i+len(word) <= len(lower) && i < at; i++ {
			if slices.Equal(lower[i:i+len(word)], word) {
				at = i
			}
		}
	}
	if at == len(line) {
		at = 0
	}
	from := max(0, min(at-snippetRunes/4, len(line)-snippetRunes))
	out := string(line[from : from+snippetRunes])
	if from > 0 {
		out = "…" + out
	}
	if from+snippetRunes < len(line) {
		out += "…"
	}
	return out
}
