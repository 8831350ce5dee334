package channels_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/safehttp"
	"github.com/coaidev/coai/internal/sealed"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

func admin() *models.Viewer {
	return &models.Viewer{UserID: "user_a", Role: models.RoleAdmin, KeyID: "key_a", Scopes: models.AllScopes()}
}

func user(allowed ...string) *models.Viewer {
	return &models.Viewer{UserID: "user_b", Role: models.RoleUser, KeyID: "key_b", Scopes: models.DefaultScopes(), AllowedModels: allowed}
}

func open(t *testing.T, db *storage.DB) *channels.Registry {
	t.Helper()
	return openWith(t, db, channels.Config{})
}

func openWith(t *testing.T, db *storage.DB, cfg channels.Config) *channels.Registry {
	t.Helper()
	box, err := sealed.New(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	policy, err := safehttp.ParsePolicy("", true)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Policy = policy
	r := channels.New(db, box, cfg, zerolog.Nop())
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func ptr[T any](v T) *T { return &v }

func create(t *testing.T, r *channels.Registry, in models.CreateChannelInput) *models.Channel {
	t.Helper()
	if in.Type == "" {
		in.Type = models.ChannelEcho
	}
	if in.Models == nil {
		in.Models = []string{"m"}
	}
	p, err := r.CreateChannel(t.Context(), admin(), in)
	if err != nil {
		t.Fatal(err)
	}
	return p.Channel
}

func code(err error) string {
	var e *models.Error
	if !errors.As(err, &e) {
		return fmt.Sprint(err)
	}
	return e.Code + " " + e.Param
}

func TestCredentialIsNeverStoredOrShownPlain(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		const secret = "sk-upstream-0123456789"
		r := open(t, db)
		c := create(t, r, models.CreateChannelInput{Name: "up", Type: models.ChannelOpenAI, Credential: ptr(secret)})
		if c.KeyHint == nil || *c.KeyHint != "****6789" || c.BaseURL != "https://api.openai.com/v1" {
			t.Errorf("channel = %+v", c)
		}
		var row models.Channel
		if err := db.Read().NewSelect().Model(&row).Where("id = ?", c.ID).Scan(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(row.Sealed) == 0 || bytes.Contains(row.Sealed, []byte(secret[:8])) {
			t.Error("the credential is not sealed")
		}
		gone := models.UpdateChannelInput{Credential: graphql.OmittableOf[*string](nil)}
		p, err := r.UpdateChannel(t.Context(), admin(), c.ID, gone)
		if err != nil || p.Channel.KeyHint != nil || p.Channel.Sealed != nil {
			t.Errorf("after removal: %+v, %v", p, err)
		}
	})
}

func TestUpdateLeavesAbsentFields(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		r := open(t, db)
		c := create(t, r, models.CreateChannelInput{
			Name: "a", Type: models.ChannelOpenAI, BaseURL: ptr("https://up.example/v1"), Credential: ptr("sk-upstream-0123456789"),
			Models: []string{"x", "y"}, ModelMapping: models.StringMap{"x": "x-2"}, Weight: ptr(3), Priority: ptr(2),
			Limits: &models.ChannelLimits{RPM: ptr(9)}, Settings: &models.ChannelSettings{Headers: models.StringMap{"X-A": "b"}},
		})
		in := models.UpdateChannelInput{
			Name:   graphql.OmittableOf(ptr("b")),
			Status: graphql.OmittableOf(ptr(models.ChannelDisabled)),
		}
		if _, err := r.UpdateChannel(t.Context(), admin(), c.ID, in); err != nil {
			t.Fatal(err)
		}
		got, err := r.Channel(t.Context(), admin(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != "b" || got.Status() != models.ChannelDisabled {
			t.Errorf("not changed: %+v", got)
		}
		if got.BaseURL != c.BaseURL || *got.KeyHint != "****6789" || len(got.Models) != 2 || got.ModelMapping["x"] != "x-2" ||
			got.Weight != 3 || got.Priority != 2 || *got.Limits.RPM != 9 || got.Settings.Headers["X-A"] != "b" {
			t.Errorf("changed what was absent: %+v", got)
		}
	})
}

func TestBadChannels(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		r := open(t, db)
		long := strings.Repeat("x", 101)
		for want, in := range map[string]models.CreateChannelInput{
			"missing_parameter name":           {Type: models.ChannelEcho, Models: []string{"m"}},
			"missing_parameter type":           {Name: "a", Models: []string{"m"}},
			"invalid_value type":               {Name: "a", Type: "smoke", Models: []string{"m"}},
			"invalid_value name":               {Name: long, Type: models.ChannelEcho, Models: []string{"m"}},
			"invalid_value models":             {Name: "a", Type: models.ChannelEcho},
			"invalid_value models[1]":          {Name: "a", Type: models.ChannelEcho, Models: []string{"m", "m"}},
			"invalid_value base_url":           {Name: "a", Type: models.ChannelOpenAI, BaseURL: ptr("ftp://x"), Models: []string{"m"}},
			"invalid_value weight":             {Name: "a", Type: models.ChannelEcho, Models: []string{"m"}, Weight: ptr(0)},
			"invalid_value status":             {Name: "a", Type: models.ChannelEcho, Models: []string{"m"}, Status: ptr(models.ChannelUnhealthy)},
			"invalid_value limits.rpm":         {Name: "a", Type: models.ChannelEcho, Models: []string{"m"}, Limits: &models.ChannelLimits{RPM: ptr(0)}},
			"invalid_value credential":         {Name: "a", Type: models.ChannelEcho, Models: []string{"m"}, Credential: ptr("a\nb")},
			"invalid_value settings.proxy_url": {Name: "a", Type: models.ChannelEcho, Models: []string{"m"}, Settings: &models.ChannelSettings{ProxyURL: ptr("http://u:p@h")}},
			"invalid_value settings.headers":   {Name: "a", Type: models.ChannelEcho, Models: []string{"m"}, Settings: &models.ChannelSettings{Headers: models.StringMap{"Authorization": "x"}}},
			"invalid_value settings.headers.X": {Name: "a", Type: models.ChannelEcho, Models: []string{"m"}, Settings: &models.ChannelSettings{Headers: models.StringMap{"X": "a\r\nb"}}},
		} {
			if _, err := r.CreateChannel(t.Context(), admin(), in); code(err) != want {
				t.Errorf("got %q, want %q", code(err), want)
			}
		}
		for name, err := range map[string]error{
			"create": second(r.CreateChannel(t.Context(), user(), models.CreateChannelInput{})),
			"update": second(r.UpdateChannel(t.Context(), user(), "ch_x", models.UpdateChannelInput{})),
			"delete": second(r.DeleteChannel(t.Context(), user(), "ch_x")),
			"list":   second(r.Channels(t.Context(), user(), models.PageArgs{}, nil, nil)),
			"get":    second(r.Channel(t.Context(), user(), "ch_x")),
			"model":  second(r.SaveModel(t.Context(), user(), models.SaveModelInput{})),
		} {
			if code(err) != "insufficient_scope " {
				t.Errorf("%s by a user: %v", name, err)
			}
		}
		if _, err := r.DeleteChannel(t.Context(), admin(), "ch_x"); code(err) != "resource_not_found id" {
			t.Errorf("delete of nothing: %v", err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// turns asks n times and gives the first channel of each turn.
func turns(t *testing.T, r *channels.Registry, n int) string {
	t.Helper()
	var b strings.Builder
	for range n {
		route, err := r.Plan(user(), "m")
		if err != nil {
			t.Fatal(err)
		}
		a := route.Next()
		b.WriteString(name(t, r, a))
		a.Done(nil, 0)
	}
	return b.String()
}

func name(t *testing.T, r *channels.Registry, a *channels.Attempt) string {
	t.Helper()
	if a == nil {
		return "-"
	}
	c, err := r.Channel(t.Context(), admin(), a.ChannelID)
	if err != nil {
		t.Fatal(err)
	}
	return c.Name
}

func TestRouting(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		r := open(t, db)
		create(t, r, models.CreateChannelInput{Name: "a", Weight: ptr(2)})
		create(t, r, models.CreateChannelInput{Name: "b"})
		low := create(t, r, models.CreateChannelInput{Name: "c", Priority: ptr(-1), ModelMapping: models.StringMap{"m": "other"}})
		if got := turns(t, r, 6); got != "abaaba" && got != "aabaab" {
			t.Errorf("weights 2:1 gave the turns %s", got)
		}
		route, err := r.Plan(user(), "m")
		if err != nil {
			t.Fatal(err)
		}
		var order []string
		for a := route.Next(); a != nil; a = route.Next() {
			order = append(order, name(t, r, a))
			if a.ChannelID == low.ID && (a.Model != "other" || !a.Mapped) {
				t.Errorf("mapping not applied: %+v", a)
			}
			a.Done(&providers.Error{Class: providers.Unavailable}, 0)
		}
		if got := strings.Join(order, ""); len(got) != 3 || got[2] != 'c' {
			t.Errorf("order = %q: siblings come before the next priority", got)
		}
		if _, err := r.UpdateChannel(t.Context(), admin(), low.ID, models.UpdateChannelInput{Priority: graphql.OmittableOf(ptr(5))}); err != nil {
			t.Fatal(err)
		}
		if got := turns(t, r, 3); got != "ccc" {
			t.Errorf("the highest priority is not first: %s", got)
		}
		if _, err := r.DeleteChannel(t.Context(), admin(), low.ID); err != nil {
			t.Fatal(err)
		}
		if got := turns(t, r, 3); strings.Contains(got, "c") {
			t.Errorf("a deleted channel serves: %s", got)
		}
	})
}

func TestWhoMayUseWhat(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		r := open(t, db)
		create(t, r, models.CreateChannelInput{Name: "a", Models: []string{"big", "small"}})
		if _, err := r.SaveModel(t.Context(), admin(), models.SaveModelInput{Name: "big", Aliases: []string{"latest"}}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			v           *models.Viewer
			model, want string
		}{
			{user(), "big", "big"},
			{user(), "latest", "big"},
			{user(), "none", "model_not_found model"},
			{user("small"), "big", "model_not_allowed model"},
			{user("small"), "latest", "model_not_allowed model"},
			{user("latest"), "latest", "big"},
			{user("big"), "latest", "big"},
		} {
			route, err := r.Plan(c.v, c.model)
			got := code(err)
			if err == nil {
				got = route.Model.Name
			}
			if got != c.want {
				t.Errorf("%v asks for %s: got %s, want %s", c.v.AllowedModels, c.model, got, c.want)
			}
		}
		list, err := r.Models(t.Context(), user("latest"), models.PageArgs{})
		if err != nil || len(list.Edges) != 1 || list.Edges[0].Node.Name != "big" {
			t.Errorf("list for a restricted key: %+v, %v", list, err)
		}
		if _, err := r.Model(t.Context(), user("small"), "big"); code(err) != "model_not_found model" {
			t.Errorf("a model that the key may not use: %v", err)
		}
	})
}

