package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/ingest"
)

// rule is one of Prometheus' rule files.
type rule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

// readYAML reads a file of deploy/prometheus strictly into v.
func readYAML(t *testing.T, path string, v any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// prometheusFiles returns those that match a pattern in deploy/prometheus.
func prometheusFiles(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "deploy/prometheus", pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(found), err)
	}
	return found
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	for _, file := range prometheusFiles(t, "rules/*.yaml") {
		var content struct {
			Groups []struct{ Rules []rule }
		}
		readYAML(t, file, &content)
		for _, g := range content.Groups {
			all = append(all, g.Rules...)
		}
	}
	if len(all) < 50 {
		t.Fatalf("%d rules", len(all))
	}
	return all
}

const runbooks = "https://github.com/telltale-iot/telltale/blob/main/deploy/prometheus/runbooks/"

// TestAlertsHaveRunbooks: each alert says what it is about, is in the README's
// table, and has a page that names it and says what to look at, what to do, and
// when it is over. No page is of no alert.
func TestAlertsHaveRunbooks(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "deploy/prometheus/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]bool{}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		if severity := r.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s: severity %q", r.Alert, severity)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: annotations %v", r.Alert, r.Annotations)
		}
		page, ok := strings.CutPrefix(r.Annotations["runbook_url"], runbooks)
		if !ok {
			t.Errorf("%s: runbook_url %q", r.Alert, r.Annotations["runbook_url"])
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, "deploy/prometheus/runbooks", page))
		if err != nil {
			t.Errorf("%s: %v", r.Alert, err)
			continue
		}
		pages[page] = true
		title, _, _ := strings.Cut(strings.TrimPrefix(string(text), "# "), "\n")
		if row := fmt.Sprintf("| `%s` | %s | [%s](runbooks/%s) |\n", r.Alert, r.Labels["severity"], title, page); !strings.Contains(string(readme), row) {
			t.Errorf("deploy/prometheus/README.md does not have %q", row)
		}
		for _, want := range []string{r.Alert, "\n## Look\n", "\n## Do\n", "\n## Over\n"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s, the page of %s, does not have %q", page, r.Alert, want)
			}
		}
	}
	for _, file := range prometheusFiles(t, "runbooks/*.md") {
		if name := filepath.Base(file); !pages[name] {
			t.Errorf("%s is of no alert", name)
		}
	}
}

// TestAlertsHaveTests: of each alert there are moments at which it fires, and
// moments before and after at which it does not.
func TestAlertsHaveTests(t *testing.T) {
	type moments struct{ fires, quiet int }
	tested := map[string]*moments{}
	for _, file := range prometheusFiles(t, "tests/*.yaml") {
		var content struct {
			Tests []struct {
				Alerts []struct {
					Name string `yaml:"alertname"`
					Exp  []any  `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			}
		}
		readYAML(t, file, &content)
		for _, test := range content.Tests {
			for _, a := range test.Alerts {
				if tested[a.Name] == nil {
					tested[a.Name] = &moments{}
				}
				if len(a.Exp) > 0 {
					tested[a.Name].fires++
				} else {
					tested[a.Name].quiet++
				}
			}
		}
	}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		if m := tested[r.Alert]; m == nil || m.fires < 1 || m.quiet < 2 {
			t.Errorf("%s: tested %+v, want one moment of firing and two of not", r.Alert, m)
		}
		delete(tested, r.Alert)
	}
	for name := range tested {
		t.Errorf("%s is tested and is no alert", name)
	}
}

// ingestMetrics returns the names that ingest registers with all that it can do.
func ingestMetrics(t *testing.T) map[string]bool {
	t.Helper()
	config, err := ingest.ParseConfig("ingest.yaml", []byte(
		`metrics: {listen: "127.0.0.1:0", time_series: true, remote_write: {url: "http://127.0.0.1:1/api/v1/write"}}`))
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	i, err := ingest.New(ingest.Options{Config: config, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := i.Run(ctx); err != nil {
		t.Error(err)
	}
	descs := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(descs)
		close(descs)
	}()
	names := map[string]bool{}
	fqName := regexp.MustCompile(`fqName: "([^"]+)"`)
	for desc := range descs {
		name := fqName.FindStringSubmatch(desc.String())[1]
		names[name] = true
		// Whether it is a histogram a Desc does not say.
		if strings.HasSuffix(name, "_seconds") {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				names[name+suffix] = true
			}
		}
	}
	return names
}

var (
	agentMetric = regexp.MustCompile("`(telltale_agent_[a-z_]+)")
	promQuoted  = regexp.MustCompile(`"[^"]*"`)
	promLabels  = regexp.MustCompile(`\{[^}]*\}|\b(?:by|on|without|ignoring) *\([^)]*\)|\[[^]]*\]|\boffset +\w+`)
	promName    = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
)

// promWords are what an expression has beside names of metrics.
var promWords = strings.Fields("sort sum max min count rate increase resets changes absent time clamp_min predict_linear last_over_time max_over_time histogram_quantile" +
	" and or unless by on without ignoring group_left bool")

// unknownMetrics returns the names in an expression that are of no metric.
func unknownMetrics(known map[string]bool, expr string) (unknown []string) {
	expr = promLabels.ReplaceAllString(promQuoted.ReplaceAllString(expr, `""`), " ")
	for _, name := range promName.FindAllString(expr, -1) {
		if !known[name] && !slices.Contains(promWords, name) {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// knownMetrics returns the names of all that rules and questions may be about:
// what ingest registers, what the agent's README has, what rules record, and up.
func knownMetrics(t *testing.T) map[string]bool {
	t.Helper()
	known := ingestMetrics(t)
	readme, err := os.ReadFile(filepath.Join(root, "agent/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range agentMetric.FindAllStringSubmatch(string(readme), -1) {
		known[match[1]] = true
	}
	for _, r := range rules(t) {
		if r.Record != "" {
			known[r.Record] = true
		}
	}
	known["up"] = true
	for _, name := range []string{"telltale_agent_buffer_used_bytes", "telltale_remote_write_retries_total", "telltale_device_online", "telltale_sink_latency_seconds_bucket"} {
		if !known[name] {
			t.Fatalf("%s is not known; %d names are", name, len(known))
		}
	}
	return known
}

// TestRulesAreOfMetrics: a rule that asks for a metric which nothing has would
// never fire. The questions of the documents are held to the same.
func TestRulesAreOfMetrics(t *testing.T) {
	known := knownMetrics(t)
	for _, r := range rules(t) {
		if unknown := unknownMetrics(known, r.Expr); len(unknown) > 0 {
			t.Errorf("%s%s: %v are no metrics", r.Record, r.Alert, unknown)
		}
	}
	checked := 0
	for _, file := range markdown(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range promQL.FindAllStringSubmatch(string(text), -1) {
			checked++
			if unknown := unknownMetrics(known, block[1]); len(unknown) > 0 {
				t.Errorf("%s: %v are no metrics", file, unknown)
			}
		}
	}
	if checked < 10 {
		t.Errorf("%d questions found in the documents", checked)
	}
	if got := fmt.Sprint(unknownMetrics(known, `sum by (x) (rate(telltale_sink_typo_total{a="b"}[5m])) > 1 or up`)); got != "[telltale_sink_typo_total]" {
		t.Errorf("of a rule with a typo unknown are %s", got)
	}
}

var promQL = regexp.MustCompile("(?s)```promql\n(.*?)```")
