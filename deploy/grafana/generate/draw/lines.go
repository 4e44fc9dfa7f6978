package main

import (
	"image/color"
	"math"
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// line is a series to be drawn, without gaps longer than some steps.
type line struct {
	name   string
	color  color.RGBA
	values [][2]float64
}

func (p *panel) series(found []answer) (all []line) {
	for _, a := range found {
		for i := range a.Series {
			s := &a.Series[i]
			all = append(all, line{s.name(a.Legend), classic[len(all)%len(classic)], s.Values})
		}
	}
	slices.SortStableFunc(all, func(a, b line) int { return slices.Compare([]byte(a.name), []byte(b.name)) })
	for i := range all {
		all[i].color = classic[i%len(classic)]
	}
	return all
}

// stack puts the series one upon the other.
func stack(all []line) {
	sums := make(map[float64]float64)
	for i := range all {
		values := slices.Clone(all[i].values)
		for j, v := range values {
			sums[v[0]] += v[1]
			values[j][1] = sums[v[0]]
		}
		all[i].values = values
	}
	slices.Reverse(all) // the lowest is drawn last
}

// legendRows is how many lines the names of the series get at most.
const legendRows = 2

func (p *panel) lines(c canvas, data *answers, found []answer) error {
	f := &p.FieldConfig.Defaults
	all := p.series(found)
	names := slices.Clone(all)
	stacked := f.Custom.Stacking.Mode == "normal"
	if stacked {
		stack(all)
	}
	room := c.part(0, 0, c.w, c.h-legendRows*(small+4))
	chart := plot.New()
	chart.BackgroundColor = color.Transparent
	chart.X.Min, chart.X.Max = float64(data.Start), float64(data.End)
	chart.X.Tick.Marker = clock{time.Unix(data.Start, 0)}
	chart.Y.Min, chart.Y.Max = bounds(all, f)
	chart.Y.Tick.Marker = values{f}
	for _, axis := range []*plot.Axis{&chart.X, &chart.Y} {
		axis.Color, axis.Tick.Color = grid, grid
		axis.Tick.Label.Color = faint
		axis.Tick.Label.Font.Size, axis.Tick.Label.Font.Variant = small, "Sans"
		axis.Tick.Label.Handler = handler
		axis.Padding = 0
	}
	lines := plotter.NewGrid()
	lines.Horizontal.Color, lines.Vertical.Color = grid, grid
	chart.Add(lines)
	for i := range all {
		for _, piece := range pieces(all[i].values) {
			l, err := plotter.NewLine(piece)
			if err != nil {
				return err
			}
			l.Color, l.Width = all[i].color, vg.Points(1.2)
			if stacked {
				l.FillColor = mix(all[i].color, surface)
			}
			chart.Add(l)
		}
	}
	for _, s := range f.Thresholds.Steps {
		if s.Value != nil && *s.Value < chart.Y.Max {
			l, err := plotter.NewLine(plotter.XYs{{X: chart.X.Min, Y: *s.Value}, {X: chart.X.Max, Y: *s.Value}})
			if err != nil {
				return err
			}
			l.Color, l.Dashes = named[s.Color], []vg.Length{4, 3}
			chart.Add(l)
		}
	}
	chart.Draw(room.Canvas)
	p.legend(c.part(0, room.h+4, c.w, c.h-room.h-4), names)
	return nil
}

func mix(a, b color.RGBA) color.RGBA {
	half := func(x, y uint8) uint8 { return uint8((int(x) + 2*int(y)) / 3) }
	return color.RGBA{half(a.R, b.R), half(a.G, b.G), half(a.B, b.B), 0xff}
}

// bounds are those of the values, or what is declared.
func bounds(all []line, f *field) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, l := range all {
		for _, v := range l.values {
			low, high = min(low, v[1]), max(high, v[1])
		}
	}
	if low > 0 && low < high/2 || f.Custom.Stacking.Mode == "normal" {
		low = min(low, 0)
	}
	if f.Min != nil {
		low = *f.Min
	}
	if f.Max != nil {
		high = *f.Max
	}
	if high-low < 1e-9*math.Max(1, math.Abs(high)) {
		low, high = low-0.5, high+0.5
		if low < 0 && high >= 0.5 && low > -1 {
			low, high = 0, 1
		}
	}
	return low, high + (high-low)*0.05
}

