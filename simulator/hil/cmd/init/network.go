//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// address is the guest's in QEMU's user network, in which 10.0.2.2 is the host.
var (
	address = [4]byte{10, 0, 2, 15}
	netmask = [4]byte{255, 255, 255, 0}
)

// startNetwork brings the loopback up, and the first other interface as soon as
// its driver has made it.
func startNetwork() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }()
	if err := up(socket, "lo"); err != nil {
		return err
	}
	name, err := firstInterface(30 * time.Second)
	if err != nil {
		return err
	}
	if err := setAddress(socket, name, unix.SIOCSIFADDR, address); err != nil {
		return err
	}
	if err := setAddress(socket, name, unix.SIOCSIFNETMASK, netmask); err != nil {
		return err
	}
	return up(socket, name)
}

// firstInterface waits for an interface that has a device.
func firstInterface(limit time.Duration) (string, error) {
	deadline := time.After(limit)
	for {
		devices, err := filepath.Glob("/sys/class/net/*/device")
		if err != nil {
			return "", err
		}
		if len(devices) > 0 {
			return filepath.Base(filepath.Dir(devices[0])), nil
		}
		select {
		case <-deadline:
			return "", fmt.Errorf("no network interface after %s", limit)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// request is struct ifreq of linux/if.h with an address in it, or with flags.
type request struct {
	name [unix.IFNAMSIZ]byte
	data [24]byte
}

func (r *request) ioctl(socket int, op uintptr, name string) error {
	copy(r.name[:], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), op, uintptr(unsafe.Pointer(r))); errno != 0 {
		return fmt.Errorf("interface %s: %w", name, os.NewSyscallError("ioctl", errno))
	}
	return nil
}

func setAddress(socket int, name string, op uintptr, ip [4]byte) error {
	var r request
	*(*uint16)(unsafe.Pointer(&r.data)) = unix.AF_INET
	copy(r.data[4:], net.IP(ip[:]))
	return r.ioctl(socket, op, name)
}

func up(socket int, name string) error {
	var r request
	*(*uint16)(unsafe.Pointer(&r.data)) = unix.IFF_UP | unix.IFF_RUNNING
	return r.ioctl(socket, unix.SIOCSIFFLAGS, name)
}
