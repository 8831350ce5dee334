package channels_test

import (
	"context"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

func TestExplainRoute(t *testing.T) {
	eventually(t, "a minute with some time left", func() bool { return time.Now().Second() < 55 })
	db := testdb.New(t, storage.SQLite)
	r := openWith(t, db, channels.Config{KeyViewer: func(_ context.Context, id string) (*models.Viewer, error) {
		switch id {
		case "key_tag":
			return &models.Viewer{KeyID: id, ChannelTags: []string{"eu"}}, nil
		case "key_other":
			return &models.Viewer{KeyID: id, AllowedModels: []string{"other"}}, nil
		}
		return nil, models.NotFound("API key", id)
	}})
	with := func(name string, change func(*models.CreateChannelInput)) string {
		in := remote(name)
		change(&in)
		return create(t, r, in).ID
	}
	with("first", func(in *models.CreateChannelInput) { in.Priority, in.Tags = ptr(9), []string{"eu"} })
	with("second", func(in *models.CreateChannelInput) { in.ModelMapping = models.StringMap{"m": "m-2"} })
	with("off", func(in *models.CreateChannelInput) { in.Status = ptr(models.ChannelDisabled) })
	with("legal", func(in *models.CreateChannelInput) { in.Groups = []string{"legal"} })
	with("elsewhere", func(in *models.CreateChannelInput) { in.Models = []string{"other"} })
	hold := func(name string, limits models.ChannelLimits, priority int) *channels.Attempt {
		with(name, func(in *models.CreateChannelInput) { in.Limits, in.Priority = &limits, ptr(priority) })
		p, err := r.Plan(user(), "m")
		if err != nil {
			t.Fatal(err)
		}
		return p.Next()
	}
	defer hold("full", models.ChannelLimits{Concurrency: ptr(1)}, 50).Done(nil, 0)
	hold("rpm", models.ChannelLimits{RPM: ptr(1)}, 49).Done(nil, 0)
	hold("tpm", models.ChannelLimits{TPM: ptr(1)}, 48).Done(nil, 1)
	with("cooling", func(in *models.CreateChannelInput) { in.Priority = ptr(47) })
	attempt(t, r, &providers.Error{Class: providers.RateLimited, Message: "slow down"})
	with("resting", func(in *models.CreateChannelInput) { in.Priority = ptr(46) })
	for range 5 {
		attempt(t, r, &providers.Error{Class: providers.Unavailable, Message: "The upstream failed."})
	}
	explain := func(key *string, model string) (order string, reasons map[string]models.RouteReason, e *models.RouteExplanation) {
		t.Helper()
		e, err := r.ExplainRoute(t.Context(), admin(), model, key)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range e.Candidates {
			order += c.ChannelName + " "
		}
		reasons = map[string]models.RouteReason{}
		for _, x := range e.Excluded {
			if _, twice := reasons[x.ChannelName]; twice || x.Message == "" {
				t.Errorf("excluded: %+v", x)
			}
			reasons[x.ChannelName] = x.Reason
		}
		return order, reasons, e
	}
	for range 3 { // it takes no turn and no place
		order, reasons, e := explain(nil, "m")
		if order != "first second " || e.Strategy != models.RoutingPriority || e.Candidates[1].UpstreamModel != "m-2" || e.Reason != nil {
			t.Errorf("candidates %q: %+v", order, e)
		}
		for name, want := range map[string]models.RouteReason{
			"off": models.ReasonDisabled, "legal": models.ReasonGroup, "full": models.ReasonConcurrency, "rpm": models.ReasonRPM,
			"tpm": models.ReasonTPM, "cooling": models.ReasonCooldown, "resting": models.ReasonUnhealthy,
		} {
			if reasons[name] != want {
				t.Errorf("%s is out for %q; want %q", name, reasons[name], want)
			}
		}
		if len(reasons) != 7 {
			t.Errorf("excluded: %v", reasons)
		}
	}
	if order, reasons, _ := explain(ptr("key_tag"), "m"); order != "first " || reasons["second"] != models.ReasonTag {
		t.Errorf("for a key with tags: %q, %v", order, reasons)
	}
	if order, reasons, e := explain(ptr("key_other"), "m"); order != "" || reasons["first"] != models.ReasonKeyModel || e.Reason == nil {
		t.Errorf("for a key of other models: %q, %v", order, reasons)
	}
	if _, _, e := explain(nil, "none"); e.Reason == nil || *e.Reason != models.ReasonModelNotServed || *e.Message == "" {
		t.Errorf("a model that nobody serves: %+v", e)
	}
	if _, err := r.ExplainRoute(t.Context(), admin(), "m", ptr("key_none")); code(err) != "resource_not_found id" {
		t.Errorf("an unknown key: %v", err)
	}
	if _, err := r.ExplainRoute(t.Context(), user(), "m", nil); code(err) != "insufficient_scope " {
		t.Errorf("for a user: %v", err)
	}
	// The order of the next turn is the one that comes.
	create(t, r, models.CreateChannelInput{Name: "a", Models: []string{"turns"}})
	create(t, r, models.CreateChannelInput{Name: "b", Models: []string{"turns"}, Weight: ptr(2)})
	for range 6 {
		_, _, e := explain(nil, "turns")
		p, err := r.Plan(user(), "turns")
		if err != nil {
			t.Fatal(err)
		}
		a := p.Next()
		if a.Done(nil, 0); a.ChannelID != e.Candidates[0].ChannelID {
			t.Errorf("explained %s, asked %s", e.Candidates[0].ChannelID, a.ChannelID)
		}
	}
}
