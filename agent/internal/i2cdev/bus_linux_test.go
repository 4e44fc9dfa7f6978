package i2cdev

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

var _ i2c.BusCloser = (*Bus)(nil)

// adapter stands in for the kernel: it notes the messages, answers reads with
// 1, 2, 3 and so on, and fails as told.
type adapter struct {
	t     *testing.T
	got   []string
	errno unix.Errno
	short int // messages that are not transferred, without an error
}

func (a *adapter) do(_ uintptr, t *transfer) (int, unix.Errno) {
	a.got = nil
	for _, m := range unsafe.Slice(t.messages, t.count) {
		data := unsafe.Slice(m.data, m.length)
		if m.flags == flagRD {
			for i := range data {
				data[i] = byte(i + 1)
			}
			a.got = append(a.got, "read "+hex(m.addr)+" "+hex(m.length))
		} else {
			a.got = append(a.got, "write "+hex(m.addr)+" "+string(data))
		}
		if m.flags&^flagRD != 0 {
			a.t.Errorf("flags %#x", m.flags)
		}
	}
	return int(t.count) - a.short, a.errno
}

func hex(n uint16) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[n>>12], digits[n>>8&15], digits[n>>4&15], digits[n&15]})
}

// open returns a bus of the adapter, on a file that is no bus.
func open(t *testing.T, a *adapter) *Bus {
	t.Helper()
	b, err := Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	b.do = a.do
	return b
}

func TestTx(t *testing.T) {
	tests := []struct {
		name string
		w    string
		r    int
		want []string
	}{
		{"write then read, in one transaction", "\xd0", 3, []string{"write 0076 \xd0", "read 0076 0003"}},
		{"write", "\xf4\x25", 0, []string{"write 0076 \xf4\x25"}},
		{"read", "", 2, []string{"read 0076 0002"}},
		{"nothing", "", 0, nil},
		{"the greatest read", "", 8192, []string{"read 0076 2000"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &adapter{t: t}
			r := make([]byte, tt.r)
			if err := open(t, a).Tx(0x76, []byte(tt.w), r); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(a.got, tt.want) {
				t.Errorf("messages %q, want %q", a.got, tt.want)
			}
			for i, b := range r {
				if b != byte(i+1) {
					t.Fatalf("byte %d read is %d, want %d", i, b, byte(i+1))
				}
			}
		})
	}
}

func TestTxErrors(t *testing.T) {
	a := &adapter{t: t}
	b := open(t, a)
	for _, errno := range []unix.Errno{
		unix.ENXIO, unix.EREMOTEIO, unix.ETIMEDOUT, unix.EIO, unix.EAGAIN, unix.ENODEV, unix.ESHUTDOWN, unix.EOPNOTSUPP,
	} {
		a.errno = errno
		err := b.Tx(0x76, []byte{0xd0}, make([]byte, 1))
		if !errors.Is(err, errno) || !strings.HasPrefix(err.Error(), "ioctl: ") {
			t.Errorf("%v, want it to wrap %v and to say what failed", err, errno)
		}
	}
	a.errno, a.short = 0, 1
	if err := b.Tx(0x76, []byte{0xd0}, make([]byte, 1)); !errors.Is(err, unix.EIO) {
		t.Errorf("one message of two: %v, want %v", err, unix.EIO)
	}
}

func TestTxRefuses(t *testing.T) {
	tests := []struct {
		name string
		addr uint16
		w, r int
	}{
		{"an address of ten bits", 0x80, 1, 1},
		{"a long write", 0x76, 8193, 1},
		{"a long read", 0x76, 1, 8193},
		{"a read whose length has more than 16 bits", 0x76, 0, 1<<16 + 1},
	}
	for _, tt := range tests {
		a := &adapter{t: t}
		if err := open(t, a).Tx(tt.addr, make([]byte, tt.w), make([]byte, tt.r)); err == nil || a.got != nil {
			t.Errorf("%s: %v, messages %q; want an error and none", tt.name, err, a.got)
		}
	}
}

// TestKernel makes the real ioctl, of a file that does not have it.
func TestKernel(t *testing.T) {
	b, err := Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Tx(0x76, []byte{0xd0}, make([]byte, 1)); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("on %v: %v, want %v", b, err, unix.ENOTTY)
	}
	if err := b.SetSpeed(100 * physic.KiloHertz); !errors.Is(err, errSpeed) {
		t.Errorf("SetSpeed: %v, want %v", err, errSpeed)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := b.Tx(0x76, []byte{0xd0}, make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v, want %v", err, os.ErrClosed)
	}
	absent := filepath.Join(t.TempDir(), "i2c-7")
	if _, err := Open(absent); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), absent) {
		t.Errorf("%v, want %v and the path", err, fs.ErrNotExist)
	}
}

// TestLayout holds the structures to the kernel's, which have no padding but
// what the machine's alignment asks for.
func TestLayout(t *testing.T) {
	const pointer = unsafe.Sizeof(uintptr(0))
	want := []uintptr{0, 2, 4, (6 + pointer - 1) / pointer * pointer, 0, pointer}
	got := []uintptr{
		unsafe.Offsetof(message{}.addr), unsafe.Offsetof(message{}.flags), unsafe.Offsetof(message{}.length),
		unsafe.Offsetof(message{}.data), unsafe.Offsetof(transfer{}.messages), unsafe.Offsetof(transfer{}.count),
	}
	if !slices.Equal(got, want) || unsafe.Sizeof(message{}) != want[3]+pointer || unsafe.Sizeof(transfer{}) != 2*pointer {
		t.Errorf("offsets %v, want %v; sizes %d and %d", got, want, unsafe.Sizeof(message{}), unsafe.Sizeof(transfer{}))
	}
}
