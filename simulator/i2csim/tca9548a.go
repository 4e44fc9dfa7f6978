package i2csim

import (
	"fmt"
	"sync"
)

const tca9548aChannels = 8

// TCA9548A is an emulated Texas Instruments TCA9548A (an NXP PCA9548A answers
// alike): a switch with eight channels. Attach it at 0x70 to 0x77. It has no
// channel on when it is made. It is safe for concurrent use.
type TCA9548A struct {
	mu       sync.Mutex
	control  byte // a bit per channel that is on
	channels [tca9548aChannels]segment
}

var _ Switch = (*TCA9548A)(nil)

// NewTCA9548A returns a switch with nothing behind it.
func NewTCA9548A() *TCA9548A {
	m := new(TCA9548A)
	for i := range m.channels {
		m.channels[i] = make(segment)
	}
	return m
}

// Attach puts d behind a channel, 0 to 7, at an address where that channel has
// no other. d may be another switch, but none that has m behind it.
func (m *TCA9548A) Attach(channel int, addr uint16, d Device) error {
	if channel < 0 || channel >= tca9548aChannels {
		return fmt.Errorf("i2csim: tca9548a: channel %d: want 0 to %d", channel, tca9548aChannels-1)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.channels[channel].attach(addr, d); err != nil {
		return fmt.Errorf("i2csim: tca9548a: channel %d: %w", channel, err)
	}
	return nil
}

// Detach takes the device at addr behind a channel, if there is one, off. The
// device keeps its state and its power.
func (m *TCA9548A) Detach(channel int, addr uint16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if channel >= 0 && channel < tca9548aChannels {
		delete(m.channels[channel], addr)
	}
}

// PowerCycle is a brown-out: no channel is on. The devices behind it have
// their own supply.
func (m *TCA9548A) PowerCycle() { m.Reset() }

// Reset is a pulse on the pin RESET: no channel is on.
func (m *TCA9548A) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.control = 0
}

// Write takes the control register; of several bytes the last counts (data sheet, 8.5.4).
// The channels are on from the end of the transaction.
func (m *TCA9548A) Write(p []byte) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(p) > 0 {
		m.control = p[len(p)-1]
	}
	return len(p)
}

// Read gives the control register, for as long as it is read.
func (m *TCA9548A) Read(p []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range p {
		p[i] = m.control
	}
	return true
}

// Behind returns the devices with an address on the channels that are on.
func (m *TCA9548A) Behind(addr uint16) []Device {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []Device
	for i, channel := range m.channels {
		if m.control&(1<<i) != 0 {
			found = append(found, channel.at(addr)...)
		}
	}
	return found
}
