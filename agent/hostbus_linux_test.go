package agent

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/agent/internal/detect"
)

func TestBusNumber(t *testing.T) {
	devices := fstest.MapFS{
		"i2c-1/name":  {Data: []byte("bcm2835 (i2c@7e804000)\n")},
		"i2c-22/name": {Data: []byte("i2c-tiny-usb at bus 001 device 004\n")},
		"1-0076/name": {Data: []byte("bme280\n")},
		"i2c-x/name":  {Data: []byte("odd\n")},
		"i2c-3/name":  {Data: []byte("i915 gmbus dpb\n")},
		"i2c-4/name":  {Data: []byte("i915 gmbus dpc\n")},
		"i2c-5/name":  {Data: []byte("twin\n")},
		"i2c-6/name":  {Data: []byte("twin\n")},
		"i2c-7/name":  {Data: []byte("twin*\n")},
	}
	tests := []struct {
		name string
		want int // -1: an error
	}{
		{"1", 1},
		{"0", 0},
		{"/dev/i2c-22", 22},
		{"bcm2835 (i2c@7e804000)", 1},
		{"i2c-tiny-usb at bus 001 device 004", 22},
		{"i2c-tiny-usb*", 22},
		{"i2c-tiny-usb at bus 001 device ???", 22},
		{"i915 gmbus dp[c-z]", 4},
		{"i915*", -1}, // two adapters
		{"twin", -1},  // two of the same name
		{"twin*", 7},  // the adapter of that very name
		{"i915 gmbus dp[", -1},
		{"bme280", -1}, // a chip's name, not an adapter's
		{"odd", -1},
		{"bcm2835", -1},
		{"", -1},
		{"-1", -1},
		{"/dev/i2c-", -1},
		{"99999", -1},
	}
	for _, tt := range tests {
		got, err := busNumber(devices, tt.name)
		if err != nil {
			got = -1
		}
		if got != tt.want {
			t.Errorf("busNumber(%q) = %d, %v; want %d", tt.name, got, err, tt.want)
		}
	}
}

func TestOpenHostBusThatIsNot(t *testing.T) {
	for _, name := range []string{"65000", "no adapter has this name"} {
		if _, err := openHostBus(name); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("openHostBus(%q): %v, want an error that names it", name, err)
		}
	}
}

// TestBusNumberAfterReplugging has the adapter come back as another device, under
// another number.
func TestBusNumberAfterReplugging(t *testing.T) {
	devices := fstest.MapFS{"i2c-1/name": {Data: []byte("bcm2835 (i2c@7e804000)\n")}}
	for _, tt := range []struct {
		file, name string
		want       int
	}{
		{"i2c-2/name", "i2c-tiny-usb at bus 001 device 004\n", 2},
		{"", "", -1},
		{"i2c-5/name", "i2c-tiny-usb at bus 001 device 005\n", 5},
	} {
		if tt.file != "" {
			devices[tt.file] = &fstest.MapFile{Data: []byte(tt.name)}
		}
		got, err := busNumber(devices, "i2c-tiny-usb*")
		if (err == nil) != (tt.want >= 0) || err == nil && got != tt.want || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("with %q: %d, %v; want %d", tt.name, got, err, tt.want)
		}
		delete(devices, tt.file)
	}
}

func TestListAdapters(t *testing.T) {
	got, err := listAdapters(fstest.MapFS{
		"i2c-20/name":          {Data: []byte("fef04500.i2c\n")},
		"i2c-1/name":           {Data: []byte("bcm2835 (i2c@7e804000)\n")},
		"1-0068/name":          {Data: []byte("ds3231\n")},
		"1-0068/driver/bind":   {},
		"1-0076/name":          {Data: []byte("bme280\n")}, // declared, and no driver has it
		"1-0050/driver/bind":   {},
		"20-0050/name":         {Data: []byte("24c02\n")},
		"20-0050/driver/bind":  {},
		"1-x/driver/bind":      {},
		"i2c-x/name":           {Data: []byte("odd\n")},
		"i2c-ELAN:00/name":     {Data: []byte("a device, not an adapter\n")},
		"i2c-3/without-a-name": {},
	})
	want := []detect.Adapter{
		{Name: "1", Label: "bcm2835 (i2c@7e804000)", Taken: map[uint16]string{0x68: "ds3231", 0x50: "a device without a name"}},
		{Name: "20", Label: "fef04500.i2c", Taken: map[uint16]string{0x50: "24c02"}},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	if got, err := listAdapters(fstest.MapFS{}); len(got) > 0 || err != nil {
		t.Errorf("a host without I2C: %v, %v", got, err)
	}
}
