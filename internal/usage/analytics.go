package usage

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// defaultSegments is how much memory an Analytics keeps hours in, in bytes.
const defaultSegments = 64 << 20

// Analytics answers what was used when, by whom, and what it cost. It reads hours
// that [Analytics.RollUp] has packed, and the records of all others, so that its
// sums are those of the records at any time. It is safe for concurrent use.
type Analytics struct {
	db       *storage.DB
	now      func() time.Time
	names    *names
	segments *otter.Cache[int64, *segment] // by hour
	capacity int64
	slots    chan struct{} // one for each query that may run: completions need the processors too
}

// NewAnalytics makes one that keeps packed hours in so many bytes of memory; 0
// means 64 MiB.
func NewAnalytics(db *storage.DB, memory int64) *Analytics {
	if memory <= 0 {
		memory = defaultSegments
	}
	return &Analytics{
		db: db, now: time.Now, names: newNames(), capacity: memory,
		slots: make(chan struct{}, max(2, runtime.GOMAXPROCS(0)/2)),
		segments: otter.Must(&otter.Options[int64, *segment]{
			MaximumWeight: uint64(memory),
			Weigher:       func(_ int64, s *segment) uint32 { return uint32(s.size()) }, //nolint:gosec // an hour's
		}),
	}
}

// Close ends what the cache runs.
func (a *Analytics) Close(context.Context) error {
	a.segments.StopAllGoroutines()
	return nil
}

