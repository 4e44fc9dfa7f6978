package i2csim

import "fmt"

// Addresses that the I²C specification (UM10204, 3.1.12) leaves to devices.
const (
	firstAddress = 0x08
	lastAddress  = 0x77
)

// Switch is a device behind which there are others, as a multiplexer. They
// answer on its bus as if they were there, while it lets them.
type Switch interface {
	Device
	// Behind returns the devices behind it that answer to an address now. The
	// bus asks before each transaction, and not within one.
	Behind(addr uint16) []Device
}

// segment is the devices on one pair of wires, by their addresses.
type segment map[uint16]Device

func (s segment) attach(addr uint16, d Device) error {
	switch {
	case addr < firstAddress || addr > lastAddress:
		return fmt.Errorf("address %#02x: want %#02x to %#02x", addr, firstAddress, lastAddress)
	case d == nil:
		return fmt.Errorf("address %#02x: want a device", addr)
	case s[addr] != nil:
		return fmt.Errorf("address %#02x: there is a device already", addr)
	}
	s[addr] = d
	return nil
}

// at returns the devices that answer to addr, those behind switches included.
func (s segment) at(addr uint16) []Device {
	var found []Device
	switch d := s[addr].(type) {
	case nil:
	case conflict:
		found = append(found, d...)
	default:
		found = append(found, d)
	}
	for _, d := range s {
		if d, ok := d.(Switch); ok {
			found = append(found, d.Behind(addr)...)
		}
	}
	return found
}

// Conflict returns what the bus sees of two or more devices with one address.
// Each carries out what is written, and one that acknowledges is enough. What
// is read is the AND of what those give that acknowledged: the data line is an
// open drain, so a 0 wins (UM10204, 3.1.1).
func Conflict(a, b Device, others ...Device) Device {
	return append(conflict{a, b}, others...)
}

// conflict is any number of devices at one address; none acknowledge nothing.
type conflict []Device

func (c conflict) Write(p []byte) int {
	acknowledged := -1
	for _, d := range c {
		acknowledged = max(acknowledged, d.Write(p))
	}
	return acknowledged
}

func (c conflict) Read(p []byte) bool {
	if len(c) == 1 {
		return c[0].Read(p)
	}
	acknowledged := false
	for i := range p {
		p[i] = 0xFF
	}
	theirs := make([]byte, len(p))
	for _, d := range c {
		if !d.Read(theirs) {
			continue
		}
		acknowledged = true
		for i, b := range theirs {
			p[i] &= b
		}
	}
	return acknowledged
}

// Behind makes a conflict with a switch a switch.
func (c conflict) Behind(addr uint16) []Device {
	var found []Device
	for _, d := range c {
		if d, ok := d.(Switch); ok {
			found = append(found, d.Behind(addr)...)
		}
	}
	return found
}