func TestCatalogue(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		r := open(t, db)
		served := make([]string, 25)
		for i := range served {
			served[i] = fmt.Sprintf("m%02d", i)
		}
		create(t, r, models.CreateChannelInput{Name: "a", Models: served})
		var got []string
		args := models.PageArgs{First: ptr(10)}
		for {
			page, err := r.Models(t.Context(), user(), args)
			if err != nil {
				t.Fatal(err)
			}
			if total, _ := page.TotalCount(t.Context()); total != 25 {
				t.Fatalf("total = %d", total)
			}
			for _, m := range page.Nodes() {
				got = append(got, m.Name)
			}
			if !page.PageInfo.HasNextPage {
				break
			}
			args.After = page.PageInfo.EndCursor
		}
		if strings.Join(got, "") != strings.Join(served, "") {
			t.Errorf("pages gave %v", got)
		}
		back, err := r.Models(t.Context(), user(), models.PageArgs{Last: ptr(2), Before: ptr(models.KeyCursor("m05"))})
		if err != nil || len(back.Edges) != 2 || back.Edges[0].Node.Name != "m03" || !back.PageInfo.HasPreviousPage {
			t.Errorf("backwards: %+v, %v", back, err)
		}

		save := func(in models.SaveModelInput) (*models.SaveModelPayload, error) {
			return r.SaveModel(t.Context(), admin(), in)
		}
		first, err := save(models.SaveModelInput{Name: "m00", Aliases: []string{"zero"}, Pricing: &models.Pricing{Prompt: 150_000_000, Completion: models.Dollar}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := save(models.SaveModelInput{Name: "m01", Aliases: []string{"zero"}}); code(err) != "conflict aliases[0]" {
			t.Errorf("an alias for two models: %v", err)
		}
		if _, err := save(models.SaveModelInput{Name: "zero"}); code(err) != "conflict name" {
			t.Errorf("a name that is an alias: %v", err)
		}
		again, err := save(models.SaveModelInput{Name: "m00", DisplayName: ptr("Nought")})
		if err != nil || again.Model.DisplayName != "Nought" || again.Model.Pricing != nil || !again.Model.CreatedAt.Equal(*first.Model.CreatedAt) {
			t.Errorf("replaced: %+v, %v", again, err)
		}
		if _, err := r.DeleteModel(t.Context(), admin(), again.Model.ID()); err != nil {
			t.Fatal(err)
		}
		m, err := r.Model(t.Context(), user(), "m00")
		if err != nil || m.DisplayName != "m00" {
			t.Errorf("a model without description: %+v, %v", m, err)
		}
		if _, err := r.DeleteModel(t.Context(), admin(), again.Model.ID()); code(err) != "resource_not_found id" {
			t.Errorf("deleted twice: %v", err)
		}
	})
}

