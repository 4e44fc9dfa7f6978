// Package bustest has what the tests of several drivers share: buses that play,
// fail and babble, and what must hold of a reading on them.
package bustest

import (
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
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers"
)

// Slept is what a driver's Options.Sleep was asked to wait for in all.
type Slept time.Duration

// Sleep adds d and takes no time.
func (s *Slept) Sleep(ctx context.Context, d time.Duration) error {
	*s += Slept(d)
	return ctx.Err()
}

// Play returns a bus that expects these transactions, and fails t if they were
// not all made.
func Play(t testing.TB, ops ...[]i2ctest.IO) *i2ctest.Playback {
	p := &i2ctest.Playback{Ops: slices.Concat(ops...), DontPanic: true}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Failing is a bus on which the transaction number At, from 0, and those after it
// up to Times in all fail with Err and do not reach the bus below.
type Failing struct {
	i2c.Bus
	At    int
	Times int // 0 is 1
	Err   error

	count int
}

// Tx implements i2c.Bus.
func (b *Failing) Tx(addr uint16, w, r []byte) error {
	b.count++
	if n := b.count - 1; n >= b.At && n < b.At+max(1, b.Times) {
		return b.Err
	}
	return b.Bus.Tx(addr, w, r)
}

// Babble is a bus that answers each read with the next bytes of itself, and
// fails with EIO when it has no more.
type Babble []byte

// String implements conn.Resource.
func (b *Babble) String() string { return "babble" }

// SetSpeed implements i2c.Bus.
func (b *Babble) SetSpeed(physic.Frequency) error { return nil }

// Tx implements i2c.Bus.
func (b *Babble) Tx(_ uint16, _, r []byte) error {
	if len(r) > len(*b) {
		return syscall.EIO
	}
	*b = (*b)[copy(r, *b):]
	return nil
}

// Answers returns what ops read, in one piece: the seed of a fuzz test.
func Answers(ops ...[]i2ctest.IO) (b []byte) {
	for _, op := range slices.Concat(ops...) {
		b = append(b, op.R...)
	}
	return b
}

// Senser is a driver's Dev.
type Senser interface {
	fmt.Stringer
	Sense(ctx context.Context, m *drivers.Measurement) error
}

// Open makes a driver's Dev on a bus, with waits that take no time.
type Open func(t testing.TB, bus i2c.Bus) Senser

// FailEach lets each transaction of the first reading and of a later one fail in
// turn. The reading's error must be the bus's, with the chip's name in front;
// nothing may be stored; and the next reading must succeed with want, by the
// transactions of a first reading.
func FailEach(t *testing.T, open Open, first, later []i2ctest.IO, want drivers.Measurement) {
	t.Helper()
	both := slices.Concat(first, later)
	for at := range both {
		for _, errno := range []error{syscall.ENXIO, syscall.EIO} {
			t.Run(fmt.Sprintf("%d/%v", at, errno), func(t *testing.T) {
				d := open(t, &Failing{Bus: Play(t, both[:at], first), At: at, Err: errno})
				if at >= len(first) {
					if err := d.Sense(t.Context(), new(drivers.Measurement)); err != nil {
						t.Fatal(err)
					}
				}
				var m drivers.Measurement
				err := d.Sense(t.Context(), &m)
				if !errors.Is(err, errno) || !strings.HasPrefix(err.Error(), d.String()+": ") {
					t.Errorf("error %v: want one of %v that wraps %v", err, d, errno)
				}
				if m != (drivers.Measurement{}) {
					t.Errorf("%+v was stored", m)
				}
				if err := d.Sense(t.Context(), &m); err != nil || m != want {
					t.Errorf("the next reading is %+v, %v: want %+v", m, err, want)
				}
			})
		}
	}
}

// Check senses once and fails t if that gives an error of no kind, or stores
// something with an error. It reports whether m is a measurement.
func Check(t testing.TB, d Senser, m *drivers.Measurement) bool {
	t.Helper()
	err := d.Sense(t.Context(), m)
	if err == nil {
		return true
	}
	if *m != (drivers.Measurement{}) {
		t.Errorf("%+v was stored with error %v", *m, err)
	}
	kinds := []error{
		drivers.ErrNotReady, drivers.ErrWrongChip, drivers.ErrBadCalibration, drivers.ErrReset, drivers.ErrOutOfRange,
		drivers.ErrCRC, drivers.ErrLowSupply, syscall.EIO,
	}
	if !slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) }) {
		t.Errorf("error without a kind: %v", err)
	}
	return false
}
