package usbip_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/simulator/i2csim"
	"github.com/telltale-iot/telltale/simulator/tinyusb"
	"github.com/telltale-iot/telltale/simulator/usb"
	"github.com/telltale-iot/telltale/simulator/usbip"
)

// serve starts a server of the devices and returns its address.
func serve(t *testing.T, devices ...usbip.Device) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- usbip.NewServer(slog.New(slog.DiscardHandler), devices...).Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// client speaks USB/IP as the kernel and the program usbip do. It is written
// from the protocol's documentation, and shares nothing with the server.
type client struct {
	t testing.TB
	net.Conn
	number uint32
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, Conn: conn}
}

func (c *client) send(words ...any) {
	c.t.Helper()
	var b bytes.Buffer
	for _, w := range words {
		if err := binary.Write(&b, binary.BigEndian, w); err != nil {
			c.t.Fatal(err)
		}
	}
	if _, err := c.Write(b.Bytes()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) receive(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		c.t.Fatal(err)
	}
	return b
}

func (c *client) attach(busID string) (status uint32, device []byte) {
	c.t.Helper()
	var id [32]byte
	copy(id[:], busID)
	c.send(uint16(0x0111), uint16(0x8003), uint32(0), id)
	answer := c.receive(8)
	if !bytes.Equal(answer[:4], []byte{0x01, 0x11, 0x00, 0x03}) {
		c.t.Fatalf("answer to an import: % x", answer)
	}
	if status = binary.BigEndian.Uint32(answer[4:]); status == 0 {
		device = c.receive(312)
	}
	return status, device
}

// submit sends a control transfer and returns its number.
func (c *client) submit(setup [8]byte, data []byte) uint32 {
	c.t.Helper()
	c.number++
	length := uint32(binary.LittleEndian.Uint16(setup[6:]))
	direction := uint32(setup[0] >> 7)
	c.send(uint32(1), c.number, uint32(1<<16|1), direction, uint32(0), uint32(0), length, uint32(0), uint32(0xFFFFFFFF), uint32(0), setup, data)
	return c.number
}

// answer receives the answer to a transfer.
func (c *client) answer(number uint32, in bool) (status int32, data []byte) {
	c.t.Helper()
	b := c.receive(48)
	if command, n := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]); command != 3 || n != number {
		c.t.Fatalf("answer %d to transfer %d: want 3 to %d", command, n, number)
	}
	length := binary.BigEndian.Uint32(b[24:])
	if in {
		data = c.receive(int(length))
	}
	return int32(binary.BigEndian.Uint32(b[20:])), data
}

func (c *client) control(setup [8]byte, data []byte) (status int32, answer []byte) {
	c.t.Helper()
	return c.answer(c.submit(setup, data), setup[0]>>7 == 1)
}

// message is an I2C message as the kernel's i2c_tiny_usb sends one.
func message(flags, addr byte, in bool, length int) [8]byte {
	kind := byte(0x41)
	if in {
		kind = 0xC1
	}
	return [8]byte{kind, 4 | flags, 0, 0, addr, 0, byte(length), byte(length >> 8)}
}

func adapter(t *testing.T, fault i2csim.Faults) *tinyusb.Adapter {
	t.Helper()
	chip, err := i2csim.NewBME280(i2csim.BME280Options{Source: i2csim.Constant{Temperature: physic.ZeroCelsius}})
	if err != nil {
		t.Fatal(err)
	}
	bus := i2csim.NewBus(i2csim.BusOptions{})
	if err := bus.Attach(0x76, chip); err != nil {
		t.Fatal(err)
	}
	bus.SetFaults(fault)
	return tinyusb.New(bus)
}

func TestList(t *testing.T) {
	c := dial(t, serve(t, adapter(t, nil), adapter(t, nil)))
	c.send(uint16(0x0111), uint16(0x8005), uint32(0))
	if got, want := c.receive(12), []byte{1, 0x11, 0, 5, 0, 0, 0, 0, 0, 0, 0, 2}; !bytes.Equal(got, want) {
		t.Fatalf("answer % x, want % x", got, want)
	}
	for i, id := range []string{"1-1", "1-2"} {
		d := c.receive(316)
		if got := string(bytes.TrimRight(d[256:288], "\x00")); got != id {
			t.Errorf("bus id %q, want %q", got, id)
		}
		want := []byte{
			0, 0, 0, 1, 0, 0, 0, byte(i + 1), 0, 0, 0, 2, // bus, device, full speed
			0x04, 0x03, 0xC6, 0x31, 0x02, 0x05, 0, 0, 0, 1, 1, 1,
			0xFF, 0, 0, 0,
		}
		if !bytes.Equal(d[288:], want) {
			t.Errorf("%s: % x, want % x", id, d[288:], want)
		}
	}
	if n, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%d bytes and %v after the list, want its end", n, err)
	}
}

