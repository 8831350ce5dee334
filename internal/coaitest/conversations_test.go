package coaitest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/conversations"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

const conversationsPath = "/v1/conversations"

// storedMessage is a message as REST shows it.
type storedMessage struct {
	ID, Role, Status string
	ParentID         *string `json:"parent_id"`
	Content          any
	Model, Error     *string
	FinishReason     *string `json:"finish_reason"`
	Usage            *struct {
		TotalTokens int64 `json:"total_tokens"`
		Cost        float64
	}
}

// transcript are the roles, texts and statuses of a conversation's active branch.
func transcript(t *testing.T, p *coaitest.Product, key, id string) (list []storedMessage, text string) {
	t.Helper()
	var page struct{ Data []storedMessage }
	res := p.Do("GET", conversationsPath+"/"+id+"/messages?order=asc&limit=100", key, nil)
	if res.JSON(t, &page); res.Status != http.StatusOK {
		t.Fatalf("list messages: %d %s", res.Status, res.Body)
	}
	var parts []string
	for _, m := range page.Data {
		part := fmt.Sprintf("%s: %v", m.Role, m.Content)
		if m.Status != "completed" {
			part += " [" + m.Status + "]"
		}
		parts = append(parts, part)
	}
	return page.Data, strings.Join(parts, "; ")
}

func newConversation(t *testing.T, p *coaitest.Product, key string, in object) string {
	t.Helper()
	if in == nil {
		in = object{}
	}
	res := p.Do("POST", conversationsPath, key, in)
	var c struct{ ID, Object string }
	if res.JSON(t, &c); res.Status != http.StatusOK || c.Object != "conversation" || !strings.HasPrefix(c.ID, "conv_") {
		t.Fatalf("create conversation: %d %s", res.Status, res.Body)
	}
	return c.ID
}

