package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// report collects figures and prints each as soon as it is there.
type report struct {
	out     io.Writer
	backend string
	Figures []figure `json:"figures"`
	Checks  []check  `json:"checks"`
}

// figure compares the gateway with the proxy.
type figure struct {
	Backend string `json:"backend"`
	Name    string `json:"name"`
	Proxy   spread `json:"proxy"`
	Gateway spread `json:"gateway"`
	Ratio   spread `json:"ratio"` // of the rounds
}

// check is something that must be exactly so.
type check struct {
	Backend string `json:"backend"`
	Name    string `json:"name"`
	Want    string `json:"want"`
	Got     string `json:"got"`
}

func (r *report) begin(backend string) {
	r.backend = backend
	_, _ = fmt.Fprintf(r.out, "%s\n%-52s %26s %26s %20s\n", backend, "median [min–max] of the rounds", "proxy", "gateway", "gateway/proxy")
}

func (r *report) row(name string, proxy, gateway []float64) {
	f := figure{Backend: r.backend, Name: name, Proxy: spreadOf(proxy), Gateway: spreadOf(gateway), Ratio: spreadOf(ratios(gateway, proxy))}
	r.Figures = append(r.Figures, f)
	_, _ = fmt.Fprintf(r.out, "%-52s %26s %26s %20s\n", name, f.Proxy.format(""), f.Gateway.format(""), f.Ratio.format("× "))
}

func (s spread) format(unit string) string {
	digits := 0
	switch m := max(s.Median, -s.Median); {
	case m < 10:
		digits = 2
	case m < 100:
		digits = 1
	}
	return fmt.Sprintf("%s%.*f [%.*f–%.*f]", unit, digits, s.Median, digits, s.Min, digits, s.Max)
}

func (r *report) check(name, want, got string) {
	r.Checks = append(r.Checks, check{Backend: r.backend, Name: name, Want: want, Got: got})
	verdict := ""
	if want != got {
		verdict = "  WRONG, want " + want
	}
	_, _ = fmt.Fprintf(r.out, "%-52s %26s %26s%s\n", name, "", got, verdict)
	if strings.HasPrefix(name, "records") {
		_, _ = fmt.Fprintln(r.out)
	}
}

func (r *report) writeJSON(file string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(file, append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write -json: %w", err)
	}
	return nil
}

// failure says which checks did not hold.
func (r *report) failure() error {
	var wrong []string
	for _, c := range r.Checks {
		if c.Got != c.Want {
			wrong = append(wrong, fmt.Sprintf("%s: %s is %s, want %s", c.Backend, c.Name, c.Got, c.Want))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s", strings.Join(wrong, "; "))
	}
	return nil
}
