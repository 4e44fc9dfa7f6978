package telemetry

import (
	"strings"
	"testing"
)

func TestTopic(t *testing.T) {
	tests := []struct {
		topic  string
		device string
		kind   Kind
	}{
		{"telltale/v1/greenhouse-7/frames", "greenhouse-7", Frames},
		{"telltale/v1/greenhouse-7/receipts", "greenhouse-7", Receipts},
		{"telltale/v1/A_z-0/status", "A_z-0", Status},
		{"telltale/v1/" + strings.Repeat("d", 64) + "/frames", strings.Repeat("d", 64), Frames},
	}
	for _, test := range tests {
		device, kind, ok := ParseTopic(test.topic)
		if device != test.device || kind != test.kind || !ok {
			t.Errorf("%s: parsed as %q, %q, %v", test.topic, device, kind, ok)
		}
		if got := Topic(test.device, test.kind); got != test.topic {
			t.Errorf("got %s, want %s", got, test.topic)
		}
	}
	if got, want := FramesFilter(), "telltale/v1/+/frames"; got != want {
		t.Errorf("filter %s, want %s", got, want)
	}
}

func TestParseTopicRefuses(t *testing.T) {
	for _, topic := range []string{
		"", SeedTopic, "telltale/v1/", "telltale/v1/a", "telltale/v1/a/", "telltale/v1//frames",
		"telltale/v1/a/frame", "telltale/v1/a/frames/", "telltale/v1/a/b/frames", "telltale/v1/a/config/desired",
		"telltale/v2/a/frames", "/telltale/v1/a/frames", "telltale/v1/+/frames", "telltale/v1/a.b/frames",
		"telltale/v1/é/frames", "telltale/v1/" + strings.Repeat("d", 65) + "/frames",
	} {
		if device, kind, ok := ParseTopic(topic); ok || device != "" || kind != "" {
			t.Errorf("%q: parsed as %q, %q, %v", topic, device, kind, ok)
		}
	}
}

func TestBelongsTo(t *testing.T) {
	tests := []struct {
		id, device string
		want       bool
	}{
		{"greenhouse-7", "greenhouse-7", true},
		{"greenhouse-7.roof", "greenhouse-7", true},
		{"greenhouse-7.roof.2", "greenhouse-7", true},
		{"greenhouse-7.é", "greenhouse-7", true},
		{"greenhouse-7.", "greenhouse-7", false},
		{"greenhouse-71", "greenhouse-7", false},
		{"greenhouse-7-roof", "greenhouse-7", false},
		{"greenhouse", "greenhouse-7", false},
		{"Greenhouse-7", "greenhouse-7", false},
		{"", "greenhouse-7", false},
	}
	for _, test := range tests {
		if got := BelongsTo(test.id, test.device); got != test.want {
			t.Errorf("%q of %q: %v, want %v", test.id, test.device, got, test.want)
		}
	}
}
