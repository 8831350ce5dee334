package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// telemetry follows OpenTelemetry's conventions for HTTP servers.
// https://opentelemetry.io/docs/specs/semconv/http/
type telemetry struct {
	tracer   trace.Tracer // nil: none that records
	duration metric.Float64Histogram
	sets     *sync.Map // series -> metric.MeasurementOption; there are few
}

type series struct {
	method, route string
	status        int
}

func newTelemetry(meter metric.Meter, tracer trace.Tracer, log zerolog.Logger) telemetry {
	duration, err := meter.Float64Histogram("http.server.request.duration",
		metric.WithUnit("s"), metric.WithDescription("Duration of HTTP server requests."),
		metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300))
	if err != nil {
		log.Error().Err(err).Msg("requests will not be measured")
	}
	if _, none := tracer.(tracenoop.Tracer); none {
		tracer = nil
	}
	return telemetry{tracer: tracer, duration: duration, sets: new(sync.Map)}
}

// begin opens a span, inside the client's trace when it sent one.
// https://www.w3.org/TR/trace-context/
func (t telemetry) begin(r *http.Request) (context.Context, trace.Span) {
	ctx := r.Context()
	if r.Header.Get("Traceparent") != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	if t.tracer == nil {
		return ctx, trace.SpanFromContext(ctx) // the client's, to name its trace in the log
	}
	return t.tracer.Start(ctx, method(r.Method), trace.WithSpanKind(trace.SpanKindServer))
}

func (t telemetry) end(ctx context.Context, span trace.Span, x *exchange) {
	k := series{method: method(x.request.Method), route: x.route(), status: x.status}
	if span.IsRecording() {
		span.SetName(k.method + " " + k.route)
		span.SetAttributes(k.attributes()...)
		span.SetAttributes(attribute.String("url.path", clip(x.request.URL.Path, 200)))
		if x.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(x.status))
		}
	}
	span.End()
	if t.duration == nil {
		return
	}
	set, ok := t.sets.Load(k)
	if !ok {
		set, _ = t.sets.LoadOrStore(k, metric.WithAttributeSet(attribute.NewSet(k.attributes()...)))
	}
	if opt, ok := set.(metric.MeasurementOption); ok {
		t.duration.Record(ctx, time.Since(x.start).Seconds(), opt)
	}
}

func (k series) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("http.request.method", k.method),
		attribute.String("http.route", k.route),
		attribute.Int("http.response.status_code", k.status),
		attribute.String("url.scheme", "http"),
	}
}

// method keeps made-up methods out of the series.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return m
	}
	return "_OTHER"
}
