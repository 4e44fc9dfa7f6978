package climate

import (
	"math"
	"testing"
	"time"
)

// TestTide finds the semidiurnal tide in a year of pressure on the equator, as
// an observatory does: by the Fourier component of 12 hours.
func TestTide(t *testing.T) {
	b := newBarometer(1, 0)
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const days, perDay = 365, 48
	var c, s float64
	for i := range days * perDay {
		at := begin.Add(time.Duration(i) * 24 * time.Hour / perDay)
		angle := 2 * 2 * math.Pi * float64(i) / perDay
		p := b.at(at) - meanPressure
		c += p * math.Cos(angle) * 2 / (days * perDay)
		s += p * math.Sin(angle) * 2 / (days * perDay)
	}
	if amplitude := math.Hypot(c, s); math.Abs(amplitude-116) > 6 {
		t.Errorf("amplitude %.1f Pa, want 116", amplitude)
	}
	maximum := math.Mod(math.Atan2(s, c)/(2*math.Pi)*12+12, 12)
	if math.Abs(maximum-9.73) > 0.2 {
		t.Errorf("maximum at %.2f h, want 9.73", maximum)
	}
}

func TestTideFadesToThePoles(t *testing.T) {
	for latitude, want := range map[float64]float64{0: 116, 60: 14.5, -60: 14.5, 90: 0} {
		if got := newBarometer(1, latitude*degree).tide; math.Abs(got-want) > 0.01 {
			t.Errorf("latitude %g: amplitude %g Pa, want %g", latitude, got, want)
		}
	}
}

// TestHighsAndLows looks at five years under ten skies.
func TestHighsAndLows(t *testing.T) {
	var sum, squares, n float64
	lowest, highest, steepest := math.Inf(1), math.Inf(-1), 0.0
	for weather := range uint64(10) {
		b := newBarometer(weather, 50*degree)
		for h := range 5 * 365 * 8 {
			at := epoch.Add(time.Duration(h) * 3 * time.Hour)
			p := b.at(at)
			sum, squares, n = sum+p, squares+p*p, n+1
			lowest, highest = min(lowest, p), max(highest, p)
			steepest = max(steepest, math.Abs(b.at(at.Add(3*time.Hour))-p))
		}
	}
	mean := sum / n
	if math.Abs(mean-101325) > 50 {
		t.Errorf("mean %.0f Pa, want 101325", mean)
	}
	if deviation := math.Sqrt(squares/n - mean*mean); math.Abs(deviation-700) > 35 {
		t.Errorf("standard deviation %.0f Pa, want 700", deviation)
	}
	if lowest < 97000 || highest > 105700 {
		t.Errorf("from %.0f to %.0f Pa, want 97000 to 105700", lowest, highest)
	}
	if steepest > 600 {
		t.Errorf("%.0f Pa in three hours: want less than a storm", steepest)
	}
}
