package bustest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/nack"
)

// Senser is a driver's Dev.
type Senser interface {
	fmt.Stringer
	Sense(ctx context.Context, m *drivers.Measurement) error
}

// Sleep is an Options.Sleep.
type Sleep = func(context.Context, time.Duration) error

// Open is a driver's New with some options.
type Open[D Senser] = func(bus i2c.Bus, sleep Sleep) (D, error)

// Dev returns a driver's Dev, whose waits take no time, and what they add up to.
func Dev[D Senser](t testing.TB, bus i2c.Bus, open Open[D]) (D, *Slept) {
	t.Helper()
	slept := new(Slept)
	d, err := open(bus, slept.Sleep)
	if err != nil {
		t.Fatal(err)
	}
	return d, slept
}

// Reading is one that a driver takes of its chip, in transactions.
type Reading[D Senser] struct {
	Open      Open[D]
	Configure []i2ctest.IO // at the first reading and after one that failed
	Measure   []i2ctest.IO
	Values    drivers.Measurement // what is measured

	// GaveUp is for a chip that does not acknowledge a read until it has a result.
	// It returns what is asked of the chip when that read is given up.
	GaveUp func(read i2ctest.IO) []i2ctest.IO
}

// first returns the transactions of a first reading.
func (r *Reading[D]) first() []i2ctest.IO { return slices.Concat(r.Configure, r.Measure) }

// next checks that the next reading of d succeeds.
func (r *Reading[D]) next(t *testing.T, d Senser) {
	t.Helper()
	var m drivers.Measurement
	if err := d.Sense(t.Context(), &m); err != nil || m != r.Values {
		t.Errorf("the next reading is %+v, %v: want %+v", m, err, r.Values)
	}
}

// Sense makes a reading of the transactions ops, checks that it is want and that
// the driver has waited for as long.
func Sense[D Senser](t *testing.T, open Open[D], ops []i2ctest.IO, want drivers.Measurement, waits time.Duration) {
	t.Helper()
	d, slept := Dev(t, Play(t, ops), open)
	var m drivers.Measurement
	if err := d.Sense(t.Context(), &m); err != nil || m != want {
		t.Errorf("got %+v, %v: want %+v", m, err, want)
	}
	if time.Duration(*slept) != waits {
		t.Errorf("waited %v: want %v", time.Duration(*slept), waits)
	}
}

// SenseWrites makes a first reading of chip, and checks what the driver has written
// and that it has waited for as long.
func SenseWrites[D Senser](t *testing.T, open Open[D], chip i2c.Bus, want [][]byte, waits time.Duration) {
	t.Helper()
	record := &i2ctest.Record{Bus: chip}
	d, slept := Dev(t, record, open)
	if err := d.Sense(t.Context(), new(drivers.Measurement)); err != nil {
		t.Fatal(err)
	}
	var writes [][]byte
	for _, op := range record.Ops {
		if op.R == nil {
			writes = append(writes, op.W)
		}
	}
	if !slices.EqualFunc(writes, want, bytes.Equal) {
		t.Errorf("wrote % x: want % x", writes, want)
	}
	if time.Duration(*slept) != waits {
		t.Errorf("waited %v: want %v", time.Duration(*slept), waits)
	}
}

// SenseTwice makes a first reading and a later one, and checks that quantities which
// the chip does not measure are left alone, and how long the driver waits in all.
func (r *Reading[D]) SenseTwice(t *testing.T, waits time.Duration) {
	t.Helper()
	d, slept := Dev(t, Play(t, r.Configure, r.Measure, r.Measure), r.Open)
	want := r.Values
	want.Temperature = cmp.Or(want.Temperature, 42)
	want.Humidity = cmp.Or(want.Humidity, 42)
	want.Pressure = cmp.Or(want.Pressure, 42)
	want.Illuminance = cmp.Or(want.Illuminance, 42)
	for range 2 {
		m := drivers.Measurement{Temperature: 42, Humidity: 42, Pressure: 42, Illuminance: 42}
		if err := d.Sense(t.Context(), &m); err != nil || m != want {
			t.Errorf("got %+v, %v: want %+v", m, err, want)
		}
	}
	if time.Duration(*slept) != waits {
		t.Errorf("waited %v: want %v", time.Duration(*slept), waits)
	}
}

