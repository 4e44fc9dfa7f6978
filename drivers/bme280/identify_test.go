package bme280

import (
	"errors"
	"testing"

	"periph.io/x/conn/v3/i2c/i2ctest"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/bustest"
)

func TestIdentify(t *testing.T) {
	for _, tt := range []struct {
		id   byte
		want Model
		err  string
	}{
		{0x60, BME280, ""},
		{0x58, BMP280, ""},
		{0x57, BMP280, ""},
		{0x56, BMP280, ""},
		{0x61, 0, "wrong chip: id 0x61"}, // a BME680
		{0x00, 0, "wrong chip: id 0x00"},
		{0xD0, 0, "wrong chip: id 0xd0"}, // a multiplexer repeats what it was told
	} {
		bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{{Addr: 0x77, W: []byte{0xD0}, R: []byte{tt.id}}}}
		got, err := Identify(bus, 0x77)
		if tt.err == "" && (err != nil || got != tt.want) {
			t.Errorf("id %#02x: got %v, %v: want %v", tt.id, got, err, tt.want)
		}
		if tt.err != "" && (!errors.Is(err, drivers.ErrWrongChip) || err.Error() != tt.err) {
			t.Errorf("id %#02x: got %v: want %q", tt.id, err, tt.err)
		}
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	}
	errBus := errors.New("no bus")
	if _, err := Identify(&bustest.Failing{Err: errBus}, 0x76); !errors.Is(err, errBus) {
		t.Errorf("got %v: want %v", err, errBus)
	}
}
