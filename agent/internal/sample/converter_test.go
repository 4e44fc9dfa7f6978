package sample

import (
	"strings"
	"testing"
	"time"
)

func TestConverter(t *testing.T) {
	const after = time.Minute
	tests := []struct {
		name  string
		after time.Duration
		every time.Duration
		words string // a letter is a word
		want  string // "!" where the converter is stuck
	}{
		{"time and readings", after, 10 * time.Second, "aaaaaaaaaaaa", ".........!!!"},
		{"time alone is not enough", after, time.Hour, "aaaaaaaaaaa", ".........!!"},
		{"readings alone are not enough", after, 5 * time.Second, "aaaaaaaaaaaaaa", "............!!"},
		{"from the very moment on", after, 4 * time.Second, "aaaaaaaaaaaaaaaa", "...............!"},
		{"until it changes, and then anew", after, 10 * time.Second, "aaaaaaaaaaabaaaaaaaaaaa", ".........!!...........!"[:12] + ".........!!"},
		{"one bit in time", after, 10 * time.Second, "aaaaaaaaabbbbbbbbba", "..................."},
		{"off", 0, time.Hour, "aaaaaaaaaaaaaaaaaaaaa", "....................."},
	}
	for _, tt := range tests {
		c := Converter{StuckAfter: tt.after}
		at := time.Now()
		var got strings.Builder
		for _, word := range tt.words {
			err := c.Check(uint32(word), at)
			switch {
			case err == nil:
				got.WriteByte('.')
			case Reason(err) == Stuck && strings.Contains(err.Error(), "0x61"):
				got.WriteByte('!')
			default:
				t.Errorf("%s: %v", tt.name, err)
			}
			at = at.Add(tt.every)
		}
		if got.String() != tt.want {
			t.Errorf("%s: %s\n got %s\nwant %s", tt.name, tt.words, got.String(), tt.want)
		}
	}
	// A word of 0 is a word like others, also as the first.
	zero := Converter{StuckAfter: after}
	at := time.Now()
	for i := range 10 {
		if err := zero.Check(0, at.Add(time.Duration(i)*time.Minute)); (err != nil) != (i == 9) {
			t.Errorf("word 0, reading %d: %v", i, err)
		}
	}
}
