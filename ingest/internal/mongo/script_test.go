package mongo

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// script is a server of MongoDB's wire protocol, the primary of a replica set,
// that answers each command with the next document of a list; nil breaks the
// connection. It answers the driver's own commands by itself, and {ok: 1} when
// the list is at its end.
type script struct {
	t        *testing.T
	listener net.Listener
	done     sync.WaitGroup

	mu      sync.Mutex
	answers []bson.D
	asked   []bson.M
	conns   []net.Conn
}

// opQuery is the opcode that a driver says hello by before it knows whether the
// server has OP_MSG.
const opQuery = wiremessage.OpCode(2004)

// play starts a server with these answers.
func play(t *testing.T, answers ...bson.D) *script {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{t: t, listener: listener, answers: answers}
	s.done.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			s.done.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		s.mu.Lock()
		for _, conn := range s.conns {
			conn.Close()
		}
		s.mu.Unlock()
		s.done.Wait()
	})
	return s
}

func (s *script) addr() string { return s.listener.Addr().String() }

// commands returns what was asked, but for the driver's own commands.
func (s *script) commands() []bson.M {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *script) serve(conn net.Conn) {
	defer conn.Close()
	for {
		message, err := readMessage(conn)
		if err != nil {
			return
		}
		_, id, _, opcode, body, _ := wiremessage.ReadHeader(message)
		var reply []byte
		switch opcode {
		case opQuery: // the first hello
			index, dst := wiremessage.AppendHeaderStart(nil, 0, id, wiremessage.OpReply)
			dst = wiremessage.AppendReplyFlags(dst, 0)
			dst = wiremessage.AppendReplyCursorID(dst, 0)
			dst = wiremessage.AppendReplyStartingFrom(dst, 0)
			dst = wiremessage.AppendReplyNumberReturned(dst, 1)
			reply = s.finish(index, dst, s.hello())
		case wiremessage.OpMsg:
			answer := s.answer(readCommand(s.t, body))
			if answer == nil {
				return
			}
			index, dst := wiremessage.AppendHeaderStart(nil, 0, id, wiremessage.OpMsg)
			dst = wiremessage.AppendMsgFlags(dst, 0)
			dst = wiremessage.AppendMsgSectionType(dst, wiremessage.SingleDocument)
			reply = s.finish(index, dst, answer)
		default:
			s.t.Errorf("message of opcode %v", opcode)
			return
		}
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}

func (s *script) finish(index int32, message []byte, document bson.D) []byte {
	raw, err := bson.Marshal(document)
	if err != nil {
		s.t.Error(err)
	}
	message = append(message, raw...)
	binary.LittleEndian.PutUint32(message[index:], uint32(len(message)))
	return message
}

func readMessage(r io.Reader) ([]byte, error) {
	header := make([]byte, 4)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(header)
	if length < 16 || length > 48<<20 {
		return nil, errors.New("no message")
	}
	message := append(header, make([]byte, length-4)...)
	_, err := io.ReadFull(r, message[4:])
	return message, err
}

// readCommand returns the command of an OP_MSG, with its sequences of documents
// as fields.
func readCommand(t *testing.T, body []byte) bson.M {
	command := bson.M{}
	_, body, ok := wiremessage.ReadMsgFlags(body)
	for ok && len(body) > 0 {
		var kind wiremessage.SectionType
		if kind, body, ok = wiremessage.ReadMsgSectionType(body); !ok {
			break
		}
		if kind == wiremessage.SingleDocument {
			document, rest, read := wiremessage.ReadMsgSectionSingleDocument(body)
			if err := bson.Unmarshal(document, &command); err != nil {
				t.Error(err)
			}
			body, ok = rest, read
			continue
		}
		name, documents, rest, read := wiremessage.ReadMsgSectionDocumentSequence(body)
		all := make([]bson.Raw, 0, len(documents))
		for _, document := range documents {
			all = append(all, bson.Raw(document))
		}
		command[name], body, ok = all, rest, read
	}
	if !ok {
		t.Errorf("a message that cannot be read: %x", body)
	}
	return command
}

// answer returns the next answer.
func (s *script) answer(command bson.M) bson.D {
	for _, own := range []string{"hello", "ismaster", "isMaster"} {
		if command[own] != nil {
			return s.hello()
		}
	}
	if command["endSessions"] != nil {
		return bson.D{{Key: "ok", Value: 1}}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, command)
	if len(s.answers) == 0 {
		return bson.D{{Key: "ok", Value: 1}}
	}
	answer := s.answers[0]
	s.answers = s.answers[1:]
	return answer
}

func (s *script) hello() bson.D {
	return bson.D{
		{Key: "helloOk", Value: true}, {Key: "isWritablePrimary", Value: true}, {Key: "ismaster", Value: true},
		{Key: "setName", Value: "rs"}, {Key: "hosts", Value: bson.A{s.addr()}}, {Key: "primary", Value: s.addr()}, {Key: "me", Value: s.addr()},
		{Key: "maxBsonObjectSize", Value: 16 << 20}, {Key: "maxMessageSizeBytes", Value: 48_000_000}, {Key: "maxWriteBatchSize", Value: 100_000},
		{Key: "logicalSessionTimeoutMinutes", Value: 30}, {Key: "minWireVersion", Value: 0}, {Key: "maxWireVersion", Value: 25}, // MongoDB 8.0
		{Key: "ok", Value: 1},
	}
}
