package usbredir

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/telltale-iot/telltale/simulator/usb"
)

// device answers each request in its own way.
type device struct{ seen []byte }

const (
	reqAnswer = iota
	reqStall
	reqHang
	reqFail
)

func (d *device) Descriptor() usb.Descriptor {
	return usb.Descriptor{Vendor: 0x0403, Product: 0xC631, Version: 0x0205, Class: 0xFF}
}

func (d *device) Control(s usb.Setup, data []byte) ([]byte, error) {
	d.seen = append(d.seen, data...)
	switch s.Request {
	case reqStall:
		return nil, usb.ErrStall
	case reqHang:
		return nil, usb.ErrNoAnswer
	case reqFail:
		return nil, io.ErrClosedPipe
	}
	if s.In() {
		return []byte{0xAA, 0xBB}, nil
	}
	return nil, nil
}

// machine is the other end of a port, as QEMU is.
type machine struct {
	t    *testing.T
	conn net.Conn
	port *Port
	dev  *device
	err  chan error
}

func boot(t *testing.T) *machine {
	ours, theirs := net.Pipe()
	d := &device{}
	m := &machine{t: t, conn: ours, port: NewPort(d), dev: d, err: make(chan error, 1)}
	go func() { m.err <- m.port.Serve(t.Context(), theirs) }()
	t.Cleanup(func() { ours.Close() })
	m.expect(false, hello())
	return m
}

func (m *machine) send(wide bool, p packet) {
	m.t.Helper()
	if _, err := m.conn.Write(p.marshal(wide)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) expect(wide bool, want packet) {
	m.t.Helper()
	got, err := read(m.conn, wide)
	if err != nil {
		m.t.Fatal(err)
	}
	if got.kind != want.kind || got.id != want.id || !bytes.Equal(got.body, want.body) {
		m.t.Fatalf("packet %+v, want %+v", got, want)
	}
}

func (m *machine) greet() {
	m.t.Helper()
	m.send(false, hello())
	for _, p := range connect(m.dev.Descriptor()) {
		m.expect(true, p)
	}
}

// control is a control transfer as it is on the wire.
func control(id uint64, requestType, request byte, length byte, data ...byte) packet {
	return packet{typeControl, id, append([]byte{0, request, requestType, 0, 0x34, 0x12, 0x78, 0x56, length, 0}, data...)}
}

func TestConnect(t *testing.T) {
	packets := connect((&device{}).Descriptor())
	endpoints, interfaces, device := packets[0].body, packets[1].body, packets[2].body
	if want := []byte{1, 0, 0, 0, 0x03, 0x04, 0x31, 0xC6, 0x05, 0x02}; !bytes.Equal(device, want) {
		t.Errorf("device % x, want % x", device, want)
	}
	want := append([]byte{1, 0, 0, 0}, make([]byte, 128)...)
	want[4+32] = 0xFF
	if !bytes.Equal(interfaces, want) {
		t.Errorf("interfaces % x, want % x", interfaces, want)
	}
	want = append(bytes.Repeat([]byte{255}, 32), make([]byte, 128)...)
	want[0], want[16] = 0, 0
	want[96], want[96+32] = 8, 8
	if !bytes.Equal(endpoints, want) {
		t.Errorf("endpoints % x, want % x", endpoints, want)
	}
}

func TestTransfers(t *testing.T) {
	m := boot(t)
	m.greet()
	for _, tt := range []struct {
		what     string
		ask, get packet
	}{
		{"data from the device", control(1<<40, 0xC1, reqAnswer, 2), control(1<<40, 0xC1, reqAnswer, 2, 0xAA, 0xBB)},
		{"less than the machine takes", control(2, 0xC1, reqAnswer, 9), control(2, 0xC1, reqAnswer, 2, 0xAA, 0xBB)},
		{"data to the device", control(3, 0x41, reqAnswer, 3, 7, 8, 9), control(3, 0x41, reqAnswer, 3)},
		{"set configuration", packet{typeSetConfiguration, 4, []byte{1}}, packet{typeConfiguration, 4, []byte{0, 1}}},
		{"get configuration", packet{typeGetConfiguration, 5, nil}, packet{typeConfiguration, 5, []byte{0, 1}}},
		{"set alternate", packet{typeSetAlternate, 6, []byte{0, 1}}, packet{typeAlternate, 6, []byte{0, 0, 1}}},
		{"get alternate", packet{typeGetAlternate, 7, []byte{0}}, packet{typeAlternate, 7, []byte{0, 0, 0}}},
	} {
		m.send(true, tt.ask)
		m.expect(true, tt.get)
	}
	if want := []byte{7, 8, 9}; !bytes.Equal(m.dev.seen, want) {
		t.Errorf("the device saw % x, want % x", m.dev.seen, want)
	}
	for request, status := range map[byte]byte{reqStall: stalled, reqFail: ioError} {
		want := control(8, 0xC1, request, 0)
		want.body[3] = status
		m.send(true, control(8, 0xC1, request, 2))
		m.expect(true, want)
	}
}

func TestAHangingTransferIsCancelled(t *testing.T) {
	m := boot(t)
	m.greet()
	m.send(true, control(1, 0xC1, reqHang, 2))
	m.send(true, packet{kind: typeReset})
	m.send(true, control(2, 0xC1, reqAnswer, 2))
	m.expect(true, control(2, 0xC1, reqAnswer, 2, 0xAA, 0xBB)) // others go on
	m.send(true, packet{typeCancel, 1, nil})
	want := control(1, 0xC1, reqHang, 0)
	want.body[3] = cancelled
	m.expect(true, want)
	m.send(true, packet{typeCancel, 2, nil}) // too late
	m.send(true, control(3, 0xC1, reqAnswer, 2))
	m.expect(true, control(3, 0xC1, reqAnswer, 2, 0xAA, 0xBB))
}

func TestUnplug(t *testing.T) {
	m := boot(t)
	m.port.Unplug()
	m.port.Plug()
	m.greet()
	m.send(true, control(1, 0xC1, reqHang, 2))
	m.port.Unplug()
	m.expect(true, packet{kind: typeDisconnect})
	m.send(true, control(2, 0xC1, reqAnswer, 2)) // sent before the machine knew
	m.port.Plug()
	m.send(true, packet{kind: typeCancel, id: 1})
	m.send(true, packet{kind: typeDisconnectAck})
	for _, p := range connect(m.dev.Descriptor()) {
		m.expect(true, p)
	}
	m.send(true, control(3, 0xC1, reqAnswer, 2))
	m.expect(true, control(3, 0xC1, reqAnswer, 2, 0xAA, 0xBB))
}

func TestTheEnd(t *testing.T) {
	t.Run("of the machine", func(t *testing.T) {
		m := boot(t)
		m.greet()
		m.conn.Close()
		if err := <-m.err; err != nil {
			t.Error(err)
		}
	})
	t.Run("of the context", func(t *testing.T) {
		_, theirs := net.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := NewPort(&device{}).Serve(ctx, theirs); err != nil {
			t.Error(err)
		}
		if _, err := theirs.Write(nil); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the connection is open: %v", err)
		}
	})
}

