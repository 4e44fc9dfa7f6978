package main

import (
	"cmp"
	"encoding/json"
	"image/color"
	"maps"
	"slices"
	"strings"
)

// column is one of a table: what Grafana calls the field, and how it is shown.
type column struct {
	field string
	title string
	show  field
	cell  bool // coloured
}

// columns are those that the panel declares, in their order.
func (p *panel) columns() (columns []column) {
	order := make(map[string]int)
	for _, t := range p.Transformations {
		if t.ID == "organize" {
			order = t.Options.IndexByName
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(order), func(a, b string) int { return cmp.Compare(order[a], order[b]) }) {
		c := column{field: name, title: name, show: field{Unit: p.FieldConfig.Defaults.Unit}}
		for _, o := range p.FieldConfig.Overrides {
			if o.Matcher.Options != name {
				continue
			}
			for _, property := range o.Properties {
				to := map[string]any{"displayName": &c.title, "unit": &c.show.Unit, "decimals": &c.show.Decimals, "thresholds": &c.show.Thresholds}[property.ID]
				if to == nil {
					continue
				}
				if err := json.Unmarshal(property.Value, to); err == nil && property.ID == "thresholds" {
					c.cell = true
				}
			}
		}
		columns = append(columns, c)
	}
	return columns
}

// rows joins the answers on their labels, as Grafana's transformation "merge".
func rows(found []answer) (labels []map[string]string, values []map[string]float64) {
	index := make(map[string]int)
	for _, a := range found {
		name := "Value"
		if len(found) > 1 {
			name = "Value #" + a.RefID
		}
		for _, s := range a.Series {
			var key strings.Builder
			for _, label := range slices.Sorted(maps.Keys(s.Metric)) {
				if label != "version" { // the other queries have it not
					key.WriteString(label + "=" + s.Metric[label] + " ")
				}
			}
			i, ok := index[key.String()]
			if !ok {
				i = len(labels)
				index[key.String()] = i
				labels, values = append(labels, s.Metric), append(values, map[string]float64{})
			}
			values[i][name] = s.last()
		}
	}
	return labels, values
}

func (p *panel) table(c canvas, found []answer) {
	columns := p.columns()
	labels, numbers := rows(found)
	width := c.w / float64(len(columns))
	for i, col := range columns {
		c.write(float64(i)*width+4, 0, width-8, small+1, col.title, faint, true)
	}
	for r := range labels {
		y := float64(r+1) * (lineHeight + 2)
		if y+lineHeight > c.h {
			break
		}
		for i, col := range columns {
			x := float64(i) * width
			line, ok := labels[r][col.field]
			var tone color.Color = ink
			if number, is := numbers[r][col.field]; is {
				var shade color.RGBA
				line, shade = col.show.show(number)
				if ok = true; col.cell {
					c.fill(x, y-1, width-2, lineHeight, shade)
					tone = color.White
				}
			}
			if ok {
				c.write(x+4, y+1, width-8, small+1, line, tone, false)
			}
		}
		c.fill(0, y+lineHeight, c.w, 1, grid)
	}
}
