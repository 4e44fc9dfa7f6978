package tinyusb_test

import (
	"bytes"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"github.com/telltale-iot/telltale/simulator/i2csim"
	"github.com/telltale-iot/telltale/simulator/tinyusb"
	"github.com/telltale-iot/telltale/simulator/usb"
)

// bus notes what is transacted, and answers with the error that a test wants.
// What is read are the numbers from 1 on.
type bus struct {
	log []string
	err error
}

func (b *bus) Tx(addr uint16, w, r []byte) error {
	b.log = append(b.log, fmt.Sprintf("%#02x w% x r%d", addr, w, len(r)))
	for i := range r {
		r[i] = byte(i + 1)
	}
	return b.err
}

const (
	out   = 0x41
	in    = 0xC1
	begin = 1
	end   = 2
)

// transfer is one control transfer; want is the data of the answer, or what the
// status is afterwards.
type transfer struct {
	setup  usb.Setup
	data   []byte
	err    error // of the bus
	want   []byte
	fails  error
	status byte
}

func message(direction uint8, flags uint8, addr uint16, n int) usb.Setup {
	return usb.Setup{RequestType: direction, Request: 4 | flags, Index: addr, Length: uint16(n)}
}

func TestMessages(t *testing.T) {
	nack := fmt.Errorf("nobody: %w", syscall.ENXIO)
	for name, tt := range map[string]struct {
		transfers []transfer
		want      []string
	}{
		"a write": {
			[]transfer{{setup: message(out, begin|end, 0x76, 2), data: []byte{0xF4, 0x25}, status: 1}},
			[]string{"0x76 wf4 25 r0"},
		},
		"a read": {
			[]transfer{{setup: message(in, begin|end, 0x23, 2), want: []byte{1, 2}, status: 1}},
			[]string{"0x23 w r2"},
		},
		"a write and a read are one transaction": {
			[]transfer{
				{setup: message(out, begin, 0x76, 1), data: []byte{0xD0}, status: 1},
				{setup: message(in, end, 0x76, 3), want: []byte{1, 2, 3}, status: 1},
			},
			[]string{"0x76 wd0 r3"},
		},
		"not acknowledged: the answer is full, the status says so": {
			[]transfer{
				{setup: message(out, begin, 0x76, 1), data: []byte{0xD0}, err: nack, status: 1},
				{setup: message(in, end, 0x76, 1), err: nack, want: []byte{1}, status: 2},
				{setup: message(out, begin|end, 0x76, 0), err: nack, status: 2},
				{setup: message(out, begin|end, 0x76, 0), status: 1},
			},
			[]string{"0x76 wd0 r1", "0x76 w r0", "0x76 w r0"},
		},
		"what the host gave up is forgotten": {
			[]transfer{
				{setup: message(out, begin, 0x76, 1), data: []byte{0xD0}, status: 1},
				{setup: message(in, begin|end, 0x76, 1), want: []byte{1}, status: 1},
			},
			[]string{"0x76 w r1"},
		},
		"two writes": {
			[]transfer{
				{setup: message(out, begin, 0x76, 1), data: []byte{1}, status: 1},
				{setup: message(out, end, 0x76, 1), data: []byte{2}, status: 1},
			},
			[]string{"0x76 w01 r0", "0x76 w02 r0"},
		},
		"two devices": {
			[]transfer{
				{setup: message(out, begin, 0x76, 1), data: []byte{1}, status: 1},
				{setup: message(in, end, 0x23, 1), want: []byte{1}, status: 1},
			},
			[]string{"0x76 w01 r0", "0x23 w r1"},
		},
		"the first of two is not acknowledged": {
			[]transfer{
				{setup: message(out, begin, 0x76, 1), data: []byte{1}, status: 1},
				{setup: message(out, 0, 0x76, 1), data: []byte{2}, err: nack, status: 2},
				{setup: message(out, end, 0x76, 1), data: []byte{3}, status: 1},
			},
			[]string{"0x76 w01 r0", "0x76 w03 r0"},
		},
		"the bus fails": {
			[]transfer{{setup: message(out, begin|end, 0x76, 0), err: syscall.EIO, fails: usb.ErrStall}},
			[]string{"0x76 w r0"},
		},
		"the bus hangs": {
			[]transfer{{setup: message(in, begin|end, 0x76, 4), err: syscall.ETIMEDOUT, fails: usb.ErrNoAnswer}},
			[]string{"0x76 w r4"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bus{}
			a := tinyusb.New(b)
			for i, step := range tt.transfers {
				b.err = step.err
				got, err := a.Control(step.setup, step.data)
				if !bytes.Equal(got, step.want) || err != step.fails {
					t.Fatalf("transfer %d: % x, %v; want % x, %v", i, got, err, step.want, step.fails)
				}
				if status := control(t, a, usb.Setup{RequestType: in, Request: 3, Length: 1}); status[0] != step.status {
					t.Errorf("transfer %d: status %d, want %d", i, status[0], step.status)
				}
			}
			if !slices.Equal(b.log, tt.want) {
				t.Errorf("the bus saw %q, want %q", b.log, tt.want)
			}
		})
	}
}

