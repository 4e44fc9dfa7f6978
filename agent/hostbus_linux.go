package agent

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/host/v3/sysfs"
)

// openHostBus opens a bus of the host by its number, its device file or its
// adapter's name.
func openHostBus(name string) (i2c.BusCloser, error) {
	number, err := busNumber(os.DirFS("/sys/bus/i2c/devices"), name)
	if err != nil {
		return nil, err
	}
	b, err := sysfs.NewI2C(number)
	if err != nil {
		return nil, err
	}
	return &hostBus{b}, nil
}

// busNumber finds the number of the bus: "1", "/dev/i2c-1" or an adapter's name
// such as "bcm2835 (i2c@7e804000)", which stays the same where numbers depend on
// the order of discovery. devices is /sys/bus/i2c/devices; see
// Documentation/ABI/testing/sysfs-bus-i2c-devices* of the kernel.
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
	return 0, fmt.Errorf("no I2C adapter %q", name)
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
