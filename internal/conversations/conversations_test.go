package conversations_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/conversations"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

// each runs a test with the service on both databases.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		s := conversations.New(db, zerolog.Nop())
		t.Cleanup(func() { _ = s.Close(t.Context()) })
		test(t, &world{Service: s, t: t, db: db})
	})
}

type world struct {
	*conversations.Service
	t  testing.TB
	db *storage.DB
}

func (w *world) user(name string) *models.Viewer {
	w.t.Helper()
	at := time.Now().UTC().Truncate(time.Microsecond)
	u := &models.User{
		ID: models.NewID(models.UserPrefix), Email: name + "@example.com", Name: name, Role: models.RoleUser,
		Tier: models.TierFree, Status: models.UserActive, CreatedAt: at, UpdatedAt: at,
	}
	if _, err := w.db.Write().NewInsert().Model(u).Exec(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return &models.Viewer{UserID: u.ID, Scopes: models.DefaultScopes()}
}

func (w *world) create(v *models.Viewer, in models.CreateConversationInput) *models.Conversation {
	w.t.Helper()
	done, err := w.Create(w.t.Context(), v, in)
	if err != nil {
		w.t.Fatal(err)
	}
	return done.Conversation
}

func (w *world) say(v *models.Viewer, id string, role models.MessageRole, text string, parent ...*string) *models.ConversationMessage {
	w.t.Helper()
	in := models.AddMessageInput{ConversationID: id, Message: models.ChatMessage{Role: role, Content: models.TextContent(text)}}
	if len(parent) > 0 {
		in.ParentID = models.OmittableOf(parent[0])
	}
	done, err := w.Add(w.t.Context(), v, in)
	if err != nil {
		w.t.Fatal(err)
	}
	return done.Message
}

func (w *world) texts(v *models.Viewer, id string, args models.MessagesArgs) string {
	w.t.Helper()
	page, err := w.Messages(w.t.Context(), v, id, args)
	if err != nil {
		w.t.Fatal(err)
	}
	var texts []string
	for _, m := range page.Nodes() {
		texts = append(texts, m.Text())
	}
	return strings.Join(texts, " ")
}

func missing(t *testing.T, what string, err error) {
	t.Helper()
	if e := new(models.Error); !errors.As(err, &e) || e.Kind != models.KindNotFound {
		t.Errorf("%s: %v; want not found", what, err)
	}
}

func conflicts(t *testing.T, what string, err error) {
	t.Helper()
	if e := new(models.Error); !errors.As(err, &e) || e.Kind != models.KindConflict {
		t.Errorf("%s: %v; want a conflict", what, err)
	}
}

func ptr[T any](v T) *T { return &v }

func TestTree(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		ctx, ada := t.Context(), w.user("ada")
		c := w.create(ada, models.CreateConversationInput{})
		one := w.say(ada, c.ID, models.RoleMessageUser, "one")
		two := w.say(ada, c.ID, models.RoleMessageAssistant, "two")
		w.say(ada, c.ID, models.RoleMessageUser, "three")
		asc := models.MessagesArgs{PageArgs: models.PageArgs{Order: ptr(models.OrderAsc)}}
		if got := w.texts(ada, c.ID, asc); got != "one two three" {
			t.Errorf("the branch is %q", got)
		}
		edited, err := w.Edit(ctx, ada, models.EditMessageInput{MessageID: two.ID, Content: *models.TextContent("deux")})
		if err != nil || *edited.Message.ParentID != one.ID || edited.Message.Role != models.RoleMessageAssistant {
			t.Fatalf("%+v, %v", edited, err)
		}
		if got := w.texts(ada, c.ID, asc); got != "one deux" {
			t.Errorf("the branch after an edit is %q", got)
		}
		if got := w.texts(ada, c.ID, models.MessagesArgs{LeafID: &two.ID}); got != "two one" {
			t.Errorf("the other branch is %q", got)
		}
		if got := w.texts(ada, c.ID, models.MessagesArgs{PageArgs: asc.PageArgs, Branch: ptr(models.BranchAll)}); got != "one two three deux" {
			t.Errorf("all messages are %q", got)
		}
		if _, err := w.Update(ctx, ada, c.ID, models.UpdateConversationInput{LeafID: models.OmittableOf(&two.ID)}); err != nil {
			t.Fatal(err)
		}
		w.say(ada, c.ID, models.RoleMessageUser, "drei")
		w.say(ada, c.ID, models.RoleMessageUser, "uno", nil)
		if got := w.texts(ada, c.ID, asc); got != "uno" {
			t.Errorf("a branch from nothing is %q", got)
		}
		done, err := w.DeleteMessage(ctx, ada, one.ID)
		if err != nil || done.Conversation.MessageCount != 5 {
			t.Fatalf("%+v, %v", done, err)
		}
		if got := w.texts(ada, c.ID, models.MessagesArgs{LeafID: &two.ID}); got != "two" {
			t.Errorf("the branch without its first message is %q", got)
		}
		got, err := w.Conversation(ctx, ada, c.ID)
		if err != nil || got.Title != "one" || got.Titled != models.TitledWords {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestMessagesArePagedToTheEndWhileSomeAreAdded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		ada := w.user("ada")
		c := w.create(ada, models.CreateConversationInput{})
		want := []string{}
		for i := range 25 {
			text := fmt.Sprintf("m%02d", i)
			w.say(ada, c.ID, models.RoleMessageUser, text)
			want = append(want, text)
		}
		var cursor *string
		var got []string
		for {
			page, err := w.Messages(t.Context(), ada, c.ID, models.MessagesArgs{PageArgs: models.PageArgs{First: ptr(10), After: cursor}})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range page.Nodes() {
				got = append(got, m.Text())
			}
			if !page.PageInfo.HasNextPage {
				break
			}
			cursor = page.PageInfo.EndCursor
			w.say(ada, c.ID, models.RoleMessageUser, "late")
		}
		slices.Reverse(got)
		if !slices.Equal(got, want) {
			t.Errorf("paged to %v", got)
		}
		page, err := w.Messages(t.Context(), ada, c.ID, models.MessagesArgs{PageArgs: models.PageArgs{Last: ptr(2), Order: ptr(models.OrderAsc)}})
		if err != nil || len(page.Edges) != 2 || page.Edges[1].Node.Text() != "late" || !page.PageInfo.HasPreviousPage {
			t.Errorf("the last two are %+v, %v", page, err)
		}
		if n, err := page.TotalCount(t.Context()); err != nil || n != 27 {
			t.Errorf("%d messages, %v", n, err)
		}
	})
}

