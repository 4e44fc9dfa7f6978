package main

import (
	"encoding/json"
	"testing"
)

func TestFormat(t *testing.T) {
	one, none := 1.0, 0.0
	for _, c := range []struct {
		value    float64
		unit     string
		decimals *float64
		want     string
	}{
		{21.5, "celsius", nil, "21.5 °C"},
		{18.7666, "celsius", &one, "18.8 °C"},
		{27.2175, "humidity", &none, "27 %"},
		{1013.246, "pressurehpa", nil, "1013 hPa"},
		{0, "lux", nil, "0 lx"},
		{0.885773, "percentunit", &none, "89 %"},
		{0.0004, "s", nil, "400 µs"},
		{0.909483, "s", nil, "909 ms"},
		{418.605, "s", nil, "6.98 min"},
		{7200, "s", nil, "2 h"},
		{864000, "s", nil, "10 d"},
		{439.5, "µs", nil, "440 µs"},
		{1536, "bytes", nil, "1.5 KiB"},
		{334848, "Bps", nil, "327 KiB/s"},
		{3018.35, "cps", nil, "3.02 K /s"},
		{26840, "short", nil, "26.8 K"},
		{14972.9, "none", &none, "14973"},
		{-6, "none", nil, "-6"},
	} {
		if got := format(c.value, c.unit, c.decimals); got != c.want {
			t.Errorf("%v of %s is %q, want %q", c.value, c.unit, got, c.want)
		}
	}
}

func TestShow(t *testing.T) {
	var f field
	const text = `{"unit": "short",
		"thresholds": {"steps": [{"value": null, "color": "green"}, {"value": 1, "color": "yellow"}, {"value": 10, "color": "red"}]},
		"mappings": [{"type": "value", "options": {"7": {"text": "seven", "color": "orange"}}}]}`
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[float64]struct{ text, color string }{
		0: {"0", "green"}, 1: {"1", "yellow"}, 9: {"9", "yellow"}, 10: {"10", "red"}, 7: {"seven", "orange"}, -1: {"-1", "green"},
	} {
		if text, color := f.show(value); text != want.text || color != named[want.color] {
			t.Errorf("%v is shown as %q in %v, want %+v", value, text, color, want)
		}
	}
}

func TestRows(t *testing.T) {
	one := func(metric map[string]string, value float64) series {
		return series{Metric: metric, Values: [][2]float64{{0, value}}}
	}
	labels, values := rows([]answer{
		{RefID: "A", Series: []series{one(map[string]string{"device": "a", "version": "v1"}, 1), one(map[string]string{"device": "b", "version": "v2"}, 2)}},
		{RefID: "B", Series: []series{one(map[string]string{"device": "b"}, 3), one(map[string]string{"device": "c"}, 4)}},
	})
	if len(labels) != 3 || labels[1]["version"] != "v2" || values[1]["Value #A"] != 2 || values[1]["Value #B"] != 3 || len(values[0]) != 1 || values[2]["Value #B"] != 4 {
		t.Errorf("rows %v with %v", labels, values)
	}
}
