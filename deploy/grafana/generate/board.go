package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

const (
	// tag is what the dashboards have in common, by which they link to each other.
	tag = "telltale"

	// docs is where a person at a dashboard finds the repository's documents.
	docs = "https://github.com/telltale-iot/telltale/blob/main/"

	// datasource is the uid of the data source that is selected at first.
	datasource = "telltale-prometheus"

	// schemaVersion is that of Grafana 11; later ones bring it up to date as they
	// read it.
	schemaVersion = 39

	gridWidth = 24

	// statusInterval is the least step of a query of how fast something grows that
	// devices tell once a minute: two statuses must be in it.
	statusInterval = "2m"
)

// board is a dashboard: rows of panels that are laid from left to right.
type board struct {
	uid, title, description string
	variables               []variable
	rows                    []row
}

type row struct {
	title  string
	panels []panel
}

// variable is a template variable whose values are those of a label. All of
// them are selected at first.
type variable struct {
	name, title, description string
	metric, label            string // label_values(metric, label)
}

// kind is how a panel shows its series.
type kind int

const (
	lines    kind = iota // over time
	stacked              // over time, one upon the other
	number               // the latest value, large
	bars                 // the latest value of each series
	table                // the latest values, one row a set of labels
	timeline             // coloured states over time
)

// panel is a panel as it is declared here; width and height are in the grid's
// units, 0 is the kind's usual.
type panel struct {
	kind          kind
	title         string
	description   string // what it shows and what is normal
	unit          string // of Grafana's units
	width, height uint32
	queries       []query
	steps         []step   // of colour, ascending
	names         []name   // of values
	columns       []column // of a table, in their order
	decimals      *float64
	min, max      *float64
	runbook       string // its file in deploy/prometheus/runbooks, without .md
}

// query is an expression and the name of its series.
type query struct{ expr, legend string }

// step colours what is from a value on.
type step struct {
	from  float64
	color string
}

// name says what a value means.
type name struct{ value, text, color string }

// column is of a label, or of the query whose value it shows: A, B, ...
type column struct {
	of, title, unit string
	decimals        *float64
	steps           []step
}

func ptr[T any](v T) *T { return &v }

// source is the data source that the variable of that name selects.
func source() common.DataSourceRef {
	return common.DataSourceRef{Type: ptr("prometheus"), Uid: ptr("${datasource}")}
}

// build returns the dashboard as Grafana reads it.
func (b board) build() (dashboard.Dashboard, error) {
	d := dashboard.NewDashboardBuilder(b.title).
		Uid(b.uid).Description(b.description).Tags([]string{tag}).
		Timezone("browser").Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Time("now-6h", "now").Refresh("30s").Editable().
		Link(dashboard.NewDashboardLinkBuilder("telltale").Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{tag}).KeepTime(true)).
		Link(dashboard.NewDashboardLinkBuilder("Runbooks").Type(dashboard.DashboardLinkTypeLink).
			Url(docs + "deploy/prometheus/runbooks").Icon("doc").Tooltip("What to look at and do when an alert fires").TargetBlank(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus").
			Description("The Prometheus that scrapes telltale").
			Current(dashboard.VariableOption{
				Text:  dashboard.StringOrArrayOfString{String: ptr(datasource)},
				Value: dashboard.StringOrArrayOfString{String: ptr(datasource)},
			}))
	for _, v := range b.variables {
		d.WithVariable(v.build())
	}
	id := uint32(1)
	for _, r := range b.rows {
		d.WithRow(dashboard.NewRowBuilder(r.title).Id(id))
		id++
		for _, p := range r.panels {
			built, err := p.build(id)
			if err != nil {
				return dashboard.Dashboard{}, fmt.Errorf("%s, %q: %w", b.title, p.title, err)
			}
			d.WithPanel(built)
			id++
		}
	}
	built, err := d.Build()
	built.SchemaVersion = schemaVersion
	return built, err
}

