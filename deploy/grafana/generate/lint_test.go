package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v2"
)

const (
	committed = "../dashboards"
	root      = "../../.."
)

// model is what the rules look at, as Grafana reads it.
type model struct {
	UID           string `json:"uid"`
	Title         string
	Description   string
	Tags          []string
	SchemaVersion int
	Panels        []panelModel
	Links         []linkModel
	Templating    struct{ List []variableModel }
}

type linkModel struct{ Title, Type, URL string }

type panelModel struct {
	ID          int `json:"id"`
	Type        string
	Title       string
	Description string
	Datasource  *struct{ Type, UID string }
	GridPos     struct{ X, Y, W, H int }
	Targets     []targetModel
	Links       []linkModel
	FieldConfig struct{ Defaults struct{ Unit string } }
}

type targetModel struct {
	RefID        string
	Expr         string
	LegendFormat string
	Datasource   *struct{ Type, UID string }
}

type variableModel struct {
	Name, Label, Description, Type, Definition string
}

func load(t *testing.T) map[string]model {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(committed, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d dashboards, %v", len(files), err)
	}
	models := make(map[string]model)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var m model
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		models[filepath.Base(file)] = m
	}
	return models
}

// TestCommitted holds what is committed to what is declared.
func TestCommitted(t *testing.T) {
	files, err := encode()
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range files {
		got, err := os.ReadFile(filepath.Join(committed, file))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not what is declared here (%v): run make dashboards", file, err)
		}
	}
	there, err := filepath.Glob(filepath.Join(committed, "*"))
	if err != nil || len(there) != len(files) {
		t.Errorf("%d files in %s, want the %d that are declared: %v", len(there), committed, len(files), err)
	}
}

// Of these kinds are panels that Grafana has without a plugin.
var core = []string{"timeseries", "stat", "bargauge", "table", "state-timeline"}

func TestDashboards(t *testing.T) {
	uids := make(map[string]string)
	for file, m := range load(t) {
		if other := uids[m.UID]; other != "" || !strings.HasPrefix(m.UID, "telltale-") {
			t.Errorf("%s: uid %q, of which %q is another: want a unique telltale-…", file, m.UID, other)
		}
		uids[m.UID] = file
		if m.Title == "" || m.Description == "" || !slices.Contains(m.Tags, tag) || m.SchemaVersion != schemaVersion {
			t.Errorf("%s: title %q, description %q, tags %q, schema %d", file, m.Title, m.Description, m.Tags, m.SchemaVersion)
		}
		if !slices.ContainsFunc(m.Links, func(l linkModel) bool { return l.Type == "dashboards" }) {
			t.Errorf("%s does not link to the others", file)
		}
		for _, l := range m.Links {
			checkLink(t, file, l)
		}
		titles := make(map[string]bool)
		ids := make(map[int]bool)
		for _, p := range m.Panels {
			where := file + ", " + p.Title
			if p.ID == 0 || ids[p.ID] {
				t.Errorf("%s: id %d is 0 or another's", where, p.ID)
			}
			ids[p.ID] = true
			if p.Type != "row" {
				checkPanel(t, where, p)
				if titles[p.Title] {
					t.Errorf("%s: another panel has this title", where)
				}
				titles[p.Title] = true
			}
		}
		checkGrid(t, file, m.Panels)
		checkVariables(t, file, &m)
	}
}

func checkPanel(t *testing.T, where string, p panelModel) {
	t.Helper()
	if !slices.Contains(core, p.Type) {
		t.Errorf("%s is of the type %q, want one of %q", where, p.Type, core)
	}
	if p.Title == "" || p.FieldConfig.Defaults.Unit == "" {
		t.Errorf("%s: title %q, unit %q: want both", where, p.Title, p.FieldConfig.Defaults.Unit)
	}
	if !strings.Contains(p.Description, "Normal: ") {
		t.Errorf("%s: the description does not say what is normal: %q", where, p.Description)
	}
	if p.Datasource == nil || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
		t.Errorf("%s: datasource %v, %d queries", where, p.Datasource, len(p.Targets))
	}
	for _, l := range p.Links {
		checkLink(t, where, l)
	}
	for _, q := range p.Targets {
		where := fmt.Sprintf("%s, query %s", where, q.RefID)
		if q.Datasource == nil || q.Datasource.UID != "${datasource}" {
			t.Errorf("%s: datasource %v", where, q.Datasource)
		}
		if (q.LegendFormat == "") != (p.Type == "table") {
			t.Errorf("%s: legend %q: want a name, but in a table", where, q.LegendFormat)
		}
		checkQuery(t, where, q.Expr, q.LegendFormat)
	}
}