// pieces divides a series where it has gaps.
func pieces(values [][2]float64) (all []plotter.XYs) {
	step := math.Inf(1)
	for i := 1; i < len(values); i++ {
		step = min(step, values[i][0]-values[i-1][0])
	}
	var piece plotter.XYs
	for i, v := range values {
		if i > 0 && v[0]-values[i-1][0] > 3*step {
			all, piece = append(all, piece), nil
		}
		piece = append(piece, plotter.XY{X: v[0], Y: v[1]})
	}
	return append(all, piece)
}

// legend names the series, with their latest values, as far as there is room.
func (p *panel) legend(c canvas, all []line) {
	x, y := 0.0, 0.0
	for i, l := range all {
		latest, _ := p.FieldConfig.Defaults.show(l.values[len(l.values)-1][1])
		name := l.name + "  " + latest
		width := float64(style(small, ink, false).Width(name)) + 26
		if x > 0 && x+width > c.w {
			x, y = 0, y+small+4
		}
		if y+small > c.h || (y+2*small+4 > c.h && i+1 < len(all) && x+2*width > c.w) {
			c.write(x, y, c.w-x, small, "…", faint, false)
			return
		}
		c.fill(x, y+small/2-1, 10, 3, l.color)
		x = c.write(x+14, y, c.w-x-14, small, name, faint, false) + 12
	}
}

// clock marks whole minutes.
type clock struct{ begin time.Time }

func (c clock) Ticks(low, high float64) (ticks []plot.Tick) {
	step := 30 * time.Second
	for (high-low)/step.Seconds() > 7 {
		step *= 2
	}
	for at := c.begin.Truncate(step).Add(step); float64(at.Unix()) <= high; at = at.Add(step) {
		ticks = append(ticks, plot.Tick{Value: float64(at.Unix()), Label: at.UTC().Format("15:04:05")})
	}
	return ticks
}

// values marks some values in the panel's unit.
type values struct{ f *field }

func (v values) Ticks(low, high float64) (ticks []plot.Tick) {
	for _, t := range (plot.DefaultTicks{}).Ticks(low, high) {
		if t.Label != "" {
			ticks = append(ticks, plot.Tick{Value: t.Value, Label: format(t.Value, v.f.Unit, nil)})
		}
	}
	return ticks
}

func (p *panel) timeline(c canvas, data *answers, found []answer) {
	all := p.series(found)
	const names = 130
	height := min(lineHeight*1.5, (c.h-lineHeight)/float64(len(all)))
	span := float64(data.End - data.Start)
	at := func(t float64) float64 { return names + (c.w-names)*(t-float64(data.Start))/span }
	for i, l := range all {
		y := float64(i) * height
		if y+height > c.h-lineHeight {
			break
		}
		c.write(0, y+max(0, height/2-small/2-2), names-pad, small, l.name, ink, false)
		begin := 0
		for j, v := range l.values { // as far as one colour goes on
			_, col := p.FieldConfig.Defaults.show(v[1])
			end := v[0] + 2
			if j+1 < len(l.values) && l.values[j+1][0]-v[0] < 15 {
				end = l.values[j+1][0]
				if _, next := p.FieldConfig.Defaults.show(l.values[j+1][1]); next == col {
					continue
				}
			}
			from := l.values[begin][0]
			c.fill(at(from), y+1, at(min(end, float64(data.End)))-at(from), height-3, col)
			begin = j + 1
		}
	}
	for _, t := range (clock{time.Unix(data.Start, 0)}).Ticks(float64(data.Start), float64(data.End)) {
		c.write(min(at(t.Value)-20, c.w-45), c.h-small-2, 60, small, t.Label, faint, false)
	}
}
