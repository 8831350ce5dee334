package models_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/coaidev/coai/models"
)

func TestNanos(t *testing.T) {
	for text, want := range map[string]models.Nanos{
		"0": 0, "1": models.Dollar, "-1.5": -1_500_000_000, "0.00015": 150_000, "0.000000001": 1,
		"9223372036.854775807": math.MaxInt64, "-9223372036.854775808": math.MinInt64, "007.10": 7_100_000_000,
	} {
		got, err := models.ParseNanos(text)
		if err != nil || got != want {
			t.Errorf("ParseNanos(%q) = %d, %v; want %d", text, got, err, want)
		}
		again, err := models.ParseNanos(got.String())
		if err != nil || again != got {
			t.Errorf("%d is written as %q, which reads as %d, %v", got, got, again, err)
		}
	}
	for _, text := range []string{"", "1e3", "0.0000000001", "9223372036.854775808", "1/2", "0x10", "1_000", "dollar", "NaN", "--1", strings.Repeat("1", 40)} {
		if got, err := models.ParseNanos(text); err == nil {
			t.Errorf("ParseNanos(%q) = %d, want an error", text, got)
		}
	}
	var m models.Money
	if err := json.Unmarshal([]byte(`{"value":0.000123,"currency":"usd"}`), &m); err != nil || m != models.USD(123_000) {
		t.Errorf("%+v, %v", m, err)
	}
	if b, err := json.Marshal(m); err != nil || string(b) != `{"value":0.000123,"currency":"usd"}` {
		t.Errorf("%s, %v", b, err)
	}
}

func FuzzParseNanos(f *testing.F) {
	for _, s := range []string{"0", "-0.000000001", "9223372036.854775807", "1e9", "+1", ".5", "5."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := models.ParseNanos(s)
		if err != nil {
			return
		}
		if again, err := models.ParseNanos(n.String()); err != nil || again != n {
			t.Errorf("%q is %d, written as %q, which reads as %d, %v", s, n, n, again, err)
		}
	})
}

func TestPageArgs(t *testing.T) {
	key, offset := models.KeyCursor("ch_1"), models.OffsetCursor(40)
	asc, desc := models.OrderAsc, models.OrderDesc
	for name, c := range map[string]struct {
		args models.PageArgs
		want models.Page
	}{
		"nothing":      {models.PageArgs{}, models.Page{Limit: 20, Descending: true}},
		"first":        {models.PageArgs{First: new(5)}, models.Page{Limit: 5, Descending: true}},
		"first, after": {models.PageArgs{First: new(100), After: &key, Order: &asc}, models.Page{Limit: 100, Key: "ch_1"}},
		"last":         {models.PageArgs{Last: new(3)}, models.Page{Limit: 3, Backward: true, Descending: true}},
		"last, before": {models.PageArgs{Last: new(3), Before: &key, Order: &desc}, models.Page{Limit: 3, Key: "ch_1", Backward: true, Descending: true}},
		"before":       {models.PageArgs{Before: &key}, models.Page{Limit: 20, Key: "ch_1", Backward: true, Descending: true}},
		"offset":       {models.PageArgs{After: &offset}, models.Page{Limit: 20, Offset: 40, Descending: true}},
	} {
		if got, err := c.args.Page(); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		args  models.PageArgs
		param string
	}{
		"first and last":      {models.PageArgs{First: new(1), Last: new(1)}, "last"},
		"after and before":    {models.PageArgs{After: &key, Before: &key}, "before"},
		"none":                {models.PageArgs{First: new(0)}, "first"},
		"too many":            {models.PageArgs{First: new(101)}, "first"},
		"too many of the end": {models.PageArgs{Last: new(101)}, "last"},
		"last, after":         {models.PageArgs{Last: new(1), After: &key}, "last"},
		"no cursor":           {models.PageArgs{After: new("nonsense!")}, "after"},
		"an offset backwards": {models.PageArgs{Before: &offset}, "before"},
		"an offset too far":   {models.PageArgs{After: new(models.OffsetCursor(1_000_001))}, "after"},
		"a negative offset":   {models.PageArgs{After: new(models.OffsetCursor(-1))}, "after"},
	} {
		_, err := c.args.Page()
		e, known := models.AsError(err)
		if err == nil || !known || e.Kind != models.KindInvalid || e.Param != c.param {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(models.KeyCursor("ch_1"))
	f.Add(models.OffsetCursor(1 << 40))
	f.Add("azow")
	f.Fuzz(func(t *testing.T, cursor string) {
		p, err := models.PageArgs{After: &cursor}.Page()
		if e, known := models.AsError(err); err != nil && (!known || e.Param != "after") {
			t.Errorf("%q: %v", cursor, err)
		}
		if err == nil && (p.Offset < 0 || p.Offset > 1_000_000 || strings.ContainsRune(p.Key, 0)) {
			t.Errorf("%q: %+v", cursor, p)
		}
	})
}

func TestIDs(t *testing.T) {
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = models.NewID(models.ChannelPrefix)
		if len(ids[i]) != len("ch_")+26 || !strings.HasPrefix(ids[i], "ch_") {
			t.Fatalf("id %q", ids[i])
		}
	}
	// All but the random part sorts by time.
	const moment = len("ch_") + 9
	if !slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(a[:moment], b[:moment]) }) {
		t.Error("later ids do not sort later")
	}
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != len(ids[:n]) || n != 1000 {
		t.Errorf("%d different ids", n)
	}
	m := &models.Model{Name: "vendor/modèle:7b"}
	if name, ok := models.ModelName(m.ID()); !ok || name != m.Name {
		t.Errorf("%q, %t", name, ok)
	}
	for _, id := range []string{"", "model_", "model_!", "ch_YQ", "YQ"} {
		if name, ok := models.ModelName(id); ok {
			t.Errorf("%q is the id of %q", id, name)
		}
	}
}

func TestRequire(t *testing.T) {
	var nobody *models.Viewer
	user := &models.Viewer{Role: models.RoleUser, Scopes: []models.Scope{models.ScopeChat, models.ScopeAdmin}}
	admin := &models.Viewer{Role: models.RoleAdmin, Scopes: models.AllScopes()}
	modest := &models.Viewer{Role: models.RoleAdmin, Scopes: models.DefaultScopes()}
	for name, c := range map[string]struct {
		viewer *models.Viewer
		scope  models.Scope
		code   string
	}{
		"nobody":                           {nobody, models.ScopeChat, models.CodeMissingAPIKey},
		"a scope that is there":            {user, models.ScopeChat, ""},
		"a scope that is not":              {user, models.ScopeKeys, models.CodeInsufficientScope},
		"the scope admin without the role": {user, models.ScopeAdmin, models.CodeInsufficientScope},
		"the role without the scope":       {modest, models.ScopeAdmin, models.CodeInsufficientScope},
		"both":                             {admin, models.ScopeAdmin, ""},
	} {
		code := ""
		if err := c.viewer.Require(c.scope); err != nil {
			e, _ := models.AsError(err)
			code = e.Code
		}
		if code != c.code {
			t.Errorf("%s: %q, want %q", name, code, c.code)
		}
	}
}
