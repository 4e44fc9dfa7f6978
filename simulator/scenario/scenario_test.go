package scenario_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/telltale-iot/telltale/simulator/scenario"
)

// Every scenario that comes with the program is as it expects, in a bubble of
// virtual time.
func TestShipped(t *testing.T) {
	for _, name := range scenario.Shipped() {
		t.Run(name, func(t *testing.T) {
			data, err := scenario.Read(name)
			if err != nil {
				t.Fatal(err)
			}
			s, err := scenario.Parse(name+".yaml", data)
			if err != nil {
				t.Fatal(err)
			}
			if s.Name != name || s.Description == "" {
				t.Errorf("name %q, description %q: want the file's name, and a description", s.Name, s.Description)
			}
			run(t, s)
		})
	}
}

// run runs a scenario, and reports what is not as it expects.
func run(t *testing.T, s *scenario.Scenario) *scenario.Report {
	t.Helper()
	var report *scenario.Report
	synctest.Test(t, func(t *testing.T) {
		r, err := s.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		report = r
	})
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Error(err)
	}
	t.Log("\n" + text.String())
	if differences := s.Differences(report); differences != nil {
		t.Errorf("%s", strings.Join(differences, "\n"))
	}
	return report
}