// Completions, messages and mutations are one way into one transcript.
func TestTurnsOfAllFaces(t *testing.T) {
	t.Parallel()
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		up := coaitest.NewUpstream(t, coaitest.Whole("first"))
		p.Channel(up, nil)
		price(t, p, "gpt-test", "1000000")
		key := p.UserKey(nil)
		id := newConversation(t, p, key, object{"system_prompt": "Be brief.", "model": "gpt-test"})

		// A completion over REST, with a field that only the upstream knows.
		res := p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", object{"conversation_id": id, "x_only_upstream": 7}))
		if res.Status != 200 {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		var sent struct {
			Messages       []struct{ Role, Content string }
			XOnlyUpstream  int     `json:"x_only_upstream"`
			ConversationID *string `json:"conversation_id"`
		}
		if err := json.Unmarshal(up.Calls()[0].Body, &sent); err != nil || len(sent.Messages) != 2 || sent.Messages[0].Content != "Be brief." || sent.XOnlyUpstream != 7 || sent.ConversationID != nil {
			t.Errorf("the upstream got %s", up.Calls()[0].Body)
		}
		// A streamed one.
		up.Then(coaitest.Streamed("sec", "ond"))
		coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", key, object{
			"model": "gpt-test", "stream": true, "conversation_id": id, "messages": []object{{"role": "user", "content": "two"}},
		})).All()
		// A message over REST, whole and streamed; the model is the conversation's.
		up.Then(coaitest.Whole("third"))
		var m storedMessage
		if res := p.Do("POST", conversationsPath+"/"+id+"/messages", key, object{"content": "three", "generate": true}); res.Status != 200 {
			t.Fatalf("%d %s", res.Status, res.Body)
		} else if res.JSON(t, &m); m.Content != "third" || m.Role != "assistant" || m.Usage.TotalTokens != 18 || m.Usage.Cost != 18 || *m.FinishReason != "stop" || *m.Model != "gpt-test" {
			t.Errorf("%s", res.Body)
		}
		up.Then(coaitest.Streamed("four", "th"))
		all := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", conversationsPath+"/"+id+"/messages", key, object{"content": "four", "generate": true, "stream": true})).All()
		if all[len(all)-1] != "[DONE]" {
			t.Errorf("the stream ended with %q", all[len(all)-1])
		}
		// Over GraphQL, whole and streamed.
		up.Then(coaitest.Whole("fifth"))
		var data struct {
			SendMessage struct {
				Message struct {
					ID, Content string
					Usage       struct{ TotalTokens int }
				}
				UserErrors []struct{ Message string }
			}
		}
		if errs := p.GraphQL(key, `mutation($in: SendMessageInput!) { sendMessage(input: $in) { message { id content usage { totalTokens } } userErrors { message } } }`,
			object{"in": object{"conversationId": id, "content": object{"text": "five"}}}, &data); len(errs) > 0 || data.SendMessage.Message.Content != "fifth" {
			t.Errorf("%+v, %+v", data, errs)
		}
		up.Then(coaitest.Streamed("six", "th"))
		s := p.Socket(key)
		s.Subscribe("1", `subscription($in: SendMessageInput!) { sendMessage(input: $in) { messageId choices { delta { content } } error { message } } }`,
			object{"in": object{"conversationId": id, "content": object{"text": "six"}}})
		last := ""
		for {
			m, err := s.Receive()
			if err != nil || m.Type == "error" {
				t.Fatalf("%+v, %v", m, err)
			}
			if m.Type == "complete" {
				break
			}
			last = string(m.Payload)
		}
		// And in the language of responses.
		up.Then(coaitest.Whole("seventh"))
		if res := p.Do("POST", "/v1/responses", key, object{"model": "gpt-test", "conversation": object{"id": id}, "input": "seven", "instructions": "Only now."}); res.Status != 200 ||
			!strings.Contains(string(res.Body), `"conversation":{"id":"`+id+`"}`) {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		calls := up.Calls()
		if body := string(calls[len(calls)-1].Body); !strings.Contains(body, "Only now.") || !strings.Contains(body, "Be brief.") || strings.Count(body, `"role"`) != 15 {
			t.Errorf("the upstream got %s", body)
		}

		list, text := transcript(t, p, key, id)
		want := "user: Hello there, world; assistant: first; user: two; assistant: second; user: three; assistant: third; user: four; assistant: fourth; " +
			"user: five; assistant: fifth; user: six; assistant: sixth; user: seven; assistant: seventh"
		if text != want {
			t.Fatalf("the transcript is %q", text)
		}
		if !strings.Contains(last, list[11].ID) {
			t.Errorf("the last chunk %s does not name the answer %s", last, list[11].ID)
		}
		// Money is in the ledger and in the conversation alike.
		var c struct {
			Title        string
			MessageCount int `json:"message_count"`
			Usage        struct {
				TotalTokens int64 `json:"total_tokens"`
				Cost        struct{ Value float64 }
			}
			Messages struct{ Data []storedMessage }
		}
		res = p.Do("GET", conversationsPath+"/"+id, key, nil)
		res.JSON(t, &c)
		var cost models.Nanos
		for _, r := range p.Usage(7) {
			cost += r.Cost
		}
		if c.Title != "Hello there, world" || c.MessageCount != 14 || len(c.Messages.Data) != 14 || c.Usage.TotalTokens != 7*18 || !strings.Contains(string(res.Body), `"value":126`) || cost != 126*models.Dollar {
			t.Errorf("%s; the ledger says %s", res.Body, cost)
		}

		// Another answer, beside the one there is; and an edit, with its answer.
		up.Then(coaitest.Whole("premier"))
		var again struct {
			RegenerateMessage struct {
				Message struct{ Content, ParentID string }
			}
		}
		if errs := p.GraphQL(key, `mutation($id: ID!) { regenerateMessage(input: {messageId: $id}) { message { content parentID: parentId } userErrors { message } } }`, object{"id": list[1].ID}, &again); len(errs) > 0 || again.RegenerateMessage.Message.ParentID != list[0].ID {
			t.Errorf("%+v %+v", again, errs)
		}
		if _, text := transcript(t, p, key, id); text != "user: Hello there, world; assistant: premier" {
			t.Errorf("after another answer: %q", text)
		}
		up.Then(coaitest.Whole("edited"))
		if res := p.Do("POST", conversationsPath+"/"+id+"/messages", key, object{"content": "deux", "parent_id": list[1].ID, "generate": true}); res.Status != 200 {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		if _, text := transcript(t, p, key, id); text != "user: Hello there, world; assistant: first; user: deux; assistant: edited" {
			t.Errorf("after an edit: %q", text)
		}

		// One that has ended takes no turns.
		if res := p.Do("PATCH", conversationsPath+"/"+id, key, object{"status": "completed"}); res.Status != 200 {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		if res := p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", object{"conversation_id": id})); res.Status != 409 || res.Error(t).Code != models.CodeConflict {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		for _, c := range []struct {
			key    string
			in     object
			status int
		}{
			{key, object{"conversation_id": "conv_none"}, 404},
			{p.UserKey(object{"scopes": []string{"chat"}}), object{"conversation_id": id}, 403},
			{key, object{"conversation_id": id, "n": 2}, 400},
			{key, object{"parent_message_id": "msg_x"}, 400},
			{p.OtherUserKey("bob@example.com", models.CreateAPIKeyInput{Name: "k"}), object{"conversation_id": id}, 404},
		} {
			if res := p.Do("POST", "/v1/chat/completions", c.key, ask("gpt-test", c.in)); res.Status != c.status {
				t.Errorf("%v: %d %s", c.in, res.Status, res.Body)
			}
		}
	})
}

