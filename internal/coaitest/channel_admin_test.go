package coaitest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

func keyInput(name string) models.CreateAPIKeyInput { return models.CreateAPIKeyInput{Name: name} }

// listsOrAnswers is an upstream that lists its models, and else answers; but for the
// model gpt-bad.
func listsOrAnswers(list string) coaitest.Reply {
	return func(w http.ResponseWriter, c *coaitest.Call) {
		switch {
		case strings.HasSuffix(c.Path, "/models"):
			coaitest.Status(http.StatusOK, "application/json", list)(w, c)
		case strings.Contains(string(c.Body), "gpt-bad"):
			coaitest.Status(http.StatusInternalServerError, "application/json", `{"error":{"message":"broken"}}`)(w, c)
		default:
			coaitest.Whole("OK")(w, c)
		}
	}
}

type channelView struct {
	ID, Name, Status string
	Credential       *string
	Models, Tags     []string
	Priority         int
	UpdatedAt        int64 `json:"updated_at"`
}

func channelNames(t *testing.T, p *coaitest.Product, query string) string {
	t.Helper()
	var list struct{ Data []channelView }
	res := p.Do("GET", "/v1/channels?"+query, coaitest.AdminKey, nil)
	if res.JSON(t, &list); res.Status != http.StatusOK {
		t.Fatalf("%s: %d %s", query, res.Status, res.Body)
	}
	var names []string
	for _, c := range list.Data {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

func TestChannelListsAreNarrowedAndSorted(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b)
		up := coaitest.NewUpstream(t, coaitest.Whole("ok"))
		ids := map[string]string{}
		for i, name := range []string{"Zeta", "alpha_1", "beta"} {
			ids[name] = p.Channel(up, object{"name": name, "priority": i - 1, "tags": []string{"t-" + name}, "groups": []string{"g" + fmt.Sprint(i)}, "status": []string{"enabled", "disabled"}[i%2], "models": []string{"m", "m" + fmt.Sprint(i)}})
		}
		for query, want := range map[string]string{
			"model=m&order_by=name&order=asc":                        "Zeta alpha_1 beta",
			"model=m&order_by=priority":                              "beta alpha_1 Zeta",
			"model=m&order_by=priority&limit=1&after=" + ids["beta"]: "alpha_1",
			"model=m&order_by=name&limit=1&before=" + ids["Zeta"]:    "alpha_1",
			"model=m&order_by=name&offset=1":                         "alpha_1 Zeta",
			"tag=t-beta":                                             "beta",
			"group=g1":                                               "alpha_1",
			"q=ALPHA":                                                "alpha_1",
			"q=_":                                                    "alpha_1",
			"status=disabled":                                        "alpha_1",
			"model=m&status=enabled&order=asc&order_by=name":         "Zeta beta",
			"status=unhealthy":                                       "",
			"type=azure":                                             "",
			"model=m1&tag=t-beta":                                    "",
			"q=" + strings.TrimPrefix(up.URL, "http://") + "&order_by=name": "beta alpha_1 Zeta",
		} {
			if got := channelNames(t, p, query); got != want {
				t.Errorf("%s: %q, want %q", query, got, want)
			}
		}
		for query, param := range map[string]string{"order_by=size": "order_by", "status=odd": "status", "type=odd": "type", "order_by=name&after=ch_gone": "after"} {
			if res := p.Do("GET", "/v1/channels?"+query, coaitest.AdminKey, nil); res.Status != 400 || *res.Error(t).Param != param {
				t.Errorf("%s: %d %s", query, res.Status, res.Body)
			}
		}
		var q struct {
			Channels struct{ Nodes []struct{ Name string } }
		}
		if errs := p.GraphQL(coaitest.AdminKey, `{ channels(orderBy: PRIORITY, order: ASC, filter: {model: "m", q: "e"}) { nodes { name } } }`, nil, &q); len(errs) > 0 || len(q.Channels.Nodes) != 2 || q.Channels.Nodes[0].Name != "Zeta" {
			t.Errorf("%+v %+v", errs, q)
		}
	})
}

