package coaitest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
)

// visit goes the way through the issuer, and gives the answer of the callback.
func visit(t *testing.T, b *coaitest.Product, returnTo string) *coaitest.Response {
	t.Helper()
	return b.Do("GET", callback(t, b, returnTo), "", nil)
}

// callback goes as far as the issuer, and gives where that sends the browser.
func callback(t *testing.T, b *coaitest.Product, returnTo string) string {
	t.Helper()
	start := b.Do("GET", "/v1/auth/oidc/start?return_to="+url.QueryEscape(returnTo), "", nil)
	if start.Status != http.StatusFound {
		t.Fatalf("start: %d %s", start.Status, start.Body)
	}
	res, err := b.Client.Get(start.Header.Get("Location")) //nolint:noctx // a test's
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	back, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != http.StatusFound || !strings.HasSuffix(back.Path, "/v1/auth/oidc/callback") {
		t.Fatalf("the issuer answers %d, %s", res.StatusCode, back)
	}
	return back.RequestURI()
}

func TestSignInThroughAnIssuer(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		issuer := coaitest.NewIssuer(t)
		p := coaitest.Start(t, b, append(issuer.Settings(), "COAI_SIGN_UP=open", "COAI_OIDC_ROLE_CLAIM=groups", "COAI_OIDC_ADMIN_VALUES=ops")...)
		ada := object{"email": "Ada@example.com", "email_verified": true, "name": "Ada"}
		issuer.Says(ada)
		one := p.Browser()
		res := visit(t, one, "/chat?x=1")
		if res.Status != http.StatusFound || res.Header.Get("Location") != "/chat?x=1" {
			t.Fatalf("callback: %d %s, to %s", res.Status, res.Body, res.Header.Get("Location"))
		}
		var me account
		if one.Do("GET", "/v1/users/me", "", nil).JSON(t, &me); me.Email != "ada@example.com" || !me.EmailVerified || me.Role != "user" {
			t.Fatalf("me: %+v", me)
		}
		// The subject says who it is, whatever the address is by now; the claim says the role.
		issuer.Says(object{"email": "ada@new.example", "email_verified": true, "groups": []string{"staff", "ops"}})
		two := p.Browser()
		visit(t, two, "/")
		var again account
		if two.Do("GET", "/v1/users/me", "", nil).JSON(t, &again); again.ID != me.ID || again.Role != "admin" || again.Email != "ada@example.com" {
			t.Errorf("the same person is %+v", again)
		}

		refused := func(name string, claims object, status int, code string) {
			t.Helper()
			issuer.Says(claims)
			if res := visit(t, p.Browser(), "/"); res.Status != status || res.Error(t).Code != code || strings.Contains(res.Header.Get("Set-Cookie"), "coai_session=") {
				t.Errorf("%s: %d %s", name, res.Status, res.Body)
			}
		}
		refused("an address that nobody verified", object{"sub": "2", "email": "ada@example.com", "email_verified": false}, 403, "sign_in_refused")
		refused("no address", object{"sub": "2"}, 403, "sign_in_refused")
		refused("another sign-in's token", object{"nonce": "x", "email": "ada@example.com", "email_verified": true}, 403, "sign_in_refused")
		refused("another client's token", object{"aud": "other", "email": "ada@example.com", "email_verified": true}, 403, "sign_in_refused")
		refused("another issuer's token", object{"iss": "https://evil.example", "email": "ada@example.com", "email_verified": true}, 403, "sign_in_refused")
		refused("an old token", object{"exp": 1000, "email": "ada@example.com", "email_verified": true}, 403, "sign_in_refused")
		// Somebody waits under another's address.
		signUp(t, p.Browser(), "bob@example.com")
		refused("an account whose address was never verified", object{"sub": "3", "email": "bob@example.com", "email_verified": true}, 409, "conflict")
		if res := p.Do("POST", "/v1/auth/verify-email", "", object{"token": p.Letter("bob@example.com", 1).Token()}); res.Status != http.StatusOK {
			t.Fatalf("verify: %d %s", res.Status, res.Body)
		}
		issuer.Says(object{"sub": "3", "email": "bob@example.com", "email_verified": "true"})
		if res := visit(t, p.Browser(), "/"); res.Status != http.StatusFound {
			t.Errorf("a verified account is not linked: %d %s", res.Status, res.Body)
		}

		// The answer belongs to the browser that asked, and counts once.
		issuer.Says(ada)
		stolen := callback(t, p.Browser(), "/")
		if res := p.Browser().Do("GET", stolen, "", nil); res.Status != http.StatusBadRequest || *res.Error(t).Param != "state" {
			t.Errorf("in another browser: %d %s", res.Status, res.Body)
		}
		own := p.Browser()
		back := callback(t, own, "/")
		if res := own.Do("GET", back, "", nil); res.Status != http.StatusFound {
			t.Errorf("once: %d %s", res.Status, res.Body)
		}
		if res := own.Do("GET", back, "", nil); res.Status != http.StatusBadRequest {
			t.Errorf("twice: %d", res.Status)
		}
		for _, to := range []string{"https://evil.example", "//evil.example", `/\evil.example`, "evil", "/\t/evil.example", "javascript:alert(1)", "/%0d%0aX: y\r\n"} {
			if res := p.Do("GET", "/v1/auth/oidc/start?return_to="+url.QueryEscape(to), "", nil); res.Status != http.StatusBadRequest || *res.Error(t).Param != "return_to" {
				t.Errorf("return to %q: %d %s", to, res.Status, res.Body)
			}
		}
		if logs := p.Logs.String(); strings.Contains(logs, coaitest.IssuerSecret) {
			t.Error("the log holds the client secret")
		}
	})
}

func TestIssuersDomainsAndStrangers(t *testing.T) {
	t.Parallel()
	issuer := coaitest.NewIssuer(t)
	p := coaitest.Start(t, coaitest.Backends{}, append(issuer.Settings(), "COAI_OIDC_DOMAINS=example.com", "COAI_OIDC_SIGN_UP=false")...)
	issuer.Says(object{"email": "eve@evil.example", "email_verified": true})
	if res := visit(t, p.Browser(), "/"); res.Status != http.StatusForbidden || res.Error(t).Code != "sign_in_refused" {
		t.Errorf("another domain: %d %s", res.Status, res.Body)
	}
	issuer.Says(object{"email": "ada@Example.com", "email_verified": true})
	if res := visit(t, p.Browser(), "/"); res.Status != http.StatusForbidden || res.Error(t).Code != "sign_up_closed" {
		t.Errorf("somebody without an account: %d %s", res.Status, res.Body)
	}
	p.Do("POST", "/v1/users", coaitest.AdminKey, object{"email": "ada@example.com", "name": "Ada"})
	b := p.Browser()
	if res := visit(t, b, "/"); res.Status != http.StatusFound {
		t.Errorf("somebody with an account: %d %s", res.Status, res.Body)
	}
	var start struct {
		StartOidcSignIn struct{ URL string }
	}
	if errs := b.GraphQL("", `mutation { startOidcSignIn(returnTo: "/x") { url } }`, nil, &start); len(errs) > 0 || !strings.HasPrefix(start.StartOidcSignIn.URL, issuer.URL) {
		t.Errorf("over GraphQL: %+v, %v", start, errs)
	}
}