// What a client that left has seen is kept as interrupted, or whole where its key
// drains; a failure is kept too, and the next turn goes on as if it had not been.
func TestTurnsThatEndEarly(t *testing.T) {
	t.Parallel()
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b, "COAI_UPSTREAM_RETRIES=0")
		left := make(chan struct{})
		half := func(w http.ResponseWriter, c *coaitest.Call) {
			coaitest.StartEvents(w)
			coaitest.Event(w, coaitest.FirstChunk)
			coaitest.Event(w, coaitest.Chunk("one"))
			select {
			case <-left:
			case <-c.Gone:
				return
			}
			for _, e := range []string{coaitest.Chunk(" two"), coaitest.FinishChunk, coaitest.UsageChunk, coaitest.Done} {
				coaitest.Event(w, e)
			}
		}
		up := coaitest.NewUpstream(t, half)
		p.Channel(up, nil)
		for _, policy := range []string{"cancel", "drain"} {
			key := p.UserKey(object{"on_disconnect": policy})
			id := newConversation(t, p, key, nil)
			ctx, leave := context.WithCancel(t.Context())
			s := coaitest.NewEventStream(t, p.Open(ctx, "POST", "/v1/chat/completions", key, ask("gpt-test", object{"stream": true, "conversation_id": id})))
			s.Next()
			s.Next()
			if res := p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", object{"conversation_id": id})); res.Status != 409 {
				t.Errorf("a second turn meanwhile: %d %s", res.Status, res.Body)
			}
			leave()
			want := "user: Hello there, world; assistant: one [interrupted]"
			if policy == "drain" {
				close(left)
				want = "user: Hello there, world; assistant: one two"
			}
			coaitest.Eventually(t, policy, func() bool { _, text := transcript(t, p, key, id); return text == want })
		}
		key := p.UserKey(nil)
		id := newConversation(t, p, key, nil)
		up.Then(coaitest.Status(500, "application/json", `{"error":{"message":"no"}}`))
		if res := p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", object{"conversation_id": id})); res.Status != 503 {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		list, text := transcript(t, p, key, id)
		if text != "user: Hello there, world; assistant: <nil> [failed]" || *list[1].Error != models.CodeUpstreamError {
			t.Errorf("%q %+v", text, list)
		}
		up.Then(coaitest.Whole("well"))
		if res := p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", object{"conversation_id": id})); res.Status != 200 {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		if _, text := transcript(t, p, key, id); text != "user: Hello there, world; assistant: well" {
			t.Errorf("after a failure: %q", text)
		}
	})
}