func TestTurn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		ctx, ada := t.Context(), w.user("ada")
		c := w.create(ada, models.CreateConversationInput{SystemPrompt: ptr("Be brief.")})
		say := func(text string) []models.JSON {
			return []models.JSON{models.JSON(`{"role":"user","content":"` + text + `","x":1}`)}
		}
		begin := func(text string, parent ...*string) (*conversations.Turn, error) {
			var p models.Omittable[*string]
			if len(parent) > 0 {
				p = models.OmittableOf(parent[0])
			}
			turn, err := w.Turn(ctx, ada, c.ID, p)
			if err != nil {
				return nil, err
			}
			return turn, turn.Open(ctx, say(text), "m")
		}
		// A turn that comes to nothing is left aside by the next.
		turn, err := begin("lost")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := begin("at the same time"); err == nil {
			t.Error("two turns at once")
		} else {
			conflicts(t, "a turn at the same time", err)
		}
		if err := turn.End(ctx, models.MessageFailed, nil, "upstream_error"); err != nil {
			t.Fatal(err)
		}
		if turn, err = begin("hello"); err != nil {
			t.Fatal(err)
		}
		if len(turn.History) != 1 || !strings.Contains(string(turn.History[0]), "Be brief.") {
			t.Errorf("history %s", turn.History)
		}
		for _, chunk := range []string{
			`{"choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":"hm"}}]}`,
			`{"choices":[{"index":0,"delta":{"content":"Hi "}}]}`, `{"choices":[{"index":0,"delta":{"content":"\u0000there"}}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":""}}]}}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]}}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]},"finish_reason":"tool_calls"}]}`,
		} {
			turn.Read([]byte(chunk))
		}
		usage := &models.Usage{PromptTokens: 3, CompletionTokens: 4, TotalTokens: 7, Cost: ptr(models.Nanos(55))}
		if err := turn.End(ctx, models.MessageCompleted, usage, ""); err != nil {
			t.Fatal(err)
		}
		if err := turn.End(ctx, models.MessageInterrupted, usage, ""); err != nil {
			t.Fatal(err)
		}
		m, err := w.Message(ctx, ada, turn.AnswerID())
		if err != nil || m.Text() != "Hi \x00there" || m.Status != models.MessageCompleted || *m.FinishReason != models.FinishToolCalls ||
			*m.ReasoningContent() != "hm" || *m.ToolCalls()[0].Function.Arguments != `{"a":1}` || m.Usage.TotalTokens != 7 || *m.Usage.Cost != 55 {
			t.Errorf("%+v %s, %v", m, m.Body, err)
		}
		got, err := w.Conversation(ctx, ada, c.ID)
		if err != nil || got.Cost != 55 || got.PromptTokens != 3 || got.MessageCount != 4 {
			t.Errorf("%+v, %v", got, err)
		}
		next, err := w.Turn(ctx, ada, c.ID, models.Omittable[*string]{})
		if err != nil || len(next.History) != 3 || strings.Contains(string(next.History[2]), "reasoning") || !strings.Contains(string(next.History[1]), `"x":1`) {
			t.Errorf("history %s, %v", next.History, err)
		}
		// What was added meanwhile is not lost.
		w.say(ada, c.ID, models.RoleMessageAssistant, "x", m.ParentID)
		conflicts(t, "a turn that has been overtaken", next.Open(ctx, say("late"), "m"))
		// A named parent branches.
		if turn, err = begin("again", m.ParentID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Update(ctx, ada, c.ID, models.UpdateConversationInput{Status: models.OmittableOf(ptr(models.ConversationCompleted))}); err != nil {
			t.Fatal(err)
		}
		if err := turn.End(ctx, models.MessageInterrupted, nil, "client_closed_request"); err != nil {
			t.Error(err)
		}
		_, err = begin("too late")
		conflicts(t, "a turn in a conversation that has ended", err)
	})
}

