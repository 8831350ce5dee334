package coaitest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

// account is a user as REST shows it.
type account struct {
	ID, Object, Email, Name, Role, Tier, Status string
	EmailVerified                               bool    `json:"email_verified"`
	PendingEmail                                *string `json:"pending_email"`
	Preferences                                 object
	Quota                                       object
	Usage, Limits                               object
}

type signedIn struct {
	ID, Object string
	UserAgent  string `json:"user_agent"`
	Current    bool
	User       account
}

const password = "correct horse battery"

func signUp(t *testing.T, p *coaitest.Product, email string) signedIn {
	t.Helper()
	res := p.Do("POST", "/v1/auth/sign-up", "", object{"email": email, "password": password, "name": "Ada"})
	var s signedIn
	if res.JSON(t, &s); res.Status != http.StatusOK {
		t.Fatalf("sign up: %d %s", res.Status, res.Body)
	}
	return s
}

func TestSignUpSignInAndSessions(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b, "COAI_SIGN_UP=open")
		one, two := p.Browser(), p.Browser()

		res := one.Do("POST", "/v1/auth/sign-up", "", object{"email": "Ada@Example.com", "password": password, "name": "Ada"})
		cookie := res.Header.Get("Set-Cookie")
		for _, part := range []string{"coai_session=", "Path=/", "HttpOnly", "SameSite=Lax", "Max-Age="} {
			if !strings.Contains(cookie, part) {
				t.Errorf("the cookie %q lacks %s", cookie, part)
			}
		}
		var made signedIn
		if res.JSON(t, &made); made.Object != "session" || !made.Current || made.User.Email != "ada@example.com" || made.User.Role != "user" || made.User.EmailVerified {
			t.Fatalf("signed up as %s", res.Body)
		}
		if token := strings.Split(strings.TrimPrefix(cookie, "coai_session="), ";")[0]; strings.Contains(string(res.Body), token) {
			t.Error("the token is in the answer's body")
		}
		if res := one.Do("POST", "/v1/auth/sign-up", "", object{"email": "ADA@example.com", "password": password}); res.Status != http.StatusConflict || *res.Error(t).Param != "email" {
			t.Errorf("a second account with the address: %d %s", res.Status, res.Body)
		}

		signIn := func(p *coaitest.Product, email, password string) *coaitest.Response {
			return p.Do("POST", "/v1/auth/sign-in", "", object{"email": email, "password": password}, "User-Agent", "Two/1.0")
		}
		wrong, nobody := signIn(two, "ada@example.com", "something else"), signIn(two, "bob@example.com", "something else")
		if w, n := wrong.Error(t), nobody.Error(t); wrong.Status != http.StatusUnauthorized || nobody.Status != wrong.Status ||
			w.Code != "invalid_credentials" || n.Code != w.Code || n.Message != w.Message {
			t.Errorf("a wrong password answers %s, and an unknown address %s", wrong.Body, nobody.Body)
		}
		var again signedIn
		if res := signIn(two, "ADA@EXAMPLE.COM", password); res.Status != http.StatusOK {
			t.Fatalf("sign in: %d %s", res.Status, res.Body)
		} else if res.JSON(t, &again); again.UserAgent != "Two/1.0" {
			t.Errorf("signed in as %s", res.Body)
		}
		var me account
		if two.Do("GET", "/v1/users/me", "", nil).JSON(t, &me); me.Object != "user" || me.ID != made.User.ID || me.Usage == nil || me.Limits == nil {
			t.Errorf("me: %+v", me)
		}
		if res := p.Do("GET", "/v1/users/me", "", nil); res.Status != http.StatusUnauthorized {
			t.Errorf("without a cookie: %d", res.Status)
		}
		if res := two.Do("GET", "/v1/users", "", nil); res.Status != http.StatusForbidden {
			t.Errorf("a user lists users: %d", res.Status)
		}

		var sessions struct {
			Data  []signedIn
			Total int
		}
		two.Do("GET", "/v1/auth/sessions?limit=1", "", nil).JSON(t, &sessions)
		if sessions.Total != 2 || len(sessions.Data) != 1 || sessions.Data[0].ID != again.ID || !sessions.Data[0].Current {
			t.Errorf("sessions: %+v", sessions)
		}
		if res := signUpOther(t, p).Do("DELETE", "/v1/auth/sessions/"+made.ID, "", nil); res.Status != http.StatusNotFound {
			t.Errorf("another's session: %d", res.Status)
		}
		if res := two.Do("DELETE", "/v1/auth/sessions/"+made.ID, "", nil); res.Status != http.StatusOK {
			t.Errorf("end a session: %d %s", res.Status, res.Body)
		}
		if res := one.Do("GET", "/v1/users/me", "", nil); res.Status != http.StatusUnauthorized || res.Error(t).Code != "invalid_session" {
			t.Errorf("after its end: %d %s", res.Status, res.Body)
		}
		// Its stale cookie does not keep the browser from signing in.
		if res := signIn(one, "ada@example.com", password); res.Status != http.StatusOK {
			t.Fatalf("sign in again: %d %s", res.Status, res.Body)
		}
		change := object{"current_password": "something else", "new_password": "another good one"}
		if res := one.Do("POST", "/v1/auth/change-password", "", change); res.Status != http.StatusBadRequest || *res.Error(t).Param != "current_password" {
			t.Errorf("change with a wrong password: %d %s", res.Status, res.Body)
		}
		change["current_password"] = password
		if res := one.Do("POST", "/v1/auth/change-password", "", change); res.Status != http.StatusOK {
			t.Errorf("change: %d %s", res.Status, res.Body)
		}
		if a, b := one.Do("GET", "/v1/users/me", "", nil).Status, two.Do("GET", "/v1/users/me", "", nil).Status; a != http.StatusOK || b != http.StatusUnauthorized {
			t.Errorf("after the change: %d here, %d there", a, b)
		}
		if res := one.Do("POST", "/v1/auth/sign-out", "", nil); res.Status != http.StatusOK || !strings.Contains(res.Header.Get("Set-Cookie"), "Max-Age=0") {
			t.Errorf("sign out: %d %v", res.Status, res.Header)
		}
		if res := one.Do("GET", "/v1/users/me", "", nil); res.Status != http.StatusUnauthorized {
			t.Errorf("after signing out: %d", res.Status)
		}
		if strings.Contains(p.Logs.String(), password) || strings.Contains(p.Logs.String(), "ada@example.com") {
			t.Error("the log holds a password or an address")
		}
	})
}