// A chip is read as the kernel reads one: what a device is, then messages with
// their status.
func TestAttached(t *testing.T) {
	addr := serve(t, adapter(t, nil))
	c := dial(t, addr)
	status, device := c.attach("1-1")
	if status != 0 || !bytes.Equal(device[300:306], []byte{0x04, 0x03, 0xC6, 0x31, 0x02, 0x05}) {
		t.Fatalf("status %d, device % x", status, device)
	}
	for _, tt := range []struct {
		name   string
		setup  [8]byte
		out    []byte
		status int32
		in     []byte
	}{
		{"device descriptor, its beginning", [8]byte{0x80, 6, 0, 1, 0, 0, 8, 0}, nil, 0, []byte{18, 1, 0x10, 1, 0, 0, 0, 8}},
		{"set configuration", [8]byte{0, 9, 1, 0, 0, 0, 0, 0}, nil, 0, nil},
		{"qualifier, which it lacks", [8]byte{0x80, 6, 0, 6, 0, 0, 10, 0}, nil, -32, nil},
		{"echo", [8]byte{0xC1, 0, 0x34, 0x12, 0, 0, 2, 0}, nil, 0, []byte{0x34, 0x12}},
		{"write of the register id", message(1, 0x76, false, 1), []byte{0xD0}, 0, nil},
		{"its status", [8]byte{0xC1, 3, 0, 0, 0, 0, 1, 0}, nil, 0, []byte{1}},
		{"read", message(2, 0x76, true, 1), nil, 0, []byte{0x60}},
		{"its status", [8]byte{0xC1, 3, 0, 0, 0, 0, 1, 0}, nil, 0, []byte{1}},
		{"write to nobody", message(3, 0x77, false, 1), []byte{0xD0}, 0, nil},
		{"its status", [8]byte{0xC1, 3, 0, 0, 0, 0, 1, 0}, nil, 0, []byte{2}},
	} {
		status, in := c.control(tt.setup, tt.out)
		if status != tt.status || !bytes.Equal(in, tt.in) {
			t.Errorf("%s: status %d, % x; want %d, % x", tt.name, status, in, tt.status, tt.in)
		}
	}

	if status, _ := dial(t, addr).attach("1-1"); status != 2 {
		t.Errorf("attached twice: status %d, want 2", status)
	}
	for _, id := range []string{"1-2", "", "1-10"} {
		if status, _ := dial(t, addr).attach(id); status != 1 {
			t.Errorf("attached %q: status %d, want 1", id, status)
		}
	}
	c.Close()
	await.True(t, 30*time.Second, "the device to be free again", func() bool { return !taken(t, addr) })
}

// A device that hangs is given up by the host, which unlinks its transfer.
func TestUnlink(t *testing.T) {
	c := dial(t, serve(t, adapter(t, i2csim.Script(map[uint64]i2csim.Fault{
		1: {Kind: i2csim.Timeout}, 2: {Kind: i2csim.IO},
	}))))
	c.attach("1-1")
	hung := c.submit(message(3, 0x76, true, 1), nil)
	for _, tt := range []struct {
		victim uint32
		status int32
	}{{hung, -104}, {hung, 0}, {99, 0}} {
		c.number++
		c.send(uint32(2), c.number, uint32(1<<16|1), uint32(0), uint32(0), tt.victim, make([]byte, 24))
		b := c.receive(48)
		if command, n := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]); command != 4 || n != c.number {
			t.Fatalf("answer %d to %d: want 4 to %d", command, n, c.number)
		}
		if status := int32(binary.BigEndian.Uint32(b[20:])); status != tt.status {
			t.Errorf("unlink of %d: status %d, want %d", tt.victim, status, tt.status)
		}
	}
	if status, _ := c.control(message(3, 0x76, true, 1), nil); status != -32 {
		t.Errorf("a failing adapter: status %d, want -32, a stall", status)
	}
	if status, in := c.control(message(3, 0x76, true, 1), nil); status != 0 || len(in) != 1 {
		t.Errorf("afterwards: status %d, % x", status, in)
	}
}

// What is not the protocol ends its connection, and no other.
func TestRefused(t *testing.T) {
	addr := serve(t, adapter(t, nil))
	kept := dial(t, addr)
	kept.attach("1-1")
	other := serve(t, adapter(t, nil))
	for name, begin := range map[string]func(c *client){
		"version": func(c *client) { c.send(uint16(0x0106), uint16(0x8005), uint32(0)) },
		"request": func(c *client) { c.send(uint16(0x0111), uint16(0x8004), uint32(0)) },
		"command": func(c *client) { c.attach("1-1"); c.send(uint32(5), make([]byte, 44)) },
		"a transfer too long": func(c *client) {
			c.attach("1-1")
			c.send([6]uint32{1, 1, 1<<16 | 1, 0, 0, 0}, uint32(1<<16), make([]byte, 20))
		},
		"isochronous": func(c *client) {
			c.attach("1-1")
			c.send([9]uint32{1, 1, 1<<16 | 1, 1, 1, 0, 8, 0, 3}, make([]byte, 12))
		},
	} {
		c := dial(t, other)
		begin(c)
		if n, err := c.Read(make([]byte, 1)); n > 0 || !ended(err) {
			t.Errorf("%s: %d bytes, %v: want the connection's end", name, n, err)
		}
		c.Close()
		await.True(t, 30*time.Second, "the device to be free again", func() bool { return !taken(t, other) })
	}
	if status, _ := kept.control([8]byte{0xC1, 3, 0, 0, 0, 0, 1, 0}, nil); status != 0 {
		t.Errorf("another connection: status %d", status)
	}
}

