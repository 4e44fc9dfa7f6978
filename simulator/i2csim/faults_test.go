package i2csim_test

import (
	"math"
	"math/bits"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// Which of the transactions 1 to 12 a condition chooses; each reads as many
// bytes as its number, one second after the one before.
func TestConditions(t *testing.T) {
	c := newClock()
	begin := c.now
	a, b := &memory{}, &memory{}
	for name, tt := range map[string]struct {
		condition i2csim.Condition
		want      []uint64
	}{
		"nth":       {i2csim.Nth(2, 5), []uint64{2, 5}},
		"every nth": {i2csim.EveryNth(5), []uint64{5, 10}},
		"reading":   {i2csim.Reading(11), []uint64{11, 12}},
		"reaching":  {i2csim.Reaching(b), []uint64{3, 6, 9, 12}},
		"during":    {i2csim.During(c.Now, i2csim.Spans{From: begin.Add(3 * time.Second), To: begin.Add(5 * time.Second)}), []uint64{3, 4}},
		"all count what is left": {
			i2csim.All(i2csim.Reaching(b), i2csim.EveryNth(2)), []uint64{6, 12},
		},
		"all in order": {
			i2csim.All(i2csim.EveryNth(2), i2csim.Reaching(b)), []uint64{6, 12},
		},
		"none is all": {i2csim.All(), []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
	} {
		var got []uint64
		c.now = begin
		for n := range uint64(12) {
			n++
			c.Advance(time.Second)
			device := i2csim.Device(a)
			if n%3 == 0 {
				device = b
			}
			if tt.condition(i2csim.Transaction{N: n, Read: int(n), Devices: []i2csim.Device{mute{}, device}}) {
				got = append(got, n)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestOneIn(t *testing.T) {
	choose := func(seed uint64) (chosen []int) {
		c := i2csim.OneIn(10, seed)
		for i := range 10000 {
			if c(i2csim.Transaction{}) {
				chosen = append(chosen, i)
			}
		}
		return chosen
	}
	first := choose(1)
	if len(first) < 850 || len(first) > 1150 {
		t.Errorf("one in ten of 10000 are %d", len(first))
	}
	if !slices.Equal(first, choose(1)) {
		t.Error("the same seed chooses others")
	}
	if slices.Equal(first, choose(2)) {
		t.Error("another seed chooses the same")
	}
}

func TestFlips(t *testing.T) {
	if got, want := i2csim.FlipByte(2, 0x81).Flip, []byte{0, 0, 0x81}; !slices.Equal(got, want) {
		t.Errorf("FlipByte: % x, want % x", got, want)
	}
	one, again := i2csim.FlipBit(7), i2csim.FlipBit(7)
	seen := map[[2]int]bool{}
	for range 1000 {
		tx := i2csim.Transaction{Read: 3}
		flip := one(tx).Flip
		if !slices.Equal(flip, again(tx).Flip) {
			t.Fatal("the same seed inverts other bits")
		}
		inverted := 0
		for i, b := range flip {
			inverted += bits.OnesCount8(b)
			if b != 0 {
				seen[[2]int{i, bits.TrailingZeros8(b)}] = true
			}
		}
		if inverted != 1 || len(flip) > 3 {
			t.Fatalf("flip % x, want one bit of three bytes", flip)
		}
	}
	if len(seen) != 24 {
		t.Errorf("%d of 24 bits were ever inverted", len(seen))
	}
	if got := one(i2csim.Transaction{}); got.Flip != nil {
		t.Errorf("flip % x where nothing is read", got.Flip)
	}
}

func TestTogether(t *testing.T) {
	f := i2csim.Together(
		i2csim.Always(i2csim.Fault{Delay: time.Second, Flip: []byte{1, 2}}),
		i2csim.Always(i2csim.Fault{}),
		i2csim.Always(i2csim.Fault{Delay: time.Minute, Kind: i2csim.IO, Flip: []byte{1, 0, 4}}),
		i2csim.Always(i2csim.Fault{Recover: true, Kind: i2csim.NACK}),
	)(i2csim.Transaction{})
	if f.Delay != 61*time.Second || f.Kind != i2csim.IO || !f.Recover || !slices.Equal(f.Flip, []byte{0, 2, 4}) {
		t.Errorf("got %+v", f)
	}
}

func TestHoldLow(t *testing.T) {
	c := newClock()
	r := attach(t, c, 0x50, &memory{})
	held := i2csim.Spans{From: c.now.Add(10 * time.Second), To: c.now.Add(20 * time.Second)}
	r.bus.SetFaults(i2csim.HoldLow(i2csim.During(c.Now, held), time.Second))
	for _, tt := range []struct {
		at    int // seconds
		kind  i2csim.Kind
		delay time.Duration
	}{
		{9, i2csim.None, 0},
		{11, i2csim.Stuck, time.Second},
		{18, i2csim.Stuck, time.Second},
		{20, i2csim.None, 0},
		{21, i2csim.None, 0},
	} {
		c.now = held.From.Add(time.Duration(tt.at-10) * time.Second)
		before := c.now
		err := r.bus.Tx(0x50, []byte{1}, nil)
		if kindOf(err) != tt.kind || c.now.Sub(before) != tt.delay {
			t.Errorf("after %d s: %v after %v, want %v after %v", tt.at, err, c.now.Sub(before), tt.kind, tt.delay)
		}
	}
}

func TestDo(t *testing.T) {
	chip, err := i2csim.NewBH1750(i2csim.ChipOptions{Source: room})
	if err != nil {
		t.Fatal(err)
	}
	c := newClock()
	r := attach(t, c, 0x23, chip)
	cycles := 0
	r.bus.SetFaults(i2csim.If(i2csim.Nth(2, 3), i2csim.Do(func() { cycles++; chip.PowerCycle() })))
	for range 4 {
		r.must(t, nil, 2)
	}
	if cycles != 2 {
		t.Errorf("%d power cycles, want 2", cycles)
	}
}

// Whoever waits for a bus that a fault holds lets a bubble's time go on.
func TestTimePassesWhileABusIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := i2csim.NewBus(i2csim.BusOptions{})
		if err := bus.Attach(0x50, &memory{}); err != nil {
			t.Fatal(err)
		}
		bus.SetFaults(i2csim.Always(i2csim.Fault{Delay: time.Second}))
		start := time.Now()
		done := make(chan error, 3)
		for range 3 {
			go func() { done <- bus.Open().Tx(0x50, []byte{1}, nil) }()
		}
		for range 3 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("three transactions of 1s took %v", took)
		}
	})
}

// spanned are spans, and in which seconds they are by a count.
type spanned struct {
	i2csim.Spans
	in func(s int) bool
}

func someSpans(from time.Time) map[string]spanned {
	after := func(s int) time.Time { return from.Add(time.Duration(s) * time.Second) }
	return map[string]spanned{
		"one":      {i2csim.Spans{From: after(3), To: after(5)}, func(s int) bool { return s >= 3 && s < 5 }},
		"no end":   {i2csim.Spans{From: after(3)}, func(s int) bool { return s >= 3 }},
		"repeated": {i2csim.Spans{From: after(3), To: after(20), Every: 5 * time.Second, For: 2 * time.Second}, func(s int) bool { return s >= 3 && s < 20 && (s-3)%5 < 2 }},
		"whole":    {i2csim.Spans{From: after(3), To: after(18), Every: 5 * time.Second, For: 2 * time.Second}, func(s int) bool { return s >= 3 && s < 18 && (s-3)%5 < 2 }},
		"cut":      {i2csim.Spans{From: after(3), To: after(19), Every: 5 * time.Second, For: 3 * time.Second}, func(s int) bool { return s >= 3 && s < 19 && (s-3)%5 < 3 }},
		"for ever": {i2csim.Spans{From: after(3), Every: 5 * time.Second, For: 2 * time.Second}, func(s int) bool { return s >= 3 && (s-3)%5 < 2 }},
		"always":   {i2csim.Spans{From: after(0)}, func(s int) bool { return s >= 0 }},
	}
}

func TestSpans(t *testing.T) {
	from := newClock().now
	for name, tt := range someSpans(from) {
		within := time.Duration(0)
		for s := range 40 {
			at := from.Add(time.Duration(s) * time.Second)
			if got := tt.Contain(at); got != tt.in(s) {
				t.Errorf("%s: contains %d s: %t", name, s, got)
			}
			if got := tt.Within(at); got != within {
				t.Errorf("%s: %v of %d s are within, want %v", name, got, s, within)
			}
			if tt.in(s) {
				within += time.Second
			}
		}
	}
	if !(i2csim.Spans{}).Contain(from) {
		t.Error("the zero Spans do not contain now")
	}
}

func TestDeviations(t *testing.T) {
	from := newClock().now
	spans := i2csim.Spans{From: from, To: from.Add(10 * time.Hour)}
	drift := i2csim.Drift{Source: room, Spans: spans, PerHour: i2csim.Environment{
		Temperature: 100 * physic.MilliKelvin, Humidity: -5 * physic.PercentRH, Pressure: physic.Pascal, Illuminance: -150 * i2csim.Lux,
	}}
	for _, tt := range []struct {
		after time.Duration
		want  i2csim.Environment
	}{
		{-time.Hour, i2csim.Environment(room)},
		{2 * time.Hour, i2csim.Environment{
			Temperature: room.Temperature + 200*physic.MilliKelvin, Humidity: 34 * physic.PercentRH,
			Pressure: room.Pressure + 2*physic.Pascal, Illuminance: 700 * i2csim.Lux,
		}},
		{20 * time.Hour, i2csim.Environment{ // what has no meaning is not reached
			Temperature: room.Temperature + physic.Kelvin, Humidity: 0, Pressure: room.Pressure + 10*physic.Pascal, Illuminance: 0,
		}},
	} {
		if got := drift.At(from.Add(tt.after)); got != tt.want {
			t.Errorf("after %v: %+v, want %+v", tt.after, got, tt.want)
		}
	}

	noise := i2csim.Noise{Source: room, Spans: spans, Seed: 3, Deviation: i2csim.Environment{Temperature: 500 * physic.MilliKelvin}}
	const n = 4000
	var sum, squares float64
	for i := range n {
		at := from.Add(time.Duration(i) * time.Second)
		got := noise.At(at)
		if got != noise.At(at) {
			t.Fatal("one moment has two values")
		}
		if got.Humidity != room.Humidity || got.Pressure != room.Pressure || got.Illuminance != room.Illuminance {
			t.Fatalf("got %+v, only the temperature is to deviate", got)
		}
		d := float64(got.Temperature-room.Temperature) / float64(physic.Kelvin)
		sum += d
		squares += d * d
	}
	if mean, deviation := sum/n, math.Sqrt(squares/n); math.Abs(mean) > 0.03 || math.Abs(deviation-0.5) > 0.03 {
		t.Errorf("mean %.3f K, standard deviation %.3f K, want 0 and 0.5", mean, deviation)
	}
	if got := noise.At(spans.To); got != i2csim.Environment(room) {
		t.Errorf("after the end: %+v", got)
	}
}
