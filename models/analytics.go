package models

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // containers without /usr/share/zoneinfo know all zones too
	"unicode"
	"unicode/utf8"
)

// Limits of usage queries.
const (
	MaxUsageBuckets  = 1000 // on a page
	maxUsageFilters  = 100  // values of one filter
	maxUsageRange    = 10 * 366 * 24 * time.Hour
	maxUsageIDLength = 250
)

// UsageGranularity is the width of a bucket.
type UsageGranularity string

// The granularities. Weeks are those of ISO 8601 and begin on Monday.
const (
	UsageHour  UsageGranularity = "hour"
	UsageDay   UsageGranularity = "day"
	UsageWeek  UsageGranularity = "week"
	UsageMonth UsageGranularity = "month"
)

// UsageDimension is what results can be broken down by.
type UsageDimension string

// The dimensions.
const (
	UsageByModel   UsageDimension = "model"
	UsageByUser    UsageDimension = "user"
	UsageByChannel UsageDimension = "channel"
	UsageByAPIKey  UsageDimension = "api_key"
)

// UsageComparison is what a range is set beside.
type UsageComparison string

// UsagePreviousPeriod is the range of as many buckets right before.
const UsagePreviousPeriod UsageComparison = "previous_period"

// UsageQuery asks for usage as a client gives it: see [UsageQuery.Range].
type UsageQuery struct {
	StartDate   *string // a time of ISO 8601, or a date, which is midnight in Timezone
	EndDate     *string // the same; the range ends before it
	Granularity *UsageGranularity
	Timezone    *string // of the IANA database
	Models      []string
	UserIDs     []string
	ChannelIDs  []string
	APIKeyIDs   []string
	GroupBy     []UsageDimension
	Compare     *UsageComparison
	Limit       *int    // of buckets on a page
	Page        *string // what NextPage of the page before says
}

// UsageRange is a checked [UsageQuery], with what it leaves out filled in.
type UsageRange struct {
	Start, End  time.Time // in Location
	Granularity UsageGranularity
	Location    *time.Location
	Compare     bool
	Limit       int
	From        time.Time // the first bucket of the page begins then, or later
}

// Range checks the query. What is absent is UTC, days, and a range that ends
// with the bucket of now and has 7 days (of hours), 30 days, 12 weeks or 12
// months.
func (q *UsageQuery) Range(now time.Time) (*UsageRange, error) {
	r := &UsageRange{Granularity: UsageDay, Location: time.UTC, Limit: MaxUsageBuckets}
	if q.Timezone != nil && *q.Timezone != "" {
		var err error
		// "Local" would be the server's.
		if r.Location, err = time.LoadLocation(*q.Timezone); err != nil || *q.Timezone == "Local" {
			return nil, Invalid("timezone", "'timezone' must be a name of the IANA database such as Europe/Berlin; got '%s'.", clip(*q.Timezone, 80))
		}
	}
	if q.Granularity != nil {
		r.Granularity = *q.Granularity
	}
	switch r.Granularity {
	case UsageHour, UsageDay, UsageWeek, UsageMonth:
	default:
		return nil, Invalid("granularity", "'granularity' must be one of hour, day, week and month; got '%s'.", clip(string(r.Granularity), 40))
	}
	if err := q.validateFilters(); err != nil {
		return nil, err
	}
	if q.Compare != nil {
		if *q.Compare != UsagePreviousPeriod {
			return nil, Invalid("compare", "'compare' must be previous_period; got '%s'.", clip(string(*q.Compare), 40))
		}
		r.Compare = true
	}
	if q.Limit != nil {
		if r.Limit = *q.Limit; r.Limit < 1 || r.Limit > MaxUsageBuckets {
			return nil, Invalid("limit", "'limit' must be between 1 and %d; got %d.", MaxUsageBuckets, r.Limit)
		}
	}
	if err := q.dates(r, now); err != nil {
		return nil, err
	}
	r.From = r.Start
	if q.Page != nil && *q.Page != "" {
		from, err := parseUsagePage(*q.Page)
		if err != nil || from.Before(r.Start) || !from.Before(r.End) {
			return nil, Invalid("page", "'page' is not one that this query gave out.")
		}
		r.From = from.In(r.Location)
	}
	return r, nil
}

func (q *UsageQuery) validateFilters() error {
	for _, f := range []struct {
		param  string
		values []string
	}{{"model", q.Models}, {"user_id", q.UserIDs}, {"channel_id", q.ChannelIDs}, {"api_key_id", q.APIKeyIDs}} {
		if len(f.values) > maxUsageFilters {
			return Invalid(f.param, "'%s' takes at most %d values; got %d.", f.param, maxUsageFilters, len(f.values))
		}
		for _, v := range f.values {
			if len(v) > maxUsageIDLength || !utf8.ValidString(v) || strings.ContainsFunc(v, unicode.IsControl) {
				return Invalid(f.param, "'%s' must be at most %d characters of text.", f.param, maxUsageIDLength)
			}
		}
	}
	seen := map[UsageDimension]bool{}
	for _, d := range q.GroupBy {
		switch d {
		case UsageByModel, UsageByUser, UsageByChannel, UsageByAPIKey:
		default:
			return Invalid("group_by", "'group_by' takes model, user, channel and api_key; got '%s'.", clip(string(d), 40))
		}
		if seen[d] {
			return Invalid("group_by", "'group_by' names %s twice.", d)
		}
		seen[d] = true
	}
	return nil
}

