package bustest

import (
	"context"
	"errors"

	"github.com/telltale-iot/telltale/drivers"
)

// Fatal is a test, or a property's.
type Fatal interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// Resetter is a driver's Dev of a chip that has something to lose.
type Resetter interface {
	Senser
	Resets() uint64
}

// Survive takes some readings on a bus with brown-outs. Each must be right, or an
// error with nothing stored: a drivers.ErrReset, and that of two brown-outs at
// least, as one does not even cost the reading; or one that excused allows, by the
// transactions of the reading before which the chip browned out, and whether the
// chip was configured before. No more resets may be counted than there were.
func Survive[D Resetter](
	t Fatal, b *BrownOut, open Open[D],
	right func(drivers.Measurement) bool, excused func(err error, at []int, configured bool) bool,
) {
	t.Helper()
	d, err := open(b, new(Slept).Sleep)
	if err != nil {
		t.Fatal(err)
	}
	configured := false
	for range 6 {
		first, resets := b.count, d.Resets()
		var m drivers.Measurement
		err := d.Sense(context.Background(), &m)
		var at []int
		for _, n := range b.Before {
			if n >= first && n < b.count {
				at = append(at, n-first)
			}
		}
		switch {
		case err == nil && !right(m):
			t.Fatalf("got %+v after brown-outs before %v", m, at)
		case err != nil && m != (drivers.Measurement{}):
			t.Fatalf("%+v was stored with error %v", m, err)
		case err == nil, errors.Is(err, drivers.ErrReset) && len(at) >= 2:
		case excused == nil || !excused(err, at, configured):
			t.Fatalf("error %v after brown-outs before %v", err, at)
		}
		if counted := d.Resets() - resets; counted > uint64(len(at)) {
			t.Fatalf("counted %d resets of brown-outs before %v", counted, at)
		}
		configured = err == nil
	}
}

// CountResets checks that d counts each reset between two readings, and none else.
func CountResets(t Fatal, d Resetter, reset func()) {
	t.Helper()
	for want := range uint64(3) {
		err := d.Sense(context.Background(), new(drivers.Measurement))
		if got := d.Resets(); err != nil || got != want {
			t.Fatalf("%d resets, %v: want %d", got, err, want)
		}
		reset()
	}
}
