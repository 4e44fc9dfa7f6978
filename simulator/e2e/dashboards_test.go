//go:build integration

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/telltale-iot/telltale/internal/await"
)

// answersVariable names a file for what Prometheus answered to every panel: what
// the pictures of the dashboards are drawn from.
const answersVariable = "TELLTALE_DASHBOARD_ANSWERS"

// noData are the panels that cannot have data here, by the dashboard's uid and the
// panel's title, and why. One that has some after all is a failure.
var noData = map[string]string{}

// A grafana is a dashboard as far as its queries go.
type grafana struct {
	UID        string `json:"uid"`
	Title      string
	Panels     []grafanaPanel
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
}

type grafanaPanel struct {
	ID          int `json:"id"`
	Type, Title string
	Targets     []struct {
		RefID, Expr, LegendFormat, Interval string
		Instant                             bool
	}
}

// answer is what Prometheus said to one query of a panel.
type answer struct {
	RefID  string   `json:"refId"`
	Legend string   `json:"legend"`
	Series []series `json:"series"`
}

type series struct {
	Metric map[string]string `json:"metric"`
	Values [][2]float64      `json:"values"` // seconds of Unix time, value
}

// answers is the file of them.
type answers struct {
	Start   int64                          `json:"start"` // Unix time
	End     int64                          `json:"end"`
	Answers map[string]map[string][]answer `json:"answers"` // by the dashboard's uid and the panel's id
}

// board asks for the panels of a dashboard.
type board struct {
	t     *testing.T
	since time.Time
	grafana
	variables *strings.Replacer // the values that Prometheus has for each
}

// scrapeInterval is longer than ingest takes to tell that MongoDB is away.
const scrapeInterval = 3 * time.Second

// dashboards reads those of deploy/grafana.
func dashboards(t *testing.T, since time.Time) (boards []*board) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "deploy/grafana/dashboards/*.json"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d dashboards, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b := &board{t: t, since: since}
		if err := json.Unmarshal(text, &b.grafana); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		boards = append(boards, b)
	}
	return boards
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