func signUpOther(t *testing.T, p *coaitest.Product) *coaitest.Product {
	t.Helper()
	other := p.Browser()
	signUp(t, other, "other@example.com")
	return other
}

// A page from elsewhere cannot use the cookie; a program without a browser's
// headers can, for nobody makes it.
func TestCookiesAreOfOneOrigin(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_SIGN_UP=open")
	b := p.Browser()
	signUp(t, b, "ada@example.com")
	patch := func(headers ...string) int {
		return b.Do("PATCH", "/v1/users/me", "", object{"name": "Eve"}, headers...).Status
	}
	const mutation = `mutation { updateViewer(input: {name: "Eve"}) { viewer { name } } }`
	post := func(headers ...string) int {
		return b.Do("POST", "/graphql", "", object{"query": mutation}, headers...).Status
	}
	for name, headers := range map[string][]string{
		"another site":            {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
		"a neighbour":             {"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:1"},
		"another, an old browser": {"Origin", "https://evil.example"},
		"no origin at all":        {"Origin", "null"},
	} {
		if s := patch(headers...); s != http.StatusForbidden {
			t.Errorf("%s changes the profile: %d", name, s)
		}
		if s := post(headers...); s != http.StatusForbidden {
			t.Errorf("%s changes the profile over GraphQL: %d", name, s)
		}
		if res := b.Do("GET", "/v1/users/me", "", nil, headers...); res.Status != http.StatusUnauthorized {
			t.Errorf("%s reads the profile: %d", name, res.Status)
		}
	}
	if s := patch("Sec-Fetch-Site", "same-origin", "Origin", p.URL); s != http.StatusOK {
		t.Errorf("the own page: %d", s)
	}
	if s := post("Sec-Fetch-Site", "same-origin", "Origin", p.URL); s != http.StatusOK {
		t.Errorf("the own page over GraphQL: %d", s)
	}
	if s := patch(); s != http.StatusOK {
		t.Errorf("a program: %d", s)
	}
	// A key says who calls, whatever the cookie.
	if res := b.Do("GET", "/v1/users/me", coaitest.AdminKey, nil, "Sec-Fetch-Site", "cross-site"); res.Status != http.StatusOK {
		t.Errorf("a key from elsewhere: %d", res.Status)
	}
	if c, err := dial(t, b, "https://evil.example"); err == nil {
		_ = c.CloseNow()
		t.Error("another site opens a websocket")
	}
	c, err := dial(t, b, p.URL)
	if err != nil {
		t.Fatalf("the own page opens no websocket: %v", err)
	}
	defer func() { _ = c.CloseNow() }()
	// It ends with the session.
	if res := b.Do("POST", "/v1/auth/sign-out", "", nil); res.Status != http.StatusOK {
		t.Fatalf("sign out: %d %s", res.Status, res.Body)
	}
	ask := `{"type":"subscribe","id":"1","payload":{"query":"{ viewer { email } }"}}`
	if err := c.Write(t.Context(), websocket.MessageText, []byte(ask)); err != nil {
		t.Fatal(err)
	}
	if _, text, err := c.Read(t.Context()); websocket.CloseStatus(err) != 4403 {
		t.Errorf("after signing out: %s, %v", text, err)
	}
}

// dial opens a websocket as a page of the origin, and signs in by the cookie.
func dial(t *testing.T, b *coaitest.Product, origin string) (*websocket.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, res, err := websocket.Dial(ctx, b.URL+"/graphql", &websocket.DialOptions{
		HTTPClient: b.Client, HTTPHeader: http.Header{"Origin": {origin}}, Subprotocols: []string{"graphql-transport-ws"},
	})
	if res != nil && res.Body != nil {
		defer func() { _ = res.Body.Close() }()
	}
	if err != nil {
		return nil, err
	}
	if err := c.Write(ctx, websocket.MessageText, []byte(`{"type":"connection_init"}`)); err != nil {
		return nil, err
	}
	_, text, err := c.Read(ctx)
	if err == nil && !strings.Contains(string(text), "connection_ack") {
		t.Errorf("the answer is %s", text)
	}
	return c, err
}

// Where people come over TLS the cookie has the prefix that binds it to the host,
// and no other name counts.
func TestCookiesOverTLS(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_SIGN_UP=open", "COAI_PUBLIC_URL=https://ai.example.com")
	res := p.Do("POST", "/v1/auth/sign-up", "", object{"email": "ada@example.com", "password": password})
	cookie := res.Header.Get("Set-Cookie")
	if !strings.HasPrefix(cookie, "__Host-coai_session=") || !strings.Contains(cookie, "; Secure") || strings.Contains(cookie, "Domain") {
		t.Errorf("the cookie is %q", cookie)
	}
	pair := strings.Split(cookie, ";")[0]
	if res := p.Do("GET", "/v1/users/me", "", nil, "Cookie", pair); res.Status != http.StatusOK {
		t.Errorf("with the cookie: %d %s", res.Status, res.Body)
	}
	for _, bad := range []string{strings.TrimPrefix(pair, "__Host-"), pair + "; " + pair + "x", "__Host-coai_session=x"} {
		if res := p.Do("GET", "/v1/users/me", "", nil, "Cookie", bad); res.Status != http.StatusUnauthorized {
			t.Errorf("with %s: %d", bad, res.Status)
		}
	}
}

func TestSignInOverGraphQL(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_SIGN_UP=open")
	signUp(t, p.Browser(), "ada@example.com")
	b := p.Browser()
	var data struct {
		SignIn struct {
			Viewer     *struct{ Email string }
			Session    *struct{ Current bool }
			UserErrors []object
		}
		Viewer        *struct{ Email string }
		Sessions      struct{ TotalCount int }
		SignInMethods struct{ SignUp string }
	}
	const signIn = `mutation($in: SignInInput!) { signIn(input: $in) { viewer { email } session { current } userErrors { message } } }`
	if errs := b.GraphQL("", signIn, object{"in": object{"email": "ada@example.com", "password": "wrong wrong"}}, &data); len(errs) != 1 || errs[0].Extensions.Code != "invalid_credentials" {
		t.Errorf("a wrong password: %v", errs)
	}
	if errs := b.GraphQL("", signIn, object{"in": object{"email": "ada@example.com", "password": password}}, &data); len(errs) > 0 || data.SignIn.Viewer == nil || !data.SignIn.Session.Current {
		t.Fatalf("signed in as %+v, %v", data, errs)
	}
	if errs := b.GraphQL("", `{ viewer { email } sessions { totalCount } signInMethods { signUp } }`, nil, &data); len(errs) > 0 ||
		data.Viewer.Email != "ada@example.com" || data.Sessions.TotalCount != 2 || data.SignInMethods.SignUp != "OPEN" {
		t.Errorf("%+v, %v", data, errs)
	}
	var count struct{ DeleteSessions struct{ Count int } }
	if errs := b.GraphQL("", `mutation { deleteSessions(keepCurrent: true) { count } }`, nil, &count); len(errs) > 0 || count.DeleteSessions.Count != 1 {
		t.Errorf("ended %+v, %v", count, errs)
	}
	if errs := b.GraphQL("", `mutation { signOut { signedOut } }`, nil, nil); len(errs) > 0 {
		t.Error(errs)
	}
	if errs := b.GraphQL("", `{ viewer { email } }`, nil, &data); len(errs) != 1 {
		t.Errorf("after signing out: %v", errs)
	}
}

func TestResetAndVerifyByEmail(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b, "COAI_SIGN_UP=open", "COAI_PUBLIC_URL=http://localhost:1/")
		one := p.Browser()
		signUp(t, one, "ada@example.com")
		verify := p.Letter("ada@example.com", 1)
		if !strings.Contains(verify.Text, "http://localhost:1/verify-email#token=") {
			t.Errorf("the letter is %s", verify.Text)
		}
		use := func(path string, body object) *coaitest.Response { return p.Do("POST", path, "", body) }
		if res := use("/v1/auth/verify-email", object{"token": "nonsense"}); res.Status != http.StatusBadRequest || res.Error(t).Code != "invalid_token" {
			t.Errorf("nonsense verifies: %d %s", res.Status, res.Body)
		}
		if res := use("/v1/auth/reset-password", object{"token": verify.Token(), "password": "another good one"}); res.Status != http.StatusBadRequest {
			t.Errorf("a token for another purpose: %d %s", res.Status, res.Body)
		}
		if res := use("/v1/auth/verify-email", object{"token": verify.Token()}); res.Status != http.StatusOK {
			t.Errorf("verify: %d %s", res.Status, res.Body)
		}
		if res := use("/v1/auth/verify-email", object{"token": verify.Token()}); res.Status != http.StatusBadRequest {
			t.Errorf("verify again: %d", res.Status)
		}
		var me account
		if one.Do("GET", "/v1/users/me", "", nil).JSON(t, &me); !me.EmailVerified {
			t.Errorf("me: %+v", me)
		}

		known, unknown := use("/v1/auth/request-password-reset", object{"email": "ADA@example.com"}), use("/v1/auth/request-password-reset", object{"email": "bob@example.com"})
		if known.Status != http.StatusOK || string(known.Body) != string(unknown.Body) {
			t.Errorf("%d %s for a known address, %d %s for an unknown one", known.Status, known.Body, unknown.Status, unknown.Body)
		}
		reset := p.Letter("ada@example.com", 2)
		if res := use("/v1/auth/reset-password", object{"token": reset.Token(), "password": "short"}); res.Status != http.StatusBadRequest || *res.Error(t).Param != "password" {
			t.Errorf("a short password: %d %s", res.Status, res.Body)
		}
		if res := use("/v1/auth/reset-password", object{"token": reset.Token(), "password": "another good one"}); res.Status != http.StatusOK {
			t.Errorf("reset: %d %s", res.Status, res.Body)
		}
		if res := one.Do("GET", "/v1/users/me", "", nil); res.Status != http.StatusUnauthorized {
			t.Errorf("a session outlives a reset: %d", res.Status)
		}
		if res := use("/v1/auth/sign-in", object{"email": "ada@example.com", "password": password}); res.Status != http.StatusUnauthorized {
			t.Errorf("the old password: %d", res.Status)
		}
		if res := one.Do("POST", "/v1/auth/sign-in", "", object{"email": "ada@example.com", "password": "another good one"}); res.Status != http.StatusOK {
			t.Errorf("the new password: %d %s", res.Status, res.Body)
		}
		if len(p.Letters("bob@example.com")) > 0 {
			t.Error("somebody without an account was written to")
		}

		// The address changes when the new one is verified.
		if res := one.Do("PATCH", "/v1/users/me", "", object{"email": "Ada@new.example"}); res.Status != http.StatusBadRequest || *res.Error(t).Param != "current_password" {
			t.Errorf("without the password: %d %s", res.Status, res.Body)
		}
		move := object{"email": "Ada@new.example", "current_password": "another good one"}
		if one.Do("PATCH", "/v1/users/me", "", move).JSON(t, &me); me.Email != "ada@example.com" || me.PendingEmail == nil || *me.PendingEmail != "ada@new.example" {
			t.Errorf("me: %+v", me)
		}
		if notice := p.Letter("ada@example.com", 3); !strings.Contains(notice.Text, "ada@new.example") || notice.Token() != "" {
			t.Errorf("the former address was told %s", notice.Text)
		}
		if res := use("/v1/auth/verify-email", object{"token": p.Letter("ada@new.example", 1).Token()}); res.Status != http.StatusOK {
			t.Errorf("verify: %d %s", res.Status, res.Body)
		}
		me = account{}
		if one.Do("GET", "/v1/users/me", "", nil).JSON(t, &me); me.Email != "ada@new.example" || me.PendingEmail != nil || !me.EmailVerified {
			t.Errorf("me: %+v", me)
		}
	})
}

