package buffer

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// clockState is what is known of the wall clock in a boot.
type clockState byte

const (
	clockWaiting   clockState = iota // nothing yet
	clockSynced                      // it was synchronised in that boot
	clockEstimated                   // it never was; the next boot's was
)

// bootClock is the clock of a boot in which readings were taken before the time
// was known.
type bootClock struct {
	state  clockState
	last   int64    // CLOCK_BOOTTIME of the last of them, milliseconds
	offset int64    // Unix time at which CLOCK_BOOTTIME was 0, milliseconds
	shown  bool     // offset is on the medium, so that it will never be another
	until  Position // behind the last of them
}

// clockSize is the greatest size of a clock record.
const clockSize = prefixSize + 8 + 1 + 10 + 10 + crcSize

// AppendWaiting is Append for a reading whose time is not known, because nothing
// has set the machine's clock since it was started. stamp is CLOCK_BOOTTIME (see
// clock_gettime(2)) at the reading. Readers do not pass it before SetClock has
// told them the time; then f.Timestamp is replaced. If the buffer can keep the
// clocks of no more boots, f is stored as it is and with Clock unsynced.
func (b *Buffer) AppendWaiting(f *telemetry.Frame, stamp time.Duration) error {
	r := &reading{Frame: f, stamp: stamp.Milliseconds()}
	b.mu.Lock()
	if b.boots[b.boot] != nil || int64(len(b.boots)) < b.o.SegmentSize/(16*clockSize) {
		r.boot = b.boot
	}
	b.mu.Unlock()
	if r.boot == 0 {
		f.Clock = telemetry.ClockUnsynced
	}
	return b.put(r)
}

// SetClock says that CLOCK_BOOTTIME was 0 at origin, as soon as the machine's
// clock is synchronised. The first call counts: the next Commit settles the time
// of all readings that wait, for good. Those of an earlier boot, whose clock was
// never synchronised, are placed so that the last of them is at the beginning of
// the next boot, and marked with Clock estimated.
func (b *Buffer) SetClock(origin time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.origin == nil {
		ms := origin.UnixMilli()
		b.origin = &ms
	}
}

// noteClock takes in what a record that ends at end says of a boot's clock.
func (b *Buffer) noteClock(r clockRecord, end Position) *bootClock {
	b.boot = max(b.boot, r.boot)
	c := b.boots[r.boot]
	if c == nil {
		c = &bootClock{last: r.last}
		b.boots[r.boot] = c
	}
	c.last, c.until = max(c.last, r.last), max(c.until, end)
	if r.state != clockWaiting {
		c.state, c.offset = r.state, r.offset
	}
	return c
}

// repair gives f, which ends at end, its time, and reports whether that is
// known.
func (b *Buffer) repair(f *telemetry.Frame, h *frameHead, end Position) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.boots[h.boot]
	if c == nil { // its clock records are damaged
		c = b.noteClock(clockRecord{boot: h.boot, last: h.timestamp}, end)
	}
	if !c.shown {
		return false
	}
	f.Timestamp += c.offset
	if c.state == clockEstimated {
		f.Clock = telemetry.ClockEstimated
	}
	return true
}

// settleClocks records the clocks of all boots, if that of this one is known.
// Readers see them when they are on the medium: a timestamp that was sent once
// must not be another after a power cut. slow is held.
func (b *Buffer) settleClocks() error {
	b.mu.Lock()
	settled := b.settle()
	if settled == 0 && !b.unsaid {
		b.mu.Unlock()
		return nil
	}
	b.enc.reset(b.tail)
	for range 2 {
		b.enc.clocks(b.boots)
	}
	err := b.write(b.o.SegmentSize)
	b.unsaid = err != nil
	b.mu.Unlock()
	b.o.Logger.Info("time of waiting readings settled", slog.Int("boots", settled))
	if err == nil {
		return nil
	}
	if !errors.Is(err, errNoRoom) {
		return err // the next segment's head has them too
	}
	return b.freshSegment()
}

// settle decides on the clocks that wait, and returns how many did. mu is held.
func (b *Buffer) settle() (settled int) {
	if b.origin == nil {
		return 0
	}
	next := *b.origin
	for _, boot := range slices.Backward(slices.Sorted(maps.Keys(b.boots))) {
		c := b.boots[boot]
		if c.state == clockWaiting {
			settled++
			c.state, c.offset = clockSynced, next
			if boot != b.boot {
				c.state, c.offset = clockEstimated, next-c.last
			}
		}
		next = c.offset
	}
	return settled
}

// showClocks lets readers see what a commit made durable. mu is held.
func (b *Buffer) showClocks() {
	if b.unsaid {
		return
	}
	for _, c := range b.boots {
		if c.state != clockWaiting && !c.shown {
			c.shown = true
			b.notify()
		}
	}
}

// clocks adds the clock records of boots.
func (e *encoder) clocks(boots map[uint64]*bootClock) {
	for _, boot := range slices.Sorted(maps.Keys(boots)) {
		c := boots[boot]
		e.clock(clockRecord{boot, c.state, c.last, c.offset})
	}
}
