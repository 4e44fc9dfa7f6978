package usbredir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/telltale-iot/telltale/simulator/usb"
)

// The types of packets that a device with only a control endpoint meets.
const (
	typeHello            = 0
	typeConnect          = 1
	typeDisconnect       = 2
	typeReset            = 3
	typeInterfaceInfo    = 4
	typeEndpointInfo     = 5
	typeSetConfiguration = 6
	typeGetConfiguration = 7
	typeConfiguration    = 8
	typeSetAlternate     = 9
	typeGetAlternate     = 10
	typeAlternate        = 11
	typeCancel           = 21
	typeDisconnectAck    = 24
	typeControl          = 100
)

// Capabilities, by their bits.
const (
	capDeviceVersion = 1 << 1
	capDisconnectAck = 1 << 3
	capMaxPacketSize = 1 << 4
	cap64BitIDs      = 1 << 5
	capLongBulk      = 1 << 6 // of transfers that this device has none of

	capabilities = capDeviceVersion | capDisconnectAck | capMaxPacketSize | cap64BitIDs | capLongBulk
)

// The states of a transfer.
const (
	success   byte = 0
	cancelled byte = 1
	ioError   byte = 3
	stalled   byte = 4
)

const (
	speedFull       = 1
	typeInvalid     = 255 // an endpoint that is not there
	maxPacketSize0  = 8
	slots           = 32 // of interfaces and of endpoints
	helloText       = 64
	controlHeader   = 10
	maxPacketLength = controlHeader + 1<<16
)

// packet is a packet without its length.
type packet struct {
	kind uint32
	id   uint64
	body []byte
}

// read reads a packet, of which the id has 4 bytes or, if wide, 8. At the end
// of the stream, between two packets, the error is io.EOF.
func read(r io.Reader, wide bool) (packet, error) {
	header := make([]byte, headerSize(wide))
	if _, err := io.ReadFull(r, header); err != nil {
		return packet{}, err
	}
	p := packet{kind: binary.LittleEndian.Uint32(header)}
	if wide {
		p.id = binary.LittleEndian.Uint64(header[8:])
	} else {
		p.id = uint64(binary.LittleEndian.Uint32(header[8:]))
	}
	length := binary.LittleEndian.Uint32(header[4:])
	if length > maxPacketLength {
		return packet{}, fmt.Errorf("packet of type %d has %d bytes: want at most %d", p.kind, length, maxPacketLength)
	}
	p.body = make([]byte, length)
	if _, err := io.ReadFull(r, p.body); err != nil {
		return packet{}, fmt.Errorf("packet of type %d: %w", p.kind, noEOF(err))
	}
	return p, nil
}

// noEOF makes the end of the stream inside of a packet an error of its own.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func headerSize(wide bool) int {
	if wide {
		return 16
	}
	return 12
}

// marshal is the inverse of read.
func (p packet) marshal(wide bool) []byte {
	b := make([]byte, 0, headerSize(wide)+len(p.body))
	b = binary.LittleEndian.AppendUint32(b, p.kind)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.body)))
	if wide {
		b = binary.LittleEndian.AppendUint64(b, p.id)
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(p.id))
	}
	return append(b, p.body...)
}

func hello() packet {
	body := make([]byte, helloText, helloText+4)
	copy(body, "telltale")
	return packet{kind: typeHello, body: binary.LittleEndian.AppendUint32(body, capabilities)}
}

// parseHello checks that the other side has the capabilities that the rest of
// this package counts on.
func parseHello(p packet) error {
	if p.kind != typeHello {
		return fmt.Errorf("packet of type %d: want a hello first", p.kind)
	}
	if len(p.body) < helloText+4 {
		return fmt.Errorf("hello has %d bytes: want %d at least", len(p.body), helloText+4)
	}
	if got := binary.LittleEndian.Uint32(p.body[helloText:]); got&capabilities != capabilities {
		return fmt.Errorf("hello has the capabilities %#x: want %#x at least", got, capabilities)
	}
	return nil
}

// connect returns the packets that plug a device in.
func connect(d usb.Descriptor) []packet {
	endpoints := make([]byte, slots*(1+1+1+2))
	for i := range slots {
		endpoints[i] = typeInvalid
	}
	for _, control := range []int{0, slots / 2} { // to the device and from it
		endpoints[control] = 0
		binary.LittleEndian.PutUint16(endpoints[3*slots+2*control:], maxPacketSize0)
	}
	interfaces := make([]byte, 4+slots*(1+1+1+1))
	binary.LittleEndian.PutUint32(interfaces, 1)
	interfaces[4+slots] = d.Class
	device := []byte{speedFull, 0, 0, 0}
	device = binary.LittleEndian.AppendUint16(device, d.Vendor)
	device = binary.LittleEndian.AppendUint16(device, d.Product)
	device = binary.LittleEndian.AppendUint16(device, d.Version)
	return []packet{
		{kind: typeEndpointInfo, body: endpoints},
		{kind: typeInterfaceInfo, body: interfaces},
		{kind: typeConnect, body: device},
	}
}

// parseControl returns the transfer that p asks for, and the data to the device.
func parseControl(p packet) (usb.Setup, []byte, error) {
	if len(p.body) < controlHeader {
		return usb.Setup{}, nil, fmt.Errorf("control transfer has %d bytes: want %d at least", len(p.body), controlHeader)
	}
	s := usb.Setup{
		Request:     p.body[1],
		RequestType: p.body[2],
		Value:       binary.LittleEndian.Uint16(p.body[4:]),
		Index:       binary.LittleEndian.Uint16(p.body[6:]),
		Length:      binary.LittleEndian.Uint16(p.body[8:]),
	}
	want := int(s.Length)
	if s.In() {
		want = 0
	}
	data := p.body[controlHeader:]
	if len(data) != want {
		return usb.Setup{}, nil, fmt.Errorf("control transfer has %d bytes of data: want %d", len(data), want)
	}
	return s, data, nil
}

// answerControl returns the answer to the control transfer p.
func answerControl(p packet, status byte, answer []byte) packet {
	body := append([]byte{}, p.body[:controlHeader]...)
	body[3] = status
	if body[2]&usb.In != 0 {
		binary.LittleEndian.PutUint16(body[8:], uint16(len(answer)))
		body = append(body, answer...)
	}
	return packet{kind: typeControl, id: p.id, body: body}
}