func TestSeedRunsOnceInTheLifeOfADatabase(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		r := open(t, db)
		for range 2 {
			found := channels.Upstreams{OpenAIKey: "sk-upstream-0123456789", AnthropicKey: "sk-ant-upstream-0123456789", GeminiKey: "AIza-upstream-0123456789"}
			if err := r.Seed(t.Context(), found); err != nil {
				t.Fatal(err)
			}
		}
		list, err := r.Channels(t.Context(), admin(), models.PageArgs{}, nil, nil)
		if err != nil || len(list.Edges) != 4 {
			t.Fatalf("channels after two seeds: %+v, %v", list, err)
		}
		for _, c := range list.Nodes() {
			if _, err := r.DeleteChannel(t.Context(), admin(), c.ID); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Seed(t.Context(), channels.Upstreams{}); err != nil {
			t.Fatal(err)
		}
		if list, err = r.Channels(t.Context(), admin(), models.PageArgs{}, nil, nil); err != nil || len(list.Edges) != 0 {
			t.Errorf("what was deleted came back: %+v, %v", list, err)
		}
	})
}

func TestChannelFilters(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		r := open(t, db)
		create(t, r, models.CreateChannelInput{Name: "a", Models: []string{"x", "y"}})
		create(t, r, models.CreateChannelInput{Name: "b", Models: []string{"y"}, Type: models.ChannelOpenAI})
		for _, c := range []struct {
			f    *models.ChannelFilter
			want string
		}{
			{nil, "ba"},
			{&models.ChannelFilter{Model: ptr("x")}, "a"},
			{&models.ChannelFilter{Model: ptr("y")}, "ba"},
			{&models.ChannelFilter{Model: ptr("y"), Type: ptr(models.ChannelOpenAI)}, "b"},
			{&models.ChannelFilter{Model: ptr(`"`)}, ""},
		} {
			list, err := r.Channels(t.Context(), admin(), models.PageArgs{}, c.f, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, ch := range list.Nodes() {
				got += ch.Name
			}
			if total, err := list.TotalCount(t.Context()); got != c.want || err != nil || total != len(c.want) {
				t.Errorf("%+v: got %q (total %d, %v), want %q", c.f, got, total, err, c.want)
			}
		}
	})
}

func TestOtherProcessesSeeAChange(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		mine, theirs := open(t, db), open(t, db)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- theirs.Run(ctx) }()
		create(t, mine, models.CreateChannelInput{Name: "a"})
		deadline, tick := time.After(10*time.Second), time.NewTicker(20*time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := theirs.Plan(user(), "m"); err == nil {
				break
			}
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatal("the change did not arrive")
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
}