func (q *UsageQuery) dates(r *UsageRange, now time.Time) error {
	var err error
	if q.EndDate == nil || *q.EndDate == "" {
		r.End = r.Granularity.Next(r.Granularity.Floor(now.In(r.Location)))
	} else if r.End, err = parseUsageTime("end_date", *q.EndDate, r.Location); err != nil {
		return err
	}
	if q.StartDate == nil || *q.StartDate == "" {
		r.Start = r.Granularity.defaultStart(r.End)
	} else if r.Start, err = parseUsageTime("start_date", *q.StartDate, r.Location); err != nil {
		return err
	}
	switch {
	case !r.End.After(r.Start):
		return Invalid("end_date", "'end_date' must be after 'start_date': it is exclusive.")
	case r.End.Sub(r.Start) > maxUsageRange:
		return Invalid("start_date", "The range must be at most 10 years long.")
	case r.Granularity == UsageHour && r.End.Sub(r.Start) > 366*24*time.Hour:
		return Invalid("granularity", "With hours the range must be at most 366 days long; ask for days.")
	}
	return nil
}

// parseUsageTime reads a date, a time, or a time without its offset, which is
// one in loc.
func parseUsageTime(param, s string, loc *time.Location) (time.Time, error) {
	t, err := time.ParseInLocation(time.DateOnly, s, loc)
	if err == nil {
		t = startOfDay(t.Year(), t.Month(), dayOf(s), loc)
	} else if t, err = time.Parse(time.RFC3339, s); err != nil {
		for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15:04Z07:00"} {
			if t, err = time.ParseInLocation(layout, s, loc); err == nil {
				break
			}
		}
	}
	if err != nil {
		return t, Invalid(param, "'%s' must be a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z; got '%s'.", param, clip(s, 40))
	}
	if y := t.Year(); y < 2000 || y > 2200 {
		return t, Invalid(param, "'%s' must be in the years 2000 to 2200.", param)
	}
	return t.In(loc).Truncate(time.Microsecond), nil
}

// dayOf is the day in a date that has been read: where midnight does not exist,
// the time that stands for it may be of the day before.
func dayOf(date string) int {
	d, _ := strconv.Atoi(date[len(date)-2:])
	return d
}

// Floor is when the bucket that holds t begins, in t's location.
func (g UsageGranularity) Floor(t time.Time) time.Time {
	y, m, d := t.Date()
	switch g {
	case UsageWeek:
		return startOfDay(y, m, d-(int(t.Weekday())+6)%7, t.Location())
	case UsageMonth:
		return startOfDay(y, m, 1, t.Location())
	case UsageHour:
		return t.Add(-sinceHour(t))
	case UsageDay:
	}
	return startOfDay(y, m, d, t.Location())
}

// Next is when the bucket that holds t ends. Days in which clocks change have 23
// or 25 hours.
func (g UsageGranularity) Next(t time.Time) time.Time {
	y, m, d := t.Date()
	switch g {
	case UsageWeek:
		return startOfDay(y, m, d-(int(t.Weekday())+6)%7+7, t.Location())
	case UsageMonth:
		return startOfDay(y, m+1, 1, t.Location())
	case UsageHour:
		return t.Add(time.Hour - sinceHour(t))
	case UsageDay:
	}
	return startOfDay(y, m, d+1, t.Location())
}

// Back is the beginning of the range of n buckets that ends at t, where a bucket
// begins.
func (g UsageGranularity) Back(t time.Time, n int) time.Time {
	y, m, d := t.Date()
	switch g {
	case UsageWeek:
		return startOfDay(y, m, d-7*n, t.Location())
	case UsageMonth:
		return startOfDay(y, m-time.Month(n), 1, t.Location())
	case UsageHour:
		return t.Add(-time.Duration(n) * time.Hour)
	case UsageDay:
	}
	return startOfDay(y, m, d-n, t.Location())
}

func (g UsageGranularity) defaultStart(end time.Time) time.Time {
	const hours, days, weeks, months = 7 * 24, 30, 12, 12
	at := g.Floor(end)
	switch g {
	case UsageHour:
		return g.Back(at, hours)
	case UsageWeek:
		return g.Back(at, weeks)
	case UsageMonth:
		return g.Back(at, months)
	case UsageDay:
	}
	return g.Back(at, days)
}

// sinceHour is how far the clock on the wall is past the hour.
func sinceHour(t time.Time) time.Duration {
	return time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
}

// startOfDay is the first moment of a day. Where clocks change at midnight, that
// may be 01:00, or the first of two midnights; time.Date promises neither.
func startOfDay(year int, month time.Month, day int, loc *time.Location) time.Time {
	want := time.Date(year, month, day, 12, 0, 0, 0, time.UTC).Day()
	t := time.Date(year, month, day, 0, 0, 0, 0, loc)
	if t.Day() != want {
		_, end := t.ZoneBounds()
		return end.In(loc)
	}
	begin, _ := t.ZoneBounds()
	if begin.IsZero() {
		return t
	}
	_, now := t.Zone()
	_, before := begin.Add(-time.Nanosecond).In(loc).Zone()
	earlier := t.Add(time.Duration(now-before) * time.Second)
	if earlier.Before(begin) && earlier.Day() == want && earlier.Hour() == 0 {
		return earlier
	}
	if t.After(begin) && begin.In(loc).Day() == want && begin.In(loc).Hour() < t.Hour() {
		return begin.In(loc) // the gap took midnight
	}
	return t
}

// UsagePage is the token of the page that begins with the bucket at t.
func UsagePage(t time.Time) string {
	return base64.RawURLEncoding.EncodeToString([]byte("u:" + strconv.FormatInt(t.UnixMicro(), 10)))
}

func parseUsagePage(s string) (time.Time, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return time.Time{}, fmt.Errorf("decode page: %w", err)
	}
	digits, ok := strings.CutPrefix(string(b), "u:")
	if !ok {
		return time.Time{}, fmt.Errorf("no page: %q", clip(s, 40))
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("decode page: %w", err)
	}
	return time.UnixMicro(n), nil
}