func TestInvitations(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b, "COAI_SIGN_UP=invite")
		try := func(in object) *coaitest.Response {
			return p.Do("POST", "/v1/auth/sign-up", "", in)
		}
		if res := try(object{"email": "ada@example.com", "password": password}); res.Status != http.StatusForbidden || res.Error(t).Code != "sign_up_closed" {
			t.Errorf("without an invitation: %d %s", res.Status, res.Body)
		}
		var made struct{ ID, Token, Email string }
		p.Do("POST", "/v1/invitations", coaitest.AdminKey, object{"email": "Ada@example.com", "tier": "pro"}).JSON(t, &made)
		if made.Token == "" || made.Email != "ada@example.com" {
			t.Fatalf("made %+v", made)
		}
		if p.Letter("ada@example.com", 1).Token() != made.Token {
			t.Error("another token was sent")
		}
		if res := try(object{"email": "eve@example.com", "password": password, "invitation": made.Token}); res.Status != http.StatusBadRequest || *res.Error(t).Param != "email" {
			t.Errorf("somebody else: %d %s", res.Status, res.Body)
		}
		if res := try(object{"email": "ada@example.com", "password": password, "invitation": "nonsense"}); res.Status != http.StatusBadRequest || res.Error(t).Code != "invalid_token" {
			t.Errorf("nonsense: %d %s", res.Status, res.Body)
		}
		var s signedIn
		if try(object{"email": "ada@example.com", "password": password, "invitation": made.Token}).JSON(t, &s); s.User.Tier != "pro" || !s.User.EmailVerified {
			t.Errorf("signed up as %+v", s)
		}
		if res := try(object{"email": "ada@example.com", "password": password, "invitation": made.Token}); res.Status != http.StatusBadRequest {
			t.Errorf("a second time: %d", res.Status)
		}
		var list struct {
			Total int
			Data  []struct {
				AcceptedBy *string `json:"accepted_by"`
				Token      *string
			}
		}
		if p.Do("GET", "/v1/invitations", coaitest.AdminKey, nil).JSON(t, &list); list.Total != 1 || list.Data[0].AcceptedBy == nil || *list.Data[0].AcceptedBy != s.User.ID || list.Data[0].Token != nil {
			t.Errorf("list %+v", list)
		}
		p.Do("POST", "/v1/invitations", coaitest.AdminKey, nil).JSON(t, &made)
		if res := p.Do("DELETE", "/v1/invitations/"+made.ID, coaitest.AdminKey, nil); res.Status != http.StatusOK {
			t.Errorf("take back: %d %s", res.Status, res.Body)
		}
		if res := try(object{"email": "bob@example.com", "password": password, "invitation": made.Token}); res.Status != http.StatusBadRequest {
			t.Errorf("one that was taken back: %d", res.Status)
		}
		key := p.OtherUserKey("carl@example.com", models.CreateAPIKeyInput{Name: "k"})
		if res := p.Do("GET", "/v1/invitations", key, nil); res.Status != http.StatusForbidden {
			t.Errorf("a user lists invitations: %d", res.Status)
		}
	})
}

func TestSignUpIsClosedByDefault(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	res := p.Do("POST", "/v1/auth/sign-up", "", object{"email": "ada@example.com", "password": password})
	if res.Status != http.StatusForbidden || res.Error(t).Code != "sign_up_closed" {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	if res := p.Do("GET", "/v1/auth/oidc/start", "", nil); res.Status != http.StatusNotFound {
		t.Errorf("a sign-in without an issuer: %d", res.Status)
	}
	var methods struct {
		SignUp string `json:"sign_up"`
		OIDC   bool
	}
	if p.Do("GET", "/v1/auth/methods", "", nil).JSON(t, &methods); methods.SignUp != "closed" || methods.OIDC {
		t.Errorf("methods %+v", methods)
	}
}
