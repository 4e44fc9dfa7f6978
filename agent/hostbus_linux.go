package agent

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent/internal/detect"
	"github.com/telltale-iot/telltale/agent/internal/i2cdev"
)

// i2cDevices is where the kernel lists buses and what its drivers have on them;
// see Documentation/ABI/testing/sysfs-bus-i2c-devices* of the kernel.
const i2cDevices = "/sys/bus/i2c/devices"

// openHostBus opens a bus of the host by its number, its device file, its
// adapter's name or a pattern of that. The error is fs.ErrNotExist or
// fs.ErrPermission if that is why.
func openHostBus(name string) (i2c.BusCloser, error) {
	number, err := busNumber(os.DirFS(i2cDevices), name)
	if err != nil {
		return nil, err
	}
	return i2cdev.Open(fmt.Sprintf("/dev/i2c-%d", number))
}

// busNumber finds the number of the bus: "1", "/dev/i2c-1" or an adapter's name
// such as "bcm2835 (i2c@7e804000)", which stays the same where numbers depend on
// the order of discovery. The name of an adapter on USB does not, as it has the
// number that the device got when it was plugged in; there a pattern of path.Match
// does it, "i2c-tiny-usb*", as long as one adapter alone has it. devices is
// i2cDevices.
func busNumber(devices fs.FS, name string) (int, error) {
	if n, err := strconv.ParseUint(strings.TrimPrefix(name, "/dev/i2c-"), 10, 16); err == nil {
		return int(n), nil
	}
	adapters, err := adapterNames(devices)
	if err != nil {
		return 0, err
	}
	var exact, like []int
	for n, adapter := range adapters {
		if adapter == name {
			exact = append(exact, n)
		} else if ok, err := path.Match(name, adapter); ok && err == nil {
			like = append(like, n)
		}
	}
	found := exact
	if len(found) == 0 {
		found = like
	}
	switch len(found) {
	case 0:
		return 0, fmt.Errorf("I2C adapter %q: %w", name, fs.ErrNotExist)
	case 1:
		return found[0], nil
	}
	slices.Sort(found)
	return 0, fmt.Errorf("I2C adapter %q: there are several, the buses %v; name one by its number", name, found)
}

// adapterNames returns the names of the host's adapters by their number. An
// adapter that has just gone away is not among them.
func adapterNames(devices fs.FS) (map[int]string, error) {
	files, err := fs.Glob(devices, "i2c-*/name")
	if err != nil {
		return nil, err
	}
	names := make(map[int]string, len(files))
	for _, file := range files {
		n, err := strconv.ParseUint(strings.TrimPrefix(path.Dir(file), "i2c-"), 10, 16)
		if err != nil {
			continue // a device that ACPI calls so
		}
		if name, err := fs.ReadFile(devices, file); err == nil {
			names[int(n)] = strings.TrimSpace(string(name))
		}
	}
	return names, nil
}

// hostAdapters returns the buses of the host, in the order of their numbers.
func hostAdapters() ([]detect.Adapter, error) { return listAdapters(os.DirFS(i2cDevices)) }

// listAdapters reads them from devices, which is i2cDevices. None is no error.
func listAdapters(devices fs.FS) ([]detect.Adapter, error) {
	names, err := adapterNames(devices)
	if err != nil {
		return nil, err
	}
	var adapters []detect.Adapter
	for _, n := range slices.Sorted(maps.Keys(names)) {
		taken, err := takenAddresses(devices, n)
		if err != nil {
			return nil, err
		}
		adapters = append(adapters, detect.Adapter{Name: strconv.Itoa(n), Label: names[n], Taken: taken})
	}
	return adapters, nil
}

// takenAddresses returns the addresses of bus n that drivers of the kernel have,
// such as 1-0068/driver, with the names of the devices.
func takenAddresses(devices fs.FS, n int) (map[uint16]string, error) {
	drivers, err := fs.Glob(devices, fmt.Sprintf("%d-*/driver", n))
	if err != nil {
		return nil, err
	}
	taken := make(map[uint16]string, len(drivers))
	for _, driver := range drivers {
		_, hex, _ := strings.Cut(path.Dir(driver), "-")
		address, err := strconv.ParseUint(hex, 16, 16)
		if err != nil {
			continue
		}
		name, err := fs.ReadFile(devices, path.Join(path.Dir(driver), "name"))
		if err != nil {
			name = []byte("a device without a name")
		}
		taken[uint16(address)] = strings.TrimSpace(string(name))
	}
	return taken, nil
}
