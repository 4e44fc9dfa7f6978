package usbip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/telltale-iot/telltale/simulator/usb"
)

const (
	version = 0x0111

	requestList   = 0x8005
	answerList    = 0x0005
	requestImport = 0x8003
	answerImport  = 0x0003

	busIDSize = 32
	pathSize  = 256
)

// The status of an answer to a request.
const (
	statusOK       = 0
	statusAbsent   = 1 // ST_NA
	statusAttached = 2 // ST_DEV_BUSY
)

// The commands of an imported device's connection.
const (
	submit uint32 = iota + 1
	unlink
	submitAnswer
	unlinkAnswer
)

const (
	headerSize  = 48
	directionIn = 1

	// maxTransfer is the most that a control transfer carries: a setup packet's
	// length has 16 bits.
	maxTransfer = 1<<16 - 1
	// notIsochronous is, like 0, the number of packets of other transfers.
	notIsochronous = 0xFFFFFFFF
)

// The errnos of a status: those of Linux on every machine.
const (
	epipe      = 32
	econnreset = 104
)

var errProtocol = errors.New("not USB/IP")

// request is what a connection begins with.
type request struct {
	code  uint16
	busID string // of an import
}

func readRequest(r io.Reader) (request, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return request{}, err
	}
	if v := binary.BigEndian.Uint16(head[0:]); v != version {
		return request{}, fmt.Errorf("%w: version %#04x: want %#04x", errProtocol, v, version)
	}
	req := request{code: binary.BigEndian.Uint16(head[2:])}
	switch req.code {
	case requestList:
	case requestImport:
		var id [busIDSize]byte
		if _, err := io.ReadFull(r, id[:]); err != nil {
			return request{}, err
		}
		req.busID = text(id[:])
	default:
		return request{}, fmt.Errorf("%w: request %#04x: want %#04x or %#04x", errProtocol, req.code, requestList, requestImport)
	}
	return req, nil
}

// text is what comes before the first zero.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func appendAnswer(b []byte, code uint16, status uint32) []byte {
	b = binary.BigEndian.AppendUint16(b, version)
	b = binary.BigEndian.AppendUint16(b, code)
	return binary.BigEndian.AppendUint32(b, status)
}

// appendDevice appends what an answer says of a device.
func (e *export) appendDevice(b []byte) []byte {
	d := e.device.Descriptor()
	b = appendText(b, "/sys/devices/telltale/"+e.busID, pathSize)
	b = appendText(b, e.busID, busIDSize)
	for _, v := range []uint32{busNumber, e.number, fullSpeed} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	for _, v := range []uint16{d.Vendor, d.Product, d.Version} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return append(b, 0, 0, 0, 1, 1, 1) // the class is the interface's; one configuration, one interface
}

func (e *export) appendInterface(b []byte) []byte {
	return append(b, e.device.Descriptor().Class, 0, 0, 0)
}

func appendText(b []byte, s string, size int) []byte {
	field := make([]byte, size)
	copy(field[:size-1], s)
	return append(b, field...)
}

// header is a command, the answer to one included.
type header struct {
	command uint32
	number  uint32 // the transfer's
	in      bool
	end     uint32 // the endpoint

	// submit
	length  uint32 // of the data
	packets uint32
	setup   usb.Setup

	victim uint32 // unlink: the number of the transfer
}

func readHeader(r io.Reader) (header, error) {
	var b [headerSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return header{}, err
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(b[4*i:]) }
	h := header{command: word(0), number: word(1), in: word(3) == directionIn, end: word(4)}
	switch h.command {
	case submit:
		h.length, h.packets = word(6), word(8)
		h.setup = usb.ParseSetup([8]byte(b[40:48]))
		if h.length > maxTransfer {
			return header{}, fmt.Errorf("%w: a transfer of %d bytes: want at most %d", errProtocol, h.length, maxTransfer)
		}
		if h.packets != 0 && h.packets != notIsochronous {
			return header{}, fmt.Errorf("%w: an isochronous transfer: want control transfers", errProtocol)
		}
	case unlink:
		h.victim = word(5)
	default:
		return header{}, fmt.Errorf("%w: command %d: want %d or %d", errProtocol, h.command, submit, unlink)
	}
	return h, nil
}

// submitAnswerOf returns the answer to a transfer. data is nil if it went out.
func submitAnswerOf(number uint32, status int32, length int, data []byte) []byte {
	b := appendWords(nil, submitAnswer, number, 0, 0, 0, uint32(status), uint32(length), 0, 0, 0, 0, 0)
	return append(b, data...)
}

func unlinkAnswerOf(number uint32, status int32) []byte {
	return appendWords(nil, unlinkAnswer, number, 0, 0, 0, uint32(status), 0, 0, 0, 0, 0, 0)
}

func appendWords(b []byte, words ...uint32) []byte {
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}