// ended reports whether an error is that of a connection which the other side
// has ended, and not the deadline's.
func ended(err error) bool { return err != nil && !errors.Is(err, os.ErrDeadlineExceeded) }

// taken reports whether somebody has the device.
func taken(t *testing.T, addr string) bool {
	c := dial(t, addr)
	defer c.Close()
	status, _ := c.attach("1-1")
	return status != 0
}

// hardly is a device that answers everything.
type hardly struct{}

func (hardly) Descriptor() usb.Descriptor { return usb.Descriptor{} }

func (hardly) Control(s usb.Setup, data []byte) ([]byte, error) {
	switch s.Request {
	case 1:
		return nil, usb.ErrStall
	case 2:
		return nil, usb.ErrNoAnswer
	case 3:
		return nil, io.ErrShortWrite
	}
	return append(data, make([]byte, s.Length)...), nil
}

// Whatever is sent, the server answers in whole messages and ends with the
// connection.
func FuzzServe(f *testing.F) {
	list := []byte{1, 0x11, 0x80, 5, 0, 0, 0, 0}
	attach := append([]byte{1, 0x11, 0x80, 3, 0, 0, 0, 0, '1', '-', '1'}, make([]byte, 29)...)
	transfer := append([]byte{0, 0, 0, 1, 0, 0, 0, 7, 0, 1, 0, 1, 0, 0, 0, 1}, make([]byte, 32)...)
	f.Add(list)
	f.Add(attach)
	f.Add(append(bytes.Clone(attach), transfer...))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := &pipe{conns: make(chan net.Conn, 1)}
		near, far := net.Pipe()
		l.conns <- far
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- usbip.NewServer(slog.New(slog.DiscardHandler), hardly{}).Serve(ctx, l) }()
		read := make(chan []byte, 1)
		go func() {
			b, _ := io.ReadAll(near)
			read <- b
		}()
		_, _ = near.Write(data) // the server may have ended the connection
		// The end of the stream, without the end of what comes back.
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		near.Close()
		if b := <-read; len(b) > 0 && (len(b) < 8 || b[0] != 1 || b[1] != 0x11) {
			t.Errorf("answer % x", b)
		}
	})
}

// pipe is a listener of one connection.
type pipe struct{ conns chan net.Conn }

func (p *pipe) Accept() (net.Conn, error) {
	if conn, ok := <-p.conns; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p *pipe) Close() error   { close(p.conns); return nil }
func (p *pipe) Addr() net.Addr { return &net.TCPAddr{} }

// A device that answers more than was asked for, another endpoint than the
// control endpoint, and a client that never gives up a transfer.
func TestOddTransfers(t *testing.T) {
	c := dial(t, serve(t, hardly{}))
	c.attach("1-1")
	in := [8]byte{0x80, 0, 0, 0, 0, 0, 8, 0}
	c.send([10]uint32{1, 1, 1<<16 | 1, 1, 0, 0, 4, 0, 0, 0}, in)
	if status, data := c.answer(1, true); status != 0 || len(data) != 4 {
		t.Errorf("status %d, % x: want the 4 bytes that were asked for", status, data)
	}
	c.send([10]uint32{1, 2, 1<<16 | 1, 1, 1, 0, 8, 0, 0, 0}, in)
	if status, _ := c.answer(2, true); status != -32 {
		t.Errorf("another endpoint: status %d, want -32", status)
	}
	c.send([10]uint32{1, 3, 1<<16 | 1, 0, 0, 0, 8, 0, 0, 0}, in, make([]byte, 8))
	if status, _ := c.answer(3, false); status != -32 {
		t.Errorf("one way in the header and the other in the setup: status %d, want -32", status)
	}
	for n := range uint32(65) {
		c.send([10]uint32{1, 10 + n, 1<<16 | 1, 1, 0, 0, 0, 0, 0, 0}, [8]byte{0x80, 2})
	}
	if n, err := c.Read(make([]byte, 1)); n > 0 || !ended(err) {
		t.Errorf("%d bytes, %v after 65 transfers without an answer: want the connection's end", n, err)
	}
}
