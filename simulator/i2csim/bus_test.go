package i2csim_test

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// memory is a device that returns what was written last. Not being locked, it
// also lets the race detector see transactions that overlap.
type memory struct {
	held   []byte
	writes int
}

func (m *memory) Write(p []byte) int {
	m.held = append(m.held[:0], p...)
	m.writes++
	return len(p)
}

func (m *memory) Read(p []byte) bool {
	copy(p, m.held)
	return true
}

// mute acknowledges its address in no direction.
type mute struct{}

func (mute) Write([]byte) int { return -1 }
func (mute) Read([]byte) bool { return false }

func TestTx(t *testing.T) {
	bus := i2csim.NewBus(i2csim.BusOptions{Name: "bus"})
	m := &memory{held: []byte{7, 7}}
	if err := bus.Attach(0x50, m); err != nil {
		t.Fatal(err)
	}
	if err := bus.Attach(0x51, mute{}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		addr   uint16
		w      []byte
		read   []byte // what is to be read
		writes int    // messages that the device has been written
		kind   i2csim.Kind
	}{
		{"read", 0x50, nil, []byte{7, 7}, 0, i2csim.None},
		{"write", 0x50, []byte{1, 2}, nil, 1, i2csim.None},
		{"write and read", 0x50, []byte{3, 4}, []byte{3, 4}, 1, i2csim.None},
		{"address only", 0x50, nil, nil, 1, i2csim.None},
		{"nobody there", 0x52, []byte{1}, nil, 0, i2csim.NACK},
		{"nobody there, address only", 0x52, nil, nil, 0, i2csim.NACK},
		{"beyond 7 bits", 0x150, []byte{1}, nil, 0, i2csim.NACK},
		{"no answer to a write", 0x51, []byte{1}, nil, 0, i2csim.NACK},
		{"no answer to a read", 0x51, nil, make([]byte, 1), 0, i2csim.NACK},
		{"no answer to an address", 0x51, nil, nil, 0, i2csim.NACK},
	}
	var want i2csim.Stats
	for _, tt := range tests {
		m.writes = 0
		got := make([]byte, len(tt.read))
		err := bus.Tx(tt.addr, tt.w, got)
		want.Transactions++
		if tt.kind != i2csim.None {
			want.Failed++
			var e *i2csim.Error
			if !errors.As(err, &e) {
				t.Errorf("%s: error %v, want an *Error", tt.name, err)
			} else if diff := cmp.Diff(&i2csim.Error{Bus: "bus", N: want.Transactions, Addr: tt.addr, Kind: tt.kind}, e); diff != "" {
				t.Errorf("%s: error (-want +got):\n%s", tt.name, diff)
			}
		} else if err != nil || !bytes.Equal(got, tt.read) {
			t.Errorf("%s: % x, %v; want % x", tt.name, got, err, tt.read)
		}
		if m.writes != tt.writes {
			t.Errorf("%s: %d messages written, want %d", tt.name, m.writes, tt.writes)
		}
	}
	if got := bus.Stats(); got != want {
		t.Errorf("Stats() = %+v, want %+v", got, want)
	}
}

func TestErrorKinds(t *testing.T) {
	for _, tt := range []struct {
		kind i2csim.Kind
		is   error
		text string
	}{
		{i2csim.NACK, syscall.ENXIO, "bus: transaction 3 with 0x76: not acknowledged"},
		{i2csim.IO, syscall.EIO, "bus: transaction 3 with 0x76: adapter failed"},
		{i2csim.Timeout, syscall.ETIMEDOUT, "bus: transaction 3 with 0x76: timed out"},
		{i2csim.Stuck, syscall.ETIMEDOUT, "bus: transaction 3 with 0x76: bus stuck"},
		{i2csim.Closed, os.ErrClosed, "bus: transaction 3 with 0x76: bus closed"},
	} {
		err := error(&i2csim.Error{Bus: "bus", N: 3, Addr: 0x76, Kind: tt.kind})
		if !errors.Is(err, tt.is) || err.Error() != tt.text {
			t.Errorf("%v: %q is %v: %t", tt.kind, err, tt.is, errors.Is(err, tt.is))
		}
	}
}

