package device

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c/i2ctest"

	"github.com/telltale-iot/telltale/drivers"
)

func noSleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }

func TestNew(t *testing.T) {
	bus := &i2ctest.Playback{}
	for _, tt := range []struct {
		address   uint16
		addresses []uint16
		want      string // the device, or the error
	}{
		{0, []uint16{0x44, 0x45}, "chip at 0x44"},
		{0x45, []uint16{0x44, 0x45}, "chip at 0x45"},
		{0x39, []uint16{0x38}, "address 0x39: want 0x38"},
		{0x46, []uint16{0x44, 0x45}, "address 0x46: want 0x44 or 0x45"},
		{0x47, []uint16{0x44, 0x45, 0x46}, "address 0x47: want 0x44, 0x45 or 0x46"},
		{0x43, []uint16{0x44, 0x45, 0x46, 0x47}, "address 0x43: want 0x44 to 0x47"},
	} {
		d, err := New("chip", bus, tt.address, nil, tt.addresses...)
		got := d.String()
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%#x of %#x: got %q: want %q", tt.address, tt.addresses, got, tt.want)
		}
	}
	if _, err := New("chip", nil, 0, nil, 0x44); err == nil || err.Error() != "no bus" {
		t.Errorf("no bus: error %v", err)
	}
}

// A reading is what its name says, call by call.
func TestSense(t *testing.T) {
	errBus := errors.New("bus")
	for _, tt := range []struct {
		name   string
		trust  bool
		errs   map[string][]error // what configure and measure give in turn, and then nil
		calls  []string           // of three readings
		want   []error
		resets uint64
	}{
		{name: "configured once", calls: []string{"configure", "measure", "measure", "measure"}, want: []error{nil, nil, nil}},
		{
			name: "not configured", errs: map[string][]error{"configure": {errBus}},
			calls: []string{"configure", "configure", "measure", "measure"}, want: []error{errBus, nil, nil},
		},
		{
			name: "not measured", errs: map[string][]error{"measure": {nil, errBus}},
			calls: []string{"configure", "measure", "measure", "configure", "measure"}, want: []error{nil, errBus, nil},
		},
		{
			name: "not measured and trusted", trust: true, errs: map[string][]error{"measure": {errBus}},
			calls: []string{"configure", "measure", "measure", "measure"}, want: []error{errBus, nil, nil},
		},
		{
			name: "reset", errs: map[string][]error{"measure": {nil, drivers.ErrReset}},
			calls: []string{"configure", "measure", "measure", "configure", "measure", "measure"}, want: []error{nil, nil, nil}, resets: 1,
		},
		{
			name: "reset twice", errs: map[string][]error{"measure": {drivers.ErrReset, drivers.ErrReset}},
			calls: []string{"configure", "measure", "configure", "measure", "configure", "measure", "measure"},
			want:  []error{drivers.ErrReset, nil, nil}, resets: 2,
		},
		{
			name: "reset, then not configured", errs: map[string][]error{"measure": {drivers.ErrReset}, "configure": {nil, errBus}},
			calls: []string{"configure", "measure", "configure", "configure", "measure", "measure"},
			want:  []error{errBus, nil, nil}, resets: 1,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := New("chip", &i2ctest.Playback{}, 0, noSleep, 0x44)
			if err != nil {
				t.Fatal(err)
			}
			var calls []string
			call := func(name string) (err error) {
				calls = append(calls, name)
				if errs := tt.errs[name]; len(errs) > 0 {
					err, tt.errs[name] = errs[0], errs[1:]
				}
				return err
			}
			for _, want := range tt.want {
				err := d.Sense(t.Context(), new(drivers.Measurement),
					func(context.Context) error { return call("configure") },
					func(context.Context, *drivers.Measurement) error {
						if tt.trust {
							d.Trust()
						}
						return call("measure")
					})
				if !errors.Is(err, want) || err != nil && err.Error() != "chip at 0x44: "+want.Error() {
					t.Errorf("error %v: want %v", err, want)
				}
			}
			if !slices.Equal(calls, tt.calls) || d.Resets() != tt.resets {
				t.Errorf("called %v with %d resets: want %v, %d", calls, d.Resets(), tt.calls, tt.resets)
			}
		})
	}
}

// A context that has ended is noticed before the first transaction.
func TestSenseCancelled(t *testing.T) {
	d := At(&i2ctest.Playback{DontPanic: true}, 0x44)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := d.Sense(ctx, new(drivers.Measurement), NoConfiguration, func(context.Context, *drivers.Measurement) error {
		return errors.New("measured")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v: want %v", err, context.Canceled)
	}
}

func TestPoll(t *testing.T) {
	errBus, errSleep := errors.New("bus"), errors.New("sleep")
	for _, tt := range []struct {
		name  string
		ready int // how often done is called until it returns true
		err   error
		sleep error
		want  error
		waits time.Duration
	}{
		{name: "at once", ready: 1, waits: 10},
		{name: "in time", ready: 3, waits: 12},
		{name: "too late", ready: 4, want: drivers.ErrNotReady, waits: 12},
		{name: "failed", ready: 2, err: errBus, want: errBus, waits: 10},
		{name: "cancelled", ready: 1, sleep: errSleep, want: errSleep, waits: 10},
	} {
		var waits time.Duration
		sleep := func(_ context.Context, wait time.Duration) error {
			waits += wait
			return tt.sleep
		}
		d, err := New("chip", &i2ctest.Playback{}, 0, sleep, 0x44)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = d.Poll(t.Context(), "waiting", 10, 1, 3, func() (bool, error) {
			n++
			return n == tt.ready, tt.err
		})
		if !errors.Is(err, tt.want) || waits != tt.waits {
			t.Errorf("%s: error %v after %d: want %v after %d", tt.name, err, waits, tt.want, tt.waits)
		}
	}
}