// What was noted of an answer is kept when its process dies.
func TestRecover(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		ctx, ada := t.Context(), w.user("ada")
		c := w.create(ada, models.CreateConversationInput{})
		turn, err := w.Turn(ctx, ada, c.ID, models.Omittable[*string]{})
		if err == nil {
			err = turn.Open(ctx, []models.JSON{models.JSON(`{"role":"user","content":"hello"}`)}, "m")
		}
		if err != nil {
			t.Fatal(err)
		}
		record := &models.UsageRecord{
			ID: models.NewID(models.RequestPrefix), UserID: ada.UserID, Model: "m", Status: models.UsageRecovered,
			PromptTokens: 5, CompletionTokens: 2, Cost: 70, CreatedAt: time.Now().UTC().Truncate(time.Microsecond),
		}
		turn.Attempt(record.ID)
		turn.Read([]byte(`{"choices":[{"index":0,"delta":{"content":"half an"}}]}`))
		deadline := time.After(10 * time.Second)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			m, err := w.Message(ctx, ada, turn.AnswerID())
			if err != nil || m.Status != models.MessageInProgress {
				t.Fatalf("%+v, %v", m, err)
			}
			if m.Text() == "half an" {
				tick.Stop()
				break
			}
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatal("the answer was not noted")
			}
		}
		if err := w.Close(ctx); err != nil { // as if the process had died
			t.Fatal(err)
		}
		late := time.Now().Add(time.Hour)
		other := conversations.New(w.db, zerolog.Nop())
		defer func() { _ = other.Close(ctx) }()
		if n, err := other.Recover(ctx, time.Now()); err != nil || n != 0 {
			t.Errorf("%d recovered before the lease is over, %v", n, err)
		}
		if n, err := other.Recover(ctx, late); err != nil || n != 1 {
			t.Errorf("%d recovered, %v", n, err)
		}
		if _, err := w.db.Write().NewInsert().Model(record).Exec(ctx); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := other.Recover(ctx, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		m, err := other.Message(ctx, ada, turn.AnswerID())
		if err != nil || m.Status != models.MessageInterrupted || m.Text() != "half an" || m.Usage == nil || *m.Usage.Cost != 70 || !m.Usage.Estimated {
			t.Errorf("%+v, %v", m, err)
		}
		got, err := other.Conversation(ctx, ada, c.ID)
		if err != nil || got.Cost != 70 || got.CompletionTokens != 2 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestSearch(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		ctx, ada, bob := t.Context(), w.user("ada"), w.user("bob")
		find := func(v *models.Viewer, q string, more ...models.ConversationFilter) string {
			t.Helper()
			f := models.ConversationFilter{Search: &q}
			if len(more) > 0 {
				f = more[0]
				f.Search = &q
			}
			page, err := w.Conversations(ctx, v, models.PageArgs{}, nil, &f)
			if err != nil {
				t.Fatalf("search %q: %v", q, err)
			}
			var titles []string
			for _, c := range page.Nodes() {
				titles = append(titles, c.Title)
			}
			return strings.Join(titles, " ")
		}
		fill := func(v *models.Viewer, title string, texts ...string) *models.Conversation {
			c := w.create(v, models.CreateConversationInput{Title: &title, Metadata: models.Metadata{"project": title}})
			for _, text := range texts {
				w.say(v, c.ID, models.RoleMessageUser, text)
			}
			return c
		}
		fill(ada, "apples", "Where do pears grow?", strings.Repeat("padding ", 100)+"The Kiwi is a bird.\nOr a fruit.")
		fill(ada, "pears", "They grow on trees. Pears, pears!")
		fill(ada, "中文", "我们今天讨论数据库的全文搜索")
		fill(bob, "secret", "pears of bob")
		for q, want := range map[string]string{
			"pears": "pears apples", "PEAR": "pears apples", "kiwi bird": "apples", "kiwi pears": "", "全文搜索": "中文", "文全": "",
			"grow tre": "pears", "": "pears", "bob": "", "apples": "apples", `"pears" OR (*`: "", "NEAR(pears grow, 3)": "", "pears:*": "pears apples",
			"owner:x": "", "' & | ! <-> \\": "", "\u0301": "", "-pears": "pears apples", "e\u0301": "",
		} {
			if got := find(ada, q); q != "" && got != want {
				t.Errorf("search %q: got %q, want %q", q, got, want)
			}
		}
		if got := find(ada, "pears", models.ConversationFilter{Metadata: models.Metadata{"project": "apples"}}); got != "apples" {
			t.Errorf("narrowed to %q", got)
		}
		q := "kiwi"
		page, err := w.Conversations(ctx, ada, models.PageArgs{}, nil, &models.ConversationFilter{Search: &q})
		if err != nil || !strings.Contains(*page.Edges[0].Node.Snippet, "The Kiwi is a bird. Or a fruit.") || !strings.HasPrefix(*page.Edges[0].Node.Snippet, "…") {
			t.Errorf("snippet %q, %v", *page.Edges[0].Node.Snippet, err)
		}
		c := page.Edges[0].Node
		if _, err := w.Update(ctx, ada, c.ID, models.UpdateConversationInput{Title: models.OmittableOf(ptr("plums"))}); err != nil {
			t.Fatal(err)
		}
		if got := find(ada, "apples") + find(ada, "plums"); got != "plums" {
			t.Errorf("after another title: %q", got)
		}
		if _, err := w.Delete(ctx, ada, c.ID); err != nil {
			t.Fatal(err)
		}
		if got := find(ada, "kiwi"); got != "" {
			t.Errorf("a deleted one is found: %q", got)
		}
		if n, err := w.Purge(ctx, time.Now().Add(time.Minute)); err != nil || n != 1 {
			t.Errorf("%d purged, %v", n, err)
		}
		if got := find(ada, "pears"); got != "pears" {
			t.Errorf("after the purge: %q", got)
		}
	})
}