func TestAttach(t *testing.T) {
	bus := i2csim.NewBus(i2csim.BusOptions{})
	for _, tt := range []struct {
		name   string
		addr   uint16
		device i2csim.Device
		err    string
	}{
		{"first", 0x08, &memory{}, ""},
		{"last", 0x77, &memory{}, ""},
		{"taken", 0x77, &memory{}, "i2csim: address 0x77: there is a device already"},
		{"reserved low", 0x07, &memory{}, "i2csim: address 0x07: want 0x08 to 0x77"},
		{"reserved high", 0x78, &memory{}, "i2csim: address 0x78: want 0x08 to 0x77"},
		{"nothing", 0x20, nil, "i2csim: address 0x20: want a device"},
	} {
		err := bus.Attach(tt.addr, tt.device)
		if got := errorText(err); got != tt.err {
			t.Errorf("%s: error %q, want %q", tt.name, got, tt.err)
		}
	}
	bus.Detach(0x77)
	if err := bus.Tx(0x77, []byte{1}, nil); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("detached: %v, want ENXIO", err)
	}
	if err := bus.Attach(0x77, &memory{}); err != nil {
		t.Errorf("attach where one was detached: %v", err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestHandles(t *testing.T) {
	first := i2csim.NewBus(i2csim.BusOptions{Name: "1"})
	if err := first.Attach(0x50, &memory{}); err != nil {
		t.Fatal(err)
	}
	second := first.Open()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := first.Tx(0x50, []byte{1}, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed handle: %v, want os.ErrClosed", err)
	}
	if err := second.Tx(0x50, []byte{1}, nil); err != nil {
		t.Errorf("other handle: %v", err)
	}
	if err := first.Open().Tx(0x50, []byte{1}, nil); err != nil {
		t.Errorf("handle opened again: %v", err)
	}
	if got := second.String(); got != "1" {
		t.Errorf("String() = %q, want %q", got, "1")
	}
	if got, want := second.Stats(), (i2csim.Stats{Transactions: 2}); got != want {
		t.Errorf("Stats() = %+v, want %+v: a closed handle reaches no wire", got, want)
	}
}

func TestSetSpeed(t *testing.T) {
	bus := i2csim.NewBus(i2csim.BusOptions{})
	if err := bus.SetSpeed(400 * physic.KiloHertz); err != nil {
		t.Error(err)
	}
	for _, f := range []physic.Frequency{0, -physic.Hertz} {
		if err := bus.SetSpeed(f); err == nil {
			t.Errorf("SetSpeed(%s): no error", f)
		}
	}
}

func TestTransactionsDoNotInterleave(t *testing.T) {
	bus := i2csim.NewBus(i2csim.BusOptions{})
	if err := bus.Attach(0x50, &memory{}); err != nil {
		t.Fatal(err)
	}
	const workers, each = 8, 500
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			handle := bus.Open()
			w, r := []byte{byte(i), ^byte(i)}, make([]byte, 2)
			for range each {
				if err := handle.Tx(0x50, w, r); err != nil || !bytes.Equal(w, r) {
					t.Errorf("worker %d: read % x, %v; want % x", i, r, err, w)
					return
				}
			}
		})
	}
	wg.Wait()
	if got, want := bus.Stats(), (i2csim.Stats{Transactions: workers * each}); got != want {
		t.Errorf("Stats() = %+v, want %+v", got, want)
	}
}

