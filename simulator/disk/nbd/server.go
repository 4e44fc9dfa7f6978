package nbd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// ErrSilent is returned by a [Device] that answers no more: the request, and
// all that follow on the connection, stay without a reply until the client
// gives up, as with a disk that has lost its power.
var ErrSilent = errors.New("nbd: the device answers no more")

// Device is the disk that is served. Offsets and lengths are multiples of
// [BlockSize] and within Size. Its methods are called concurrently if there are
// several connections.
type Device interface {
	// Size is constant, and a multiple of BlockSize.
	Size() int64
	ReadAt(p []byte, off int64) (int, error)
	// Write does not keep p. With fua the data is on the medium at return.
	Write(p []byte, off int64, fua bool) error
	// Flush returns when all that was written before is on the medium.
	Flush() error
}

// Serve serves d to all who connect to l, under any export name, until ctx
// ends. It closes l and the connections.
func Serve(ctx context.Context, l net.Listener, d Device) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			closed := ctx.Err() != nil
			cancel()
			if closed {
				return nil
			}
			return fmt.Errorf("nbd: %w", err)
		}
		connections.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			s := session{conn: conn, in: bufio.NewReader(conn), device: d}
			if errors.Is(s.run(), ErrSilent) {
				_, _ = io.Copy(io.Discard, s.in) // until the client is gone
			}
		})
	}
}

// session is one connection.
type session struct {
	conn   net.Conn
	in     *bufio.Reader
	out    []byte
	data   []byte
	device Device
}

func (s *session) run() error {
	transmit, err := s.handshake()
	if err != nil || !transmit {
		return err
	}
	for {
		if more, err := s.request(); err != nil || !more {
			return err
		}
	}
}

func (s *session) send(b []byte) error {
	_, err := s.conn.Write(b)
	return err
}

// handshake reports whether the client wants to go on to transmission.
func (s *session) handshake() (transmit bool, err error) {
	if err := s.send(greeting()); err != nil {
		return false, err
	}
	var flags [4]byte
	if _, err := io.ReadFull(s.in, flags[:]); err != nil {
		return false, err
	}
	client := binary.BigEndian.Uint32(flags[:])
	if client&^uint32(knownFlags) != 0 {
		return false, fmt.Errorf("%w: client flags %#x", errProtocol, client)
	}
	for {
		o, err := readOption(s.in)
		if err != nil {
			return false, err
		}
		switch o.code {
		case optExportName: // has no reply of its own, nor an error
			if o.data == nil {
				return false, fmt.Errorf("%w: an export's name is too long", errProtocol)
			}
			b := exportInfo(s.device.Size())[2:]
			if client&flagNoZeroes == 0 {
				b = append(b, make([]byte, 124)...)
			}
			return true, s.send(b)
		case optAbort:
			return false, s.send(appendOptionReply(nil, o.code, replyAck, nil))
		}
		reply, proceed := s.reply(&o)
		if err := s.send(reply); err != nil || proceed {
			return proceed, err
		}
	}
}

// reply returns the reply to an option that has one, and whether transmission
// follows.
func (s *session) reply(o *option) (reply []byte, proceed bool) {
	fail := func(code uint32) ([]byte, bool) { return appendOptionReply(nil, o.code, code, nil), false }
	switch o.code {
	case optList:
		switch {
		case o.data == nil:
			return fail(replyTooBig)
		case len(o.data) > 0:
			return fail(replyInvalid)
		}
		unnamed := make([]byte, 4) // the length of its name
		return appendOptionReply(appendOptionReply(nil, o.code, replyServer, unnamed), o.code, replyAck, nil), false
	case optInfo, optGo:
		if o.data == nil {
			return fail(replyTooBig)
		}
		if _, _, ok := parseInfo(o.data); !ok {
			return fail(replyInvalid)
		}
		reply = appendOptionReply(nil, o.code, replyInfo, exportInfo(s.device.Size()))
		reply = appendOptionReply(reply, o.code, replyInfo, blockSizeInfo())
		return appendOptionReply(reply, o.code, replyAck, nil), o.code == optGo
	}
	return fail(replyUnsupported)
}

// request serves one request and reports whether there may be another.
func (s *session) request() (more bool, err error) {
	r, err := readRequest(s.in)
	if err != nil {
		return false, err
	}
	if r.command == commandDisc {
		return false, nil
	}
	code := uint32(errNoErrors)
	if r.command == commandRead || r.command == commandWrite {
		code = r.check(s.device.Size())
	}
	s.data = s.data[:0]
	switch {
	case r.command == commandWrite && r.length > MaxRequest:
		return false, fmt.Errorf("%w: a write of %d bytes", errProtocol, r.length)
	case r.command == commandWrite:
		s.resize(r.length)
		if _, err := io.ReadFull(s.in, s.data); err != nil {
			return false, err
		}
		if code == errNoErrors {
			err = s.device.Write(s.data, int64(r.offset), r.flags&requestFUA != 0)
		}
		s.data = s.data[:0]
	case r.command == commandRead && code == errNoErrors:
		s.resize(r.length)
		if _, err = s.device.ReadAt(s.data, int64(r.offset)); err != nil {
			s.data = s.data[:0]
		}
	case r.command == commandFlush:
		err = s.device.Flush()
	case code == errNoErrors:
		code = errInvalid
	}
	if errors.Is(err, ErrSilent) {
		return false, err
	}
	if err != nil {
		code = errIO
	}
	s.out = append(appendSimpleReply(s.out[:0], code, r.cookie), s.data...)
	return true, s.send(s.out)
}

func (s *session) resize(length uint32) {
	if uint32(cap(s.data)) < length {
		s.data = make([]byte, length)
	}
	s.data = s.data[:length]
}
