package agent

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/host/v3/sysfs"

	"github.com/telltale-iot/telltale/agent/internal/detect"
)

// i2cDevices is where the kernel lists buses and what its drivers have on them;
// see Documentation/ABI/testing/sysfs-bus-i2c-devices* of the kernel.
const i2cDevices = "/sys/bus/i2c/devices"

// openHostBus opens a bus of the host by its number, its device file or its
// adapter's name. The error is fs.ErrNotExist or fs.ErrPermission if that is why.
func openHostBus(name string) (i2c.BusCloser, error) {
	number, err := busNumber(os.DirFS(i2cDevices), name)
	if err != nil {
		return nil, err
	}
	// periph formats the error of opening into its text.
	file, err := os.OpenFile(fmt.Sprintf("/dev/i2c-%d", number), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	_ = file.Close()
	b, err := sysfs.NewI2C(number)
	if err != nil {
		return nil, err
	}
	return &hostBus{b}, nil
}

// busNumber finds the number of the bus: "1", "/dev/i2c-1" or an adapter's name
// such as "bcm2835 (i2c@7e804000)", which stays the same where numbers depend on
// the order of discovery. devices is i2cDevices.
func busNumber(devices fs.FS, name string) (int, error) {
	if n, err := strconv.ParseUint(strings.TrimPrefix(name, "/dev/i2c-"), 10, 16); err == nil {
		return int(n), nil
	}
	files, err := fs.Glob(devices, "i2c-*/name")
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		adapter, err := fs.ReadFile(devices, file)
		if err != nil || strings.TrimSpace(string(adapter)) != name {
			continue // an adapter that has just gone away is not the one
		}
		n, err := strconv.ParseUint(strings.TrimPrefix(path.Dir(file), "i2c-"), 10, 16)
		if err == nil {
			return int(n), nil
		}
	}
	return 0, fmt.Errorf("I2C adapter %q: %w", name, fs.ErrNotExist)
}

// hostAdapters returns the buses of the host, in the order of their numbers.
func hostAdapters() ([]detect.Adapter, error) { return listAdapters(os.DirFS(i2cDevices)) }

// listAdapters reads them from devices, which is i2cDevices. None is no error.
func listAdapters(devices fs.FS) ([]detect.Adapter, error) {
	names, err := fs.Glob(devices, "i2c-*/name")
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, name := range names {
		if n, err := strconv.ParseUint(strings.TrimPrefix(path.Dir(name), "i2c-"), 10, 16); err == nil {
			numbers = append(numbers, int(n))
		}
	}
	slices.Sort(numbers)
	var adapters []detect.Adapter
	for _, n := range numbers {
		label, err := fs.ReadFile(devices, fmt.Sprintf("i2c-%d/name", n))
		if err != nil {
			continue // it has just gone away
		}
		taken, err := takenAddresses(devices, n)
		if err != nil {
			return nil, err
		}
		adapters = append(adapters, detect.Adapter{Name: strconv.Itoa(n), Label: strings.TrimSpace(string(label)), Taken: taken})
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

// hostBus gives the errors of periph's bus their errno back, which it formats
// into its text, so that a missing chip can be told from a stuck bus.
type hostBus struct{ *sysfs.I2C }

func (b *hostBus) Tx(addr uint16, w, r []byte) error { return withErrno(b.I2C.Tx(addr, w, r)) }

var busErrnos = []syscall.Errno{
	syscall.ENXIO, syscall.EREMOTEIO, syscall.ETIMEDOUT, syscall.EIO, syscall.EAGAIN, syscall.ENODEV,
}

func withErrno(err error) error {
	if err == nil {
		return nil
	}
	for _, errno := range busErrnos {
		if strings.HasSuffix(err.Error(), errno.Error()) {
			return &os.SyscallError{Syscall: "ioctl", Err: errno}
		}
	}
	return err
}
