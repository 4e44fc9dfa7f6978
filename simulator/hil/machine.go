package hil

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Machine names a machine that QEMU emulates.
type Machine string

// The machines.
const (
	ARM64 Machine = "arm64" // QEMU's virt with a Cortex-A53
	ARMv7 Machine = "armv7" // QEMU's virt with a Cortex-A15

	// RaspberryPi3 is QEMU's raspi3b and RaspberryPi0 its raspi0, which is ARMv6.
	// They have neither disks nor a clock that keeps up with the host's, and boot
	// slowly. QEMU does not emulate their own I2C controllers.
	RaspberryPi3 Machine = "raspi3b"
	RaspberryPi0 Machine = "raspi0"
)

// spec is what it takes to boot a machine.
type spec struct {
	qemu    string
	args    []string
	kernel  string            // the flavour, as the script install names it
	dtb     string            // a pattern of the device tree's file, in the kernel's folder
	append  string            // to the kernel's command line
	env     map[string]string // of the Go compiler
	network []string          // arguments of QEMU for a card at the network named "net"
	modules []string          // for all this
	usb     []string          // modules of the USB controller
}

func (m Machine) spec() (spec, error) {
	specs := map[Machine]spec{
		ARM64: virt(spec{
			qemu: "qemu-system-aarch64",
			args: []string{"-M", "virt", "-cpu", "cortex-a53"},
			// Debian's flavour "cloud" has no I2C.
			kernel: "arm64",
			env:    map[string]string{"GOARCH": "arm64"},
		}),
		ARMv7: virt(spec{
			qemu:   "qemu-system-arm",
			args:   []string{"-M", "virt,highmem=off", "-cpu", "cortex-a15"},
			kernel: "armmp",
			env:    map[string]string{"GOARCH": "arm", "GOARM": "7"},
		}),
		RaspberryPi3: board(spec{
			qemu:   "qemu-system-aarch64",
			args:   []string{"-M", "raspi3b"},
			kernel: "arm64",
			dtb:    "usr/lib/linux-image-*/broadcom/bcm2837-rpi-3-b.dtb",
			env:    map[string]string{"GOARCH": "arm64"},
		}),
		RaspberryPi0: board(spec{
			qemu: "qemu-system-arm",
			// Without counted instructions it hangs in some runs.
			args:   []string{"-M", "raspi0", "-icount", "shift=4"},
			kernel: "rpi",
			dtb:    "usr/lib/linux-image-*/bcm2835-rpi-zero-w.dtb",
			// A driver for a device that QEMU does not have, which panics.
			append: " initcall_blacklist=bcm2835_power_driver_init",
			env:    map[string]string{"GOARCH": "arm", "GOARM": "6"},
		}),
	}
	s, ok := specs[m]
	if !ok {
		var names []string
		for _, name := range slices.Sorted(maps.Keys(specs)) {
			names = append(names, string(name))
		}
		return s, fmt.Errorf("machine %q: want one of %s", m, strings.Join(names, ", "))
	}
	return s, nil
}

// virt adds what QEMU's machines virt have in common.
func virt(s spec) spec {
	s.args = append(s.args, "-m", "256", "-serial", "stdio", "-device", "qemu-xhci")
	s.append = "console=ttyAMA0" + s.append
	s.network = []string{"-device", "virtio-net-pci,netdev=net,romfile="}
	s.modules = []string{"virtio_pci", "virtio_net"}
	s.usb = []string{"xhci_pci"}
	return s
}

// board adds what Raspberry Pis have in common: the console is the second serial
// port, and the network is on USB.
func board(s spec) spec {
	s.args = append(s.args, "-serial", "null", "-serial", "stdio")
	s.append = "console=ttyS1" + s.append
	s.network = []string{"-device", "usb-net,netdev=net"}
	s.modules = []string{"phy_generic", "dwc2", "cdc_ether"}
	return s
}