func TestChannelsAreClonedReorderedAndChangedInBulk(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b)
		up := coaitest.NewUpstream(t, coaitest.Whole("ok"))
		one := p.Channel(up, object{"name": "one"})
		var clone channelView
		p.Do("POST", "/v1/channels/"+one+"/clone", coaitest.AdminKey, nil).JSON(t, &clone)
		if clone.ID == one || clone.Name != "one (copy)" || clone.Status != "disabled" || clone.Credential == nil || *clone.Credential != "****"+coaitest.UpstreamKey[len(coaitest.UpstreamKey)-4:] {
			t.Fatalf("%+v", clone)
		}
		// The copy has the credential: it answers alone.
		bulk := func(in object) *coaitest.Response { return p.Do("POST", "/v1/channels/bulk", coaitest.AdminKey, in) }
		if res := bulk(object{"action": "enable", "ids": []string{clone.ID}}); res.Status != 200 || !strings.Contains(string(res.Body), `"affected":1`) {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		if res := bulk(object{"action": "disable", "filter": object{"q": one}}); res.Status != 200 {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		if res := p.Do("POST", "/v1/chat/completions", p.UserKey(nil), ask("gpt-test", nil)); res.Status != 200 {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		// All or nothing, and each failure is told.
		res := bulk(object{"action": "set_priority", "priority": 9, "ids": []string{one, "ch_no", "ch_none"}})
		var failed struct{ Errors []struct{ ID, Code string } }
		if res.JSON(t, &failed); res.Status != 404 || *res.Error(t).Param != "ids[1]" || len(failed.Errors) != 2 || failed.Errors[1].ID != "ch_none" || failed.Errors[1].Code != "resource_not_found" {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		var got channelView
		if p.Do("GET", "/v1/channels/"+one, coaitest.AdminKey, nil).JSON(t, &got); got.Priority != 0 {
			t.Errorf("a refused change was made: %+v", got)
		}
		var done struct {
			BulkChannels struct {
				ChannelIDs []string
				Failures   []object
				UserErrors []struct{ Field []string }
			}
		}
		const mutation = `mutation($in: BulkChannelsInput!) { bulkChannels(input: $in) { channelIds failures { id code message } userErrors { field } } }`
		if errs := p.GraphQL(coaitest.AdminKey, mutation, object{"in": object{"action": "DELETE", "ids": []string{"ch_no", one, "ch_none"}}}, &done); len(errs) > 0 || len(done.BulkChannels.Failures) != 2 || len(done.BulkChannels.UserErrors) != 2 || !slices.Equal(done.BulkChannels.UserErrors[1].Field, []string{"ids", "2"}) {
			t.Errorf("%+v %+v", errs, done)
		}
		for name, in := range map[string]object{
			"action": {"ids": []string{one}}, "ids": {"action": "delete"}, "priority": {"action": "set_priority", "ids": []string{one}}, "tags": {"action": "enable", "ids": []string{one}, "tags": []string{"x"}},
		} {
			if res := bulk(in); res.Status != 400 || *res.Error(t).Param != name {
				t.Errorf("%s: %d %s", name, res.Status, res.Body)
			}
		}
		// Several priorities at once.
		reorder := func(ids ...string) *coaitest.Response {
			var list []object
			for i, id := range ids {
				list = append(list, object{"id": id, "priority": 10 - i})
			}
			return p.Do("POST", "/v1/channels/reorder", coaitest.AdminKey, object{"channels": list})
		}
		if res := reorder(one, "ch_no"); res.Status != 404 || *res.Error(t).Param != "channels[1].id" {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		if res := reorder(clone.ID, one); res.Status != 200 {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		if got := channelNames(t, p, "model=gpt-test&order_by=priority"); got != "one (copy) one" {
			t.Errorf("the order is %q", got)
		}
		if errs := p.GraphQL(coaitest.AdminKey, mutation, object{"in": object{"action": "DELETE", "filter": object{"model": "gpt-test"}}}, &done); len(errs) > 0 || len(done.BulkChannels.ChannelIDs) != 2 {
			t.Errorf("%+v %+v", errs, done)
		}
		if got := channelNames(t, p, "model=gpt-test"); got != "" {
			t.Errorf("%q are left", got)
		}
	})
}

// Of two admins who have read the same channel the second to change it is told so.
func TestNoUpdateOfAChannelIsLost(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	id := p.Channel(coaitest.NewUpstream(t, coaitest.Whole("ok")), nil)
	path := "/v1/channels/" + id
	tag := p.Do("GET", path, coaitest.AdminKey, nil).Header.Get("ETag")
	first := p.Do("PATCH", path, coaitest.AdminKey, object{"weight": 2}, "If-Match", tag)
	if first.Status != 200 || first.Header.Get("ETag") == tag || tag == "" {
		t.Fatalf("%d %s, %s", first.Status, first.Body, tag)
	}
	if res := p.Do("PATCH", path, coaitest.AdminKey, object{"weight": 3}, "If-Match", tag); res.Status != 409 || res.Error(t).Code != "conflict" {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	if res := p.Do("PATCH", path, coaitest.AdminKey, object{"weight": 3}, "If-Match", "nonsense"); res.Status != 400 {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	var q struct{ Channel struct{ UpdatedAt string } }
	p.GraphQL(coaitest.AdminKey, `query($id: ID!) { channel(id: $id) { updatedAt } }`, object{"id": id}, &q)
	update := func() (errs int) {
		var done struct{ UpdateChannel struct{ UserErrors []object } }
		p.GraphQL(coaitest.AdminKey, `mutation($id: ID!, $at: DateTime) { updateChannel(id: $id, input: {weight: 4, ifUpdatedAt: $at}) { userErrors { code } } }`, object{"id": id, "at": q.Channel.UpdatedAt}, &done)
		return len(done.UpdateChannel.UserErrors)
	}
	if first, second := update(), update(); first != 0 || second != 1 {
		t.Errorf("%d and %d errors", first, second)
	}
}

func TestModelsAreTakenOverFromTheUpstream(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b)
		list := `{"object":"list","data":[{"id":"gpt-5"},{"id":"gpt-mini"},{"id":"gpt-real"},{"id":"gpt-5"},{"id":"bad\nname"}]}`
		up := coaitest.NewUpstream(t, listsOrAnswers(list))
		id := p.Channel(up, object{"models": []string{"gpt-5", "mine", "gone"}, "model_mapping": object{"mine": "gpt-real"}})
		var diff struct {
			Object                         string
			Upstream, Added, Missing, Kept []string
		}
		p.Do("GET", "/v1/channels/"+id+"/models", coaitest.AdminKey, nil).JSON(t, &diff)
		if diff.Object != "channel.models" || !slices.Equal(diff.Upstream, []string{"gpt-5", "gpt-mini", "gpt-real"}) || !slices.Equal(diff.Added, []string{"gpt-mini"}) ||
			!slices.Equal(diff.Missing, []string{"gone"}) || !slices.Equal(diff.Kept, []string{"gpt-5", "mine"}) {
			t.Errorf("%+v", diff)
		}
		sync := func(in object) *coaitest.Response {
			return p.Do("POST", "/v1/channels/"+id+"/models", coaitest.AdminKey, in)
		}
		if res := sync(object{"only": []string{"gpt-real"}}); res.Status != 400 || *res.Error(t).Param != "only[0]" {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		var q struct {
			SyncChannelModels struct{ Added, Removed []string }
		}
		if errs := p.GraphQL(coaitest.AdminKey, `mutation($id: ID!) { syncChannelModels(id: $id, input: {only: ["gpt-mini"]}) { added removed userErrors { message } } }`, object{"id": id}, &q); len(errs) > 0 || !slices.Equal(q.SyncChannelModels.Added, []string{"gpt-mini"}) || len(q.SyncChannelModels.Removed) != 0 {
			t.Errorf("%+v %+v", errs, q)
		}
		if res := sync(object{"remove_missing": true}); res.Status != 200 || !strings.Contains(string(res.Body), `"removed":["gone"]`) || !strings.Contains(string(res.Body), `"mine":"gpt-real"`) {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		var c channelView
		if p.Do("GET", "/v1/channels/"+id, coaitest.AdminKey, nil).JSON(t, &c); !slices.Equal(c.Models, []string{"gpt-5", "mine", "gpt-mini"}) {
			t.Errorf("the channel serves %v", c.Models)
		}
		up.Then(coaitest.Status(401, "application/json", `{"error":{"message":"no"}}`))
		if res := sync(object{}); res.Status != 503 || res.Error(t).Code != "upstream_error" || strings.Contains(string(res.Body), coaitest.UpstreamKey) {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		var channels struct{ Data []channelView }
		p.Do("GET", "/v1/channels?type=echo", coaitest.AdminKey, nil).JSON(t, &channels)
		if res := p.Do("GET", "/v1/channels/"+channels.Data[0].ID+"/models", coaitest.AdminKey, nil); res.Status != 409 {
			t.Errorf("%d %s", res.Status, res.Body)
		}
	})
}

// A test of several models tells all outcomes: in a list, or as they come.
func TestSeveralModelsAreTested(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	id := p.Channel(coaitest.NewUpstream(t, listsOrAnswers(`{}`)), object{"models": []string{"gpt-a", "gpt-bad", "gpt-c"}})
	path := "/v1/channels/" + id + "/test"
	type outcome struct {
		Success bool
		Model   string
		Error   *string
		Latency *int `json:"latency_ms"`
	}
	var one outcome
	p.Do("POST", path, coaitest.AdminKey, object{"model": "gpt-bad"}).JSON(t, &one)
	if one.Success || one.Model != "gpt-bad" || one.Error == nil || one.Latency == nil {
		t.Errorf("%+v", one)
	}
	var list struct {
		Object string
		Data   []outcome
	}
	p.Do("POST", path, coaitest.AdminKey, object{"all": true}).JSON(t, &list)
	if len(list.Data) != 3 || !list.Data[0].Success || list.Data[1].Success || list.Data[1].Model != "gpt-bad" || !list.Data[2].Success || list.Object != "list" {
		t.Errorf("%+v", list)
	}
	events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", path, coaitest.AdminKey, object{"models": []string{"gpt-a", "gpt-bad"}}, "Accept", "text/event-stream")).All()
	if all := strings.Join(events, "\n"); len(events) != 3 || !strings.HasSuffix(all, "[DONE]") || strings.Count(all, `"success":true`) != 1 || !strings.Contains(all, `"model":"gpt-bad"`) {
		t.Errorf("%s", all)
	}
	events = coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/graphql", coaitest.AdminKey, object{
		"query": `subscription($id: ID!) { testChannel(id: $id) { success model error latencyMs } }`, "variables": object{"id": id},
	}, "Accept", "text/event-stream")).All()
	if all := strings.Join(events, "\n"); strings.Count(all, `"success":true`) != 2 || strings.Count(all, `"success":false`) != 1 {
		t.Errorf("%s", all)
	}
	for _, c := range []struct {
		in    object
		param string
	}{{object{"models": []string{"gpt-a", "none"}}, "models[1]"}, {object{"model": "none"}, "model"}, {object{"model": "gpt-a", "all": true}, "models"}} {
		for _, accept := range []string{"application/json", "text/event-stream"} {
			if res := p.Do("POST", path, coaitest.AdminKey, c.in, "Accept", accept); res.Status != 400 || *res.Error(t).Param != c.param {
				t.Errorf("%v: %d %s", c.in, res.Status, res.Body)
			}
		}
	}
	if res := p.Do("POST", path, p.UserKey(nil), nil, "Accept", "text/event-stream"); res.Status != 403 {
		t.Errorf("a user tests a channel: %d", res.Status)
	}
	if res := p.Do("POST", "/v1/channels/ch_none/test", coaitest.AdminKey, nil); res.Status != 404 {
		t.Errorf("no channel: %d", res.Status)
	}
}
