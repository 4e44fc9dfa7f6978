package i2csim

import (
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// Device is a chip as the bus sees it: it answers messages that carry its
// address. The bus calls it for one message at a time.
type Device interface {
	// Write takes a message's bytes from the controller and returns how many
	// the chip acknowledged; 0 of none is an acknowledged address. A negative
	// number says that the chip did not acknowledge its address.
	Write(p []byte) int
	// Read fills p with the chip's answer and reports whether the chip
	// acknowledged its address.
	Read(p []byte) bool
}

// Kind is a way in which a transaction fails.
type Kind uint8

// The kinds of failure. Each unwraps to the error that Linux' i2c-dev gives
// for it (kernel documentation, i2c/fault-codes), so that a driver's tests of
// errno see what they would see on hardware.
const (
	None    Kind = iota
	NACK         // an address or byte was not acknowledged: ENXIO
	IO           // the adapter failed: EIO
	Timeout      // the clock was held for too long: ETIMEDOUT
	Stuck        // the data line is held low, now and until Bus.Recover: ETIMEDOUT
	Closed       // the handle was closed: os.ErrClosed
)

// String returns the kind in words.
func (k Kind) String() string {
	switch k {
	case None:
		return "no failure"
	case NACK:
		return "not acknowledged"
	case IO:
		return "adapter failed"
	case Timeout:
		return "timed out"
	case Stuck:
		return "bus stuck"
	case Closed:
		return "bus closed"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Error says which transaction failed, and how.
type Error struct {
	Bus  string
	N    uint64 // the transaction's number, 0 on a closed bus
	Addr uint16
	Kind Kind
}

// Error returns the failure in words.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: transaction %d with %#02x: %s", e.Bus, e.N, e.Addr, e.Kind)
}

// Unwrap returns the errno of e's kind, or os.ErrClosed.
func (e *Error) Unwrap() error {
	switch e.Kind {
	case NACK:
		return syscall.ENXIO
	case IO:
		return syscall.EIO
	case Timeout, Stuck:
		return syscall.ETIMEDOUT
	case Closed:
		return os.ErrClosed
	}
	return nil
}

// BusOptions describe a bus. The zero BusOptions are valid.
type BusOptions struct {
	Name  string              // as String returns it; "i2csim" if empty
	Sleep func(time.Duration) // spends a [Fault]'s delay; that of the wall clock if nil
}

// Stats count a bus's transactions, failed ones included.
type Stats struct {
	Transactions uint64
	Failed       uint64
}

// wires are what all handles of one bus share.
type wires struct {
	name  string
	sleep func(time.Duration)

	mu     lock // held for a whole transaction
	main   segment
	faults Faults
	stuck  bool
	stats  Stats
}

// Bus is a handle of an emulated bus, as an open /dev/i2c-N is one of a real
// bus. It implements i2c.BusCloser. All handles of a bus see the same devices.
// Transactions take no time but what a fault adds.
type Bus struct {
	*wires
	closed atomic.Bool
}

var _ i2c.BusCloser = (*Bus)(nil)

// NewBus returns an open handle of a new bus with nothing on it.
func NewBus(o BusOptions) *Bus {
	w := &wires{name: o.Name, sleep: o.Sleep, mu: newLock(), main: make(segment)}
	if w.name == "" {
		w.name = "i2csim"
	}
	if w.sleep == nil {
		w.sleep = func(d time.Duration) { <-time.After(d) }
	}
	return &Bus{wires: w}
}

// Open returns another handle of the same bus, open even if b is closed.
func (b *Bus) Open() *Bus { return &Bus{wires: b.wires} }

// Close closes this handle: its transactions fail with os.ErrClosed. Others go
// on, and so does the bus.
func (b *Bus) Close() error {
	b.closed.Store(true)
	return nil
}

// String returns the bus's name.
func (b *Bus) String() string { return b.name }

// SetSpeed accepts any positive frequency, without effect.
func (b *Bus) SetSpeed(f physic.Frequency) error {
	if f <= 0 {
		return fmt.Errorf("%s: speed %s: want more than 0Hz", b.name, f)
	}
	return nil
}

// Attach puts d on the bus at a 7-bit address, 0x08 to 0x77, where there is no
// other. (For two that share an address see [Conflict].)
func (b *Bus) Attach(addr uint16, d Device) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.main.attach(addr, d); err != nil {
		return fmt.Errorf("%s: %w", b.name, err)
	}
	return nil
}

// Detach takes the device at addr, if there is one, off the bus. The device
// keeps its state and its power.
func (b *Bus) Detach(addr uint16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.main, addr)
}

// SetFaults makes f decide what goes wrong from the next transaction on; nil
// is nothing.
func (b *Bus) SetFaults(f Faults) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = f
}

// Recover frees a stuck bus, as nine clock pulses do (UM10204, 3.1.16).
func (b *Bus) Recover() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stuck = false
}

// Stats returns the counts so far.
func (b *Bus) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stats
}

// Tx writes w to the device at addr, then reads r from it with a repeated
// start; nothing comes between them. Without w or r that part is left out;
// without both the device only acknowledges its address. The error is an
// [*Error]; r then holds nothing of meaning.
func (b *Bus) Tx(addr uint16, w, r []byte) error {
	if b.closed.Load() {
		return &Error{Bus: b.name, Addr: addr, Kind: Closed}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stats.Transactions++
	if kind := b.transact(addr, w, r); kind != None {
		b.stats.Failed++
		return &Error{Bus: b.name, N: b.stats.Transactions, Addr: addr, Kind: kind}
	}
	return nil
}

func (b *wires) transact(addr uint16, w, r []byte) Kind {
	var f Fault
	if b.faults != nil {
		// A copy: a script that keeps or changes the bytes must not reach the
		// driver's buffer.
		f = b.faults(Transaction{
			N: b.stats.Transactions, Addr: addr, Write: slices.Clone(w), Read: len(r), Devices: b.main.at(addr),
		})
	}
	if f.Recover {
		b.stuck = false
	}
	if f.Delay > 0 {
		b.sleep(f.Delay)
	}
	switch {
	case b.stuck:
		return Stuck
	case f.Kind != None:
		b.stuck = f.Kind == Stuck
		return f.Kind
	}
	d := conflict(b.main.at(addr))
	if (len(w) > 0 || len(r) == 0) && d.Write(w) != len(w) {
		return NACK
	}
	if len(r) > 0 && !d.Read(r) {
		return NACK
	}
	for i := range min(len(r), len(f.Flip)) {
		r[i] ^= f.Flip[i]
	}
	return None
}
