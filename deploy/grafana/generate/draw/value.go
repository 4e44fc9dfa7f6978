package main

import (
	"fmt"
	"image/color"
	"math"
	"strconv"
	"strings"
)

// The colours of Grafana's dark theme, and those that thresholds name.
var (
	background = color.RGBA{0x11, 0x12, 0x17, 0xff}
	surface    = color.RGBA{0x18, 0x1b, 0x1f, 0xff}
	grid       = color.RGBA{0x2c, 0x2f, 0x36, 0xff}
	ink        = color.RGBA{0xcc, 0xcc, 0xdc, 0xff}
	faint      = color.RGBA{0x8e, 0x90, 0x9a, 0xff}

	named = map[string]color.RGBA{
		"green": {0x56, 0xa6, 0x4b, 0xff}, "yellow": {0xe0, 0xb4, 0x00, 0xff}, "orange": {0xff, 0x78, 0x0a, 0xff},
		"red": {0xe0, 0x2f, 0x44, 0xff}, "text": ink,
	}
	classic = []color.RGBA{
		{0x7e, 0xb2, 0x6d, 0xff}, {0xea, 0xb8, 0x39, 0xff}, {0x6e, 0xd0, 0xe0, 0xff}, {0xef, 0x84, 0x3c, 0xff}, {0xe2, 0x4d, 0x42, 0xff},
		{0x1f, 0x78, 0xc1, 0xff}, {0xba, 0x43, 0xa9, 0xff}, {0x96, 0x7d, 0xc7, 0xff}, {0xb7, 0xdb, 0xab, 0xff}, {0xf4, 0xd5, 0x98, 0xff},
	}
)

// of returns the colour that a value has.
func (t thresholds) of(v float64) color.RGBA {
	c := ink
	for _, s := range t.Steps {
		if s.Value == nil || v >= *s.Value {
			c = named[s.Color]
		}
	}
	return c
}

// show returns how a value is written and its colour.
func (f *field) show(v float64) (string, color.RGBA) {
	for _, m := range f.Mappings {
		if to, ok := m.Options[strconv.FormatFloat(v, 'f', -1, 64)]; ok {
			return to.Text, named[to.Color]
		}
	}
	return format(v, f.Unit, f.Decimals), f.Thresholds.of(v)
}

// scale divides a value until it has few digits, and returns the prefix.
func scale(v, by float64, prefixes ...string) (float64, string) {
	i := 0
	for ; math.Abs(v) >= by && i < len(prefixes)-1; i++ {
		v /= by
	}
	return v, prefixes[i]
}

// digits writes three of them, or as many decimals as are wanted.
func digits(v float64, decimals *float64) string {
	n := 0
	if decimals != nil {
		n = int(*decimals)
	} else if a := math.Abs(v); a != 0 && a != math.Trunc(a) {
		n = min(max(2-int(math.Floor(math.Log10(a))), 0), 4)
	}
	text := strconv.FormatFloat(v, 'f', n, 64)
	if decimals == nil && strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// format writes a value in a unit of Grafana's.
func format(v float64, unit string, decimals *float64) string {
	switch unit {
	case "none":
		return digits(v, decimals)
	case "celsius":
		return digits(v, decimals) + " °C"
	case "humidity":
		return digits(v, decimals) + " %"
	case "pressurehpa":
		return digits(v, decimals) + " hPa"
	case "lux":
		return digits(v, decimals) + " lx"
	case "percentunit":
		return digits(100*v, decimals) + " %"
	case "d":
		return digits(v, decimals) + " d"
	case "s":
		return duration(v, decimals)
	case "µs":
		return duration(v/1e6, decimals)
	case "bytes", "Bps":
		scaled, prefix := scale(v, 1024, " B", " KiB", " MiB", " GiB", " TiB")
		if unit == "Bps" {
			prefix += "/s"
		}
		return digits(scaled, decimals) + prefix
	case "cps":
		scaled, prefix := scale(v, 1000, "", " K", " M")
		return digits(scaled, decimals) + prefix + " /s"
	}
	scaled, prefix := scale(v, 1000, "", " K", " M", " G", " T")
	return digits(scaled, decimals) + prefix
}

func duration(s float64, decimals *float64) string {
	switch a := math.Abs(s); {
	case a == 0:
		return "0 s"
	case a < 1e-3:
		return digits(s*1e6, nil) + " µs"
	case a < 1:
		return digits(s*1e3, nil) + " ms"
	case a < 60:
		return digits(s, decimals) + " s"
	case a < 3600:
		return fmt.Sprintf("%s min", digits(s/60, nil))
	case a < 2*86400:
		return fmt.Sprintf("%s h", digits(s/3600, nil))
	}
	return fmt.Sprintf("%s d", digits(s/86400, nil))
}