func TestWrongPackets(t *testing.T) {
	poor := hello()
	binary.LittleEndian.PutUint32(poor.body[helloText:], capabilities&^cap64BitIDs)
	for name, tt := range map[string]struct {
		hello, then packet
		err         string
	}{
		"no hello":         {packet{typeReset, 0, nil}, packet{}, "packet of type 3: want a hello first"},
		"short hello":      {packet{typeHello, 0, make([]byte, 67)}, packet{}, "hello has 67 bytes: want 68 at least"},
		"no 64-bit ids":    {poor, packet{}, "hello has the capabilities 0x5a: want 0x7a at least"},
		"bulk":             {hello(), packet{101, 1, make([]byte, 8)}, "packet of type 101 with 8 bytes: want one that a device with only a control endpoint can answer"},
		"short control":    {hello(), packet{typeControl, 1, make([]byte, 9)}, "control transfer has 9 bytes: want 10 at least"},
		"data is missing":  {hello(), control(1, 0x41, 0, 3, 1, 2), "control transfer has 2 bytes of data: want 3"},
		"data of an input": {hello(), control(1, 0xC1, 0, 2, 1, 2), "control transfer has 2 bytes of data: want 0"},
		"no value":         {hello(), packet{typeSetConfiguration, 1, nil}, "packet of type 6 with 0 bytes: want"},
	} {
		t.Run(name, func(t *testing.T) {
			m := boot(t)
			m.send(false, tt.hello)
			if tt.then.body != nil || tt.then.kind != 0 {
				for range 3 {
					if _, err := read(m.conn, true); err != nil {
						t.Fatal(err)
					}
				}
				m.send(true, tt.then)
			}
			if err := <-m.err; err == nil || !strings.HasPrefix(err.Error(), "usbredir: "+tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestRead(t *testing.T) {
	for name, tt := range map[string]struct {
		in  []byte
		err string
	}{
		"nothing":         {nil, "EOF"},
		"half a header":   {make([]byte, 11), "unexpected EOF"},
		"no body":         {[]byte{5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, "packet of type 5: unexpected EOF"},
		"a very long one": {[]byte{5, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, "packet of type 5 has 16777216 bytes: want at most 65546"},
	} {
		if _, err := read(bytes.NewReader(tt.in), false); err == nil || err.Error() != tt.err {
			t.Errorf("%s: %v, want %q", name, err, tt.err)
		}
	}
}

// FuzzSession speaks nonsense to a port: every answer must be a packet, and
// what is read must be what was written.
func FuzzSession(f *testing.F) {
	f.Add(control(1, 0xC1, reqAnswer, 2).marshal(true))
	f.Add(packet{typeSetConfiguration, 1, []byte{1}}.marshal(true))
	f.Add(append(control(1, 0x41, reqHang, 0).marshal(true), packet{typeCancel, 1, nil}.marshal(true)...))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		s := session{port: NewPort(&device{}), conn: &out, hanging: make(map[uint64]packet), connected: true}
		for r := bytes.NewReader(in); ; {
			p, err := read(r, true)
			if err != nil {
				break
			}
			again, err := read(bytes.NewReader(p.marshal(true)), true)
			if err != nil || again.kind != p.kind || again.id != p.id || !bytes.Equal(again.body, p.body) {
				t.Fatalf("%+v became %+v, %v", p, again, err)
			}
			if s.handle(p) != nil {
				break
			}
		}
		for out.Len() > 0 {
			if _, err := read(&out, true); err != nil {
				t.Fatal(err)
			}
		}
	})
}
