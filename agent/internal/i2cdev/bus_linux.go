package i2cdev

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/physic"
)

// From the kernel's include/uapi/linux/i2c-dev.h and i2c.h.
const (
	rdwr    = 0x0707 // I2C_RDWR
	flagRD  = 0x0001 // I2C_M_RD
	maxData = 8192   // of a message: i2cdev_ioctl_rdwr of drivers/i2c/i2c-dev.c
)

// message is struct i2c_msg.
type message struct {
	addr, flags, length uint16
	data                *byte
}

// transfer is struct i2c_rdwr_ioctl_data.
type transfer struct {
	messages *message
	count    uint32
}

// Bus is an open bus. It is safe for concurrent use, as the kernel lets one
// transaction at a time onto an adapter. It implements periph's i2c.BusCloser.
type Bus struct {
	file *os.File
	do   func(fd uintptr, t *transfer) (int, unix.Errno)
}

// Open opens the device file at path. The error is an [os.PathError].
func Open(path string) (*Bus, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &Bus{file, ioctl}, nil
}

func ioctl(fd uintptr, t *transfer) (int, unix.Errno) {
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, rdwr, uintptr(unsafe.Pointer(t)))
	return int(n), errno
}

// String returns the device file's name.
func (b *Bus) String() string { return b.file.Name() }

// Close closes the device file. Transactions that are under way end first.
func (b *Bus) Close() error { return b.file.Close() }

var errSpeed = errors.New("the speed of a bus is the kernel's to set: i2c_arm_baudrate in config.txt of a Raspberry Pi")

// SetSpeed fails: a device file cannot do it.
func (b *Bus) SetSpeed(physic.Frequency) error { return errSpeed }

// Tx writes w to the chip at a 7-bit address and then, after a repeated start,
// reads r, as far as they are not empty. The error wraps the errno; after it r
// has no meaning.
func (b *Bus) Tx(addr uint16, w, r []byte) error {
	if addr > 0x7f || len(w) > maxData || len(r) > maxData {
		return fmt.Errorf("%v: %d bytes to and %d from %#x: want at most %d, and 7 bits", b, len(w), len(r), addr, maxData)
	}
	messages := make([]message, 0, 2)
	if len(w) > 0 {
		messages = append(messages, message{addr, 0, uint16(len(w)), &w[0]})
	}
	if len(r) > 0 {
		messages = append(messages, message{addr, flagRD, uint16(len(r)), &r[0]})
	}
	if len(messages) == 0 {
		return nil
	}
	conn, err := b.file.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var errno unix.Errno
	if err := conn.Control(func(fd uintptr) {
		n, errno = b.do(fd, &transfer{&messages[0], uint32(len(messages))})
	}); err != nil {
		return fmt.Errorf("%v: %w", b, os.ErrClosed) // there is no other reason
	}
	switch {
	case errno != 0:
		return os.NewSyscallError("ioctl", errno)
	case n != len(messages):
		return fmt.Errorf("ioctl: %d of %d messages were transferred: %w", n, len(messages), unix.EIO)
	}
	return nil
}
