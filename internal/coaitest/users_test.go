package coaitest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

func TestAdminsManageUsers(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b, "COAI_SIGN_UP=open")
		var admin account
		p.Do("GET", "/v1/users/me", coaitest.AdminKey, nil).JSON(t, &admin)
		ids := map[string]string{}
		for i, name := range []string{"ada", "bob", "carl"} {
			var u account
			in := object{"email": strings.ToUpper(name) + "@example.com", "name": "N_" + name, "tier": []string{"free", "pro", "free"}[i], "password": password}
			if p.Do("POST", "/v1/users", coaitest.AdminKey, in).JSON(t, &u); u.Object != "user" || !u.EmailVerified {
				t.Fatalf("made %+v", u)
			}
			ids[name] = u.ID
		}
		if res := p.Do("POST", "/v1/users", coaitest.AdminKey, object{"email": "ada@example.com", "name": ""}); res.Status != http.StatusConflict || *res.Error(t).Param != "email" {
			t.Errorf("twice: %d %s", res.Status, res.Body)
		}
		if res := p.Do("POST", "/v1/users", coaitest.AdminKey, object{"email": "x@example.com", "name": "", "password": "short"}); res.Status != http.StatusBadRequest || *res.Error(t).Param != "password" {
			t.Errorf("a short password: %d %s", res.Status, res.Body)
		}

		list := func(query string) string {
			t.Helper()
			var l struct{ Data []account }
			if res := p.Do("GET", "/v1/users?"+query, coaitest.AdminKey, nil); res.Status != http.StatusOK {
				t.Errorf("%s: %d %s", query, res.Status, res.Body)
			} else {
				res.JSON(t, &l)
			}
			var names []string
			for _, u := range l.Data {
				names = append(names, strings.Split(u.Email, "@")[0])
			}
			return strings.Join(names, " ")
		}
		for query, want := range map[string]string{
			"":                         "carl bob ada admin",
			"order=asc&limit=2":        "admin ada",
			"order_by=email&order=asc": "ada admin bob carl",
			"order_by=email&order=asc&after=" + ids["ada"]:  "admin bob carl",
			"order_by=email&order=asc&before=" + ids["bob"]: "ada admin",
			"offset=1&limit=1":                   "bob",
			"q=EXAMPLE.com&tier=free":            "carl ada",
			"q=n_b":                              "bob",
			"q=%25":                              "",
			"role=admin":                         "admin",
			"status=suspended":                   "",
			"created_after=2100-01-01T00:00:00Z": "",
			"created_before=4102444800":          "carl bob ada admin",
		} {
			if got := list(query); got != want {
				t.Errorf("%q lists %q, want %q", query, got, want)
			}
		}
		for query, param := range map[string]string{"role=king": "role", "order_by=name": "order_by", "created_after=now": "created_after", "limit=0": "limit"} {
			if res := p.Do("GET", "/v1/users?"+query, coaitest.AdminKey, nil); res.Status != http.StatusBadRequest || *res.Error(t).Param != param {
				t.Errorf("%s: %d %s", query, res.Status, res.Body)
			}
		}
		var data struct {
			Users struct {
				TotalCount int
				Nodes      []struct{ Email string }
			}
		}
		if errs := p.GraphQL(coaitest.AdminKey, `{ users(first: 1, orderBy: {field: EMAIL, direction: ASC}, filter: {q: "example", role: USER}) { totalCount nodes { email } } }`, nil, &data); len(errs) > 0 ||
			data.Users.TotalCount != 3 || data.Users.Nodes[0].Email != "ada@example.com" {
			t.Errorf("%+v, %v", data, errs)
		}

		// Suspension and the role count at once, for sessions and keys.
		ada := p.Browser()
		signIn := func() *coaitest.Response {
			return ada.Do("POST", "/v1/auth/sign-in", "", object{"email": "ada@example.com", "password": password})
		}
		if res := signIn(); res.Status != http.StatusOK {
			t.Fatalf("sign in: %d %s", res.Status, res.Body)
		}
		patch := func(id string, in object) *coaitest.Response {
			return p.Do("PATCH", "/v1/users/"+id, coaitest.AdminKey, in)
		}
		patch(ids["ada"], object{"role": "admin", "tier": "enterprise", "name": "Countess"})
		if res := ada.Do("GET", "/v1/users/"+ids["bob"], "", nil); res.Status != http.StatusOK {
			t.Errorf("a new admin: %d %s", res.Status, res.Body)
		}
		if res := patch(ids["ada"], object{"status": "suspended"}); res.Status != http.StatusOK {
			t.Errorf("suspend: %d %s", res.Status, res.Body)
		}
		if res := ada.Do("GET", "/v1/users/me", "", nil); res.Status != http.StatusForbidden || res.Error(t).Code != "account_suspended" {
			t.Errorf("suspended: %d %s", res.Status, res.Body)
		}
		if res := signIn(); res.Status != http.StatusForbidden || res.Error(t).Code != "account_suspended" {
			t.Errorf("sign in while suspended: %d %s", res.Status, res.Body)
		}
		// One admin is left.
		for name, res := range map[string]*coaitest.Response{
			"suspend": patch(admin.ID, object{"status": "suspended"}),
			"demote":  patch(admin.ID, object{"role": "user"}),
			"delete":  p.Do("DELETE", "/v1/users/"+admin.ID, coaitest.AdminKey, nil),
		} {
			if res.Status != http.StatusConflict {
				t.Errorf("%s the last admin: %d %s", name, res.Status, res.Body)
			}
		}
		for in, param := range map[string]string{`{"role":"king"}`: "role", `{"role":null}`: "role", `{"status":"gone"}`: "status", `{"email":"x"}`: "email", `{"tier":""}`: "tier"} {
			if res := p.Do("PATCH", "/v1/users/"+ids["bob"], coaitest.AdminKey, in); res.Status != http.StatusBadRequest || *res.Error(t).Param != param {
				t.Errorf("%s: %d %s", in, res.Status, res.Body)
			}
		}
		if res := patch(ids["bob"], object{"email": "Carl@example.com"}); res.Status != http.StatusConflict {
			t.Errorf("another's address: %d %s", res.Status, res.Body)
		}
		deleteAndLook(t, p, ids["carl"])
	})
}