// A killed process leaves the half of an answer, and another goes on from there.
func TestKillInMidStream(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "coai")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/coaidev/coai/cmd/coai").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	dir := t.TempDir()
	url, process := serve(t, program, dir)
	p := coaitest.Attach(t, url)
	up := coaitest.NewUpstream(t, func(w http.ResponseWriter, c *coaitest.Call) {
		coaitest.StartEvents(w)
		coaitest.Event(w, coaitest.FirstChunk)
		coaitest.Event(w, coaitest.Chunk("half of it"))
		<-c.Gone
	})
	p.Channel(up, nil)
	id := newConversation(t, p, coaitest.AdminKey, nil)
	s := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", coaitest.AdminKey, ask("gpt-test", object{"stream": true, "conversation_id": id})))
	s.Next()
	s.Next()
	coaitest.Eventually(t, "the half is noted", func() bool {
		_, text := transcript(t, p, coaitest.AdminKey, id)
		return strings.Contains(text, "half of it [in_progress]")
	})
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = process.Wait()
	db, err := storage.Open(t.Context(), "sqlite:"+filepath.Join(dir, "coai.db"))
	if err != nil {
		t.Fatal(err)
	}
	// As if the time had gone by after which nobody else works on it.
	if _, err := db.Write().NewRaw("UPDATE conversation_messages SET lease_until = ? WHERE status = 'in_progress'", time.Now().UTC().Add(-time.Second)).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	url, _ = serve(t, program, dir)
	p = coaitest.Attach(t, url)
	if _, text := transcript(t, p, coaitest.AdminKey, id); text != "user: Hello there, world; assistant: half of it [interrupted]" {
		t.Errorf("after the kill: %q", text)
	}
	up.Then(coaitest.Whole("the rest"))
	if res := p.Do("POST", "/v1/chat/completions", coaitest.AdminKey, ask("gpt-test", object{"conversation_id": id})); res.Status != 200 {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	if calls := up.Calls(); !strings.Contains(string(calls[len(calls)-1].Body), "half of it") {
		t.Errorf("the upstream got %s", calls[len(calls)-1].Body)
	}
}

// A model makes the title in the background, and is paid for; when it fails, the
// first words stay.
func TestTitleByModel(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_TITLE_MODEL=cheap")
	up := coaitest.NewUpstream(t, coaitest.Whole("answer"))
	p.Channel(up, nil)
	titler := coaitest.NewUpstream(t, coaitest.Whole(`\"A Fine Title.\"`))
	p.Channel(titler, object{"name": "titles", "models": []string{"cheap"}})
	key := p.UserKey(nil)
	title := func(id string) string {
		var c struct{ Title string }
		p.Do("GET", conversationsPath+"/"+id, key, nil).JSON(t, &c)
		return c.Title
	}
	id := newConversation(t, p, key, nil)
	p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", object{"conversation_id": id}))
	coaitest.Eventually(t, "the title", func() bool { return title(id) == "A Fine Title" })
	if u := p.Usage(2); u[1].Model != "cheap" && u[0].Model != "cheap" {
		t.Errorf("the records are %+v", u)
	}
	p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", object{"conversation_id": id}))
	titler.Then(coaitest.Status(400, "application/json", `{"error":{"message":"no"}}`))
	other := newConversation(t, p, key, nil)
	p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", object{"conversation_id": other}))
	coaitest.Eventually(t, "the failure", func() bool { return strings.Contains(p.Logs.String(), "no title made") })
	if got := title(other); got != "Hello there, world" {
		t.Errorf("the title is %q", got)
	}
	if n := len(titler.Calls()); n != 2 {
		t.Errorf("%d titles asked for", n)
	}
}

