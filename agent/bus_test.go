package agent

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/sample"
	"github.com/telltale-iot/telltale/drivers"
)

// fakeBus fails as told.
type fakeBus struct {
	err    error
	closed int
}

func (b *fakeBus) String() string                  { return "fake" }
func (b *fakeBus) Tx(uint16, []byte, []byte) error { return b.err }
func (b *fakeBus) SetSpeed(physic.Frequency) error { return b.err }
func (b *fakeBus) Close() error                    { b.closed++; return nil }

func TestBusIsOpenedAgainWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var attempts []time.Duration
		current := &fakeBus{}
		errAbsent := errors.New("absent")
		failures := 4
		b := newBus("1", func(name string) (i2c.BusCloser, error) {
			if name != "1" {
				t.Errorf("opens %q", name)
			}
			attempts = append(attempts, time.Since(start))
			if failures--; failures >= 0 {
				return nil, errAbsent
			}
			return current, nil
		})
		for b.Tx(0x76, nil, nil) != nil { // at 1 Hz, as a sensor would
			err := b.Tx(0x76, nil, nil)
			if !errors.Is(err, errAbsent) || sample.Reason(err) != sample.Bus {
				t.Fatalf("%v is %q, want %v as %q", err, sample.Reason(err), errAbsent, sample.Bus)
			}
			<-time.After(time.Second)
		}
		if len(attempts) != 5 {
			t.Fatalf("%d attempts, want 5", len(attempts))
		}
		for i, least := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second} {
			if pause := attempts[i+1] - attempts[i]; pause < least || pause > 3*least+time.Second {
				t.Errorf("pause %d was %v, want %v to %v", i, pause, least, 3*least+time.Second)
			}
		}

		current.err = fmt.Errorf("ioctl: %w", syscall.ENXIO)
		if err := b.Tx(0x76, nil, nil); sample.Reason(err) != sample.NACK || current.closed != 0 {
			t.Errorf("a chip that is away is %v, closed %d; want nack, and the bus open", err, current.closed)
		}
		current.err = fmt.Errorf("ioctl: %w", syscall.ENODEV)
		gone := current
		if err := b.Tx(0x76, nil, nil); !errors.Is(err, syscall.ENODEV) {
			t.Errorf("a bus that is away: %v", err)
		}
		current = &fakeBus{}
		if err := b.Tx(0x76, nil, nil); err != nil || gone.closed != 1 {
			t.Errorf("after the bus went away: %v, closed %d; want it closed and another opened", err, gone.closed)
		}

		if err := b.Close(); err != nil || current.closed != 1 {
			t.Errorf("Close: %v, closed %d", err, current.closed)
		}
		if err := b.Tx(0x76, nil, nil); !errors.Is(err, errBusClosed) {
			t.Errorf("after Close: %v, want %v", err, errBusClosed)
		}
	})
}

func TestFaultOfDriverErrors(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{drivers.ErrSaturated, sample.Saturated},
		{&drivers.RangeError{Quantity: "temperature", Value: physic.ZeroCelsius, Min: physic.ZeroCelsius, Max: physic.ZeroCelsius}, sample.OutOfRange},
		{fmt.Errorf("bme280: %w", drivers.ErrNotReady), sample.NotReady},
		{fmt.Errorf("bme280: %w", drivers.ErrWrongChip), sample.WrongChip},
		{fmt.Errorf("bme280: %w", drivers.ErrBadCalibration), sample.Calibration},
		{fmt.Errorf("bme280: %w", drivers.ErrReset), sample.Reset},
		{fmt.Errorf("sht4x: %w", drivers.ErrCRC), sample.CRC},
		{fmt.Errorf("bme280: %w", syscall.ENXIO), sample.NACK},
		{fmt.Errorf("bme280: %w", &sample.FaultError{Reason: sample.Bus, Err: errBusClosed}), sample.Bus},
	}
	for _, tt := range tests {
		err := fault(tt.err)
		if got := sample.Reason(err); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%v has the reason %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestSensorsShareABus(t *testing.T) {
	c := DefaultConfig()
	c.Device = "dev"
	c.MQTT.URL = "tcp://broker:1883"
	for i, driver := range []string{"bme280", "bmp280", "bh1750"} {
		c.Sensors = append(c.Sensors, sensorOf(fmt.Sprintf("dev.%d", i), driver, [...]uint16{0x76, 0x77, 0x23}[i]))
	}
	a, err := New(Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.buses) != 1 {
		t.Errorf("%d buses, want one", len(a.buses))
	}
	var names []string
	for i := range c.Sensors {
		s, err := a.sensor(&c.Sensors[i])
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, s.Sources[0].Name)
	}
	if len(a.buses) != 1 {
		t.Errorf("%d buses, want the same one again", len(a.buses))
	}
	if diff := cmp.Diff([]string{"bme280@1:0x76", "bmp280@1:0x77", "bh1750@1:0x23"}, names); diff != "" {
		t.Errorf("chips (-want +got):\n%s", diff)
	}

	c.Sensors = append(c.Sensors, sensorOf("dev.4", "abacus", 0x10))
	if _, err := New(Options{Config: c}); !errors.Is(err, errDriver) {
		t.Errorf("New with an unknown driver: %v, want %v", err, errDriver)
	}
}

func sensorOf(id, driver string, address uint16) config.Sensor {
	return config.Sensor{ID: id, Interval: time.Second, Chips: []config.Chip{{Driver: driver, Bus: "1", Address: address}}}
}
