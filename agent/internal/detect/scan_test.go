package detect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// dumb acknowledges all that it is told, and reads as one byte.
type dumb struct {
	byte
	written [][]byte
}

func (d *dumb) Write(p []byte) int {
	d.written = append(d.written, bytes.Clone(p))
	return len(p)
}

func (d *dumb) Read(p []byte) bool {
	for i := range p {
		p[i] = d.byte
	}
	return true
}

// byRegister recognises chips by what a register holds.
func byRegister(register, want byte, m Match) func(i2c.Bus, uint16) (Match, string) {
	return func(bus i2c.Bus, address uint16) (Match, string) {
		var b [1]byte
		if err := bus.Tx(address, []byte{register}, b[:]); err != nil {
			return No, "no id"
		}
		if b[0] != want {
			return No, fmt.Sprintf("id %#02x", b[0])
		}
		return m, fmt.Sprintf("its id is %#02x", want)
	}
}

func newBus(t *testing.T, devices map[uint16]*dumb) *i2csim.Bus {
	t.Helper()
	bus := i2csim.NewBus(i2csim.BusOptions{Name: "bus"})
	for address, d := range devices {
		if err := bus.Attach(address, d); err != nil {
			t.Fatal(err)
		}
	}
	return bus
}

// kinds have the same address, and one of them another besides.
var kinds = []Kind{
	{Driver: "sure", Addresses: []uint16{0x40, 0x41}, Recognise: byRegister(0xD0, 0x60, Certain)},
	{Driver: "maybe", Addresses: []uint16{0x40}, Recognise: byRegister(0xD1, 0x60, Probable)},
	{Driver: "other", Addresses: []uint16{0x40}, Recognise: byRegister(0xD0, 0x58, Certain)},
}

// silent answers no read before a command.
type silent struct {
	dumb
	asked bool
}

func (s *silent) Write(p []byte) int {
	s.asked = true
	return s.dumb.Write(p)
}

func (s *silent) Read(p []byte) bool { return s.asked && s.dumb.Read(p) }

// A chip that answers no read is asked by the kinds that are so, and by no other.
func TestScanAsksSilentChips(t *testing.T) {
	bus := i2csim.NewBus(i2csim.BusOptions{Name: "bus"})
	chip, loud := &silent{dumb: dumb{byte: 0x60}}, &silent{dumb: dumb{byte: 0x60}}
	if err := errors.Join(bus.Attach(0x44, chip), bus.Attach(0x41, loud)); err != nil {
		t.Fatal(err)
	}
	got, err := Scan(t.Context(), bus, Adapter{}, append([]Kind{
		{Driver: "quiet", Addresses: []uint16{0x44, 0x45}, Recognise: byRegister(0x89, 0x60, Certain), Silent: true},
		{Driver: "loud", Addresses: []uint16{0x44}, Recognise: byRegister(0x8A, 0x60, Certain)},
	}, kinds...))
	if err != nil {
		t.Fatal(err)
	}
	want := []Finding{{Address: 0x44, Driver: "quiet", Match: Certain, Evidence: "its id is 0x60"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([][]byte{{0x89}}, chip.written); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	if len(loud.written) > 0 {
		t.Errorf("% x was written where nothing answers", loud.written)
	}
}

func TestScan(t *testing.T) {
	for _, tt := range []struct {
		name    string
		devices map[uint16]*dumb
		taken   map[uint16]string
		want    []Finding
	}{
		{"nothing", nil, nil, nil},
		{"the surest kind, in either order", map[uint16]*dumb{0x40: {byte: 0x60}}, nil,
			[]Finding{{Address: 0x40, Driver: "sure", Match: Certain, Evidence: "its id is 0x60"}}},
		{"an address of one kind", map[uint16]*dumb{0x41: {byte: 0x60}}, nil,
			[]Finding{{Address: 0x41, Driver: "sure", Match: Certain, Evidence: "its id is 0x60"}}},
		{"another chip at a known address", map[uint16]*dumb{0x40: {byte: 0x61}}, nil,
			[]Finding{{Address: 0x40, Evidence: "id 0x61"}}},
		{"the ends of the range", map[uint16]*dumb{0x08: {}, 0x77: {}}, nil,
			[]Finding{{Address: 0x08}, {Address: 0x77}}},
		{"the kernel's", map[uint16]*dumb{0x40: {byte: 0x60}, 0x41: {byte: 0x60}}, map[uint16]string{0x40: "ds3231"},
			[]Finding{{Address: 0x40, Kernel: "ds3231"}, {Address: 0x41, Driver: "sure", Match: Certain, Evidence: "its id is 0x60"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Scan(t.Context(), newBus(t, tt.devices), Adapter{Taken: tt.taken}, kinds)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestScanIsHarmless holds Scan to what doc.go says it does on the bus.
func TestScanIsHarmless(t *testing.T) {
	devices := map[uint16]*dumb{}
	for address := uint16(0x08); address <= 0x76; address++ {
		devices[address] = &dumb{byte: 0x5A}
	}
	bus := newBus(t, devices)
	touched := map[uint16]bool{}
	bus.SetFaults(func(tx i2csim.Transaction) i2csim.Fault {
		touched[tx.Addr] = true
		return i2csim.Fault{}
	})
	if _, err := Scan(t.Context(), bus, Adapter{Taken: map[uint16]string{0x50: "at24"}}, kinds); err != nil {
		t.Fatal(err)
	}
	for address, d := range devices {
		want := map[uint16][][]byte{0x40: {{0xD0}, {0xD1}, {0xD0}}, 0x41: {{0xD0}}}[address]
		if diff := cmp.Diff(want, d.written); diff != "" {
			t.Errorf("%#02x was written to (-want +got):\n%s", address, diff)
		}
	}
	if touched[0x50] {
		t.Error("the kernel's address was touched")
	}
	if len(touched) != 0x77-0x08 {
		t.Errorf("%d addresses touched, want all but one of 0x08 to 0x77", len(touched))
	}
}

func TestScanFails(t *testing.T) {
	everywhere := map[uint16]*dumb{}
	for address := uint16(0x08); address <= 0x77; address++ {
		everywhere[address] = &dumb{}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, tt := range []struct {
		name         string
		ctx          context.Context
		devices      map[uint16]*dumb
		faults       i2csim.Faults
		want         error
		transactions uint64
	}{
		{"stuck", t.Context(), nil, i2csim.Script(map[uint64]i2csim.Fault{5: {Kind: i2csim.Stuck}}), ErrStuck, 7},
		{"an adapter that cannot", t.Context(), nil, i2csim.Always(i2csim.Fault{Kind: i2csim.IO}), ErrStuck, 3},
		{"held low", t.Context(), everywhere, nil, ErrEverywhere, 0x70 + 4},
		{"stopped", stopped, nil, nil, context.Canceled, 0},
		{"two errors are not three", t.Context(), nil, i2csim.Script(map[uint64]i2csim.Fault{
			3: {Kind: i2csim.Timeout}, 4: {Kind: i2csim.IO}, 6: {Kind: i2csim.IO}, 7: {Kind: i2csim.IO},
		}), nil, 0x70},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bus := newBus(t, tt.devices)
			bus.SetFaults(tt.faults)
			found, err := Scan(tt.ctx, bus, Adapter{}, kinds)
			if !errors.Is(err, tt.want) || len(found) > 0 {
				t.Errorf("got %v, %v: want %v", found, err, tt.want)
			}
			if got := bus.Stats().Transactions; got != tt.transactions {
				t.Errorf("%d transactions, want %d", got, tt.transactions)
			}
		})
	}
}