// OpenAI's own SDK finds conversations where it looks for them.
func TestConversationsWithOpenAIGoSDK(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	client := openai.NewClient(option.WithBaseURL(p.URL+"/v1"), option.WithAPIKey(p.UserKey(nil)), option.WithMaxRetries(0))
	ctx := t.Context()
	message := func(text string) responses.ResponseInputItemUnionParam {
		return responses.ResponseInputItemParamOfMessage(text, responses.EasyInputMessageRoleUser)
	}
	c, err := client.Conversations.New(ctx, conversations.ConversationNewParams{
		Metadata: map[string]string{"topic": "demo"}, Items: []responses.ResponseInputItemUnionParam{message("Hello!")},
	})
	if err != nil || c.ID == "" || c.CreatedAt == 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	if c, err = client.Conversations.Get(ctx, c.ID); err != nil || !strings.Contains(c.RawJSON(), `"topic":"demo"`) {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err = client.Conversations.Update(ctx, c.ID, conversations.ConversationUpdateParams{Metadata: map[string]string{"topic": "other"}}); err != nil || !strings.Contains(c.RawJSON(), `"topic":"other"`) {
		t.Errorf("%+v, %v", c, err)
	}
	added, err := client.Conversations.Items.New(ctx, c.ID, conversations.ItemNewParams{Items: []responses.ResponseInputItemUnionParam{message("one"), message("two")}})
	if err != nil || len(added.Data) != 2 || added.Data[0].Role != "user" || added.Data[0].Status != "completed" {
		t.Fatalf("%+v, %v", added, err)
	}
	r, err := client.Responses.New(ctx, responses.ResponseNewParams{
		Model: "echo", Conversation: responses.ResponseNewParamsConversationUnion{OfString: openai.String(c.ID)},
		Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("say it")},
	})
	if err != nil || r.OutputText() == "" || r.Conversation.ID != c.ID {
		t.Errorf("%+v, %v", r, err)
	}
	var texts []string
	pager := client.Conversations.Items.ListAutoPaging(ctx, c.ID, conversations.ItemListParams{Limit: openai.Int(2), Order: conversations.ItemListParamsOrderAsc})
	for pager.Next() {
		item := pager.Current()
		texts = append(texts, item.Content.OfMessageContentArray[0].Text)
	}
	if got := strings.Join(texts, "|"); pager.Err() != nil || !strings.HasPrefix(got, "Hello!|one|two|say it|") || len(texts) != 5 {
		t.Errorf("%q, %v", got, pager.Err())
	}
	item, err := client.Conversations.Items.Get(ctx, c.ID, added.Data[0].ID, conversations.ItemGetParams{})
	if err != nil || item.ID != added.Data[0].ID {
		t.Errorf("%+v, %v", item, err)
	}
	if left, err := client.Conversations.Items.Delete(ctx, c.ID, item.ID); err != nil || left.ID != c.ID {
		t.Errorf("%+v, %v", left, err)
	}
	gone, err := client.Conversations.Delete(ctx, c.ID)
	if err != nil || !gone.Deleted || gone.ID != c.ID {
		t.Errorf("%+v, %v", gone, err)
	}
	if _, err = client.Conversations.Get(ctx, c.ID); err == nil {
		t.Error("a deleted conversation is read")
	}
}