// resolve asks for the values of the variables, as Grafana does, and selects all.
// ok is false while one has none.
func (b *board) resolve() (ok bool) {
	b.t.Helper()
	values := []string{"$__range", fmt.Sprintf("%ds", int(time.Since(b.since).Seconds())+1)}
	for _, v := range b.Templating.List {
		if v.Type != "query" {
			continue
		}
		match := labelValues.FindStringSubmatch(v.Definition)
		if match == nil {
			b.t.Fatalf("%s: variable %s: %q is no label_values", b.UID, v.Name, v.Definition)
		}
		var found []string
		b.ask("label/"+match[2]+"/values", url.Values{"match[]": {strings.NewReplacer(values...).Replace(match[1])}, "start": {stamp(b.since)}}, &found)
		if len(found) == 0 {
			return false
		}
		for i := range found {
			found[i] = strings.ReplaceAll(regexp.QuoteMeta(found[i]), `\`, `\\`)
		}
		values = append(values, "$"+v.Name, "("+strings.Join(found, "|")+")")
	}
	b.variables = strings.NewReplacer(values...)
	return true
}

func stamp(at time.Time) string { return strconv.FormatFloat(float64(at.UnixMilli())/1e3, 'f', 3, 64) }

// ask asks Prometheus' API for the data of a path.
func (b *board) ask(path string, form url.Values, data any) {
	b.t.Helper()
	response, err := http.PostForm("http://"+prometheusAddr+"/api/v1/"+path, form)
	if strings.HasPrefix(path, "label/") { // which takes no POST
		response, err = http.Get("http://" + prometheusAddr + "/api/v1/" + path + "?" + form.Encode())
	}
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	var reply struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&reply); err != nil || reply.Status != "success" {
		b.t.Fatalf("%s %v: %v %s", path, form, err, reply.Error)
	}
	if err := json.Unmarshal(reply.Data, data); err != nil {
		b.t.Fatalf("%s %v: %v in %s", path, form, err, reply.Data)
	}
}

// panel asks every query of a panel, as Grafana would with the time of the test
// selected. Values that are not finite are left out.
func (b *board) panel(p *grafanaPanel) (found []answer) {
	b.t.Helper()
	now := time.Now()
	for _, q := range p.Targets {
		step := max(scrapeInterval, now.Sub(b.since)/300).Round(time.Second)
		if q.Interval != "" {
			least, err := time.ParseDuration(q.Interval)
			if err != nil {
				b.t.Fatalf("%s, %s: interval %q", b.UID, p.Title, q.Interval)
			}
			step = max(step, least)
		}
		// https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/
		window := max(step+scrapeInterval, 4*scrapeInterval)
		expr := strings.ReplaceAll(q.Expr, "$__rate_interval", fmt.Sprintf("%ds", int(window.Seconds())))
		expr = b.variables.Replace(expr)
		path, form := "query_range", url.Values{"query": {expr}, "start": {stamp(b.since)}, "end": {stamp(now)}, "step": {stamp(time.Unix(0, 0).Add(min(step, 5*time.Second)))}}
		if q.Instant {
			path, form = "query", url.Values{"query": {expr}, "time": {stamp(now)}}
		}
		var data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
				Values [][2]any
			}
		}
		b.ask(path, form, &data)
		a := answer{RefID: q.RefID, Legend: q.LegendFormat, Series: []series{}}
		for _, r := range data.Result {
			if q.Instant {
				r.Values = [][2]any{r.Value}
			}
			s := series{Metric: r.Metric, Values: finite(b.t, r.Values)}
			if len(s.Values) > 0 {
				a.Series = append(a.Series, s)
			}
		}
		found = append(found, a)
	}
	return found
}

func finite(t *testing.T, pairs [][2]any) (values [][2]float64) {
	t.Helper()
	for _, pair := range pairs {
		value, err := strconv.ParseFloat(pair[1].(string), 64)
		if err != nil {
			t.Fatal(err)
		}
		if !math.IsNaN(value) && !math.IsInf(value, 0) {
			values = append(values, [2]float64{pair[0].(float64), value})
		}
	}
	return values
}

var legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)

// complete says what a panel lacks, "" if nothing: each query has a series, and
// each series the labels by which it is named.
func (p *grafanaPanel) complete(found []answer) (lacks string) {
	for _, a := range found {
		if len(a.Series) == 0 {
			return "query " + a.RefID + " has no data"
		}
		for _, match := range legendLabel.FindAllStringSubmatch(a.Legend, -1) {
			for _, s := range a.Series {
				if _, ok := s.Metric[match[1]]; !ok {
					return fmt.Sprintf("query %s: %v has no label %s", a.RefID, s.Metric, match[1])
				}
			}
		}
	}
	return ""
}

// TestDashboards runs the pipeline with the faults that its dashboards are to
// show, and finds data for every query of every panel.
func TestDashboards(t *testing.T) {
	since := time.Now()
	runPlatform(t)
	boards := dashboards(t, since)
	// Devices tell of themselves once a minute.
	deadline := time.Now().Add(5 * time.Minute)
	for _, b := range boards {
		await.True(t, time.Until(deadline), "values for the variables of "+b.UID, b.resolve)
		b.each(func(p *grafanaPanel, name string) {
			for _, excepted := noData[name]; !excepted && time.Now().Before(deadline) && p.complete(b.panel(p)) != ""; {
				pause(t)
			}
		})
	}

	file := answers{Start: since.Unix(), End: time.Now().Unix(), Answers: map[string]map[string][]answer{}}
	var report strings.Builder
	table := tabwriter.NewWriter(&report, 0, 0, 2, ' ', 0)
	exceptions := maps.Clone(noData)
	for _, b := range boards {
		b.resolve()
		file.Answers[b.UID] = map[string][]answer{}
		b.each(func(p *grafanaPanel, name string) {
			reason, excepted := exceptions[name]
			delete(exceptions, name)
			found := b.panel(p)
			switch lacks := p.complete(found); {
			case lacks != "" && !excepted:
				t.Errorf("%s: %s", name, lacks)
			case lacks == "" && excepted:
				t.Errorf("%s has data, though %s: take it out of the exceptions", name, reason)
			}
			file.Answers[b.UID][strconv.Itoa(p.ID)] = found
			_, _ = fmt.Fprintf(table, // told by Flush
				"%s\t%s\t%s\n", b.UID, p.Title, summary(found))
		})
	}
	for name := range exceptions {
		t.Errorf("%s is an exception, and no panel", name)
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("panel, series, the last value of one:\n%s", &report)
	save(t, &file)
}

// each calls visit for the panels, with the names that tell them apart.
func (b *board) each(visit func(p *grafanaPanel, name string)) {
	for i := range b.Panels {
		if p := &b.Panels[i]; p.Type != "row" {
			visit(p, b.UID+", "+p.Title)
		}
	}
}

// pause waits for Prometheus' next scrape.
func pause(t *testing.T) {
	t.Helper()
	select {
	case <-time.After(scrapeInterval):
	case <-t.Context().Done():
	}
}

// summary says how many series a panel has, and one value of the first.
func summary(found []answer) string {
	n := 0
	sample := "no data"
	for _, a := range found {
		for _, s := range a.Series {
			if n++; n == 1 {
				var labels []string
				for _, label := range slices.Sorted(maps.Keys(s.Metric)) {
					labels = append(labels, label+"="+s.Metric[label])
				}
				sample = fmt.Sprintf("%.6g  %s", s.Values[len(s.Values)-1][1], strings.Join(labels, " "))
			}
		}
	}
	return fmt.Sprintf("%d\t%s", n, sample)
}

func save(t *testing.T, file *answers) {
	t.Helper()
	name := os.Getenv(answersVariable)
	if name == "" {
		return
	}
	text, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o644); err != nil {
		t.Fatal(err)
	}
}
