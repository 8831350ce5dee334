package models_test

import (
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/models"
)

func pointer[T any](v T) *T { return &v }

func TestUsageBuckets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, zone  string
		g           models.UsageGranularity
		at          string
		floor, next string
	}{
		{"an hour", "UTC", models.UsageHour, "2026-03-04T10:20:30Z", "2026-03-04T10:00:00Z", "2026-03-04T11:00:00Z"},
		{"a half-hour zone", "Asia/Kolkata", models.UsageHour, "2026-03-04T10:20:30Z", "2026-03-04T09:30:00Z", "2026-03-04T10:30:00Z"},
		{"a quarter-hour zone", "Asia/Kathmandu", models.UsageDay, "2026-03-04T10:20:30Z", "2026-03-03T18:15:00Z", "2026-03-04T18:15:00Z"},
		{"a day", "UTC", models.UsageDay, "2026-03-04T10:20:30Z", "2026-03-04T00:00:00Z", "2026-03-05T00:00:00Z"},
		{"a day of 23 hours", "Europe/Berlin", models.UsageDay, "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
		{"a day of 25 hours", "Europe/Berlin", models.UsageDay, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"no midnight", "America/Sao_Paulo", models.UsageDay, "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"},
		{"the day before no midnight", "America/Sao_Paulo", models.UsageDay, "2018-11-03T12:00:00Z", "2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z"},
		{"two midnights", "America/Havana", models.UsageDay, "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
		{"the day of the second one", "America/Sao_Paulo", models.UsageDay, "2018-02-17T12:00:00Z", "2018-02-17T02:00:00Z", "2018-02-18T03:00:00Z"},
		{"a day that was left out", "Pacific/Apia", models.UsageDay, "2011-12-30T05:00:00Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"},
		{"the hour that comes twice", "Europe/Berlin", models.UsageHour, "2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"},
		{"a change by half an hour", "Australia/Lord_Howe", models.UsageHour, "2026-10-03T15:40:00Z", "2026-10-03T15:00:00Z", "2026-10-03T16:00:00Z"},
		{"an ISO week", "UTC", models.UsageWeek, "2027-01-03T23:59:59Z", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"},
		{"a week with a change", "America/New_York", models.UsageWeek, "2026-03-08T12:00:00Z", "2026-03-02T05:00:00Z", "2026-03-09T04:00:00Z"},
		{"a month", "Europe/Berlin", models.UsageMonth, "2026-03-15T00:00:00Z", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"},
		{"December", "UTC", models.UsageMonth, "2026-12-31T23:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			loc, err := time.LoadLocation(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, c.at)
			if err != nil {
				t.Fatal(err)
			}
			at = at.In(loc)
			floor, next := c.g.Floor(at).UTC().Format(time.RFC3339), c.g.Next(at).UTC().Format(time.RFC3339)
			if floor != c.floor || next != c.next {
				t.Errorf("%s: %s to %s; want %s to %s", at, floor, next, c.floor, c.next)
			}
		})
	}
}

// In every zone and at every time, buckets follow each other without gaps and
// hold what they are said to hold.
func FuzzUsageBuckets(f *testing.F) {
	f.Add("Europe/Berlin", int64(1774742400), uint8(1))
	f.Add("America/Havana", int64(1793520000), uint8(1))
	f.Add("Australia/Lord_Howe", int64(1791043200), uint8(0))
	f.Fuzz(func(t *testing.T, zone string, unix int64, g uint8) {
		loc, err := time.LoadLocation(zone)
		if err != nil || unix < 946684800 || unix > 7258118400 {
			return
		}
		gran := []models.UsageGranularity{models.UsageHour, models.UsageDay, models.UsageWeek, models.UsageMonth}[g%4]
		at := time.Unix(unix, 0).In(loc)
		floor, next := gran.Floor(at), gran.Next(at)
		if floor.After(at) || !next.After(at) {
			t.Errorf("%s %s: %s is not in %s to %s", zone, gran, at, floor, next)
		}
		if after := gran.Next(next); !after.After(next) {
			t.Errorf("%s %s: after %s comes %s", zone, gran, next, after)
		}
	})
}

func TestUsageRange(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 13, 37, 0, 0, time.UTC)
	for _, c := range []struct {
		name         string
		q            models.UsageQuery
		start, end   string
		param, words string
	}{
		{name: "nothing", start: "2026-10-22T00:00:00Z", end: "2026-11-21T00:00:00Z"},
		{name: "hours", q: models.UsageQuery{Granularity: pointer(models.UsageHour)}, start: "2026-11-13T14:00:00Z", end: "2026-11-20T14:00:00Z"},
		{name: "weeks", q: models.UsageQuery{Granularity: pointer(models.UsageWeek)}, start: "2026-08-31T00:00:00Z", end: "2026-11-23T00:00:00Z"},
		{name: "months", q: models.UsageQuery{Granularity: pointer(models.UsageMonth)}, start: "2025-12-01T00:00:00Z", end: "2026-12-01T00:00:00Z"},
		{name: "dates", q: models.UsageQuery{StartDate: pointer("2026-11-01"), EndDate: pointer("2026-11-02"), Timezone: pointer("Asia/Tokyo")}, start: "2026-10-31T15:00:00Z", end: "2026-11-01T15:00:00Z"},
		{name: "times", q: models.UsageQuery{StartDate: pointer("2026-11-01T01:02:03+02:00"), EndDate: pointer("2026-11-01T12:00:00"), Timezone: pointer("Asia/Tokyo")}, start: "2026-10-31T23:02:03Z", end: "2026-11-01T03:00:00Z"},
		{name: "only a start", q: models.UsageQuery{StartDate: pointer("2026-11-19")}, start: "2026-11-19T00:00:00Z", end: "2026-11-21T00:00:00Z"},
		{name: "the wrong way round", q: models.UsageQuery{StartDate: pointer("2026-11-02"), EndDate: pointer("2026-11-02")}, param: "end_date", words: "after"},
		{name: "no date", q: models.UsageQuery{StartDate: pointer("yesterday")}, param: "start_date", words: "2026-01-31"},
		{name: "no such day", q: models.UsageQuery{StartDate: pointer("2026-02-30")}, param: "start_date", words: "2026-01-31"},
		{name: "long ago", q: models.UsageQuery{StartDate: pointer("1999-12-31")}, param: "start_date", words: "2000"},
		{name: "too long", q: models.UsageQuery{StartDate: pointer("2010-01-01")}, param: "start_date", words: "10 years"},
		{name: "too many hours", q: models.UsageQuery{StartDate: pointer("2025-01-01"), Granularity: pointer(models.UsageHour)}, param: "granularity", words: "366 days"},
		{name: "no zone", q: models.UsageQuery{Timezone: pointer("Mars/Olympus")}, param: "timezone", words: "IANA"},
		{name: "the server's zone", q: models.UsageQuery{Timezone: pointer("Local")}, param: "timezone", words: "IANA"},
		{name: "a path for a zone", q: models.UsageQuery{Timezone: pointer("../../etc/passwd")}, param: "timezone", words: "IANA"},
		{name: "no granularity", q: models.UsageQuery{Granularity: pointer(models.UsageGranularity("minute"))}, param: "granularity", words: "hour, day"},
		{name: "no dimension", q: models.UsageQuery{GroupBy: []models.UsageDimension{"colour"}}, param: "group_by", words: "model, user"},
		{name: "a dimension twice", q: models.UsageQuery{GroupBy: []models.UsageDimension{"model", "model"}}, param: "group_by", words: "twice"},
		{name: "no comparison", q: models.UsageQuery{Compare: pointer(models.UsageComparison("x"))}, param: "compare", words: "previous_period"},
		{name: "a limit of 0", q: models.UsageQuery{Limit: pointer(0)}, param: "limit", words: "1 and 1000"},
		{name: "no page", q: models.UsageQuery{Page: pointer("x")}, param: "page", words: "gave out"},
		{name: "another query's page", q: models.UsageQuery{Page: pointer(models.UsagePage(now.AddDate(1, 0, 0)))}, param: "page", words: "gave out"},
		{name: "NUL", q: models.UsageQuery{Models: []string{"a\x00"}}, param: "model", words: "text"},
		{name: "many values", q: models.UsageQuery{UserIDs: make([]string, 101)}, param: "user_id", words: "100"},
		{name: "a long value", q: models.UsageQuery{APIKeyIDs: []string{strings.Repeat("x", 300)}}, param: "api_key_id", words: "250"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := c.q.Range(now)
			if c.param != "" {
				e, _ := models.AsError(err)
				if err == nil || e.Param != c.param || !strings.Contains(e.Message, c.words) {
					t.Errorf("got %v, want an error about %s", err, c.param)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if start, end := r.Start.UTC().Format(time.RFC3339), r.End.UTC().Format(time.RFC3339); start != c.start || end != c.end {
				t.Errorf("got %s to %s", start, end)
			}
		})
	}
}