func TestLists(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		ctx, ada := t.Context(), w.user("ada")
		var ids []string
		for i := range 7 {
			c := w.create(ada, models.CreateConversationInput{Title: ptr(fmt.Sprint(i)), Model: ptr([]string{"a", "b"}[i%2]), Metadata: models.Metadata{"k": fmt.Sprint(i % 3)}})
			ids = append(ids, c.ID)
			for at := time.Now().UnixMilli(); time.Now().UnixMilli() == at; { // within one the order is nobody's promise
			}
		}
		w.say(ada, ids[0], models.RoleMessageUser, "hello")
		list := func(order *models.ConversationOrder, f *models.ConversationFilter, after string) string {
			t.Helper()
			args := models.PageArgs{First: ptr(3)}
			if after != "" {
				args.After = ptr(models.KeyCursor(after))
			}
			page, err := w.Conversations(ctx, ada, args, order, f)
			if err != nil {
				t.Fatal(err)
			}
			var titles []string
			for _, c := range page.Nodes() {
				titles = append(titles, c.Title)
			}
			return strings.Join(titles, "")
		}
		active := &models.ConversationOrder{Field: ptr(models.ConversationsByActivity)}
		for got, want := range map[string]string{
			list(nil, nil, ""): "654", list(nil, nil, ids[4]): "321", list(active, nil, ""): "065", list(active, nil, ids[0]): "654",
			list(active, nil, ids[5]): "432", list(nil, &models.ConversationFilter{Model: ptr("b")}, ""): "531",
			list(nil, &models.ConversationFilter{Metadata: models.Metadata{"k": "1"}}, ""): "41",
			list(&models.ConversationOrder{Direction: ptr(models.OrderAsc)}, nil, ids[4]):  "56",
		} {
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	})
}

