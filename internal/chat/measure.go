package chat

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/coaidev/coai/models"
)

// Telemetry is where measurements go.
type Telemetry struct {
	Meter  metric.Meter
	Tracer trace.Tracer
}

// measure follows OpenTelemetry's conventions for generative AI, and adds the
// gateway's own share of the time to the first byte.
// https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
type measure struct {
	tracer    trace.Tracer // nil: none that records
	duration  metric.Float64Histogram
	tokens    metric.Int64Histogram
	ttft      metric.Float64Histogram
	overhead  metric.Float64Histogram
	estimated metric.Int64Counter
	cache     metric.Int64Counter

	mu   sync.RWMutex
	sets map[series]metric.MeasurementOption // making one anew costs more than to record
}

// series are the attributes of a measurement. Those that are empty are left out.
type series struct {
	operation, provider, model, failure, token string
}

func (m *measure) with(s series) metric.MeasurementOption {
	m.mu.RLock()
	set, known := m.sets[s]
	m.mu.RUnlock()
	if known {
		return set
	}
	var list []attribute.KeyValue
	for _, a := range []struct{ key, value string }{
		{"gen_ai.operation.name", s.operation}, {"gen_ai.provider.name", s.provider}, {"gen_ai.request.model", s.model},
		{"error.type", s.failure}, {"gen_ai.token.type", s.token},
	} {
		if a.value != "" {
			list = append(list, attribute.String(a.key, a.value))
		}
	}
	set = metric.WithAttributeSet(attribute.NewSet(list...))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sets[s] = set
	return set
}

func newMeasure(t Telemetry) *measure {
	m := &measure{tracer: t.Tracer, sets: map[series]metric.MeasurementOption{}}
	if _, none := t.Tracer.(tracenoop.Tracer); none {
		m.tracer = nil
	}
	// These calls fail only for bad names, and then give instruments that do nothing.
	m.duration, _ = t.Meter.Float64Histogram("gen_ai.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("Time of a request to an upstream."),
		metric.WithExplicitBucketBoundaries(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92))
	m.tokens, _ = t.Meter.Int64Histogram("gen_ai.client.token.usage", metric.WithUnit("{token}"),
		metric.WithDescription("Tokens of a request to an upstream."),
		metric.WithExplicitBucketBoundaries(1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576))
	m.ttft, _ = t.Meter.Float64Histogram("gen_ai.server.time_to_first_token", metric.WithUnit("s"),
		metric.WithDescription("Time from the request to the first byte of the answer."),
		metric.WithExplicitBucketBoundaries(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10))
	m.overhead, _ = t.Meter.Float64Histogram("coai.gateway.overhead", metric.WithUnit("s"),
		metric.WithDescription("Time to the first byte less the time spent waiting for upstreams."),
		metric.WithExplicitBucketBoundaries(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1))
	m.estimated, _ = t.Meter.Int64Counter("coai.usage.estimated",
		metric.WithDescription("Usage records for which the upstream gave no numbers."))
	m.cache, _ = t.Meter.Int64Counter("coai.cache.requests",
		metric.WithDescription("Requests of keys with a response cache, by whether they were answered from it."))
	return m
}

func (m *measure) cached(ctx context.Context, hit bool) {
	m.cache.Add(ctx, 1, metric.WithAttributes(attribute.Bool("coai.cache.hit", hit)))
}

func (m *measure) start(ctx context.Context, op models.Operation, model string, stream bool) (context.Context, trace.Span) {
	if m.tracer == nil {
		return ctx, tracenoop.Span{}
	}
	return m.tracer.Start(ctx, string(op)+" "+model, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("gen_ai.operation.name", string(op)),
		attribute.String("gen_ai.request.model", model),
		attribute.Bool("coai.stream", stream),
	))
}

func (m *measure) firstByte(ctx context.Context, j *job, total, overhead time.Duration) {
	m.ttft.Record(ctx, total.Seconds(), m.with(series{model: j.route.Model.Name}))
	m.overhead.Record(ctx, overhead.Seconds())
}

func (m *measure) settled(ctx context.Context, j *job, rec *models.UsageRecord) {
	common := series{operation: string(rec.Operation), provider: string(j.attempt.ChannelType), model: rec.Model}
	ended := common
	ended.failure = rec.ErrorCode
	m.duration.Record(ctx, float64(rec.LatencyMS)/1000, m.with(ended))
	in, out := common, common
	in.token, out.token = "input", "output"
	if rec.PromptTokens > 0 {
		m.tokens.Record(ctx, rec.PromptTokens, m.with(in))
	}
	if rec.CompletionTokens > 0 {
		m.tokens.Record(ctx, rec.CompletionTokens, m.with(out))
	}
	if rec.Estimated && rec.PromptTokens > 0 {
		m.estimated.Add(ctx, 1, m.with(series{model: rec.Model}))
	}
	if !j.span.IsRecording() {
		return
	}
	j.span.SetAttributes(
		attribute.String("gen_ai.provider.name", string(j.attempt.ChannelType)),
		attribute.String("gen_ai.response.model", rec.UpstreamModel),
		attribute.Int64("gen_ai.usage.input_tokens", rec.PromptTokens),
		attribute.Int64("gen_ai.usage.output_tokens", rec.CompletionTokens),
	)
}

func (m *measure) failed(span trace.Span, err error) {
	if !span.IsRecording() {
		return
	}
	e, _ := models.AsError(err)
	span.SetStatus(codes.Error, e.Code)
	span.SetAttributes(attribute.String("error.type", e.Code))
}
