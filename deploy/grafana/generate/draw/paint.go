package main

import (
	"cmp"
	"image"
	"image/color"
	"maps"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Lengths are pixels: the canvas has 72 of them to the inch, as points have.
const (
	unitWidth  = 52 // of the dashboard's grid
	unitHeight = 27
	gap        = 4
	pad        = 8
	heading    = 40 // above the dashboard
	small      = 10 // size of text
	medium     = 12
)

// canvas is a rectangle to draw on, seen from its upper left corner.
type canvas struct {
	draw.Canvas
	w, h float64
}

// part returns a rectangle of the canvas.
func (c canvas) part(x, y, w, h float64) canvas {
	left, top := c.Min.X+vg.Length(x), c.Max.Y-vg.Length(y)
	return canvas{draw.Canvas{Canvas: c.Canvas.Canvas, Rectangle: vg.Rectangle{
		Min: vg.Point{X: left, Y: top - vg.Length(h)}, Max: vg.Point{X: left + vg.Length(w), Y: top},
	}}, w, h}
}

func (c canvas) at(x, y float64) vg.Point {
	return vg.Point{X: c.Min.X + vg.Length(x), Y: c.Max.Y - vg.Length(y)}
}

func (c canvas) fill(x, y, w, h float64, col color.Color) {
	c.FillPolygon(col, []vg.Point{c.at(x, y), c.at(x+w, y), c.at(x+w, y+h), c.at(x, y+h)})
}

var handler = unkerned{text.Plain{Fonts: font.DefaultCache}}

// unkerned writes each character by itself: at sizes as small as these, kerning
// lays pairs such as 11 upon each other.
type unkerned struct{ text.Plain }

func (h unkerned) Box(line string, f font.Font) (width, height, depth vg.Length) {
	for _, r := range line {
		w, _, _ := h.Plain.Box(string(r), f)
		width += w
	}
	_, height, depth = h.Plain.Box("", f)
	return width, height, depth
}

func (h unkerned) Draw(c vg.Canvas, line string, s text.Style, at vg.Point) {
	width, _, _ := h.Box(line, s.Font)
	at.X += vg.Length(s.XAlign) * width
	s.XAlign = text.XLeft
	for _, r := range line {
		h.Plain.Draw(c, string(r), s, at)
		w, _, _ := h.Plain.Box(string(r), s.Font)
		at.X += w
	}
}

func style(size float64, col color.Color, bold bool) text.Style {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Length(size)}
	if bold {
		f.Weight = 2
	}
	return text.Style{Color: col, Font: f, XAlign: text.XLeft, YAlign: text.YTop, Handler: handler}
}

// write writes a line whose upper left corner is at x, y, cut to width.
func (c canvas) write(x, y, width, size float64, line string, col color.Color, bold bool) (end float64) {
	s := style(size, col, bold)
	whole := line
	for n := []rune(line); float64(s.Width(line)) > width && len(n) > 1; {
		n = n[:len(n)-1]
		line = string(n) + "…"
	}
	if float64(s.Width(line)) > width && line != whole {
		return x
	}
	c.FillText(s, c.at(x, y), line)
	return x + float64(s.Width(line))
}

// centre writes a line in the middle of the canvas.
func (c canvas) centre(size float64, line string, col color.Color) {
	s := style(size, col, true)
	for ; float64(s.Width(line)) > c.w && size > small; size-- {
		s = style(size, col, true)
	}
	s.XAlign, s.YAlign = text.XCenter, text.YCenter
	c.FillText(s, c.at(c.w/2, c.h/2), line)
}

// byCount returns the colours from the one that there is most of on.
func byCount(count map[color.RGBA]int) []color.RGBA {
	all := slices.Collect(maps.Keys(count))
	rank := func(c color.RGBA) uint32 { return uint32(c.R)<<16 | uint32(c.G)<<8 | uint32(c.B) }
	slices.SortFunc(all, func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(rank(a), rank(b)))
	})
	return all
}

// paint draws a dashboard.
func paint(d *dashboard, data *answers) (image.Image, error) {
	rows := 0
	for i := range d.Panels {
		rows = max(rows, d.Panels[i].GridPos.Y+d.Panels[i].GridPos.H)
	}
	w, h := float64(24*unitWidth+2*gap), float64(rows*unitHeight+heading+gap)
	picture := vgimg.NewWith(vgimg.UseWH(vg.Length(w), vg.Length(h)), vgimg.UseDPI(72), vgimg.UseBackgroundColor(background))
	whole := canvas{draw.New(picture), w, h}
	whole.write(2*gap, pad+2, w, 18, d.Title, ink, true)
	for i := range d.Panels {
		p := &d.Panels[i]
		g := p.GridPos
		c := whole.part(float64(g.X*unitWidth+2*gap), float64(g.Y*unitHeight+heading), float64(g.W*unitWidth-gap), float64(g.H*unitHeight-gap))
		if p.Type == "row" {
			c.write(0, pad, c.w, medium+1, p.Title, ink, true)
			continue
		}
		c.fill(0, 0, c.w, c.h, surface)
		c.write(pad, pad-2, c.w-2*pad, medium, p.Title, ink, true)
		inner := c.part(pad, pad+medium+4, c.w-2*pad, c.h-2*pad-medium)
		if err := p.paint(inner, data, data.Answers[d.UID][strconv.Itoa(p.ID)]); err != nil {
			return nil, err
		}
	}
	return picture.Image(), nil
}

func (p *panel) paint(c canvas, data *answers, found []answer) error {
	n := 0
	for _, a := range found {
		n += len(a.Series)
	}
	if n == 0 {
		c.centre(medium, "no data", faint)
		return nil
	}
	switch p.Type {
	case "timeseries":
		return p.lines(c, data, found)
	case "stat":
		p.number(c, found)
	case "bargauge":
		p.bars(c, found)
	case "state-timeline":
		p.timeline(c, data, found)
	case "table":
		p.table(c, found)
	}
	return nil
}

func (p *panel) number(c canvas, found []answer) {
	for _, a := range found {
		if len(a.Series) > 0 {
			line, col := p.FieldConfig.Defaults.show(a.Series[0].last())
			c.centre(30, line, col)
			return
		}
	}
}

const lineHeight = 17

func (p *panel) bars(c canvas, found []answer) {
	type bar struct {
		name  string
		value float64
	}
	var all []bar
	most := 0.0
	for _, a := range found {
		for i := range a.Series {
			s := &a.Series[i]
			all = append(all, bar{s.name(a.Legend), s.last()})
			most = max(most, s.last())
		}
	}
	if m := p.FieldConfig.Defaults.Max; m != nil {
		most = *m
	}
	const names, values = 0.32, 0.14 // of the width
	height := min(lineHeight*1.6, c.h/float64(len(all)))
	for i, b := range all {
		y := float64(i) * height
		if y+lineHeight > c.h {
			break
		}
		line, col := p.FieldConfig.Defaults.show(b.value)
		if col == ink {
			col = classic[i%len(classic)]
		}
		c.write(0, y+4, c.w*names-pad, small+1, b.name, ink, false)
		room := c.w * (1 - names - values)
		c.fill(c.w*names, y+2, room, height-5, grid)
		if most > 0 {
			c.fill(c.w*names, y+2, room*math.Max(b.value, 0)/most, height-5, col)
		}
		c.write(c.w*(1-values)+pad, y+4, c.w*values-pad, small+1, line, ink, false)
	}
}
