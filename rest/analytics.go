package rest

import (
	"encoding/csv"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/models"
)

// usage answers in the shape of OpenAI's usage API, with the bounds as text
// beside the Unix seconds, or as CSV.
// https://platform.openai.com/docs/api-reference/usage
func (h *handler) usage(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	in, err := parseUsage(q)
	if err != nil {
		return err
	}
	asCSV, err := wantsCSV(q, r.Header)
	if err != nil {
		return err
	}
	if asCSV {
		return h.writeUsageCSV(w, r, in)
	}
	report, err := h.report(r, in)
	if err != nil {
		return err
	}
	return writeJSON(w, viewUsage(report))
}

func (h *handler) report(r *http.Request, in *models.UsageQuery) (*models.UsageReport, error) {
	return h.resolver.Query().Usage(r.Context(), in.StartDate, in.EndDate, in.Granularity, in.Timezone, //nolint:wrapcheck // a resolver's
		in.Models, in.UserIDs, in.ChannelIDs, in.APIKeyIDs, in.GroupBy, in.Compare, in.Limit, in.Page)
}

func parseUsage(q url.Values) (*models.UsageQuery, error) {
	in := &models.UsageQuery{
		StartDate: textParam(q, "start_date"), EndDate: textParam(q, "end_date"), Timezone: textParam(q, "timezone"), Page: textParam(q, "page"),
		Models: listParam(q, "model"), UserIDs: listParam(q, "user_id"), ChannelIDs: listParam(q, "channel_id"), APIKeyIDs: listParam(q, "api_key_id"),
	}
	if s := q.Get("granularity"); s != "" {
		g := models.UsageGranularity(s)
		in.Granularity = &g
	}
	if s := q.Get("compare"); s != "" {
		c := models.UsageComparison(s)
		in.Compare = &c
	}
	for _, s := range listParam(q, "group_by") {
		for part := range strings.SplitSeq(s, ",") {
			in.GroupBy = append(in.GroupBy, models.UsageDimension(strings.TrimSpace(part)))
		}
	}
	if q.Get("limit") != "" {
		limit, err := intParam(q, "limit", 0, 1, models.MaxUsageBuckets)
		if err != nil {
			return nil, err
		}
		in.Limit = &limit
	}
	return in, nil
}

func textParam(q url.Values, name string) *string {
	if s := q.Get(name); s != "" {
		return &s
	}
	return nil
}

// listParam are all values of a parameter that may be repeated, also as name[],
// which is how OpenAI's SDKs write lists.
func listParam(q url.Values, name string) []string {
	var list []string
	for _, s := range append(q[name], q[name+"[]"]...) {
		if s != "" {
			list = append(list, s)
		}
	}
	return list
}

// wantsCSV reads the parameter format, else the header Accept.
func wantsCSV(q url.Values, h http.Header) (bool, error) {
	switch q.Get("format") {
	case "":
		accept := strings.Join(h.Values("Accept"), ",")
		return strings.Contains(accept, "text/csv") && !strings.Contains(accept, "json"), nil
	case "csv":
		return true, nil
	case "json":
		return false, nil
	}
	return false, models.Invalid("format", "'format' must be json or csv.")
}

type usagePageView struct {
	Object      string                  `json:"object"`
	Data        []any                   `json:"data"`
	HasMore     bool                    `json:"has_more"`
	NextPage    *string                 `json:"next_page"`
	Limit       int                     `json:"limit"`
	Start       string                  `json:"start"`
	End         string                  `json:"end"`
	Granularity models.UsageGranularity `json:"granularity"`
	Timezone    string                  `json:"timezone"`
	GroupBy     []models.UsageDimension `json:"group_by"`
	Totals      any                     `json:"totals"`
	Groups      []any                   `json:"groups"`
	Previous    *usagePeriodView        `json:"previous,omitzero"`
}

type usagePeriodView struct {
	Start  string `json:"start"`
	End    string `json:"end"`
	Totals any    `json:"totals"`
	Groups []any  `json:"groups"`
}

type usageBucketView struct {
	Object    string           `json:"object"`
	StartTime time.Time        `json:"start_time"`
	EndTime   time.Time        `json:"end_time"`
	Start     string           `json:"start"`
	End       string           `json:"end"`
	Results   []any            `json:"results"`
	Previous  *usageBucketView `json:"previous,omitzero"`
}

type usageResultView struct {
	Object string `json:"object"`
	*models.UsageResult
	TotalTokens int64        `json:"total_tokens"`
	Cost        models.Money `json:"cost"`
}

