package main

import (
	"errors"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	sdktable "github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// basics are what the builders of all kinds of panels have.
type basics[B any] interface {
	cog.Builder[dashboard.Panel]
	Id(uint32) B
	Title(string) B
	Description(string) B
	Datasource(common.DataSourceRef) B
	Unit(string) B
	Span(uint32) B
	Height(uint32) B
	Targets([]cog.Builder[variants.Dataquery]) B
	Links([]cog.Builder[dashboard.DashboardLink]) B
	Thresholds(cog.Builder[dashboard.ThresholdsConfig]) B
	Mappings([]dashboard.ValueMapping) B
	ColorScheme(cog.Builder[dashboard.FieldColor]) B
	Min(float64) B
	Max(float64) B
	Decimals(float64) B
}

// set sets what all kinds of panels have.
func set[B basics[B]](b B, p panel, id, width, height uint32) B {
	if p.width > 0 {
		width = p.width
	}
	if p.height > 0 {
		height = p.height
	}
	b.Id(id)
	b.Title(p.title)
	b.Description(p.description)
	b.Datasource(source())
	b.Unit(p.unit)
	b.Span(width)
	b.Height(height)
	b.Targets(p.targets())
	b.Links(p.links())
	b.Thresholds(thresholds(p.steps))
	b.Mappings(mappings(p.names))
	b.ColorScheme(colors(p.steps, p.names))
	if p.min != nil {
		b.Min(*p.min)
	}
	if p.max != nil {
		b.Max(*p.max)
	}
	if p.decimals != nil {
		b.Decimals(*p.decimals)
	}
	return b
}

func latest() cog.Builder[common.ReduceDataOptions] {
	return common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})
}

func (p panel) build(id uint32) (cog.Builder[dashboard.Panel], error) {
	switch p.kind {
	case lines, stacked:
		return p.series(id), nil
	case number:
		return set(stat.NewPanelBuilder(), p, id, 4, 4).ReduceOptions(latest()).
			ColorMode(common.BigValueColorModeValue).GraphMode(common.BigValueGraphModeNone).TextMode(common.BigValueTextModeAuto).Orientation(common.VizOrientationAuto), nil
	case bars:
		return set(bargauge.NewPanelBuilder(), p, id, gridWidth/2, 8).ReduceOptions(latest()).
			Orientation(common.VizOrientationHorizontal).DisplayMode(common.BarGaugeDisplayModeBasic).ShowUnfilled(true), nil
	case table:
		return p.table(id)
	case timeline:
		return set(statetimeline.NewPanelBuilder(), p, id, gridWidth/2, 8).MergeValues(true).ShowValue(common.VisibilityModeNever).
			Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)), nil
	}
	return nil, errors.New("a panel of an unknown kind")
}

func (p panel) series(id uint32) cog.Builder[dashboard.Panel] {
	b := set(timeseries.NewPanelBuilder(), p, id, gridWidth/2, 8).
		LineWidth(1).FillOpacity(5).ShowPoints(common.VisibilityModeNever).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending)).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeTable).Placement(common.LegendPlacementBottom).
			ShowLegend(true).Calcs([]string{"min", "max", "lastNotNull"}))
	if p.kind == stacked {
		b.FillOpacity(30).Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
	}
	if len(p.steps) > 0 { // lines keep their colours; a dashed one shows the step
		b.ColorScheme(colors(nil, nil)).ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
	}
	return b
}

// table joins the queries on their labels, and shows the columns that are
// declared.
func (p panel) table(id uint32) (cog.Builder[dashboard.Panel], error) {
	if len(p.columns) == 0 {
		return nil, errors.New("a table without columns")
	}
	order := make(map[string]any, len(p.columns))
	fields := make([]string, 0, len(p.columns))
	b := set(sdktable.NewPanelBuilder(), p, id, gridWidth/2, 8).ShowHeader(true).CellHeight(common.TableCellHeightSm)
	for i, c := range p.columns {
		field := c.field(len(p.queries))
		order[field] = i
		fields = append(fields, field)
		b.OverrideByName(field, c.properties())
	}
	for _, t := range []dashboard.DataTransformerConfig{
		{Id: "merge", Options: map[string]any{}},
		{Id: "filterFieldsByName", Options: map[string]any{"include": map[string]any{"names": fields}}},
		{Id: "organize", Options: map[string]any{"indexByName": order}},
	} {
		b.WithTransformation(t)
	}
	return b, nil
}
