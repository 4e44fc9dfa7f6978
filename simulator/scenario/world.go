package scenario

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// World is a scenario's buses with their chips, from a moment on. It has no
// goroutine: what the script says happens when the chips are asked. It is safe
// for concurrent use.
type World struct {
	begin  time.Time
	buses  map[string]*i2csim.Bus
	places map[place]*mounted
	chips  map[string]*mounted
}

// World makes the scenario's buses and chips. Its script begins at begin. The
// error is one of the files that the scenario names.
func (s *Scenario) World(begin time.Time) (*World, error) {
	w := &World{
		begin: begin, buses: make(map[string]*i2csim.Bus), places: make(map[place]*mounted), chips: make(map[string]*mounted),
	}
	environments := make(map[string]i2csim.Source)
	for i := range s.Environments {
		e := &s.Environments[i]
		source, err := s.source(e, begin)
		if err != nil {
			return nil, err
		}
		environments[e.Name] = source
		if i == 0 {
			environments[""] = source
		}
	}
	if environments[""] == nil {
		environments[""] = &surroundings{begin: begin}
	}
	for i := range s.Chips {
		c := &s.Chips[i]
		m, err := s.mount(c, s.Seed+uint64(i), environments[c.Environment], begin)
		if err != nil {
			return nil, fmt.Errorf("chip %s: %w", c.name(), err)
		}
		w.chips[c.name()] = m
		if w.places[c.place()] == nil {
			w.places[c.place()] = m
		}
		if w.buses[c.Bus] == nil {
			w.buses[c.Bus] = i2csim.NewBus(i2csim.BusOptions{Name: c.Bus})
		}
	}
	return w, w.wire(s)
}

// wire attaches the chips and sets the buses' faults.
func (w *World) wire(s *Scenario) error {
	multiplexers := make(map[place]*i2csim.TCA9548A)
	for _, m := range s.Multiplexers {
		if w.buses[m.Bus] == nil {
			w.buses[m.Bus] = i2csim.NewBus(i2csim.BusOptions{Name: m.Bus})
		}
		multiplexer := i2csim.NewTCA9548A()
		multiplexers[place{bus: m.Bus, address: m.Address}] = multiplexer
		if err := w.buses[m.Bus].Attach(m.Address, multiplexer); err != nil {
			return err
		}
	}
	for at, first := range w.places {
		device := i2csim.Device(first)
		for i := range s.Chips {
			if other := w.chips[s.Chips[i].name()]; other != first && s.Chips[i].place() == at {
				device = i2csim.Conflict(device, other)
			}
		}
		var err error
		if at.multiplexer != 0 {
			err = multiplexers[place{bus: at.bus, address: at.multiplexer}].Attach(at.channel, at.address, device)
		} else {
			err = w.buses[at.bus].Attach(at.address, device)
		}
		if err != nil {
			return err
		}
	}
	for name, bus := range w.buses {
		bus.SetFaults(w.faults(s, name))
	}
	return nil
}

// Buses returns the buses by their names. They are open; the caller closes
// none of them.
func (w *World) Buses() map[string]*i2csim.Bus { return maps.Clone(w.buses) }

// OpenBus opens a bus by its name, as the agent's option wants it.
func (w *World) OpenBus(name string) (i2c.BusCloser, error) {
	bus := w.buses[name]
	if bus == nil {
		return nil, fmt.Errorf("no bus %q: there are %q", name, slices.Sorted(maps.Keys(w.buses)))
	}
	return bus.Open(), nil
}

// Surroundings returns what surrounds a chip at a moment, and whether there is
// one of that name. Drift and noise are the chip's own.
func (w *World) Surroundings(chip string, t time.Time) (e i2csim.Environment, ok bool) {
	m := w.chips[chip]
	if m == nil {
		return i2csim.Environment{}, false
	}
	return m.around.At(t), true
}

// mounted is a chip on its bus, with a record of what it has shown.
type mounted struct {
	i2csim.Chip
	kind    string
	around  i2csim.Source // without drift and noise
	freeze  func(bool)    // by transactions; nil if the script does not
	mu      sync.Mutex
	results []i2csim.Conversion // that a reader may have seen since forget
}

// most bounds the results of a chip that nobody takes.
const most = 64

// Read implements i2csim.Device.
func (m *mounted) Read(p []byte) bool {
	if !m.Chip.Read(p) {
		return false
	}
	result, ok := m.LastConversion()
	m.mu.Lock()
	defer m.mu.Unlock()
	if ok && (len(m.results) == 0 || m.results[len(m.results)-1] != result) {
		m.results = append(m.results[max(0, len(m.results)+1-most):], result)
	}
	return true
}

// shown returns the conversions that the chip's registers may have shown since
// forget.
func (m *mounted) shown() []i2csim.Conversion {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.results)
}

// forget forgets them.
func (m *mounted) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.results = nil
}

