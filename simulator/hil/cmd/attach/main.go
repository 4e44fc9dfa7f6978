// Attach plugs a USB device that another machine offers over USB/IP into this
// one, as usbip attach does, which is not at hand in a virtual machine. The
// kernel has the connection from then on.
//
//	attach HOST:PORT BUSID
//
// Sources: the kernel's Documentation/usb/usbip_protocol.rst, and
// Documentation/ABI/testing/sysfs-platform-usbip-vudc's counterpart in
// tools/usb/usbip/libsrc/vhci_driver.c for the file attach.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "attach:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("want HOST:PORT BUSID")
	}
	conn, err := net.Dial("tcp", args[0]) //nolint:noctx // the machine has a deadline
	if err != nil {
		return err
	}
	defer conn.Close()
	device, speed, err := request(conn, args[1])
	if err != nil {
		return err
	}
	socket, err := conn.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	defer socket.Close()
	// The virtual port, the connection, the device's id and its speed.
	line := fmt.Sprintf("0 %d %d %d", socket.Fd(), device, speed)
	return os.WriteFile("/sys/devices/platform/vhci_hcd.0/attach", []byte(line), 0)
}

// request asks for a device and returns its id and speed.
func request(conn io.ReadWriter, busID string) (device, speed uint32, err error) {
	request := []byte{0x01, 0x11, 0x80, 0x03, 39: 0}
	copy(request[8:], busID)
	if _, err := conn.Write(request); err != nil {
		return 0, 0, err
	}
	var answer [320]byte
	if _, err := io.ReadFull(conn, answer[:8]); err != nil {
		return 0, 0, err
	}
	if status := binary.BigEndian.Uint32(answer[4:]); status != 0 {
		return 0, 0, fmt.Errorf("device %s: status %d", busID, status)
	}
	if _, err := io.ReadFull(conn, answer[8:]); err != nil {
		return 0, 0, err
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(answer[i:]) }
	return word(8+288)<<16 | word(8+292), word(8 + 296), nil
}