// deleteAndLook deletes a user, of whom then nothing but the id is left.
func deleteAndLook(t *testing.T, p *coaitest.Product, id string) {
	t.Helper()
	carl := p.Browser()
	if res := carl.Do("POST", "/v1/auth/sign-in", "", object{"email": "carl@example.com", "password": password}); res.Status != http.StatusOK {
		t.Fatalf("sign in: %d %s", res.Status, res.Body)
	}
	var key struct{ Secret string }
	carl.Do("POST", "/v1/api-keys", "", object{"name": "k"}).JSON(t, &key)
	if res := p.Do("DELETE", "/v1/users/"+id, key.Secret, nil); res.Status != http.StatusForbidden {
		t.Errorf("a user deletes: %d", res.Status)
	}
	if res := p.Do("DELETE", "/v1/users/"+id, coaitest.AdminKey, nil); res.Status != http.StatusOK || !strings.Contains(string(res.Body), `"deleted":true`) {
		t.Errorf("delete: %d %s", res.Status, res.Body)
	}
	for _, res := range []*coaitest.Response{
		carl.Do("GET", "/v1/users/me", "", nil), p.Do("GET", "/v1/users/me", key.Secret, nil),
		carl.Do("POST", "/v1/auth/sign-in", "", object{"email": "carl@example.com", "password": password}),
	} {
		if res.Status != http.StatusUnauthorized {
			t.Errorf("after deletion: %d %s", res.Status, res.Body)
		}
	}
	if res := p.Do("GET", "/v1/users/"+id, coaitest.AdminKey, nil); res.Status != http.StatusNotFound {
		t.Errorf("a deleted user is shown: %d", res.Status)
	}
	var row models.User
	if err := p.DB.Read().NewSelect().Model(&row).Where("id = ?", id).Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if row.DeletedAt == nil || row.Email != id+"@deleted.invalid" || row.Name != "" || row.PasswordHash != nil {
		t.Errorf("left: %+v", row)
	}
	if res := p.Do("POST", "/v1/users", coaitest.AdminKey, object{"email": "carl@example.com", "name": ""}); res.Status != http.StatusOK {
		t.Errorf("the address is not free again: %d %s", res.Status, res.Body)
	}
}

func TestRegistrationsAreEvents(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b, "COAI_SIGN_UP=open")
		made := signUp(t, p.Browser(), "ada@example.com")
		p.Do("POST", "/v1/users", coaitest.AdminKey, object{"email": "bob@example.com", "name": "Bob", "password": password})
		p.Do("POST", "/v1/users", coaitest.AdminKey, object{"email": "bob@example.com", "name": "Bob"}) // refused
		var rows []models.Event
		if err := p.DB.Read().NewSelect().Model(&rows).Where("type = ?", models.EventUserRegistered).OrderExpr("id").Scan(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(rows) != 2 {
			t.Fatalf("%d events", len(rows))
		}
		var u struct {
			account
			CreatedAt int64 `json:"created_at"`
		}
		if err := json.Unmarshal(rows[0].Payload, &u); err != nil || u.Object != "user" || u.ID != made.User.ID || u.Email != "ada@example.com" || u.CreatedAt == 0 {
			t.Errorf("payload %s, %v", rows[0].Payload, err)
		}
		for _, r := range rows {
			if s := string(r.Payload); strings.Contains(s, "argon2") || strings.Contains(s, "hash") {
				t.Errorf("a secret in %s", s)
			}
		}
	})
}

