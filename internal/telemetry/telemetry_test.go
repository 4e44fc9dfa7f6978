package telemetry

import "testing"

func TestMeasureString(t *testing.T) {
	for m, want := range map[Measure]string{
		Temperature: "temperature", Humidity: "humidity", Pressure: "pressure", Luminosity: "luminosity",
		Measures: "unknown", 255: "unknown",
	} {
		if got := m.String(); got != want {
			t.Errorf("measure %d: %s, want %s", m, got, want)
		}
	}
}

func TestMicroFloat(t *testing.T) {
	for v, want := range map[Micro]float64{0: 0, 21_370_000: 21.37, -1: -1e-6, 100_000: 0.1, MaxMicro: 1e9} {
		if got := v.Float(); got != want {
			t.Errorf("%d: %v, want %v", int64(v), got, want)
		}
	}
}

func TestSeqRangeLen(t *testing.T) {
	for r, want := range map[SeqRange]uint64{{0, 0}: 1, {3, 9}: 7, {0, MaxSeq}: MaxSeq + 1} {
		if got := r.Len(); got != want {
			t.Errorf("%v: %d, want %d", r, got, want)
		}
	}
}
