package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// telemetry measures the process. Its metrics are kept for Prometheus to
// fetch; its traces go to a collector when one is configured.
type telemetry struct {
	meter   metric.Meter
	tracer  trace.Tracer
	metrics http.Handler
	close   func(context.Context) error
}

const instrumentation = "github.com/coaidev/coai"

func newTelemetry(ctx context.Context, otlpEndpoint, version string) (*telemetry, error) {
	res := resource.NewSchemaless(
		attribute.String("service.name", "coai"), attribute.String("service.version", version))
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return nil, fmt.Errorf("start metrics: %w", err)
	}
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter), sdkmetric.WithResource(res))
	t := &telemetry{
		meter:   meters.Meter(instrumentation),
		tracer:  tracenoop.NewTracerProvider().Tracer(instrumentation),
		metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		close:   meters.Shutdown,
	}
	if otlpEndpoint == "" {
		return t, nil
	}
	spans, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(otlpEndpoint))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start traces: %w", err), meters.Shutdown(ctx))
	}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans), sdktrace.WithResource(res))
	t.tracer = tracers.Tracer(instrumentation)
	t.close = func(ctx context.Context) error { return errors.Join(tracers.Shutdown(ctx), meters.Shutdown(ctx)) }
	return t, nil
}
