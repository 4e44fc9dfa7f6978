package nbd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// All integers are big-endian.
//
// The server begins:
//
//	0          8          16      18
//	+----------+----------+-------+
//	| NBDMAGIC | IHAVEOPT | flags |
//	+----------+----------+-------+
//
// and the client answers with its flags, 4 bytes. It goes on with options:
//
//	0          8        12       16        16+length
//	+----------+--------+--------+-- - - --+
//	| IHAVEOPT | option | length |  data   |
//	+----------+--------+--------+-- - - --+
//
// to which the server replies:
//
//	0          8        12     16       20        20+length
//	+----------+--------+------+--------+-- - - --+
//	|  magic   | option | type | length |  data   |
//	+----------+--------+------+--------+-- - - --+
const (
	magicServer = "NBDMAGIC"
	magicOption = "IHAVEOPT"
	magicReply  = 0x0003e889045565a9

	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1
	knownFlags        = flagFixedNewstyle | flagNoZeroes

	// maxOption is the longest option that is read; the protocol's longest
	// string is 4096 bytes.
	maxOption = 8 << 10
)

// The options of the handshake.
const (
	optExportName = 1
	optAbort      = 2
	optList       = 3
	optInfo       = 6
	optGo         = 7
)

// The types of an option's reply.
const (
	replyAck    = 1
	replyServer = 2
	replyInfo   = 3

	replyUnsupported = 1<<31 + 1
	replyInvalid     = 1<<31 + 3
	replyTooBig      = 1<<31 + 9
)

// What a reply of type replyInfo tells.
const (
	infoExport    = 0
	infoBlockSize = 3
)

// A request of the transmission phase, and its simple reply:
//
//	0       4       6      8        16       24       28        28+length
//	+-------+-------+------+--------+--------+--------+-- - - --+
//	| magic | flags | type | cookie | offset | length |  data   |  data: of a WRITE
//	+-------+-------+------+--------+--------+--------+-- - - --+
//
//	0       4       8        16        16+length
//	+-------+-------+--------+-- - - --+
//	| magic | error | cookie |  data   |  data: of a READ without an error
//	+-------+-------+--------+-- - - --+
const (
	magicRequest     = 0x25609513
	magicSimpleReply = 0x67446698
	requestSize      = 28

	commandRead  = 0
	commandWrite = 1
	commandDisc  = 2
	commandFlush = 3

	requestFUA = 1 << 0

	transmissionHasFlags  = 1 << 0
	transmissionSendFlush = 1 << 2
	transmissionSendFUA   = 1 << 3
	transmissionFlags     = transmissionHasFlags | transmissionSendFlush | transmissionSendFUA

	// MaxRequest is how many bytes one request may read or write: what clients
	// assume who are told nothing.
	MaxRequest = 32 << 20
	// BlockSize is what offsets and lengths of requests are multiples of.
	BlockSize = 512
	preferred = 4096
)

// The errors of a reply.
const (
	errIO       = 5
	errInvalid  = 22
	errNoSpace  = 28
	errNoErrors = 0
)

// errProtocol says that the peer does not keep to the protocol.
var errProtocol = errors.New("nbd: protocol violated")

type option struct {
	code uint32
	data []byte // nil if it was too long, and skipped
}

func readOption(r io.Reader) (option, error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return option{}, err
	}
	if string(head[:8]) != magicOption {
		return option{}, fmt.Errorf("%w: option begins with %q, want %q", errProtocol, head[:8], magicOption)
	}
	o := option{code: binary.BigEndian.Uint32(head[8:])}
	length := binary.BigEndian.Uint32(head[12:])
	if length > maxOption {
		_, err := io.CopyN(io.Discard, r, int64(length))
		return o, err
	}
	o.data = make([]byte, length)
	_, err := io.ReadFull(r, o.data)
	return o, err
}

// parseInfo returns the export's name in an option INFO or GO, and which
// information is asked for.
func parseInfo(data []byte) (name string, requests []uint16, ok bool) {
	if len(data) < 4 {
		return "", nil, false
	}
	length := uint64(binary.BigEndian.Uint32(data))
	data = data[4:]
	if uint64(len(data)) < length+2 {
		return "", nil, false
	}
	name, data = string(data[:length]), data[length:]
	count := int(binary.BigEndian.Uint16(data))
	data = data[2:]
	if len(data) != 2*count {
		return "", nil, false
	}
	for ; len(data) > 0; data = data[2:] {
		requests = append(requests, binary.BigEndian.Uint16(data))
	}
	return name, requests, true
}

type request struct {
	flags, command uint16
	cookie, offset uint64
	length         uint32
}

func readRequest(r io.Reader) (request, error) {
	var head [requestSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return request{}, err
	}
	if magic := binary.BigEndian.Uint32(head[:]); magic != magicRequest {
		return request{}, fmt.Errorf("%w: request begins with %#x, want %#x", errProtocol, magic, magicRequest)
	}
	return request{
		flags:   binary.BigEndian.Uint16(head[4:]),
		command: binary.BigEndian.Uint16(head[6:]),
		cookie:  binary.BigEndian.Uint64(head[8:]),
		offset:  binary.BigEndian.Uint64(head[16:]),
		length:  binary.BigEndian.Uint32(head[24:]),
	}, nil
}

// check returns the error that the request deserves on a device of size bytes.
func (r *request) check(size int64) uint32 {
	if r.offset%BlockSize != 0 || r.length%BlockSize != 0 || r.length == 0 || r.length > MaxRequest {
		return errInvalid
	}
	if r.offset > uint64(size) || uint64(r.length) > uint64(size)-r.offset {
		if r.command == commandWrite {
			return errNoSpace
		}
		return errInvalid
	}
	return errNoErrors
}

func appendOptionReply(b []byte, option, replyType uint32, data []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, magicReply)
	b = binary.BigEndian.AppendUint32(b, option)
	b = binary.BigEndian.AppendUint32(b, replyType)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

func appendSimpleReply(b []byte, code uint32, cookie uint64) []byte {
	b = binary.BigEndian.AppendUint32(b, magicSimpleReply)
	b = binary.BigEndian.AppendUint32(b, code)
	return binary.BigEndian.AppendUint64(b, cookie)
}

// exportInfo is what INFO tells of the export: its size and what it can do.
func exportInfo(size int64) []byte {
	b := binary.BigEndian.AppendUint16(nil, infoExport)
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	return binary.BigEndian.AppendUint16(b, transmissionFlags)
}

func blockSizeInfo() []byte {
	b := binary.BigEndian.AppendUint16(nil, infoBlockSize)
	b = binary.BigEndian.AppendUint32(b, BlockSize)
	b = binary.BigEndian.AppendUint32(b, preferred)
	return binary.BigEndian.AppendUint32(b, MaxRequest)
}

// greeting is what the server begins with.
func greeting() []byte {
	b := bytes.NewBufferString(magicServer + magicOption)
	b.Write(binary.BigEndian.AppendUint16(nil, knownFlags))
	return b.Bytes()
}