// Nothing of another account's can be reached by its id.
func TestIsolation(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		ctx, ada, bob := t.Context(), w.user("ada"), w.user("bob")
		c := w.create(ada, models.CreateConversationInput{})
		own := w.create(bob, models.CreateConversationInput{})
		m := w.say(ada, c.ID, models.RoleMessageUser, "hello")
		_, err := w.Conversation(ctx, bob, c.ID)
		missing(t, "conversation", err)
		_, err = w.Update(ctx, bob, c.ID, models.UpdateConversationInput{})
		missing(t, "update", err)
		_, err = w.Delete(ctx, bob, c.ID)
		missing(t, "delete", err)
		_, err = w.Share(ctx, bob, c.ID, nil)
		missing(t, "share", err)
		_, err = w.Unshare(ctx, bob, c.ID)
		missing(t, "unshare", err)
		_, err = w.Messages(ctx, bob, c.ID, models.MessagesArgs{})
		missing(t, "messages", err)
		_, err = w.Messages(ctx, bob, own.ID, models.MessagesArgs{LeafID: &m.ID})
		missing(t, "leaf", err)
		_, err = w.Message(ctx, bob, m.ID)
		missing(t, "message", err)
		_, err = w.MessageIn(ctx, ada, own.ID, m.ID)
		missing(t, "message of another conversation", err)
		_, err = w.Edit(ctx, bob, models.EditMessageInput{MessageID: m.ID, Content: *models.TextContent("x")})
		missing(t, "edit", err)
		_, err = w.DeleteMessage(ctx, bob, m.ID)
		missing(t, "delete message", err)
		_, err = w.Add(ctx, bob, models.AddMessageInput{ConversationID: c.ID, Message: models.ChatMessage{Role: models.RoleMessageUser, Content: models.TextContent("x")}})
		missing(t, "add", err)
		_, err = w.Add(ctx, bob, models.AddMessageInput{ConversationID: own.ID, ParentID: models.OmittableOf(&m.ID), Message: models.ChatMessage{Role: models.RoleMessageUser, Content: models.TextContent("x")}})
		missing(t, "parent", err)
		_, err = w.Update(ctx, bob, own.ID, models.UpdateConversationInput{LeafID: models.OmittableOf(&m.ID)})
		missing(t, "leaf of update", err)
		_, err = w.Turn(ctx, bob, c.ID, models.Omittable[*string]{})
		missing(t, "turn", err)
		_, err = w.Turn(ctx, bob, own.ID, models.OmittableOf(&m.ID))
		missing(t, "parent of a turn", err)
		_, err = w.Items(ctx, bob, c.ID, models.PageArgs{})
		missing(t, "items", err)
		_, err = w.Item(ctx, bob, c.ID, m.ID)
		missing(t, "item", err)
		_, err = w.CreateItems(ctx, bob, c.ID, models.JSON(`[{"role":"user","content":"x"}]`))
		missing(t, "create items", err)
		_, err = w.DeleteItem(ctx, bob, c.ID, m.ID)
		missing(t, "delete item", err)
		_, err = w.ExportText(ctx, bob, c.ID, models.ExportJSON)
		missing(t, "export", err)
		_, err = w.Watch(ctx, bob, c.ID)
		missing(t, "watch", err)
		_, err = w.BranchItems(ctx, bob, c.ID)
		missing(t, "branch items", err)
		_, err = w.Conversation(ctx, ada, "a\x00b")
		missing(t, "no id", err)
		page, err := w.Conversations(ctx, bob, models.PageArgs{}, nil, nil)
		if err != nil || len(page.Edges) != 1 || page.Edges[0].Node.ID != own.ID {
			t.Errorf("bob's list: %+v, %v", page, err)
		}
		if _, err := w.Conversation(ctx, &models.Viewer{UserID: ada.UserID}, c.ID); err == nil {
			t.Error("a key without the scope reads")
		}
	})
}