// FailEach lets each transaction of the first reading and of a later one fail in
// turn. The reading's error must be the bus's, with the chip's name in front;
// nothing may be stored; and the next reading must succeed, by the transactions of a
// first one.
func (r *Reading[D]) FailEach(t *testing.T) {
	first := r.first()
	both := slices.Concat(first, r.Measure)
	for at, op := range both {
		for _, errno := range []error{syscall.ENXIO, syscall.EIO} {
			t.Run(fmt.Sprintf("%d/%v", at, errno), func(t *testing.T) {
				times, after := 1, first
				late := r.GaveUp != nil && nack.Is(errno) && op.W == nil
				if late {
					times, after = nack.Reads, slices.Concat(r.GaveUp(op), first)
				}
				d, _ := Dev(t, &Failing{Bus: Play(t, both[:at], after), At: at, Times: times, Err: errno}, r.Open)
				if at >= len(first) {
					r.next(t, d)
				}
				var m drivers.Measurement
				err := d.Sense(t.Context(), &m)
				if !errors.Is(err, errno) || !strings.HasPrefix(err.Error(), d.String()+": ") {
					t.Errorf("error %v: want one of %v that wraps %v", err, d, errno)
				}
				if errors.Is(err, drivers.ErrNotReady) != late {
					t.Errorf("error %v: is it %v?", err, drivers.ErrNotReady)
				}
				if m != (drivers.Measurement{}) {
					t.Errorf("%+v was stored", m)
				}
				r.next(t, d)
			})
		}
	}
}

