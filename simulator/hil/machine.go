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

// A Raspberry Pi's network is on USB, too.
var (
	boardNetwork = []string{"-device", "usb-net,netdev=net"}
	boardModules = []string{"phy_generic", "dwc2", "cdc_ether"}
)

var (
	virtNetwork = []string{"-device", "virtio-net-pci,netdev=net,romfile="}
	virtModules = []string{"virtio_pci", "virtio_net"}
)

func (m Machine) spec() (spec, error) {
	specs := map[Machine]spec{
		ARM64: {
			qemu:    "qemu-system-aarch64",
			args:    []string{"-M", "virt", "-cpu", "cortex-a53", "-m", "256", "-device", "qemu-xhci"},
			kernel:  "arm64",
			append:  "console=ttyAMA0",
			env:     map[string]string{"GOARCH": "arm64"},
			network: virtNetwork, modules: virtModules, usb: []string{"xhci_pci"},
		},
		ARMv7: {
			qemu:    "qemu-system-arm",
			args:    []string{"-M", "virt,highmem=off", "-cpu", "cortex-a15", "-m", "256", "-device", "qemu-xhci"},
			kernel:  "armmp",
			append:  "console=ttyAMA0",
			env:     map[string]string{"GOARCH": "arm", "GOARM": "7"},
			network: virtNetwork, modules: virtModules, usb: []string{"xhci_pci"},
		},
		RaspberryPi3: {
			qemu:   "qemu-system-aarch64",
			args:   []string{"-M", "raspi3b", "-serial", "null"},
			kernel: "arm64",
			dtb:    "usr/lib/linux-image-*/broadcom/bcm2837-rpi-3-b.dtb",
			// The driver hangs where there is no such device.
			append:  "console=ttyS1 initcall_blacklist=bcm2835_power_driver_init",
			env:     map[string]string{"GOARCH": "arm64"},
			network: boardNetwork, modules: boardModules,
		},
		RaspberryPi0: {
			qemu:    "qemu-system-arm",
			args:    []string{"-M", "raspi0", "-icount", "shift=4", "-serial", "null"},
			kernel:  "rpi",
			dtb:     "usr/lib/linux-image-*/bcm2835-rpi-zero-w.dtb",
			append:  "console=ttyS1 initcall_blacklist=bcm2835_power_driver_init",
			env:     map[string]string{"GOARCH": "arm", "GOARM": "6"},
			network: boardNetwork, modules: boardModules,
		},
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