// Lists, search, links and exports over REST, and pages of messages over GraphQL.
func TestConversationsOverREST(t *testing.T) {
	t.Parallel()
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		key := p.UserKey(nil)
		id := newConversation(t, p, key, object{"title": "Trees", "metadata": object{"k": "v"}, "model": "echo"})
		if res := p.Do("POST", conversationsPath+"/"+id+"/messages", key, object{"content": "Where do pears grow?", "generate": true}); res.Status != 200 {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		newConversation(t, p, key, nil)
		total := func(query string) (n int) {
			var l struct{ Total int }
			res := p.Do("GET", conversationsPath+query, key, nil)
			if res.JSON(t, &l); res.Status != 200 {
				t.Errorf("%s: %d %s", query, res.Status, res.Body)
			}
			return l.Total
		}
		for query, want := range map[string]int{"": 2, "?q=pears": 1, "?q=%22%27*(": 0, "?status=completed": 0, "?model=echo": 1, "?metadata[k]=v": 1, "?metadata[k]=w": 0, "?sort=last_message_at&order=asc": 2} {
			if got := total(query); got != want {
				t.Errorf("%q has %d, want %d", query, got, want)
			}
		}
		for query, param := range map[string]string{"?status=x": "status", "?sort=x": "sort", "?limit=0": "limit", "?q=" + strings.Repeat("x", 300): "search"} {
			if e := p.Do("GET", conversationsPath+query, key, nil).Error(t); e.Param == nil || *e.Param != param {
				t.Errorf("%s: %+v", query, e)
			}
		}
		var share struct{ Token, Path string }
		p.Do("POST", conversationsPath+"/"+id+"/share", key, nil).JSON(t, &share)
		res := p.Do("GET", share.Path, "", nil)
		if body := string(res.Body); res.Status != 200 || !strings.Contains(body, "pears") || strings.Contains(body, "@") || strings.Contains(body, "user_") || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v %s", res.Status, res.Header, res.Body)
		}
		var open struct{ SharedConversation struct{ Title string } }
		if errs := p.GraphQL("", `query($t: String!) { sharedConversation(token: $t) { title } }`, object{"t": share.Token}, &open); len(errs) > 0 || open.SharedConversation.Title != "Trees" {
			t.Errorf("%+v, %+v", open, errs)
		}
		p.Do("DELETE", conversationsPath+"/"+id+"/share", key, nil)
		if res := p.Do("GET", share.Path, "", nil); res.Status != 404 {
			t.Errorf("a revoked link: %d", res.Status)
		}
		res = p.Do("GET", conversationsPath+"/"+id+"/export?format=markdown", key, nil)
		if res.Status != 200 || !strings.HasPrefix(string(res.Body), "# Trees\n") || res.Header.Get("Content-Disposition") != `attachment; filename="`+id+`.md"` {
			t.Errorf("%d %v %s", res.Status, res.Header, res.Body)
		}
		var export struct{ Messages []storedMessage }
		if p.Do("GET", conversationsPath+"/"+id+"/export", key, nil).JSON(t, &export); len(export.Messages) != 2 {
			t.Errorf("%+v", export)
		}
		var page struct {
			Conversations struct {
				Nodes []struct {
					ID       string
					Messages struct {
						TotalCount int
						Nodes      []struct{ Content string }
					}
				}
			}
		}
		if errs := p.GraphQL(key, `{ conversations { nodes { id messages(first: 1) { totalCount nodes { content } } } } }`, nil, &page); len(errs) > 0 ||
			len(page.Conversations.Nodes) != 2 || page.Conversations.Nodes[1].Messages.TotalCount != 2 || len(page.Conversations.Nodes[1].Messages.Nodes) != 1 {
			t.Errorf("%+v, %+v", page, errs)
		}
		// Live, over a socket.
		s := p.Socket(key)
		s.Subscribe("1", `subscription($id: ID!) { conversationEvents(id: $id) { type message { content } conversation { title } } }`, object{"id": id})
		for title := 0; ; title++ { // until the subscription has begun
			m, ok := s.ReceiveWithin(500 * time.Millisecond)
			if ok {
				if !strings.Contains(string(m.Payload), "TITLE_CHANGED") {
					t.Errorf("%s", m.Payload)
				}
				break
			}
			p.Do("PATCH", conversationsPath+"/"+id, key, object{"title": fmt.Sprintf("Pears %d", title)})
		}
	})
}