func viewUsage(r *models.UsageReport) *usagePageView {
	v := &usagePageView{
		Object: "page", Data: make([]any, len(r.Buckets)), HasMore: r.HasMore, NextPage: r.NextPage, Limit: r.Limit,
		Start: rfc3339(r.Start), End: rfc3339(r.End), Granularity: r.Granularity, Timezone: r.Timezone,
		GroupBy: append([]models.UsageDimension{}, r.GroupBy...), Totals: viewUsageResult(r.Totals), Groups: viewUsageResults(r.Groups),
	}
	for i, b := range r.Buckets {
		v.Data[i] = viewUsageBucket(b)
	}
	if p := r.Previous; p != nil {
		v.Previous = &usagePeriodView{Start: rfc3339(p.Start), End: rfc3339(p.End), Totals: viewUsageResult(p.Totals), Groups: viewUsageResults(p.Groups)}
	}
	return v
}

func viewUsageBucket(b *models.UsageBucket) *usageBucketView {
	v := &usageBucketView{
		Object: "bucket", StartTime: b.Start, EndTime: b.End, Start: rfc3339(b.Start), End: rfc3339(b.End), Results: viewUsageResults(b.Results),
	}
	if b.Previous != nil {
		v.Previous = viewUsageBucket(b.Previous)
	}
	return v
}

func viewUsageResults(list []*models.UsageResult) []any {
	views := make([]any, len(list))
	for i, r := range list {
		views[i] = viewUsageResult(r)
	}
	return views
}

func viewUsageResult(r *models.UsageResult) any {
	return &usageResultView{Object: "usage.result", UsageResult: r, TotalTokens: r.TotalTokens(), Cost: r.Cost()}
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// writeUsageCSV writes all pages, a line for each result, and one for a bucket
// without any.
func (h *handler) writeUsageCSV(w http.ResponseWriter, r *http.Request, in *models.UsageQuery) error {
	if in.Compare != nil {
		return models.Invalid("compare", "CSV has no place for a comparison; ask for the other range by its dates.")
	}
	report, err := h.report(r, in)
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", "text/csv; charset=utf-8")
	header.Set("Content-Disposition", `attachment; filename="usage.csv"`)
	header.Set("Cache-Control", "no-store")
	rc := http.NewResponseController(w)
	out := csv.NewWriter(w)
	_ = out.Write(usageColumns())
	for {
		_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // a writer without deadlines is one in a test
		for _, b := range report.Buckets {
			results := b.Results
			if len(results) == 0 {
				results = []*models.UsageResult{{}}
			}
			for _, res := range results {
				_ = out.Write(usageLine(b, res))
			}
		}
		if out.Flush(); out.Error() != nil {
			return nil // the client has left
		}
		_ = rc.Flush()
		if !report.HasMore {
			return nil
		}
		in.Page = report.NextPage
		if report, err = h.report(r, in); err != nil {
			if !errors.Is(err, r.Context().Err()) {
				zerolog.Ctx(r.Context()).Error().Err(err).Msg("CSV broke off")
			}
			panic(http.ErrAbortHandler) // nothing else tells the client that lines are missing
		}
	}
}

func usageColumns() []string {
	return []string{
		"start", "end", "model", "user_id", "channel_id", "api_key_id", "num_model_requests", "num_errors", "input_tokens", "output_tokens",
		"input_cached_tokens", "reasoning_tokens", "total_tokens", "cost_usd", "latency_avg_ms", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms",
		"ttft_p50_ms", "ttft_p95_ms",
	}
}

func usageLine(b *models.UsageBucket, r *models.UsageResult) []string {
	line := []string{rfc3339(b.Start), rfc3339(b.End)}
	for _, s := range []*string{r.Model, r.UserID, r.ChannelID, r.APIKeyID} {
		line = append(line, csvText(s))
	}
	for _, n := range []int64{r.NumModelRequests, r.NumErrors, r.InputTokens, r.OutputTokens, r.InputCachedTokens, r.ReasoningTokens, r.TotalTokens()} {
		line = append(line, strconv.FormatInt(n, 10))
	}
	line = append(line, r.Nanos.String())
	for _, f := range []*float64{r.LatencyMS.Avg, r.LatencyMS.P50, r.LatencyMS.P95, r.LatencyMS.P99, r.TTFTMS.P50, r.TTFTMS.P95} {
		cell := ""
		if f != nil {
			cell = strconv.FormatFloat(*f, 'f', -1, 64)
		}
		line = append(line, cell)
	}
	return line
}

// csvText keeps spreadsheets from taking a text for a formula: models are named
// by clients. https://owasp.org/www-community/attacks/CSV_Injection
func csvText(s *string) string {
	if s == nil {
		return ""
	}
	if *s != "" && strings.ContainsRune("=+-@\t\r\n'", rune((*s)[0])) {
		return "'" + *s
	}
	return *s
}
