package tca9548a

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/bustest"
)

// The chips behind multiplexers, and one beside them.
const chipAddress, besideAddress = 0x40, 0x41

// wire is what is on one piece of bus: a chip with a single byte of memory, or none,
// and multiplexers.
type wire struct {
	addr uint16
	chip *byte
	muxs map[uint16]*mux
}

type mux struct {
	control byte
	behind  [Channels]wire
}

// answer makes a transaction with all that is on the wire and on those connected to
// it, and returns how many acknowledged the address.
func (w *wire) answer(addr uint16, out, in []byte) (n int) {
	if w.chip != nil && addr == w.addr {
		n++
		if len(out) > 0 {
			*w.chip = out[0]
		}
		for i := range in {
			in[i] = *w.chip
		}
	}
	for at, m := range w.muxs {
		// What is behind an open channel hears what the multiplexer hears.
		control := m.control
		if at == addr {
			n++
			if len(out) > 0 {
				m.control = out[0]
			}
			for i := range in {
				in[i] = m.control
			}
		}
		for c := range m.behind {
			if control>>c&1 == 1 {
				n += m.behind[c].answer(addr, out, in)
			}
		}
	}
	return n
}

// wires is a bus. Two that answer at once are a fault of whoever used it.
type wires struct {
	mu sync.Mutex
	wire
	clashes int
	fail    map[int]error // by the number of the transaction
	count   int
	speed   physic.Frequency
}

func (b *wires) String() string { return "wires" }

func (b *wires) SetSpeed(f physic.Frequency) error {
	b.speed = f
	return nil
}

func (b *wires) Tx(addr uint16, w, r []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count++
	if err := b.fail[b.count-1]; err != nil {
		return err
	}
	switch n := b.answer(addr, w, r); n {
	case 0:
		return syscall.ENXIO
	case 1:
	default:
		b.clashes++
	}
	return nil
}

func newMux() *mux {
	m := new(mux)
	for c := range m.behind {
		m.behind[c] = wire{addr: chipAddress, chip: new(byte)}
	}
	return m
}