func control(t *testing.T, a *tinyusb.Adapter, s usb.Setup) []byte {
	t.Helper()
	got, err := a.Control(s, nil)
	if err != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	return got
}

func TestOtherRequests(t *testing.T) {
	a := tinyusb.New(&bus{})
	for name, tt := range map[string]struct {
		setup usb.Setup
		want  []byte
		err   error
	}{
		"echo":               {usb.Setup{RequestType: in, Request: 0, Value: 0x1234, Length: 2}, []byte{0x34, 0x12}, nil},
		"functions":          {usb.Setup{RequestType: in, Request: 1, Length: 4}, []byte{0x01, 0x00, 0xFF, 0x0E}, nil},
		"two bytes of them":  {usb.Setup{RequestType: in, Request: 1, Length: 2}, []byte{0x01, 0x00}, nil},
		"delay":              {usb.Setup{RequestType: out, Request: 2, Value: 10}, nil, nil},
		"status":             {usb.Setup{RequestType: in, Request: 3, Length: 1}, []byte{0}, nil},
		"status, written":    {usb.Setup{RequestType: out, Request: 3}, nil, usb.ErrStall},
		"unknown":            {usb.Setup{RequestType: in, Request: 8, Length: 1}, nil, usb.ErrStall},
		"of the type class":  {usb.Setup{RequestType: 0xA1, Request: 1, Length: 4}, nil, usb.ErrStall},
		"its configurations": {usb.Setup{RequestType: 0x80, Request: 8, Length: 1}, []byte{1}, nil},
	} {
		got, err := a.Control(tt.setup, nil)
		if !bytes.Equal(got, tt.want) || err != tt.err {
			t.Errorf("%s: % x, %v; want % x, %v", name, got, err, tt.want, tt.err)
		}
	}
}

// The kernel's driver looks for these numbers (i2c_tiny_usb_table).
func TestDescriptor(t *testing.T) {
	d := tinyusb.New(&bus{}).Descriptor()
	if d.Vendor != 0x0403 || d.Product != 0xC631 || d.Class != 0xFF {
		t.Errorf("descriptor %+v, want 0403:c631 of the class ff", d)
	}
}

func TestFaultsOfAnEmulatedBus(t *testing.T) {
	b := i2csim.NewBus(i2csim.BusOptions{})
	a := tinyusb.New(b)
	write := message(out, begin|end, 0x76, 0)
	if _, err := a.Control(write, nil); err != nil {
		t.Fatal(err)
	}
	if status := control(t, a, usb.Setup{RequestType: in, Request: 3, Length: 1}); status[0] != 2 {
		t.Errorf("status %d of an empty bus, want 2", status[0])
	}
	for kind, want := range map[i2csim.Kind]error{i2csim.NACK: nil, i2csim.IO: usb.ErrStall, i2csim.Timeout: usb.ErrNoAnswer, i2csim.Stuck: usb.ErrNoAnswer} {
		b.Recover()
		b.SetFaults(i2csim.Always(i2csim.Fault{Kind: kind}))
		if _, err := a.Control(write, nil); err != want {
			t.Errorf("%s: %v, want %v", kind, err, want)
		}
	}
}

func FuzzControl(f *testing.F) {
	f.Add([]byte{0x80, 6, 0, 1, 0, 0, 64, 0})
	f.Add([]byte{in, 7, 1, 0, 0x76, 0, 4, 0})
	f.Add([]byte{out, 5, 0, 0, 0x76, 0, 1, 0, 0xD0})
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < 8 {
			return
		}
		s := usb.ParseSetup([8]byte(p))
		got, err := tinyusb.New(&bus{}).Control(s, p[8:])
		if len(got) > int(s.Length) || len(got) > 0 && !s.In() && s.RequestType&usb.TypeMask == usb.TypeVendor {
			t.Errorf("%+v: % x, %v", s, got, err)
		}
	})
}
