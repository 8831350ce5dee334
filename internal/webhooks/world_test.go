package webhooks

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/events"
	"github.com/coaidev/coai/internal/safehttp"
	"github.com/coaidev/coai/internal/sealed"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

// world is a service on a real database, with three users.
type world struct {
	t    *testing.T
	ctx  context.Context
	db   *storage.DB
	s    *Service
	logs *bytes.Buffer

	mu    sync.Mutex
	shift time.Duration // of the service's clock

	ada, admin, bob *models.Viewer
}

// each runs a test on both databases.
func each(t *testing.T, cfg Config, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	testdb.Each(t, func(t *testing.T, db *storage.DB) { test(t, newWorld(t, db, cfg)) })
}

func newWorld(t *testing.T, db *storage.DB, cfg Config) *world {
	t.Helper()
	policy, err := safehttp.ParsePolicy("127.0.0.1", false)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Policy, cfg.AllowHTTP = policy, true
	box, err := sealed.New(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ctx: t.Context(), db: db, logs: new(bytes.Buffer)}
	w.s = New(db, box, cfg, zerolog.New(zerolog.SyncWriter(w.logs)))
	w.s.now = func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return time.Now().Add(w.shift)
	}
	w.ada, w.bob = w.user("ada", models.RoleUser), w.user("bob", models.RoleUser)
	w.admin = w.user("root", models.RoleAdmin)
	w.admin.Scopes = models.AllScopes()
	return w
}

// later moves the service's clock.
func (w *world) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shift += d
}

func (w *world) user(name string, role models.Role) *models.Viewer {
	w.t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	u := &models.User{
		ID: "user_" + name, Email: name + "@example.com", Name: name, Role: role, Tier: models.TierFree, Status: models.UserActive,
		CreatedAt: now, UpdatedAt: now,
	}
	w.exec(w.db.Write().NewInsert().Model(u))
	return &models.Viewer{UserID: u.ID, Role: role, Tier: u.Tier, Scopes: models.DefaultScopes()}
}

func (w *world) exec(q interface {
	Exec(ctx context.Context, dest ...any) (sql.Result, error)
}) {
	w.t.Helper()
	if _, err := q.Exec(w.ctx); err != nil {
		w.t.Fatal(err)
	}
}

// endpoint makes one of the viewer's.
func (w *world) endpoint(v *models.Viewer, url string, change ...func(*models.CreateWebhookInput)) (*models.Webhook, string) {
	w.t.Helper()
	in := models.CreateWebhookInput{URL: url}
	for _, c := range change {
		c(&in)
	}
	p, err := w.s.CreateWebhook(w.ctx, v, in)
	if err != nil {
		w.t.Fatal(err)
	}
	return p.Webhook, *p.Secret
}

// happen appends an event, and gives it.
func (w *world) happen(v *models.Viewer, kind models.EventType) *models.Event {
	w.t.Helper()
	var e *models.Event
	err := w.db.Tx(w.ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		e, err = events.Append(ctx, tx, kind, map[string]any{"object": "thing", "user_id": v.UserID})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// deliveries are those to an endpoint, the oldest first.
func (w *world) deliveries(endpointID string) []*models.WebhookDelivery {
	w.t.Helper()
	var list []*models.WebhookDelivery
	if err := w.db.Read().NewSelect().Model(&list).Where("endpoint_id = ?", endpointID).OrderExpr("id").Scan(w.ctx); err != nil {
		w.t.Fatal(err)
	}
	return list
}

// only is the one delivery to an endpoint.
func (w *world) only(endpointID string) *models.WebhookDelivery {
	w.t.Helper()
	list := w.deliveries(endpointID)
	if len(list) != 1 {
		w.t.Fatalf("%d deliveries, want one", len(list))
	}
	return list[0]
}

func (w *world) deliver(id string) {
	w.t.Helper()
	if err := w.s.Deliver(w.ctx, id); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) reload(id string) *models.Webhook {
	w.t.Helper()
	x := new(models.Webhook)
	if err := w.db.Read().NewSelect().Model(x).Where("we.id = ?", id).Scan(w.ctx); err != nil {
		w.t.Fatal(err)
	}
	return x
}

// received is a request as an endpoint saw it.
type received struct {
	header http.Header
	body   []byte
}

// receiver is an endpoint that answers as it is told.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []received
	then func(http.ResponseWriter, *http.Request)
}

func newReceiver(t *testing.T, then func(http.ResponseWriter, *http.Request)) *receiver {
	t.Helper()
	r := &receiver{then: then}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, received{req.Header.Clone(), body})
		then := r.then
		r.mu.Unlock()
		if then != nil {
			then(w, req)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) requests() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.got...)
}

func (r *receiver) answer(then func(http.ResponseWriter, *http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.then = then
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// refused checks that an error is one that a client can act on.
func refused(t *testing.T, err error, kind models.Kind, param string) {
	t.Helper()
	e, known := models.AsError(err)
	if err == nil || !known || e.Kind != kind || e.Param != param {
		t.Errorf("got %v (kind %d, param %q); want kind %d, param %q", err, e.Kind, e.Param, kind, param)
	}
}

func text(s string) *string { return &s }

func contains(t *testing.T, s *string, part string) {
	t.Helper()
	if s == nil || !strings.Contains(*s, part) {
		got := "nothing"
		if s != nil {
			got = *s
		}
		t.Errorf("got %s, want something with %q", got, part)
	}
}