func TestShare(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		ctx, ada := t.Context(), w.user("ada")
		c := w.create(ada, models.CreateConversationInput{SystemPrompt: ptr("secret prompt")})
		w.say(ada, c.ID, models.RoleMessageUser, "hello")
		first, err := w.Share(ctx, ada, c.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.say(ada, c.ID, models.RoleMessageUser, "later")
		shared, err := w.Shared(ctx, first.Share.Token)
		if err != nil || len(shared.Messages) != 1 || shared.Messages[0].Content != "hello" || shared.Title != "hello" {
			t.Errorf("%+v, %v", shared, err)
		}
		second, err := w.Share(ctx, ada, c.ID, &models.ShareConversationInput{ExpiresAt: ptr(time.Now().Add(time.Hour))})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Shared(ctx, first.Share.Token)
		missing(t, "the link that was replaced", err)
		if shared, err = w.Shared(ctx, second.Share.Token); err != nil || len(shared.Messages) != 2 {
			t.Errorf("%+v, %v", shared, err)
		}
		if _, err := w.db.Write().NewRaw("UPDATE conversation_shares SET expires_at = ?", time.Now().UTC().Add(-time.Second)).Exec(ctx); err != nil {
			t.Fatal(err)
		}
		_, err = w.Shared(ctx, second.Share.Token)
		missing(t, "a link past its time", err)
		third, err := w.Share(ctx, ada, c.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		if done, err := w.Unshare(ctx, ada, c.ID); err != nil || done.Conversation.SharedAt != nil {
			t.Errorf("%+v, %v", done, err)
		}
		_, err = w.Shared(ctx, third.Share.Token)
		missing(t, "a revoked link", err)
		for _, token := range []string{"", "x", strings.Repeat("A", 22), strings.Repeat("é", 100)} {
			_, err = w.Shared(ctx, token)
			missing(t, "a wrong token", err)
		}
	})
}