// CancelEach lets the context of the first reading end in each of its waits in turn.
// The reading must end at once, and another one with that context before its first
// transaction; and the next reading must succeed.
func (r *Reading[D]) CancelEach(t *testing.T) {
	first := r.first()
	var waits []int // each after so many transactions
	played := Play(t, first)
	d, err := r.Open(played, func(context.Context, time.Duration) error {
		waits = append(waits, played.Count)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.next(t, d)
	if len(waits) == 0 {
		t.Fatal("it waits for nothing")
	}
	for at, done := range waits {
		ctx, cancel := context.WithCancel(t.Context())
		count := 0
		d, err := r.Open(Play(t, first[:done], first), func(ctx context.Context, _ time.Duration) error {
			if count == at {
				cancel()
			}
			count++
			return ctx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		var m drivers.Measurement
		for range 2 {
			if err := d.Sense(ctx, &m); !errors.Is(err, context.Canceled) || m != (drivers.Measurement{}) || count != at+1 {
				t.Errorf("wait %d: got %+v, %v after %d waits: want %v", at, m, err, count, context.Canceled)
			}
		}
		r.next(t, d)
	}
}

// FlipEachBit flips each bit of the answer to one transaction of the first reading,
// of which the driver makes those up to last. It must notice, with an error that is
// want and tells what; and the next reading must succeed.
func (r *Reading[D]) FlipEachBit(t *testing.T, at, last int, want error, what string) {
	t.Helper()
	first := r.first()
	for bit := range 8 * len(first[at].R) {
		ops := slices.Clone(first[:last+1])
		ops[at].R = slices.Clone(ops[at].R)
		ops[at].R[bit/8] ^= 1 << (bit % 8)
		d, _ := Dev(t, Play(t, ops, first), r.Open)
		var m drivers.Measurement
		err := d.Sense(t.Context(), &m)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), what) || m != (drivers.Measurement{}) {
			t.Errorf("transaction %d, bit %d: got %+v, %v: want %v of %s", at, bit, m, err, want, what)
		}
		r.next(t, d)
	}
}

// CheckFault makes a first reading of the transactions ops. Its error must be want,
// after waits of no more than bound, and the next reading must succeed. It returns
// the driver's Dev.
func (r *Reading[D]) CheckFault(t *testing.T, ops []i2ctest.IO, want error, bound time.Duration) D {
	t.Helper()
	return r.checkFault(t, ops, r.first(), want, bound)
}

// CheckOutOfRange makes a first reading that measures by the transactions measure
// what is drivers.ErrOutOfRange. That does not make the chip suspect: the next
// reading must succeed, and does not configure the chip.
func (r *Reading[D]) CheckOutOfRange(t *testing.T, measure []i2ctest.IO) {
	t.Helper()
	r.checkFault(t, slices.Concat(r.Configure, measure), r.Measure, drivers.ErrOutOfRange, time.Second)
}

func (r *Reading[D]) checkFault(t *testing.T, ops, next []i2ctest.IO, want error, bound time.Duration) D {
	t.Helper()
	d, slept := Dev(t, Play(t, ops, next), r.Open)
	var m drivers.Measurement
	if err := d.Sense(t.Context(), &m); !errors.Is(err, want) || m != (drivers.Measurement{}) {
		t.Errorf("got %+v, %v: want %v", m, err, want)
	}
	if time.Duration(*slept) > bound {
		t.Errorf("waited %v: want at most %v", time.Duration(*slept), bound)
	}
	r.next(t, d)
	return d
}

// CheckLate lets a chip answer late times that it is not ready, of which the driver
// bears less than most. Up to there the reading must succeed, and beyond it must be
// a drivers.ErrNotReady, after waits of no more than bound; and the next reading of
// a chip that is not late must succeed.
func (r *Reading[D]) CheckLate(t *testing.T, chip i2c.Bus, late *int, most int, bound time.Duration) {
	t.Helper()
	for _, n := range []int{1, most - 1, most, 1 << 30} {
		*late = n
		d, slept := Dev(t, chip, r.Open)
		var m drivers.Measurement
		err := d.Sense(t.Context(), &m)
		switch {
		case n < most && (err != nil || m != r.Values):
			t.Errorf("late by %d: got %+v, %v: want %+v", n, m, err, r.Values)
		case n >= most && (!errors.Is(err, drivers.ErrNotReady) || m != (drivers.Measurement{})):
			t.Errorf("late by %d: got %+v, %v: want %v", n, m, err, drivers.ErrNotReady)
		}
		if time.Duration(*slept) > bound {
			t.Errorf("late by %d: waited %v: want at most %v", n, time.Duration(*slept), bound)
		}
		*late = 0
		r.next(t, d)
	}
}

// Fuzz lets a bus answer whatever it may. A reading must end after waits of no more
// than bound, with values that are inRange or with an error of a kind. What the
// chip answers in the reading is a seed, too.
func (r *Reading[D]) Fuzz(f *testing.F, bound time.Duration, inRange func(drivers.Measurement) bool, seeds ...[]byte) {
	kinds := []error{
		drivers.ErrNotReady, drivers.ErrWrongChip, drivers.ErrBadCalibration, drivers.ErrReset, drivers.ErrOutOfRange,
		drivers.ErrCRC, drivers.ErrLowSupply, syscall.EIO,
	}
	f.Add(Answers(r.first()))
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, answers []byte) {
		bus := Babble(answers)
		d, slept := Dev(t, &bus, r.Open)
		var m drivers.Measurement
		err := d.Sense(t.Context(), &m)
		switch {
		case err == nil && !inRange(m):
			t.Errorf("out of range: %+v", m)
		case err != nil && m != (drivers.Measurement{}):
			t.Errorf("%+v was stored with error %v", m, err)
		case err != nil && !slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) }):
			t.Errorf("error without a kind: %v", err)
		}
		if time.Duration(*slept) > bound {
			t.Errorf("waited %v: want at most %v", time.Duration(*slept), bound)
		}
	})
}
