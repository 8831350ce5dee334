package main

import (
	"slices"
)

// spread is a figure over the rounds.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	return spread{Median: median(values), Min: slices.Min(values), Max: slices.Max(values)}
}

// median is the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// quantile is the value that the share q of all is not above (nearest rank).
// It sorts the values.
func quantile(values []int64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	rank := int(q * float64(len(values)))
	return float64(values[min(rank, len(values)-1)])
}

// ratios are those of the rounds: a machine's mood changes between rounds, less
// inside one.
func ratios(of, to []float64) []float64 {
	var list []float64
	for i := range min(len(of), len(to)) {
		if to[i] > 0 { // what is added to a latency may be lost in its noise
			list = append(list, of[i]/to[i])
		}
	}
	return list
}
