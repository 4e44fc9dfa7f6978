package bustest

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"

	"github.com/telltale-iot/telltale/drivers"
)

// CheckNew checks which options the New of a package takes, and that it refuses to
// go without a bus. Others are refused with a drivers.ErrOptions.
func CheckNew[D, O any](t *testing.T, pkg string, open func(i2c.Bus, O) (D, error), good []O, bad map[string]O) {
	t.Helper()
	bus := &i2ctest.Playback{}
	for _, options := range good {
		if _, err := open(bus, options); err != nil {
			t.Errorf("%+v: error %v", options, err)
		}
	}
	refused := func(name string, bus i2c.Bus, options O) {
		_, err := open(bus, options)
		if !errors.Is(err, drivers.ErrOptions) || !strings.HasPrefix(err.Error(), pkg+": ") {
			t.Errorf("%s: error %v: want %v of %s", name, err, drivers.ErrOptions, pkg)
		}
	}
	for name, options := range bad {
		refused(name, bus, options)
	}
	var defaults O
	refused("no bus", nil, defaults)
}

// CheckIdentify checks what an Identify makes of answers, each a string of bytes: an
// error, or none if that is "". It may make the one transaction that ask is the
// beginning of. An error of the bus must be wrapped.
func CheckIdentify(t *testing.T, identify func(i2c.Bus, uint16) error, ask i2ctest.IO, answers map[string]string) {
	t.Helper()
	for answer, want := range answers {
		ask.R = []byte(answer)
		err := identify(Play(t, []i2ctest.IO{ask}), ask.Addr)
		if want == "" && err != nil || want != "" && (!errors.Is(err, drivers.ErrWrongChip) || err.Error() != want) {
			t.Errorf("answer % x: got %v: want %q", answer, err, want)
		}
	}
	if err := identify(&Failing{Err: syscall.EIO}, ask.Addr); !errors.Is(err, syscall.EIO) || errors.Is(err, drivers.ErrWrongChip) {
		t.Errorf("got %v: want %v", err, syscall.EIO)
	}
}
