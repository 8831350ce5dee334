package openai_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/openai"
)

// authority is a scripted Entra ID, and the Azure resource that takes its tokens.
type authority struct {
	fetches  atomic.Int32
	lifetime atomic.Int64 // seconds
	status   atomic.Int32
	valid    atomic.Pointer[string] // the only token that the resource takes; nil: any
	hold     chan struct{}          // a fetch waits for it
	scope    atomic.Pointer[string]
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/tenant-1/oauth2/v2.0/token" {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		_, _ = io.Copy(io.Discard, r.Body)
		if v := a.valid.Load(); v != nil && token != *v || token == "" {
			answer(401, "application/json", `{"error":{"code":"401","message":"Access denied"}}`)(w, r)
			return
		}
		answer(200, "application/json", completion)(w, r)
		return
	}
	_ = r.ParseForm()
	scope := r.PostForm.Get("scope")
	a.scope.Store(&scope)
	if r.PostForm.Get("client_id") != "client-1" || r.PostForm.Get("client_secret") != "se:cret~value" || r.PostForm.Get("grant_type") != "client_credentials" {
		answer(401, "application/json", `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret for app 'client-1'."}`)(w, r)
		return
	}
	n := a.fetches.Add(1)
	if a.hold != nil {
		<-a.hold
	}
	if s := a.status.Load(); s != 0 {
		answer(int(s), "application/json", `{"error":"temporarily_unavailable"}`)(w, r)
		return
	}
	answer(200, "application/json", fmt.Sprintf(`{"token_type":"Bearer","expires_in":%d,"access_token":"token-%d"}`, a.lifetime.Load(), n))(w, r)
}

func azure(t *testing.T, a *authority, credential string) *openai.Provider {
	t.Helper()
	if a.lifetime.Load() == 0 {
		a.lifetime.Store(3600)
	}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	p, err := openai.NewAzure(openai.AzureConfig{Config: openai.Config{BaseURL: server.URL, APIKey: credential}, AuthorityURL: server.URL}, server.Client())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const application = "entra:tenant-1:client-1:se:cret~value"

func TestEntraTokenIsKept(t *testing.T) {
	a := &authority{}
	p := azure(t, a, application)
	for range 3 {
		if _, err := p.Complete(t.Context(), hello()); err != nil {
			t.Fatal(err)
		}
	}
	if n, scope := a.fetches.Load(), *a.scope.Load(); n != 1 || scope != "https://cognitiveservices.azure.com/.default" {
		t.Errorf("%d tokens for %s", n, scope)
	}
}

func TestEntraTokenIsReplacedBeforeItsEnd(t *testing.T) {
	a := &authority{}
	a.lifetime.Store(200) // seconds: less than the margin
	p := azure(t, a, application)
	for range 2 {
		if _, err := p.Complete(t.Context(), hello()); err != nil {
			t.Fatal(err)
		}
	}
	if n := a.fetches.Load(); n != 2 {
		t.Errorf("%d tokens", n)
	}
	a.status.Store(503)
	if _, err := p.Complete(t.Context(), hello()); err != nil {
		t.Errorf("a token that still lasts was not used: %v", err)
	}
}

func TestEntraOneFetchAtATime(t *testing.T) {
	a := &authority{hold: make(chan struct{})}
	p := azure(t, a, application)
	var running, done sync.WaitGroup
	for range 8 {
		running.Add(1)
		done.Go(func() {
			running.Done()
			if _, err := p.Complete(t.Context(), hello()); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.Complete(ctx, hello()) // does not wait for the others' token
	wantClass(t, err, providers.Canceled)
	close(a.hold)
	done.Wait()
	if n := a.fetches.Load(); n != 1 {
		t.Errorf("%d tokens", n)
	}
}

func TestEntraRefusedTokenIsReplacedOnce(t *testing.T) {
	a := &authority{}
	p := azure(t, a, application)
	second := "token-2"
	a.valid.Store(&second)
	if _, err := p.Complete(t.Context(), hello()); err != nil {
		t.Fatal(err)
	}
	never := "never"
	a.valid.Store(&never)
	_, err := p.Complete(t.Context(), hello())
	wantClass(t, err, providers.Credential)
	if n := a.fetches.Load(); n != 3 {
		t.Errorf("%d tokens", n)
	}
}

func TestEntraFailures(t *testing.T) {
	a := &authority{}
	_, err := azure(t, a, "entra:tenant-1:client-1:wrong-secret").Complete(t.Context(), hello())
	wantClass(t, err, providers.Credential)
	if s := err.Error(); strings.Contains(s, "wrong-secret") || strings.Contains(s, "client-1") || !strings.Contains(s, "invalid_client") {
		t.Errorf("%s", s)
	}
	for status, want := range map[int32]providers.Class{503: providers.Unavailable, 429: providers.RateLimited, 302: providers.Unavailable} {
		a.status.Store(status)
		_, err = azure(t, a, application).Complete(t.Context(), hello())
		wantClass(t, err, want)
	}
	p, err := openai.NewAzure(openai.AzureConfig{
		Config: openai.Config{BaseURL: "http://127.0.0.1:1", APIKey: application}, AuthorityURL: "http://127.0.0.1:1",
	}, &http.Client{Transport: &http.Transport{}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Complete(t.Context(), hello())
	wantClass(t, err, providers.Unavailable)
	if strings.Contains(err.Error(), "tenant-1") {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "entra:tenant-1", "entra:t:c:", "entra:t::s"} {
		if _, err := openai.NewAzure(openai.AzureConfig{Config: openai.Config{BaseURL: "http://127.0.0.1:1", APIKey: bad}}, &http.Client{}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestAzurePlaces(t *testing.T) {
	for _, c := range []struct {
		base, version, want string
		responses           bool
	}{
		{"", "", "/openai/deployments/dep/embeddings?api-version=2024-10-21", false},
		{"/openai", "2023-05-15", "/openai/deployments/dep/embeddings?api-version=2023-05-15", false},
		{"/openai/v1", "", "/openai/v1/embeddings", true},
		{"/openai/v1/", "preview", "/openai/v1/embeddings?api-version=preview", true},
	} {
		var got []seen
		server := httptest.NewServer(record(t, &got, answer(200, "application/json", "{}")))
		p, err := openai.NewAzure(openai.AzureConfig{
			Config: openai.Config{BaseURL: server.URL + c.base, APIKey: "bearer:some-token"}, APIVersion: c.version,
		}, server.Client())
		if err != nil {
			t.Fatal(err)
		}
		readReply(t, p, providers.Call{Endpoint: providers.Embeddings, Model: "dep", Asked: "emb", Body: []byte(`{"model":"emb"}`)})
		if got[0].path != c.want || string(got[0].body) != `{"model":"dep"}` || p.Serves(providers.Responses) != c.responses || p.Serves(providers.Moderations) {
			t.Errorf("%s: %+v %s", c.base, got, got[0].body)
		}
		server.Close()
	}
}
