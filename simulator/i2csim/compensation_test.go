package i2csim

import (
	"math"
	"sort"
	"testing"

	"pgregory.net/rapid"
)

// The BMP280 data sheet's worked example (3.12). Its H words are made up.
var example = Calibration{
	T1: 27504, T2: 26435, T3: -1000,
	P1: 36477, P2: -10685, P3: 3024, P4: 2855, P5: 140, P6: -7, P7: 15500, P8: -14600, P9: 6000,
	H1: 75, H2: 362, H3: 0, H4: 313, H5: -50, H6: 30,
}

func TestDataSheetExample(t *testing.T) {
	fine := example.fine(519888)
	if math.Trunc(fine) != 128422 {
		t.Errorf("t_fine = %g, want 128422", fine)
	}
	if got := fine / 5120; math.Abs(got-25.08) > 0.005 {
		t.Errorf("temperature = %g °C, want 25.08", got)
	}
	if got := example.pascals(415148, fine); math.Abs(got-100653.27) > 0.015 {
		t.Errorf("pressure = %.2f Pa, want 100653.27", got)
	}
}

func TestStore(t *testing.T) {
	c := example
	c.H4, c.H5 = -2, 0x123
	var got [256]byte
	c.store(&got, true)
	want := map[int]byte{
		0x88: 0x70, 0x89: 0x6B, 0x8A: 0x43, 0x8B: 0x67, 0x8C: 0x18, 0x8D: 0xFC, // T
		0x8E: 0x7D, 0x8F: 0x8E, 0x90: 0x43, 0x91: 0xD6, 0x92: 0xD0, 0x93: 0x0B, // P1 to P3
		0x94: 0x27, 0x95: 0x0B, 0x96: 0x8C, 0x97: 0x00, 0x98: 0xF9, 0x99: 0xFF, // P4 to P6
		0x9A: 0x8C, 0x9B: 0x3C, 0x9C: 0xF8, 0x9D: 0xC6, 0x9E: 0x70, 0x9F: 0x17, // P7 to P9
		0xA1: 0x4B, 0xE1: 0x6A, 0xE2: 0x01, 0xE3: 0x00, // H1 to H3
		0xE4: 0xFF, 0xE5: 0x3E, 0xE6: 0x12, 0xE7: 0x1E, // H4 0xFFE, H5 0x123, H6
	}
	for i, b := range got {
		if b != want[i] {
			t.Errorf("register %#02x is %#02x, want %#02x", i, b, want[i])
		}
	}
}

func TestCalibrationSpread(t *testing.T) {
	negative := 0
	seen := map[Calibration]bool{}
	for seed := range uint64(1000) {
		c := NewCalibration(seed)
		seen[c] = true
		if c.H5 < 0 {
			negative++
		}
		if c != NewCalibration(seed) {
			t.Fatalf("seed %d: two calibrations", seed)
		}
		if err := c.validate(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	if len(seen) != 1000 {
		t.Errorf("%d different calibrations of 1000", len(seen))
	}
	if negative < 250 || negative > 450 {
		t.Errorf("H5 is negative in %d of 1000, want about a third", negative)
	}
}

// TestMonotonic proves what the search needs, for the words that calibrations
// are drawn from: every word means more than the one before.
func TestMonotonic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := NewCalibration(rapid.Uint64().Draw(t, "seed"))
		rawT := rapid.Uint32Range(1, 1<<20-1).Draw(t, "T")
		if c.fine(rawT) <= c.fine(rawT-1) {
			t.Errorf("t_fine does not rise at %d", rawT)
		}
		fine := rapid.Float64Range(-40*5120, 85*5120).Draw(t, "fine")
		rawP := rapid.Uint32Range(1, 1<<20-1).Draw(t, "P")
		if c.pascals(rawP, fine) >= c.pascals(rawP-1, fine) {
			t.Errorf("pressure does not fall at %d, t_fine %g", rawP, fine)
		}
		rawH := rapid.Uint32Range(1, 1<<16-1).Draw(t, "H")
		if c.percent(rawH, fine) <= c.percent(rawH-1, fine) {
			t.Errorf("humidity does not rise at %d, t_fine %g", rawH, fine)
		}
	})
}

// TestInRange proves that the words have room for whatever the chip is
// specified to measure.
func TestInRange(t *testing.T) {
	for seed := range uint64(200) {
		c := NewCalibration(seed)
		if c.fine(0) > -40*5120 || c.fine(1<<20-1) < 85*5120 {
			t.Errorf("seed %d: temperature from %.1f to %.1f °C", seed, c.fine(0)/5120, c.fine(1<<20-1)/5120)
		}
		for celsius := -40.0; celsius <= 85; celsius += 5 {
			fine := celsius * 5120
			if lo, hi := c.pascals(1<<20-1, fine), c.pascals(0, fine); lo > 30000 || hi < 110000 {
				t.Errorf("seed %d, %g °C: pressure from %.0f to %.0f Pa", seed, celsius, lo, hi)
			}
			if lo, hi := c.percent(0, fine), c.percent(1<<16-1, fine); lo > 0 || hi < 100 {
				t.Errorf("seed %d, %g °C: humidity from %.1f to %.1f %%", seed, celsius, lo, hi)
			}
		}
	}
}

func TestNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const width = 6
		bits := uint(rapid.IntRange(1, width).Draw(t, "bits"))
		values := rapid.SliceOfNDistinct(rapid.Float64Range(-1e6, 1e6), 1<<width, 1<<width, rapid.ID[float64]).Draw(t, "values")
		sort.Float64s(values)
		want := rapid.Float64Range(-2e6, 2e6).Draw(t, "want")
		got := nearest(width, bits, want, func(raw uint32) float64 { return values[raw] })
		step := uint32(1) << (width - bits)
		if got%step != 0 {
			t.Fatalf("word %d has more than %d bits", got, bits)
		}
		for w := uint32(0); w < 1<<width; w += step {
			if math.Abs(values[w]-want) < math.Abs(values[got]-want) {
				t.Fatalf("word %d is %g, nearer to %g than word %d, %g", w, values[w], want, got, values[got])
			}
		}
	})
}
