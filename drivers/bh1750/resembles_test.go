package bh1750

import (
	"errors"
	"testing"

	"periph.io/x/conn/v3/i2c/i2ctest"

	"github.com/telltale-iot/telltale/drivers/internal/bustest"
)

func TestResembles(t *testing.T) {
	for _, tt := range []struct {
		bytes []byte
		want  bool
	}{
		{[]byte{0x00, 0x00}, true}, // it has not measured yet, or it is dark
		{[]byte{0x83, 0x90}, true},
		{[]byte{0x00, 0x01}, true},
		{[]byte{0xFF, 0xFF}, false}, // an I/O expander after power on
		{[]byte{0x5A, 0x5A}, false},
	} {
		// The playback fails if anything is written.
		bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{{Addr: 0x5C, R: tt.bytes}}}
		if got, err := Resembles(bus, 0x5C); err != nil || got != tt.want {
			t.Errorf("% x: got %v, %v: want %v", tt.bytes, got, err, tt.want)
		}
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	}
	errBus := errors.New("no bus")
	if _, err := Resembles(&bustest.Failing{Err: errBus}, 0x23); !errors.Is(err, errBus) {
		t.Errorf("got %v: want %v", err, errBus)
	}
}
