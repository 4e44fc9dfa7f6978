package iio

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"github.com/telltale-iot/telltale/drivers"
)

// The directories of sysfs that have a directory for each device.
const (
	iioDevices = "bus/iio/devices"
	hwmonClass = "class/hwmon"
	i2cDevices = "bus/i2c/devices"
)

// find returns the directory of a device. The error is ENODEV if there is none, or a
// drivers.ErrWrongChip if it is not clear which is meant.
func find(root fs.FS, device string) (string, error) {
	dirs, named := candidates(device)
	for _, pattern := range dirs {
		found, err := matching(root, pattern, device, named)
		switch {
		case err != nil:
			return "", err
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return "", fmt.Errorf("%w: %s are all of that name", drivers.ErrWrongChip, strings.Join(found, ", "))
		}
	}
	return "", fmt.Errorf("no such device: %w", syscall.ENODEV)
}

// candidates returns patterns of where a device can be, the first ones first, and
// whether the file "name" in one decides.
func candidates(device string) (patterns []string, named bool) {
	is := func(pattern string) bool {
		ok, _ := path.Match(pattern, device)
		return ok
	}
	switch {
	case is("iio:device[0-9]*"):
		return []string{path.Join(iioDevices, device)}, false
	case is("hwmon[0-9]*"):
		return []string{path.Join(hwmonClass, device)}, false
	case is("[0-9]*-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]"):
		return []string{
			path.Join(i2cDevices, device, "iio:device*"),
			path.Join(i2cDevices, device, "hwmon/hwmon*"),
		}, false
	default:
		return []string{path.Join(iioDevices, "iio:device*"), path.Join(hwmonClass, "hwmon*")}, true
	}
}

// matching returns the directories that match a pattern and, if named, have the
// device's name.
func matching(root fs.FS, pattern, device string, named bool) ([]string, error) {
	dirs, err := fs.Glob(root, pattern)
	if err != nil || !named {
		return dirs, err
	}
	var found []string
	for _, dir := range dirs {
		// One that is just going away is none.
		if name, err := fs.ReadFile(root, path.Join(dir, "name")); err == nil && strings.TrimSpace(string(name)) == device {
			found = append(found, dir)
		}
	}
	return found, nil
}
