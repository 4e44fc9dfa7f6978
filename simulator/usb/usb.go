// Package usb is what an emulated USB device and the protocols that carry its
// transfers agree on: a setup packet, a descriptor, and two ways to fail.
//
// It knows devices with one configuration of one interface and no endpoint but
// the control endpoint. Source: Universal Serial Bus specification, revision
// 2.0, chapter 9.
package usb

import (
	"encoding/binary"
	"errors"
	"unicode/utf16"
)

// The ways in which a device fails a control transfer.
var (
	// ErrStall: the device answers STALL, "cannot do that" (8.5.3.4).
	ErrStall = errors.New("usb: stall")
	// ErrNoAnswer: the device never answers, and it is for the host to give up.
	ErrNoAnswer = errors.New("usb: no answer")
)

// Setup begins a control transfer (9.3).
type Setup struct {
	RequestType uint8 // direction, type and recipient
	Request     uint8
	Value       uint16
	Index       uint16
	Length      uint16 // bytes of the data stage, at most
}

// The parts of a RequestType (table 9-2).
const (
	In             uint8 = 1 << 7 // the data goes to the host
	TypeMask       uint8 = 0b11 << 5
	TypeStandard   uint8 = 0b00 << 5
	TypeVendor     uint8 = 0b10 << 5
	ToInterface    uint8 = 1
	setupSize            = 8
	maxPacketSize0       = 8 // of the control endpoint
)

// ParseSetup reads a setup packet of 8 bytes.
func ParseSetup(p [setupSize]byte) Setup {
	return Setup{
		RequestType: p[0],
		Request:     p[1],
		Value:       binary.LittleEndian.Uint16(p[2:]),
		Index:       binary.LittleEndian.Uint16(p[4:]),
		Length:      binary.LittleEndian.Uint16(p[6:]),
	}
}

// In reports whether the data goes to the host.
func (s Setup) In() bool { return s.RequestType&In != 0 }

// Descriptor says what a device is.
type Descriptor struct {
	Vendor       uint16
	Product      uint16
	Version      uint16 // binary-coded decimal: 0x0105 is 1.05
	Class        uint8  // of the interface; the device's own class is 0, "see there"
	Manufacturer string
	Name         string
}

// Standard requests (table 9-4).
const (
	getStatus        = 0
	getDescriptor    = 6
	getConfiguration = 8
	setConfiguration = 9
	getInterface     = 10
	setInterface     = 11
)

// Descriptor types (table 9-5).
const (
	typeDevice        = 1
	typeConfiguration = 2
	typeString        = 3
	typeInterface     = 4
)

// Standard answers a standard request as the device that d describes. The
// error is ErrStall for what such a device does not have.
func (d Descriptor) Standard(s Setup) ([]byte, error) {
	var answer []byte
	switch s.Request {
	case getDescriptor:
		switch s.Value >> 8 {
		case typeDevice:
			answer = d.device()
		case typeConfiguration:
			answer = d.configuration()
		case typeString:
			answer = d.text(s.Value & 0xFF)
		}
	case getStatus:
		answer = []byte{0, 0} // powered by the bus, wakes nobody
	case getConfiguration:
		answer = []byte{1}
	case getInterface:
		answer = []byte{0}
	case setConfiguration, setInterface:
		return nil, nil
	}
	if answer == nil {
		return nil, ErrStall
	}
	return answer[:min(len(answer), int(s.Length))], nil
}

// device returns the device descriptor (table 9-8).
func (d Descriptor) device() []byte {
	b := []byte{18, typeDevice, 0x10, 0x01, 0, 0, 0, maxPacketSize0}
	b = binary.LittleEndian.AppendUint16(b, d.Vendor)
	b = binary.LittleEndian.AppendUint16(b, d.Product)
	b = binary.LittleEndian.AppendUint16(b, d.Version)
	return append(b, 1, 2, 0, 1) // strings 1 and 2, no serial number, one configuration
}

// configuration returns the configuration descriptor and the interface's
// (tables 9-10 and 9-12).
func (d Descriptor) configuration() []byte {
	return []byte{
		9, typeConfiguration, 18, 0, 1, 1, 0, 0x80, 50, // 100 mA of the bus
		9, typeInterface, 0, 0, 0, d.Class, 0, 0, 0,
	}
}

// text returns a string descriptor (9.6.7), nil if there is none.
func (d Descriptor) text(index uint16) []byte {
	var s string
	switch index {
	case 0:
		return []byte{4, typeString, 0x09, 0x04} // there are texts in US English
	case 1:
		s = d.Manufacturer
	case 2:
		s = d.Name
	default:
		return nil
	}
	b := []byte{0, typeString}
	for _, unit := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	b = b[:min(len(b), 254)]
	b[0] = byte(len(b))
	return b
}
