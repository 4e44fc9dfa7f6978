// Package bustest has what the tests of several drivers share: buses that play,
// fail, babble and brown out, and what must hold of a driver on them.
package bustest

import (
	"context"
	"slices"
	"syscall"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"
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

// BrownOut is a bus with a chip that browns out before some of the transactions.
type BrownOut struct {
	i2c.Bus
	Reset  func() // what a brown-out does to the chip
	Before []int  // the transactions, from 0

	count int
}

// Tx implements i2c.Bus.
func (b *BrownOut) Tx(addr uint16, w, r []byte) error {
	if slices.Contains(b.Before, b.count) {
		b.Reset()
	}
	b.count++
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