func newDev(t *testing.T, bus i2c.Bus, address uint16) *Dev {
	t.Helper()
	d, err := New(bus, Options{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTransactions(t *testing.T) {
	bus := bustest.Play(t, []i2ctest.IO{
		{Addr: 0x71, W: []byte{0x01}}, {Addr: 0x40, W: []byte{7}, R: []byte{8, 9}}, {Addr: 0x71, W: []byte{0}},
		{Addr: 0x71, W: []byte{0x80}}, {Addr: 0x40, R: []byte{1}}, {Addr: 0x71, W: []byte{0}},
		{Addr: 0x71, W: []byte{0x80}}, {Addr: 0x40, R: []byte{2}}, {Addr: 0x71, W: []byte{0}},
	})
	d := newDev(t, bus, 0x71)
	two, one := make([]byte, 2), make([]byte, 1)
	if err := d.Channel(0).Tx(0x40, []byte{7}, two); err != nil || !slices.Equal(two, []byte{8, 9}) {
		t.Errorf("read % x, %v", two, err)
	}
	for _, want := range []byte{1, 2} {
		if err := d.Channel(7).Tx(0x40, nil, one); err != nil || one[0] != want {
			t.Errorf("read %#x, %v: want %#x", one, err, want)
		}
	}
}

// Chips of one address, behind every channel of two multiplexers, behind a third one
// behind a channel, and one beside them, are used at the same time, and none ever
// answers for another.
func TestConcurrent(t *testing.T) {
	inner := newMux()
	first, second := newMux(), newMux()
	first.behind[5] = wire{muxs: map[uint16]*mux{0x72: inner}}
	bus := &wires{wire: wire{
		addr: besideAddress, chip: new(byte), muxs: map[uint16]*mux{0x70: first, 0x71: second},
	}}

	trunk := Share(bus)
	if Share(trunk) != trunk {
		t.Error("a shared bus is shared twice")
	}
	a, b := newDev(t, trunk, 0x70), newDev(t, trunk, 0x71)
	c := newDev(t, a.Channel(5), 0x72)
	buses := []i2c.Bus{trunk}
	for n := range Channels {
		if n != 5 {
			buses = append(buses, a.Channel(n))
		}
		buses = append(buses, b.Channel(n), c.Channel(n))
	}
	var wg sync.WaitGroup
	for i, bus := range buses {
		wg.Go(func() {
			addr := uint16(chipAddress)
			if bus == trunk {
				addr = besideAddress
			}
			for range 200 {
				if err := bus.Tx(addr, []byte{byte(i)}, nil); err != nil {
					t.Error(err)
					return
				}
				var r [1]byte
				if err := bus.Tx(addr, nil, r[:]); err != nil || r[0] != byte(i) {
					t.Errorf("%v: read %d, %v: want %d", bus, r[0], err, i)
					return
				}
			}
		})
	}
	wg.Wait()
	if bus.clashes != 0 {
		t.Errorf("%d transactions were answered by more than one chip", bus.clashes)
	}
	if first.control != 0 || second.control != 0 || inner.control != 0 {
		t.Error("a channel was left open")
	}
}

// The multiplexer browns out, or another program writes to it: the next transaction is
// right all the same.
func TestControlLost(t *testing.T) {
	m := newMux()
	bus := &wires{wire: wire{muxs: map[uint16]*mux{0x70: m}}}
	ch := newDev(t, bus, 0).Channel(3)
	*m.behind[3].chip = 33
	for _, control := range []byte{0, 0xFF, 1 << 3, 1 << 4} {
		m.control = control
		var r [1]byte
		if err := ch.Tx(chipAddress, nil, r[:]); err != nil || r[0] != 33 || m.control != 0 || bus.clashes != 0 {
			t.Errorf("control %#02x: read %d, %v, left %#02x", control, r[0], err, m.control)
		}
	}
}

// Each of the three transactions fails in turn. The error is the bus's, the channel is
// closed if that was possible, and the next transaction succeeds.
func TestFailingTransaction(t *testing.T) {
	for at, prefix := range []string{"TCA9548A at 0x70: open channel 3: ", "", "TCA9548A at 0x70: close channel 3: "} {
		for _, errno := range []error{syscall.ENXIO, syscall.EIO, syscall.ETIMEDOUT, syscall.EREMOTEIO} {
			t.Run(fmt.Sprintf("%d/%v", at, errno), func(t *testing.T) {
				m := newMux()
				bus := &wires{wire: wire{muxs: map[uint16]*mux{0x70: m}}, fail: map[int]error{at: errno}}
				ch := newDev(t, bus, 0).Channel(3)
				err := ch.Tx(chipAddress, []byte{9}, nil)
				if !errors.Is(err, errno) || err.Error() != prefix+errno.Error() {
					t.Errorf("error %v: want %s%v", err, prefix, errno)
				}
				if open := m.control != 0; open != (at == 2) {
					t.Errorf("control is %#02x", m.control)
				}
				var r [1]byte
				if err := ch.Tx(chipAddress, []byte{7}, r[:]); err != nil || r[0] != 7 || m.control != 0 {
					t.Errorf("the next one: %d, %v, control %#02x", r[0], err, m.control)
				}
			})
		}
	}
}

// The chip's error is the transaction's, also if the channel cannot be closed then.
func TestBothFail(t *testing.T) {
	bus := &wires{wire: wire{muxs: map[uint16]*mux{0x70: newMux()}}, fail: map[int]error{1: syscall.EREMOTEIO, 2: syscall.EIO}}
	if err := newDev(t, bus, 0).Channel(0).Tx(chipAddress, nil, make([]byte, 1)); !errors.Is(err, syscall.EREMOTEIO) {
		t.Errorf("error %v: want %v", err, syscall.EREMOTEIO)
	}
}

// A multiplexer's address never reaches it from behind, where it would close the
// channel under the transaction.
func TestOwnAddress(t *testing.T) {
	first, inner := newMux(), newMux()
	first.behind[1] = wire{muxs: map[uint16]*mux{0x77: inner}}
	bus := &wires{wire: wire{muxs: map[uint16]*mux{0x70: first}}}
	a := newDev(t, bus, 0x70)
	b := newDev(t, a.Channel(1), 0x77)
	for _, tt := range []struct {
		bus  i2c.Bus
		addr uint16
		want error
	}{
		{a.Channel(0), 0x70, drivers.ErrOptions},
		{b.Channel(0), 0x70, drivers.ErrOptions},
		{b.Channel(0), 0x77, drivers.ErrOptions},
		{a.Channel(0), 0x77, syscall.ENXIO},
		{b.Channel(0), chipAddress, nil},
	} {
		if err := tt.bus.Tx(tt.addr, []byte{0xFF}, nil); !errors.Is(err, tt.want) {
			t.Errorf("%v, %#x: error %v: want %v", tt.bus, tt.addr, err, tt.want)
		}
		if first.control != 0 || inner.control != 0 {
			t.Errorf("%v, %#x: a channel was left open", tt.bus, tt.addr)
		}
	}
	if _, err := New(a.Channel(1), Options{Address: 0x70}); err != nil {
		t.Error(err) // it is an error of each transaction
	}
	twin := newDev(t, a.Channel(1), 0x70)
	if err := twin.Channel(0).Tx(chipAddress, nil, nil); !errors.Is(err, drivers.ErrOptions) {
		t.Errorf("a multiplexer behind one of the same address: error %v", err)
	}
}

func TestNames(t *testing.T) {
	bus := new(wires)
	d := newDev(t, bus, 0x73)
	if got := d.String(); got != "TCA9548A at 0x73" {
		t.Errorf("got %q", got)
	}
	inner := newDev(t, d.Channel(4), 0)
	if got := inner.Channel(2).String(); got != "wires/0x73:4/0x70:2" {
		t.Errorf("got %q", got)
	}
	if err := inner.Channel(2).SetSpeed(100 * physic.KiloHertz); err != nil || bus.speed != 100*physic.KiloHertz {
		t.Errorf("speed %v, %v", bus.speed, err)
	}
}

func TestNew(t *testing.T) {
	for _, tt := range []struct {
		name    string
		bus     i2c.Bus
		address uint16
		ok      bool
	}{
		{"defaults", new(wires), 0, true},
		{"the last address", new(wires), 0x77, true},
		{"no bus", nil, 0x70, false},
		{"address too low", new(wires), 0x6F, false},
		{"address too high", new(wires), 0x78, false},
	} {
		if _, err := New(tt.bus, Options{Address: tt.address}); (err == nil) != tt.ok || !tt.ok && !errors.Is(err, drivers.ErrOptions) {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
}

func TestNoSuchChannel(t *testing.T) {
	d := newDev(t, new(wires), 0)
	for _, n := range []int{-1, 8} {
		func() {
			defer func() {
				if v, _ := recover().(string); !strings.Contains(v, "want 0 to 7") {
					t.Errorf("channel %d: recovered %q", n, v)
				}
			}()
			d.Channel(n)
		}()
	}
}