// Report sums up usage. Who is no admin sees what is their own. Scope:
// analytics:read.
func (a *Analytics) Report(ctx context.Context, v *models.Viewer, in models.UsageQuery) (*models.UsageReport, error) {
	if err := v.Require(models.ScopeAnalyticsRead); err != nil {
		return nil, err
	}
	r, err := in.Range(a.now())
	if err != nil {
		return nil, err
	}
	if err := confine(v, &in); err != nil {
		return nil, err
	}
	bounds := boundsOf(r.Granularity, r.Start, r.End)
	current := 0 // the first bucket that is not of the previous period
	if r.Compare {
		previous := boundsOf(r.Granularity, previousStart(r, len(bounds)-1), r.Start)
		current = len(previous) - 1
		bounds = append(previous[:current], bounds...)
	}
	q := &question{values: [dimensions][]string{byUser: in.UserIDs, byKey: in.APIKeyIDs, byModel: in.Models, byChannel: in.ChannelIDs}}
	for _, t := range bounds {
		q.bounds = append(q.bounds, t.UnixMicro())
	}
	for _, d := range in.GroupBy {
		q.group[dimensionOf(d)] = true
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	counted, err := a.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	return a.report(r, &in, bounds, current, counted, q), nil
}

// confine keeps who is no admin to their own usage. Channels are an admin's.
func confine(v *models.Viewer, in *models.UsageQuery) error {
	if v.IsAdmin() {
		return nil
	}
	for _, id := range in.UserIDs {
		if id != v.UserID {
			e := models.NotFound("user", id)
			e.Param = "user_id"
			return e
		}
	}
	if len(in.ChannelIDs) > 0 || slices.Contains(in.GroupBy, models.UsageByChannel) {
		return models.Forbidden(models.CodeInsufficientScope, "Only an admin may see usage by channel.")
	}
	in.UserIDs = []string{v.UserID}
	return nil
}

func dimensionOf(d models.UsageDimension) int {
	switch d {
	case models.UsageByUser:
		return byUser
	case models.UsageByAPIKey:
		return byKey
	case models.UsageByChannel:
		return byChannel
	case models.UsageByModel:
	}
	return byModel
}

// boundsOf are the beginnings of the buckets from start on, and the end. The
// first and the last bucket may be cut.
func boundsOf(g models.UsageGranularity, start, end time.Time) []time.Time {
	list := []time.Time{start}
	for t := g.Next(start); t.Before(end); t = g.Next(t) {
		list = append(list, t)
	}
	return append(list, end)
}

// previousStart is the beginning of the period before, of n whole buckets, or as
// long as the range when that has none.
func previousStart(r *models.UsageRange, n int) time.Time {
	if r.Granularity.Floor(r.Start).Equal(r.Start) && r.Granularity.Floor(r.End).Equal(r.End) {
		return r.Granularity.Back(r.Start, n)
	}
	return r.Start.Add(-r.End.Sub(r.Start))
}

// report shows what was counted.
func (a *Analytics) report(r *models.UsageRange, in *models.UsageQuery, bounds []time.Time, current int, counted counts, q *question) *models.UsageReport {
	perBucket := make([][]place, len(bounds)-1)
	for p := range counted {
		perBucket[p.bucket] = append(perBucket[p.bucket], p)
	}
	bucket := func(i int) *models.UsageBucket {
		b := &models.UsageBucket{Start: bounds[i], End: bounds[i+1], Results: make([]*models.UsageResult, 0, len(perBucket[i]))}
		for _, p := range perBucket[i] {
			b.Results = append(b.Results, a.result(q, p, counted[p]))
		}
		slices.SortFunc(b.Results, costliest)
		return b
	}
	out := &models.UsageReport{
		Start: r.Start, End: r.End, Timezone: r.Location.String(), Granularity: r.Granularity, GroupBy: in.GroupBy,
		Buckets: []*models.UsageBucket{}, Limit: r.Limit,
	}
	from := current
	for ; bounds[from].Before(r.From); from++ { //nolint:revive // finds the page's first bucket; the last bound is not before it
	}
	to := min(from+r.Limit, len(bounds)-1)
	for i := from; i < to; i++ {
		b := bucket(i)
		if r.Compare && i-current < current {
			b.Previous = bucket(i - current)
		}
		out.Buckets = append(out.Buckets, b)
	}
	if to < len(bounds)-1 {
		page := models.UsagePage(bounds[to])
		out.HasMore, out.NextPage = true, &page
	}
	out.Totals, out.Groups = a.totals(q, counted, perBucket[current:])
	if r.Compare {
		out.Previous = &models.UsagePeriod{Start: bounds[0], End: r.Start}
		out.Previous.Totals, out.Previous.Groups = a.totals(q, counted, perBucket[:current])
	}
	return out
}

func (a *Analytics) totals(q *question, counted counts, buckets [][]place) (*models.UsageResult, []*models.UsageResult) {
	all, groups := new(tally), counts{}
	for _, places := range buckets {
		for _, p := range places {
			p, t := place{group: p.group}, counted[p]
			if groups[p] == nil {
				groups[p] = new(tally)
			}
			groups[p].add(t)
		}
	}
	for _, t := range groups {
		all.add(t)
	}
	if q.group == [dimensions]bool{} {
		clear(groups)
	}
	list := make([]*models.UsageResult, 0, len(groups))
	for p, t := range groups {
		list = append(list, a.result(q, p, t))
	}
	slices.SortFunc(list, costliest)
	return a.result(&question{}, place{}, all), list
}

// costliest puts what cost most first.
func costliest(x, y *models.UsageResult) int {
	name := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	return cmp.Or(cmp.Compare(y.Nanos, x.Nanos), cmp.Compare(y.NumModelRequests, x.NumModelRequests),
		cmp.Compare(name(x.Model), name(y.Model)), cmp.Compare(name(x.UserID), name(y.UserID)),
		cmp.Compare(name(x.ChannelID), name(y.ChannelID)), cmp.Compare(name(x.APIKeyID), name(y.APIKeyID)))
}

func (a *Analytics) result(q *question, p place, t *tally) *models.UsageResult {
	name := func(d int) *string {
		if !q.group[d] {
			return nil
		}
		s := a.names.text(p.group[d])
		return &s
	}
	r := &models.UsageResult{
		Model: name(byModel), UserID: name(byUser), ChannelID: name(byChannel), APIKeyID: name(byKey),
		NumModelRequests: t.requests, NumErrors: t.errors, InputTokens: t.input, OutputTokens: t.output,
		InputCachedTokens: t.cached, ReasoningTokens: t.reasoning, Nanos: models.Nanos(t.cost),
	}
	const half, most, nearlyAll = 0.5, 0.95, 0.99
	latency := t.latency.quantiles(half, most, nearlyAll)
	ttft := t.ttft.quantiles(half, most)
	r.LatencyMS = models.UsageLatency{P50: latency[0], P95: latency[1], P99: latency[2]}
	r.TTFTMS = models.UsageTTFT{P50: ttft[0], P95: ttft[1]}
	if t.requests > 0 {
		avg := float64(t.latencyMS*10/t.requests) / 10
		r.LatencyMS.Avg = &avg
	}
	return r
}

// snapshot runs fn on a state of the database that does not change meanwhile.
func (a *Analytics) snapshot(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	var opts *sql.TxOptions // a transaction of SQLite is always one
	if a.db.Dialect() == storage.Postgres {
		opts = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	if err := a.db.Read().RunInTx(ctx, opts, fn); err != nil {
		return fmt.Errorf("read usage: %w", err)
	}
	return nil
}