// checkLink follows a link into the repository.
func checkLink(t *testing.T, where string, l linkModel) {
	t.Helper()
	if path, ok := strings.CutPrefix(l.URL, docs); ok {
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			t.Errorf("%s links to %s: %v", where, path, err)
		}
	} else if l.URL != "" {
		t.Errorf("%s links to %s, want the repository's documents", where, l.URL)
	}
}

// Durations that no query has of its own stand for Grafana's.
const (
	rateInterval = 4*time.Minute + 17*time.Second
	rangeOf      = 73 * time.Minute
)

var usage = regexp.MustCompile(`\$\{?(\w+)`)

// parse returns the expression as Prometheus would see it.
func parse(t *testing.T, where, expression string) parser.Expr {
	t.Helper()
	text := strings.NewReplacer("$__rate_interval", "4m17s", "$__range", "73m").Replace(expression)
	e, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		t.Fatalf("%s: %s: %v", where, expression, err)
	}
	return e
}

// ours and what else Prometheus finds where telltale runs.
var (
	prefixes = []string{"telltale_", "telltale:", "ALERTS", "mosquitto_sys", "kafka_", "mongodb_", "prometheus_", "node_", "container_", "up", "scrape_"}
	counter  = regexp.MustCompile(`_(total|count|bucket|sum)$`)
	// What is a counter and has no suffix that says so: the exporters' own names.
	unsaid = regexp.MustCompile(`^(mosquitto_sys|kafka_partition_latest_offset|mongodb_\w+)$`)
)

var legend = regexp.MustCompile(`\{\{(\w+)\}\}`)

func checkQuery(t *testing.T, where, expression, legendFormat string) {
	t.Helper()
	e := parse(t, where, expression)
	parser.Inspect(e, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			checkSelector(t, where, n)
		case *parser.Call:
			checkCall(t, where, n)
		}
		return nil
	})
	// What was aggregated has no labels but those that are named.
	if a := aggregation(e); a != nil && !a.Without {
		for _, match := range legend.FindAllStringSubmatch(legendFormat, -1) {
			if !slices.Contains(a.Grouping, match[1]) {
				t.Errorf("%s: legend %q, but the series have the labels %q", where, legendFormat, a.Grouping)
			}
		}
	}
}

// aggregation returns the one that decides on the labels of e, or nil.
func aggregation(e parser.Expr) *parser.AggregateExpr {
	switch n := e.(type) {
	case *parser.ParenExpr:
		return aggregation(n.Expr)
	case *parser.BinaryExpr:
		if a := aggregation(n.LHS); a != nil {
			return a
		}
		return aggregation(n.RHS)
	case *parser.Call:
		if slices.Contains([]string{"sort", "sort_desc"}, n.Func.Name) {
			return aggregation(n.Args[0])
		}
	case *parser.AggregateExpr:
		if n.Op == parser.TOPK || n.Op == parser.BOTTOMK {
			return aggregation(n.Expr)
		}
		return n
	}
	return nil
}

func checkSelector(t *testing.T, where string, n *parser.VectorSelector) {
	t.Helper()
	if !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(n.Name, p) }) {
		t.Errorf("%s: %q is no metric of ours or of an exporter", where, n.Name)
	}
	for _, m := range n.LabelMatchers {
		if slices.Contains([]string{"instance", "job", "hostname", "node", "nodename"}, m.Name) && (m.Type != labels.MatchRegexp || !strings.HasPrefix(m.Value, "$")) {
			t.Errorf("%s: %s is written into the query: take a variable", where, m)
		}
	}
}

