package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
)

type object = map[string]any

// list is a page as clients see it.
type list struct {
	Object  string
	Data    []struct{ ID, Object, Name string }
	HasMore *bool   `json:"has_more"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	Total   *int
	Limit   *int
	Offset  *int
}

// names are those of the rows, in their order.
func (l list) names() string {
	var names []string
	for _, d := range l.Data {
		names = append(names, d.Name)
	}
	return strings.Join(names, " ")
}

// get reads a resource that must be there.
func get[T any](t *testing.T, p *coaitest.Product, key, path string) (v T) {
	t.Helper()
	res := p.Do(http.MethodGet, path, key, nil)
	if res.Status != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, res.Status, res.Body)
	}
	res.JSON(t, &v)
	return v
}

// fields checks some fields of a JSON object; want's values are compared as JSON.
func fields(t *testing.T, body []byte, want object) {
	t.Helper()
	var got object
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	for name, value := range want {
		g, _ := json.Marshal(got[name])
		w, _ := json.Marshal(value)
		if _, there := got[name]; !there || string(g) != string(w) {
			t.Errorf("%s: got %s (present: %v), want %s", name, g, there, w)
		}
	}
}

// refused checks that an answer is an error with its code and param.
func refused(t *testing.T, res *coaitest.Response, status int, code, param string) {
	t.Helper()
	e := res.Error(t)
	got := ""
	if e.Param != nil {
		got = *e.Param
	}
	if res.Status != status || e.Code != code || got != param || e.Message == "" {
		t.Errorf("got %d %s; want %d %s, param %q", res.Status, res.Body, status, code, param)
	}
	if id := res.Header.Get("X-Request-Id"); id == "" || e.RequestID != id {
		t.Errorf("request id %q in the body, %q in the header", e.RequestID, id)
	}
}

func path(format string, args ...any) string { return fmt.Sprintf(format, args...) }