func TestWatch(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		ctx, ada := t.Context(), w.user("ada")
		c := w.create(ada, models.CreateConversationInput{})
		elsewhere := conversations.New(w.db, zerolog.Nop()) // another process
		defer func() { _ = elsewhere.Close(ctx) }()
		watch, err := elsewhere.Watch(ctx, ada, c.ID)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = watch.Close() }()
		m := w.say(ada, c.ID, models.RoleMessageUser, "hello")
		if _, err := w.Update(ctx, ada, c.ID, models.UpdateConversationInput{Status: models.OmittableOf(ptr(models.ConversationCompleted))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.DeleteMessage(ctx, ada, m.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Delete(ctx, ada, c.ID); err != nil {
			t.Fatal(err)
		}
		var got []models.ConversationEventType
		for {
			e, err := watch.Next()
			if err != nil {
				break
			}
			if e.Revision != int64(len(got)+1) {
				t.Errorf("event %d has the revision %d", len(got)+1, e.Revision)
			}
			got = append(got, e.Type)
		}
		want := []models.ConversationEventType{
			models.ConversationTitleChanged, models.ConversationMessageAdded, models.ConversationStatusChanged,
			models.ConversationMessageDeleted, models.ConversationDeleted,
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
		var events []models.Event
		if err := w.db.Read().NewSelect().Model(&events).OrderExpr("id").Scan(ctx); err != nil || len(events) != 2 ||
			events[0].Type != models.EventConversationCreated || events[1].Type != models.EventConversationCompleted ||
			!strings.Contains(string(events[1].Payload), `"completed"`) {
			t.Errorf("%+v, %v", events, err)
		}
	})
}

func TestItems(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		ctx, ada := t.Context(), w.user("ada")
		c := w.create(ada, models.CreateConversationInput{Items: models.JSON(`[{"type":"message","role":"user","content":"weather?"}]`)})
		done, err := w.CreateItems(ctx, ada, c.ID, models.JSON(`[
			{"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},{"type":"function_call","call_id":"c2","name":"g","arguments":"{}"},
			{"type":"function_call_output","call_id":"c1","output":"rain"},{"type":"function_call_output","call_id":"c2","output":"sun"}]`))
		if err != nil || len(done.Items) != 4 {
			t.Fatalf("%+v, %v", done, err)
		}
		if _, err := w.CreateItems(ctx, ada, c.ID, models.JSON(`[{"type":"function_call_output","call_id":"nope","output":"x"}]`)); err == nil {
			t.Error("an output without its call")
		}
		for _, order := range []models.OrderDirection{models.OrderAsc, models.OrderDesc} {
			var ids []string
			var cursor *string
			for {
				page, err := w.Items(ctx, ada, c.ID, models.PageArgs{First: ptr(2), After: cursor, Order: &order})
				if err != nil {
					t.Fatal(err)
				}
				for _, item := range page.Nodes() {
					ids = append(ids, item.ID)
				}
				if cursor = page.PageInfo.EndCursor; !page.PageInfo.HasNextPage {
					if n, err := page.TotalCount(ctx); err != nil || n != 5 {
						t.Errorf("%d items, %v", n, err)
					}
					break
				}
			}
			if order == models.OrderDesc {
				slices.Reverse(ids)
			}
			if len(ids) != 5 || ids[1] != done.Items[0].ID || ids[4] != done.Items[3].ID {
				t.Errorf("%s: %v", order, ids)
			}
		}
		item, err := w.Item(ctx, ada, c.ID, done.Items[1].ID)
		if err != nil || !strings.Contains(string(item.Raw), `"call_id":"c2"`) {
			t.Errorf("%+v, %v", item, err)
		}
		after, err := w.DeleteItem(ctx, ada, c.ID, done.Items[3].ID)
		if err != nil || after.Conversation.MessageCount != 3 {
			t.Errorf("%+v, %v", after, err)
		}
		_, err = w.Item(ctx, ada, c.ID, done.Items[3].ID)
		missing(t, "a deleted item", err)
	})
}

