package webhooks

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/coaidev/coai/models"
)

// measureTimeout bounds the look at the database when metrics are read.
const measureTimeout = 2 * time.Second

// meters count attempts; how many deliveries wait is read from the database.
type meters struct {
	attempts metric.Int64Counter
	latency  metric.Float64Histogram
}

func newMeters(s *Service) meters {
	m := s.cfg.Meter
	attempts, err1 := m.Int64Counter("coai.webhooks.attempts",
		metric.WithDescription("Attempts at webhook endpoints, by event type and outcome."), metric.WithUnit("{attempt}"))
	latency, err2 := m.Float64Histogram("coai.webhooks.duration",
		metric.WithDescription("How long attempts at webhook endpoints take."), metric.WithUnit("s"))
	due, err3 := m.Int64ObservableGauge("coai.webhooks.due",
		metric.WithDescription("Deliveries whose attempt is due, in the database."), metric.WithUnit("{delivery}"))
	oldest, err4 := m.Float64ObservableGauge("coai.webhooks.oldest_due",
		metric.WithDescription("For how long the first delivery that is due has been, in the database."), metric.WithUnit("s"))
	err := errors.Join(err1, err2, err3, err4)
	if err == nil {
		_, err = m.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
			ctx, cancel := context.WithTimeout(ctx, measureTimeout)
			defer cancel()
			n, age, err := s.Backlog(ctx)
			if err != nil {
				return err
			}
			o.ObserveInt64(due, int64(n))
			o.ObserveFloat64(oldest, age.Seconds())
			return nil
		}, due, oldest)
	}
	if err != nil {
		s.log.Error().Err(err).Msg("webhooks are not counted")
		return meters{noop.Int64Counter{}, noop.Float64Histogram{}}
	}
	return meters{attempts, latency}
}

func (m meters) attempted(ctx context.Context, c *claimed, o *outcome) {
	result := "failed"
	if o.delivered() {
		result = "delivered"
	}
	m.attempts.Add(ctx, 1, metric.WithAttributes(attribute.String("type", string(c.event.Type)), attribute.String("outcome", result)))
	if c.delivery.Trigger != models.TriggerTest {
		m.latency.Record(ctx, o.latency.Seconds(), metric.WithAttributes(attribute.String("outcome", result)))
	}
}