func checkCall(t *testing.T, where string, n *parser.Call) {
	t.Helper()
	switch n.Func.Name {
	case "vector":
		t.Errorf("%s: vector() shows a figure where there is none", where)
	case "rate", "irate", "increase":
		m := n.Args[0].(*parser.MatrixSelector)
		name := m.VectorSelector.(*parser.VectorSelector).Name
		if m.Range != rateInterval && m.Range != rangeOf {
			t.Errorf("%s: %s over %s: want $__rate_interval or $__range", where, n.Func.Name, m.Range)
		}
		if !counter.MatchString(name) && !unsaid.MatchString(name) {
			t.Errorf("%s: %s of %s, which is no counter", where, n.Func.Name, name)
		}
	case "histogram_quantile":
		if a := aggregation(n.Args[1]); a == nil || !slices.Contains(a.Grouping, "le") {
			t.Errorf("%s: a quantile of what is not by le", where)
		}
	}
}

// checkGrid wants the panels side by side.
func checkGrid(t *testing.T, file string, panels []panelModel) {
	t.Helper()
	taken := make(map[[2]int]string)
	for _, p := range panels {
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X+g.W > gridWidth {
			t.Errorf("%s, %s is at %+v", file, p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("%s: %q and %q overlap", file, other, p.Title)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// checkVariables wants those declared that are used, and the reverse.
func checkVariables(t *testing.T, file string, m *model) {
	t.Helper()
	used := make(map[string]bool)
	note := func(text string) {
		for _, match := range usage.FindAllStringSubmatch(text, -1) {
			if !strings.HasPrefix(match[1], "__") {
				used[match[1]] = true
			}
		}
	}
	for _, p := range m.Panels {
		if p.Datasource != nil {
			note(p.Datasource.UID)
		}
		for _, q := range p.Targets {
			note(q.Expr)
		}
	}
	declared := make(map[string]bool)
	for _, v := range m.Templating.List {
		declared[v.Name] = true
		note(v.Definition)
		if v.Label == "" || v.Description == "" || (v.Type == "query") != strings.HasPrefix(v.Definition, "label_values(") {
			t.Errorf("%s: variable %+v", file, v)
		}
	}
	if !maps.Equal(used, declared) {
		t.Errorf("%s uses the variables %v and declares %v", file, used, declared)
	}
}

// TestProvisioning holds the files that Grafana starts with to the dashboards.
func TestProvisioning(t *testing.T) {
	read := func(file string, to any) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join("../provisioning", file))
		if err == nil {
			err = yaml.UnmarshalStrict(text, to)
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, Type, UID, URL, Access string
			IsDefault                    bool           `yaml:"isDefault"`
			Editable                     bool           `yaml:"editable"`
			JSONData                     map[string]any `yaml:"jsonData"`
		}
	}
	read("datasources/telltale.yaml", &sources)
	if len(sources.Datasources) != 1 || sources.Datasources[0].UID != datasource || sources.Datasources[0].Type != "prometheus" ||
		!strings.HasPrefix(sources.Datasources[0].URL, "$TELLTALE_PROMETHEUS_URL") {
		t.Errorf("data sources %+v, want the Prometheus %s at $TELLTALE_PROMETHEUS_URL", sources, datasource)
	}
	var providers struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name, Type, Folder    string
			FolderUID             string `yaml:"folderUid"`
			DisableDeletion       bool   `yaml:"disableDeletion"`
			AllowUIUpdates        bool   `yaml:"allowUiUpdates"`
			UpdateIntervalSeconds int    `yaml:"updateIntervalSeconds"`
			Options               struct{ Path string }
		}
	}
	read("dashboards/telltale.yaml", &providers)
	if len(providers.Providers) != 1 || providers.Providers[0].Options.Path != "/var/lib/grafana/dashboards" {
		t.Errorf("providers %+v, want one of /var/lib/grafana/dashboards", providers)
	}
}