func TestProfiles(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b, "COAI_SIGN_UP=open")
		ada := p.Browser()
		made := signUp(t, ada, "ada@example.com")
		patch := func(in any) *coaitest.Response { return ada.Do("PATCH", "/v1/users/me", "", in) }
		for _, c := range []struct{ change, want string }{
			{`{"theme":"dark","tabs":[1,2]}`, `{"tabs":[1,2],"theme":"dark"}`},
			{`{"theme":null,"size":{"w":1}}`, `{"size":{"w":1},"tabs":[1,2]}`},
			{`{}`, `{"size":{"w":1},"tabs":[1,2]}`},
			{`null`, `{}`},
		} {
			res := patch(`{"preferences":` + c.change + `}`)
			var me struct{ Preferences any }
			res.JSON(t, &me)
			if got, _ := json.Marshal(me.Preferences); res.Status != http.StatusOK || string(got) != c.want {
				t.Errorf("%s leaves %s, want %s (%d %s)", c.change, got, c.want, res.Status, res.Body)
			}
		}
		for _, bad := range []string{`[1]`, `"x"`, `{"a":"` + strings.Repeat("x", 17000) + `"}`, `{"":1}`, `{"a":"\u0000"}`} {
			if res := patch(`{"preferences":` + bad + `}`); res.Status != http.StatusBadRequest || *res.Error(t).Param != "preferences" {
				t.Errorf("%.20s: %d %s", bad, res.Status, res.Body)
			}
		}
		// A key of the account cannot take it over by its address.
		var key struct{ ID, Secret string }
		ada.Do("POST", "/v1/api-keys", "", object{"name": "k", "scopes": []string{"profile"}}).JSON(t, &key)
		if res := p.Do("PATCH", "/v1/users/me", key.Secret, object{"email": "eve@example.com"}); res.Status != http.StatusBadRequest {
			t.Errorf("a key changes the address: %d %s", res.Status, res.Body)
		}
		if res := patch(object{"email": "admin@localhost", "current_password": password}); res.Status != http.StatusConflict {
			t.Errorf("another's address: %d %s", res.Status, res.Body)
		}
		p.Do("PATCH", "/v1/users/"+made.User.ID+"/budgets", coaitest.AdminKey, object{"monthly": 5, "daily": 2})
		var me account
		if ada.Do("GET", "/v1/users/me", "", nil).JSON(t, &me); fmt.Sprint(me.Quota["remaining"]) != "map[currency:usd value:2]" {
			t.Errorf("quota %v", me.Quota)
		}
	})
}

func TestKeysShowWhatTheyUsed(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b)
		used, idle := p.UserKey(object{"name": "used"}), p.UserKey(object{"name": "idle"})
		for range 2 {
			if res := p.Do("POST", "/v1/chat/completions", used, ask("echo", nil)); res.Status != http.StatusOK {
				t.Fatalf("%d %s", res.Status, res.Body)
			}
		}
		p.Usage(2)
		type usage struct {
			Requests int64 `json:"requests_this_month"`
			Today    int64 `json:"requests_today"`
			Tokens   int64 `json:"tokens_this_month"`
		}
		var list struct {
			Data []struct {
				ID, Name string
				Usage    usage
			}
		}
		p.Do("GET", "/v1/api-keys", idle, nil).JSON(t, &list)
		for _, k := range list.Data {
			want := map[string]int64{"used": 2}[k.Name]
			if k.Usage.Requests != want || k.Usage.Today != want || (k.Usage.Tokens > 0) != (want > 0) {
				t.Errorf("%s: %+v", k.Name, k.Usage)
			}
		}
		var data struct {
			APIKeys struct {
				Nodes []struct {
					Name  string
					Usage struct{ RequestsToday int64 }
				}
			}
		}
		if errs := p.GraphQL(used, `{ apiKeys(order: ASC) { nodes { name usage { requestsToday } } } }`, nil, &data); len(errs) > 0 || len(data.APIKeys.Nodes) != 3 || data.APIKeys.Nodes[1].Usage.RequestsToday != 2 {
			t.Errorf("%+v, %v", data, errs)
		}
	})
}