// mount makes a chip with all that befalls it and not its bus.
func (s *Scenario) mount(c *Chip, seed uint64, around i2csim.Source, begin time.Time) (*mounted, error) {
	m := &mounted{kind: c.Kind, around: around}
	source := around
	var socket i2csim.SocketOptions
	var frozen []func() bool
	for i := range s.Faults {
		f := &s.Faults[i]
		spans := f.spans(begin)
		if f.Fault == AddressConflict && f.With == c.name() {
			socket.Plugged = append(socket.Plugged, spans)
		}
		if f.Chip != c.name() {
			continue
		}
		switch f.Fault {
		case Drift:
			source = i2csim.Drift{Source: source, Spans: spans, PerHour: f.environment()}
		case Noise:
			source = i2csim.Noise{Source: source, Spans: spans, Deviation: f.environment(), Seed: s.faultSeed(i)}
		case BrownOut:
			if f.byTime() && !f.byTransaction() {
				socket.BrownOuts = append(socket.BrownOuts, spans)
			}
		case Unplugged:
			socket.Unplugged = append(socket.Unplugged, spans)
		case Slow:
			socket.Slow, socket.SlowBy = spans, float64(f.Factor)
		case Frozen:
			if !f.byTransaction() {
				frozen = append(frozen, func() bool { return spans.Contain(time.Now()) })
				continue
			}
			var now atomic.Bool
			m.freeze = now.Store
			frozen = append(frozen, now.Load)
		}
	}
	o := i2csim.ChipOptions{Source: source, Seed: seed}
	if c.Timing == "typical" {
		o.Timing = i2csim.Typical
	}
	chip, err := i2csim.NewSocket(func(o i2csim.ChipOptions) (i2csim.Chip, error) { return i2csim.NewChip(c.Kind, o) }, o, socket)
	if err != nil {
		return nil, err
	}
	m.Chip = chip
	if frozen != nil {
		m.Chip = i2csim.NewFreezer(chip, func() bool {
			return slices.ContainsFunc(frozen, func(now func() bool) bool { return now() })
		})
	}
	return m, nil
}

func (s *Scenario) faultSeed(i int) uint64 { return s.Seed ^ uint64(i+1)<<32 }

// spans are the times of a fault.
func (f *Fault) spans(begin time.Time) i2csim.Spans {
	spans := i2csim.Spans{From: begin.Add(f.From), Every: f.Every, For: f.For}
	if f.To != 0 {
		spans.To = begin.Add(f.To)
	}
	return spans
}

// environment returns a fault's differences.
func (f *Fault) environment() i2csim.Environment {
	var q quantities
	for m, text := range f.differences() {
		q[m], _ = measures[m].difference(text)
	}
	return q.difference()
}

// faults returns what befalls a bus, and the transactions with its chips.
func (w *World) faults(s *Scenario, bus string) i2csim.Faults {
	var all []i2csim.Faults
	for i := range s.Faults {
		f := &s.Faults[i]
		if f.Bus == bus || f.Chip != "" && s.chip(f.Chip).Bus == bus {
			if faults := w.fault(f, s.faultSeed(i)); faults != nil {
				all = append(all, faults)
			}
		}
	}
	if all == nil {
		return nil
	}
	return i2csim.Together(all...)
}

func (w *World) fault(f *Fault, seed uint64) i2csim.Faults {
	during := i2csim.During(time.Now, f.spans(w.begin))
	chip := w.chips[f.Chip]
	var conditions []i2csim.Condition
	if chip != nil {
		conditions = append(conditions, i2csim.Reaching(chip))
	}
	conditions = append(conditions, during)
	then := func(faults i2csim.Faults) i2csim.Faults {
		switch {
		case len(f.Transactions) > 0:
			conditions = append(conditions, i2csim.Nth(f.Transactions...))
		case f.EveryTransaction > 0:
			conditions = append(conditions, i2csim.EveryNth(f.EveryTransaction))
		case f.OneIn > 0:
			conditions = append(conditions, i2csim.OneIn(f.OneIn, seed))
		}
		return i2csim.If(i2csim.All(conditions...), faults)
	}
	switch f.Fault {
	case NACK:
		return then(i2csim.Always(i2csim.Fault{Kind: i2csim.NACK}))
	case IO:
		return then(i2csim.Always(i2csim.Fault{Kind: i2csim.IO}))
	case Timeout:
		return then(i2csim.Always(i2csim.Fault{Kind: i2csim.Timeout, Delay: f.Delay}))
	case StuckLow:
		return i2csim.HoldLow(during, f.Delay)
	case BitFlips:
		conditions = append(conditions, i2csim.Reading(1))
		return then(i2csim.FlipBit(seed))
	case WrongCRC:
		conditions = append(conditions, i2csim.Reading(*f.Byte+1))
		return then(i2csim.Always(i2csim.FlipByte(*f.Byte, 0x01)))
	case BrownOut:
		if f.byTransaction() {
			return then(i2csim.Do(chip.PowerCycle))
		}
	case Frozen:
		if f.byTransaction() {
			freeze := false
			frozen := then(i2csim.Do(func() { freeze = true }))
			return i2csim.If(i2csim.Reaching(chip), func(t i2csim.Transaction) i2csim.Fault {
				freeze = false
				fault := frozen(t)
				chip.freeze(freeze)
				return fault
			})
		}
	}
	return nil
}
