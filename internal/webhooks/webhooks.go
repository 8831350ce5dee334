// Package webhooks tells endpoints of events: who is told of what, what was sent,
// what came of it, and when it is tried again. The database holds all of that, so
// whoever carries a delivery's id to [Service.Deliver] may lose it, or carry it
// twice: what is due and was not begun is found by [Service.Due].
package webhooks

import (
	"context"
	"net/http"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/coaidev/coai/internal/safehttp"
	"github.com/coaidev/coai/internal/sealed"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// maxEndpoints is how many endpoints a user can have.
const maxEndpoints = 50

// Config says how deliveries are made. Zero values are the defaults.
type Config struct {
	Policy    safehttp.Policy // which addresses endpoints may have beside public ones
	AllowHTTP bool            // endpoints may be http URLs
	Timeout   time.Duration   // of an attempt; default 15 s
	// Schedule are the pauses before the second, third… attempt; default [Schedule].
	Schedule []time.Duration
	// PerEndpoint is how many attempts at one endpoint this process makes at a time;
	// default 8.
	PerEndpoint int
	// Retention is how long events and deliveries are kept; default 30 days.
	Retention time.Duration
	// DisableAfter is how long all attempts must have failed until an endpoint is
	// disabled; default five days.
	DisableAfter time.Duration
	// OnDisabled is told, beside the event webhook.disabled and the log, of an
	// endpoint that was disabled for its owner: it can write a mail. nil: nobody is.
	OnDisabled func(ctx context.Context, w *models.Webhook)
	Meter      metric.Meter // counts deliveries; nil counts nothing
}

// Service keeps the endpoints and makes the deliveries. It is safe for
// concurrent use.
type Service struct {
	db     *storage.DB
	box    *sealed.Box
	cfg    Config
	client *http.Client
	log    zerolog.Logger
	slots  *slots
	meters meters
	now    func() time.Time
}

// New makes a service.
func New(db *storage.DB, box *sealed.Box, cfg Config, log zerolog.Logger) *Service {
	setDefault(&cfg.Timeout, 15*time.Second)
	setDefault(&cfg.PerEndpoint, 8)
	setDefault(&cfg.Retention, 30*24*time.Hour)
	setDefault(&cfg.DisableAfter, 5*24*time.Hour)
	if cfg.Schedule == nil {
		cfg.Schedule = Schedule()
	}
	if cfg.Meter == nil {
		cfg.Meter = noop.Meter{}
	}
	s := &Service{
		db: db, box: box, cfg: cfg, client: newClient(cfg), now: time.Now, slots: newSlots(cfg.PerEndpoint),
		log: log.With().Str("component", "webhooks").Logger(),
	}
	s.meters = newMeters(s)
	return s
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

func (s *Service) time() time.Time { return s.now().UTC().Truncate(time.Microsecond) }