func TestExport(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		ctx, ada := t.Context(), w.user("ada")
		c := w.create(ada, models.CreateConversationInput{Title: ptr("A talk"), SystemPrompt: ptr("Be kind.")})
		for i := range 60 {
			w.say(ada, c.ID, models.RoleMessageUser, fmt.Sprintf("line %d", i))
		}
		text, err := w.ExportText(ctx, ada, c.ID, models.ExportMarkdown)
		if err != nil || !strings.HasPrefix(*text, "# A talk\n") || !strings.Contains(*text, "## User\n\nline 59\n") || !strings.Contains(*text, "Be kind.") {
			t.Errorf("%v, %v", text, err)
		}
		if text, err = w.ExportText(ctx, ada, c.ID, models.ExportJSON); err != nil || strings.Count(*text, `"object":"conversation.message"`) != 60 {
			t.Errorf("%v, %v", text, err)
		}
		if _, err := w.ExportText(ctx, ada, c.ID, "pdf"); err == nil {
			t.Error("an unknown format")
		}
	})
}

// The messages of a page of conversations are one statement, however many ask at
// the same time.
func TestMessagesOfAPageAreReadTogether(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		ctx, ada := t.Context(), w.user("ada")
		for i := range 5 {
			c := w.create(ada, models.CreateConversationInput{})
			for j := range i {
				w.say(ada, c.ID, models.RoleMessageUser, fmt.Sprint(j))
			}
		}
		said := new(statements)
		w.db.Read().AddQueryHook(said) //nolint:staticcheck // the service has this pool, not a copy with a hook
		page, err := w.Conversations(ctx, ada, models.PageArgs{}, &models.ConversationOrder{Direction: ptr(models.OrderAsc)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Nodes() {
			messages, err := w.MessagesOf(ctx, ada, c, models.MessagesArgs{PageArgs: models.PageArgs{First: ptr(2)}})
			if err != nil || len(messages.Edges) != min(2, c.MessageCount) || messages.PageInfo.HasNextPage != (c.MessageCount > 2) {
				t.Errorf("of %d messages: %+v, %v", c.MessageCount, messages, err)
			}
		}
		n := 0
		for _, statement := range said.list {
			if strings.HasPrefix(statement, "WITH RECURSIVE path") {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d statements for messages in %q", n, said.list)
		}
	})
}

func FuzzSearch(f *testing.F) {
	db := testdb.New(f, "sqlite")
	s := conversations.New(db, zerolog.Nop())
	f.Cleanup(func() { _ = s.Close(f.Context()) })
	w := &world{Service: s, t: f, db: db}
	ada := w.user("ada")
	w.say(ada, w.create(ada, models.CreateConversationInput{}).ID, models.RoleMessageUser, "some words 中文")
	for _, q := range []string{"words", `"`, "a AND (b*", "NEAR(a b)", "中文", "\u0301x", "owner:x", "-", "a^2", "col : x"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		_, err := s.Conversations(t.Context(), ada, models.PageArgs{}, nil, &models.ConversationFilter{Search: &q})
		if e := new(models.Error); err != nil && !errors.As(err, &e) {
			t.Errorf("search %q: %v", q, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"index":3,"function":{"arguments":"{"}}]}}]}`))
	f.Add([]byte(`{"choices":[{"message":{"content":null,"function_call":{"name":"f"},"tool_calls":[{"custom":{"x":1}}]}}]}`))
	f.Add([]byte(`{"choices":[{"delta":[1]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		turn := new(conversations.Turn)
		turn.Read(raw)
		turn.Read(raw)
		if len(turn.Answered()) > 2*len(raw) {
			t.Errorf("%q became %q", raw, turn.Answered())
		}
	})
}
