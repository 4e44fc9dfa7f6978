package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
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
	closed *int // how many were
}

func (b *fakeBus) String() string                  { return "fake" }
func (b *fakeBus) Tx(uint16, []byte, []byte) error { return b.err }
func (b *fakeBus) SetSpeed(physic.Frequency) error { return b.err }
func (b *fakeBus) Close() error                    { *b.closed++; return nil }

// TestBusThatComesAndGoes has the adapter come back within two transactions, and
// every one closed.
func TestBusThatComesAndGoes(t *testing.T) {
	gone := fmt.Errorf("open: %w", syscall.ENXIO) // what a device file without its adapter says
	tests := []struct {
		name   string
		open   error // of opening
		tx     error // of the transaction
		reason string
	}{
		{"absent at first", gone, nil, sample.Bus},
		{"there", nil, nil, ""},
		{"without the chip", nil, syscall.ENXIO, sample.NACK},
		{"there again", nil, nil, ""},
		{"unplugged in the transaction", nil, syscall.EIO, sample.IO},
		{"unplugged before it", nil, syscall.ENODEV, sample.IO},
		{"unplugged, as an adapter says that is asked what it can do", nil, syscall.EOPNOTSUPP, sample.IO},
		{"unplugged", gone, nil, sample.Bus},
		{"plugged in", nil, nil, ""},
		{"with a line held low", nil, syscall.ETIMEDOUT, sample.Timeout},
	}
	var opened, closed int
	current := 0
	b := &bus{"1", func(name string) (i2c.BusCloser, error) {
		tt := tests[current]
		if name != "1" {
			t.Errorf("opens %q", name)
		}
		if tt.open != nil {
			return nil, tt.open
		}
		opened++
		return &fakeBus{tt.tx, &closed}, nil
	}}
	for i, tt := range tests {
		current = i
		err := b.Tx(0x76, nil, nil)
		want := tt.tx
		if tt.open != nil {
			want = tt.open
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", tt.name, err, want)
		}
		if err != nil && sample.Reason(err) != tt.reason {
			t.Errorf("%s: %v is %q, want %q", tt.name, err, sample.Reason(err), tt.reason)
		}
		if opened != closed {
			t.Errorf("%s: opened %d times, closed %d times", tt.name, opened, closed)
		}
	}
	if opened != 8 {
		t.Errorf("opened %d times, want 8", opened)
	}
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
		{fmt.Errorf("htu21d: %w", drivers.ErrLowSupply), sample.LowSupply},
		{fmt.Errorf("bme280: %w", syscall.ENXIO), sample.NACK},
		{fmt.Errorf("bme280: %w", &sample.FaultError{Reason: sample.Bus, Err: fs.ErrNotExist}), sample.Bus},
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