func (v variable) build() cog.Builder[dashboard.VariableModel] {
	all := dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}}
	definition := fmt.Sprintf("label_values(%s, %s)", v.metric, v.label)
	return dashboard.NewQueryVariableBuilder(v.name).Label(v.title).Description(v.description).
		Datasource(source()).Definition(definition).
		Query(dashboard.StringOrMap{Map: map[string]any{"qryType": 1, "query": definition, "refId": "PrometheusVariableQueryEditor-VariableQuery"}}).
		Current(dashboard.VariableOption{Text: dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}}, Value: all}).
		Multi(true).IncludeAll(true).AllValue(".*").
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortNaturalAsc)
}

// refID names the queries of a panel as Grafana does.
func refID(i int) string { return string(rune('A' + i)) }

func (p panel) targets() (targets []cog.Builder[variants.Dataquery]) {
	for i, q := range p.queries {
		t := prometheus.NewDataqueryBuilder().Datasource(source()).RefId(refID(i)).Expr(q.expr).LegendFormat(q.legend).EditorMode(prometheus.QueryEditorModeCode)
		if strings.Contains(q.expr, "telltale_device_") && strings.Contains(q.expr, "$__rate_interval") {
			t.Interval(statusInterval)
		}
		switch p.kind {
		case number, bars:
			t.Instant()
		case table:
			t.Instant().Format(prometheus.PromQueryFormatTable)
		default:
			t.Range()
		}
		targets = append(targets, t)
	}
	return targets
}

func thresholds(steps []step) cog.Builder[dashboard.ThresholdsConfig] {
	list := []dashboard.Threshold{{Color: "text"}} // from minus infinity on
	if len(steps) > 0 && steps[0].from == 0 {
		list, steps = []dashboard.Threshold{{Color: steps[0].color}}, steps[1:]
	}
	for _, s := range steps {
		list = append(list, dashboard.Threshold{Value: ptr(s.from), Color: s.color})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(list)
}

func mappings(names []name) []dashboard.ValueMapping {
	if len(names) == 0 {
		return nil
	}
	options := make(map[string]dashboard.ValueMappingResult, len(names))
	for i, n := range names {
		options[n.value] = dashboard.ValueMappingResult{Text: ptr(n.text), Color: ptr(n.color), Index: ptr(int32(i))}
	}
	return []dashboard.ValueMapping{{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: options}}}
}

func colors(steps []step, names []name) cog.Builder[dashboard.FieldColor] {
	mode := dashboard.FieldColorModeIdPaletteClassic
	if len(steps)+len(names) > 0 {
		mode = dashboard.FieldColorModeIdThresholds
	}
	return dashboard.NewFieldColorBuilder().Mode(mode)
}

// links are the panel's runbook.
func (p panel) links() []cog.Builder[dashboard.DashboardLink] {
	if p.runbook == "" {
		return nil
	}
	return []cog.Builder[dashboard.DashboardLink]{dashboard.NewDashboardLinkBuilder("Runbook").Type(dashboard.DashboardLinkTypeLink).
		Url(docs + "deploy/prometheus/runbooks/" + p.runbook + ".md").TargetBlank(true)}
}

// property is one of a field's in Grafana.
func property(id string, value any) dashboard.DynamicConfigValue {
	return dashboard.DynamicConfigValue{Id: id, Value: value}
}

// field is what Grafana calls the column.
func (c column) field(queries int) string {
	if len(c.of) != 1 || strings.ToUpper(c.of) != c.of {
		return c.of
	}
	if queries == 1 {
		return "Value"
	}
	return "Value #" + c.of
}

func (c column) properties() (properties []dashboard.DynamicConfigValue) {
	properties = append(properties, property("displayName", c.title))
	if c.unit != "" {
		properties = append(properties, property("unit", c.unit))
	}
	if c.decimals != nil {
		properties = append(properties, property("decimals", *c.decimals))
	}
	if len(c.steps) > 0 {
		steps, _ := thresholds(c.steps).Build() // a list of its own cannot fail
		properties = append(properties,
			property("thresholds", steps),
			property("color", map[string]any{"mode": "thresholds"}),
			property("custom.cellOptions", map[string]any{"type": "color-background", "mode": "basic"}))
	}
	return properties
}