func TestFaults(t *testing.T) {
	c := newClock()
	m := &memory{}
	r := attach(t, c, 0x50, m)
	if err := r.bus.Attach(0x51, &memory{}); err != nil {
		t.Fatal(err)
	}
	r.bus.SetFaults(i2csim.Script(map[uint64]i2csim.Fault{
		2: {Kind: i2csim.NACK},
		3: {Kind: i2csim.IO},
		4: {Kind: i2csim.Timeout, Delay: time.Second},
		5: {Delay: 20 * time.Millisecond},
		6: {Flip: []byte{0x00, 0x80, 0xFF, 0xFF}}, // longer than what is read
		7: {Kind: i2csim.Stuck},
	}))
	for n, tt := range []struct {
		kind   i2csim.Kind
		read   []byte
		delay  time.Duration
		writes int
	}{
		{i2csim.None, []byte{1, 2}, 0, 1},
		{i2csim.NACK, nil, 0, 1},
		{i2csim.IO, nil, 0, 1},
		{i2csim.Timeout, nil, time.Second, 1},
		{i2csim.None, []byte{1, 2}, 20 * time.Millisecond, 2},
		{i2csim.None, []byte{1, 0x82}, 0, 3},
		{i2csim.Stuck, nil, 0, 3},
		{i2csim.Stuck, nil, 0, 3},
		{i2csim.Stuck, nil, 0, 3},
	} {
		before := c.now
		read := make([]byte, 2)
		err := r.bus.Tx(0x50, []byte{1, 2}, read)
		if kind := kindOf(err); kind != tt.kind {
			t.Errorf("transaction %d: %v, want %v", n+1, err, tt.kind)
		}
		if err == nil && !bytes.Equal(read, tt.read) {
			t.Errorf("transaction %d: read % x, want % x", n+1, read, tt.read)
		}
		if got := c.now.Sub(before); got != tt.delay {
			t.Errorf("transaction %d took %v, want %v", n+1, got, tt.delay)
		}
		if m.writes != tt.writes {
			t.Errorf("transaction %d: the device saw %d messages, want %d", n+1, m.writes, tt.writes)
		}
	}
	if err := r.bus.Tx(0x51, []byte{1}, nil); kindOf(err) != i2csim.Stuck {
		t.Errorf("another device on a stuck bus: %v", err)
	}
	r.bus.Recover()
	if err := r.bus.Tx(0x50, []byte{1, 2}, nil); err != nil {
		t.Errorf("after Recover: %v", err)
	}
}

func kindOf(err error) i2csim.Kind {
	var e *i2csim.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return i2csim.None
}

func TestFaultsByAddress(t *testing.T) {
	r := attach(t, newClock(), 0x50, &memory{})
	other := &memory{}
	if err := r.bus.Attach(0x51, other); err != nil {
		t.Fatal(err)
	}
	var seen []i2csim.Transaction
	r.bus.SetFaults(i2csim.Only(0x51, func(tx i2csim.Transaction) i2csim.Fault {
		seen = append(seen, tx)
		tx.Write[0] = 0xEE // its own copy
		return i2csim.Fault{Kind: i2csim.IO}
	}))
	w := []byte{1, 2, 3}
	if err := r.bus.Tx(0x50, w, make([]byte, 4)); err != nil {
		t.Errorf("0x50: %v", err)
	}
	if err := r.bus.Tx(0x51, w, make([]byte, 4)); kindOf(err) != i2csim.IO {
		t.Errorf("0x51: %v, want IO", err)
	}
	want := []i2csim.Transaction{{N: 2, Addr: 0x51, Write: []byte{0xEE, 2, 3}, Read: 4, Devices: []i2csim.Device{other}}}
	if diff := cmp.Diff(want, seen, cmp.Comparer(func(a, b *memory) bool { return a == b })); diff != "" {
		t.Errorf("the script saw (-want +got):\n%s", diff)
	}
	if w[0] != 1 {
		t.Error("the script changed the driver's buffer")
	}
	r.bus.SetFaults(i2csim.Always(i2csim.Fault{Kind: i2csim.NACK}))
	if err := r.bus.Tx(0x50, w, nil); kindOf(err) != i2csim.NACK {
		t.Errorf("Always: %v, want NACK", err)
	}
	r.bus.SetFaults(nil)
	if err := r.bus.Tx(0x51, w, nil); err != nil {
		t.Errorf("no faults: %v", err)
	}
}
