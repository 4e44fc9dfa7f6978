package nack

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/device"
)

func TestIs(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{syscall.ENXIO, true},
		{fmt.Errorf("sysfs-i2c: %w", syscall.ENXIO), true},
		{syscall.EIO, false},
		{syscall.ETIMEDOUT, false},
		{errors.New("no such device or address"), false},
	} {
		if got := Is(tt.err); got != tt.want {
			t.Errorf("%v: got %v", tt.err, got)
		}
	}
}

// late is a bus whose chip gives one error after the other, and then its result.
type late []error

func (l *late) String() string                  { return "late" }
func (l *late) SetSpeed(physic.Frequency) error { return nil }

func (l *late) Tx(addr uint16, w, r []byte) error {
	if addr != 0x44 || w != nil {
		return fmt.Errorf("unexpected transaction at %#x: % x", addr, w)
	}
	if len(*l) > 0 {
		err := (*l)[0]
		*l = (*l)[1:]
		return err
	}
	copy(r, "done")
	return nil
}

func TestRead(t *testing.T) {
	nacks := func(n int, then ...error) (l late) {
		for range n {
			l = append(l, syscall.ENXIO)
		}
		return append(l, then...)
	}
	for _, tt := range []struct {
		name  string
		bus   late
		cause error // of the error
		late  bool  // whether it is a drivers.ErrNotReady
		waits time.Duration
	}{
		{name: "at once", waits: 8 * time.Millisecond},
		{name: "a little late", bus: nacks(1), waits: 10 * time.Millisecond},
		{name: "in time", bus: nacks(Reads - 1), waits: 26 * time.Millisecond},
		{name: "too late", bus: nacks(Reads), cause: syscall.ENXIO, late: true, waits: 26 * time.Millisecond},
		{name: "bus error", bus: late{syscall.EIO}, cause: syscall.EIO, waits: 8 * time.Millisecond},
		{name: "late, then a bus error", bus: nacks(2, syscall.ETIMEDOUT), cause: syscall.ETIMEDOUT, waits: 12 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var slept time.Duration
			b := make([]byte, 4)
			dev, err := device.New("chip", &tt.bus, 0x44, func(_ context.Context, d time.Duration) error {
				slept += d
				return nil
			}, 0x44)
			if err != nil {
				t.Fatal(err)
			}
			err = Read(t.Context(), &dev, b, 8*time.Millisecond)
			if !errors.Is(err, tt.cause) || errors.Is(err, drivers.ErrNotReady) != tt.late {
				t.Errorf("error %v: want %v", err, tt.cause)
			}
			if err == nil && string(b) != "done" {
				t.Errorf("read %q", b)
			}
			if slept != tt.waits {
				t.Errorf("waited %v: want %v", slept, tt.waits)
			}
		})
	}
}

func TestReadCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	bus := late{errors.New("was read")}
	err := Read(ctx, device.At(&bus, 0x44), make([]byte, 1), time.Hour)
	if !errors.Is(err, context.Canceled) || len(bus) != 1 {
		t.Errorf("error %v: want %v", err, context.Canceled)
	}
}
