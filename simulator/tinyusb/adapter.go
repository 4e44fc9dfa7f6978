package tinyusb

import (
	"encoding/binary"
	"errors"
	"syscall"

	"github.com/telltale-iot/telltale/simulator/usb"
)

// Bus is what the adapter is an adapter to. *i2csim.Bus is one.
type Bus interface {
	// Tx writes w to the device at addr, then reads r from it. An error that is
	// syscall.ENXIO says that it was not acknowledged; one that is
	// syscall.ETIMEDOUT makes the adapter hang; with others it stalls.
	Tx(addr uint16, w, r []byte) error
}

// The requests.
const (
	echo      = 0
	getFunc   = 1
	setDelay  = 2
	getStatus = 3
	message   = 4 // to 7
	begin     = 1 << 0
	end       = 1 << 1
)

// The states.
const (
	idle byte = iota
	acknowledged
	notAcknowledged
)

// functions are those of the firmware (linux/i2c.h): I2C_FUNC_I2C, and
// I2C_FUNC_SMBUS_EMUL without checksums.
const functions = 0x0EFF0001

// Adapter is an emulated i2c-tiny-usb. Its transfers come one at a time, as
// those to a device's control endpoint do.
type Adapter struct {
	bus     Bus
	status  byte
	pending *write
}

// write is a message that waits for the one after it.
type write struct {
	addr uint16
	data []byte
}

// New returns an adapter to bus.
func New(bus Bus) *Adapter { return &Adapter{bus: bus} }

// Descriptor says what the device is.
func (*Adapter) Descriptor() usb.Descriptor {
	return usb.Descriptor{
		Vendor: 0x0403, Product: 0xC631, Version: 0x0205, Class: 0xFF,
		Manufacturer: "telltale", Name: "i2c-tiny-usb",
	}
}

// Control carries out one control transfer: data is what comes from the host,
// the answer what goes to it. The error is usb.ErrStall or usb.ErrNoAnswer.
func (a *Adapter) Control(s usb.Setup, data []byte) ([]byte, error) {
	switch s.RequestType & usb.TypeMask {
	case usb.TypeStandard:
		return a.Descriptor().Standard(s)
	case usb.TypeVendor:
		return a.vendor(s, data)
	}
	return nil, usb.ErrStall
}

func (a *Adapter) vendor(s usb.Setup, data []byte) ([]byte, error) {
	var answer []byte
	switch {
	case s.Request == echo && s.In():
		answer = binary.LittleEndian.AppendUint16(nil, s.Value)
	case s.Request == getFunc && s.In():
		answer = binary.LittleEndian.AppendUint32(nil, functions)
	case s.Request == getStatus && s.In():
		answer = []byte{a.status}
	case s.Request == setDelay && !s.In():
	case s.Request&^(begin|end) == message:
		return a.message(s, data)
	default:
		return nil, usb.ErrStall
	}
	return answer[:min(len(answer), int(s.Length))], nil
}

// message carries out one message. Its answer is full even if the device did
// not acknowledge: the kernel reads that in the status.
func (a *Adapter) message(s usb.Setup, data []byte) ([]byte, error) {
	if s.Request&begin != 0 {
		a.pending = nil // of a transaction that the host gave up
	}
	var answer []byte
	if s.In() {
		answer = make([]byte, s.Length)
	}
	err := a.transact(s, data, answer)
	switch {
	case err == nil:
		a.status = acknowledged
	case errors.Is(err, syscall.ENXIO):
		a.status = notAcknowledged
	case errors.Is(err, syscall.ETIMEDOUT):
		return nil, usb.ErrNoAnswer
	default:
		return nil, usb.ErrStall
	}
	return answer, nil
}

func (a *Adapter) transact(s usb.Setup, w, r []byte) error {
	addr := s.Index
	before := a.pending
	a.pending = nil
	if before != nil {
		if len(r) > 0 && before.addr == addr {
			return a.bus.Tx(addr, before.data, r)
		}
		if err := a.bus.Tx(before.addr, before.data, nil); err != nil {
			return err
		}
	}
	if !s.In() && s.Request&end == 0 {
		a.pending = &write{addr, w}
		return nil
	}
	return a.bus.Tx(addr, w, r)
}
