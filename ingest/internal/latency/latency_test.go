package latency

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

func TestSampled(t *testing.T) {
	h := New("latency_seconds", "Help.")
	const now = int64(1_763_870_400_000)
	for _, ago := range []int64{-600_000, 0, 100, 101, 3_600_000, 8 * 24 * 3600 * 1000} {
		h.Sampled(now-ago, now)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(h)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP latency_seconds Help.
# TYPE latency_seconds histogram
latency_seconds_bucket{le="0.1"} 3
latency_seconds_bucket{le="0.25"} 4
latency_seconds_bucket{le="0.5"} 4
latency_seconds_bucket{le="1"} 4
latency_seconds_bucket{le="2.5"} 4
latency_seconds_bucket{le="5"} 4
latency_seconds_bucket{le="10"} 4
latency_seconds_bucket{le="30"} 4
latency_seconds_bucket{le="60"} 4
latency_seconds_bucket{le="300"} 4
latency_seconds_bucket{le="900"} 4
latency_seconds_bucket{le="3600"} 5
latency_seconds_bucket{le="21600"} 5
latency_seconds_bucket{le="86400"} 5
latency_seconds_bucket{le="259200"} 5
latency_seconds_bucket{le="604800"} 5
latency_seconds_bucket{le="+Inf"} 6
latency_seconds_sum 694800.201
latency_seconds_count 6
`)); err != nil {
		t.Error(err)
	}
}

func TestKnown(t *testing.T) {
	for _, tt := range []struct {
		frame telemetry.Frame
		want  bool
	}{
		{telemetry.Frame{ID: "a", Timestamp: 1}, true},
		{telemetry.Frame{ID: "a", Timestamp: 1, Clock: telemetry.ClockUnsynced}, false},
		{telemetry.Frame{ID: "a", Timestamp: 1, Clock: telemetry.ClockEstimated}, false},
		{telemetry.Frame{ID: "a", Timestamp: 1, Clock: "later"}, false},
		{telemetry.Frame{ID: "a", Lost: telemetry.Loss{Reason: "power_cut"}}, false},
	} {
		if got := Known(&tt.frame); got != tt.want {
			t.Errorf("%+v: got %t", tt.frame, got)
		}
	}
}

func BenchmarkSampled(b *testing.B) {
	h := New("latency_seconds", "Help.")
	const now = int64(1_763_870_400_000)
	for i := range int64(b.N) {
		h.Sampled(now-i%1_000_000, now)
	}
}
