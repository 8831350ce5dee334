package main

import "testing"

func TestJobsCommand(t *testing.T) {
	backends(t, func(t *testing.T, c *terminal) {
		if out := c.ok("jobs", "run", "housekeeping"); out != "housekeeping ran.\n" {
			t.Errorf("printed %q", out)
		}
		var jobs []struct {
			Name       string
			Outcome    *string
			StartedAt  *string `json:"started_at"`
			NextAt     string  `json:"next_at"`
			DurationMS *int    `json:"duration_ms"`
		}
		c.json(&jobs, "jobs", "list")
		ran := 0
		for _, j := range jobs {
			if j.Outcome != nil && *j.Outcome == "ok" && j.StartedAt != nil && j.DurationMS != nil {
				ran++
			}
			if j.NextAt == "" {
				t.Errorf("%+v", j)
			}
		}
		if len(jobs) < 3 || ran != 1 {
			t.Errorf("%d jobs, %d of them ran", len(jobs), ran)
		}
		c.refused(exitFailure, "No job found", "jobs", "run", "nothing")
		c.ok("jobs", "list")
	})
}
