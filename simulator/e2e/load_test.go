//go:build integration

package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// publisher is an MQTT 3.1.1 client that does nothing but publish at QoS 1 on
// schedule, whether or not anyone keeps up: an open loop, so that a slow
// receiver cannot slow the load down. It writes packets that were made
// beforehand, to cost the machine it shares with the servers little.
type publisher struct {
	conn   net.Conn
	reader *bufio.Reader
}

// inFlight bounds the publications that the broker has not acknowledged, so that
// no packet identifier is used twice at a time.
const inFlight = 20_000

func dialPublisher(ctx context.Context, addr, clientID string) (*publisher, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &publisher{conn: conn, reader: bufio.NewReaderSize(conn, 64<<10)}
	connect := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, byte(len(clientID) >> 8), byte(len(clientID))}, clientID...)
	if _, err := conn.Write(append(header(0x10, len(connect)), connect...)); err != nil {
		return nil, err
	}
	var answer [4]byte
	if _, err := io.ReadFull(p.reader, answer[:]); err != nil {
		return nil, err
	}
	if answer != [4]byte{0x20, 2, 0, 0} {
		return nil, fmt.Errorf("the broker refused the connection: % x", answer)
	}
	return p, nil
}

// header makes a fixed header (MQTT 3.1.1, section 2.2).
func header(kind byte, length int) []byte {
	return binary.AppendUvarint([]byte{kind}, uint64(length))
}

// packet makes a PUBLISH packet whose identifier is filled in when it is sent.
func packet(topic string, payload []byte) []byte {
	b := header(0x32, 2+len(topic)+2+len(payload))
	b = binary.BigEndian.AppendUint16(b, uint16(len(topic)))
	b = append(b, topic...)
	b = append(b, 0, 0)
	return append(b, payload...)
}

// send publishes the packets at the given rate a second (0: as fast as the
// broker takes them), and waits for the last acknowledgement.
func (p *publisher) send(ctx context.Context, packets [][]byte, rate int) error {
	slots := make(chan struct{}, inFlight)
	stop := context.AfterFunc(ctx, func() { p.conn.Close() })
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		var ack [4]byte
		for range packets {
			if _, err := io.ReadFull(p.reader, ack[:]); err != nil {
				return err
			}
			<-slots
		}
		return nil
	})
	group.Go(func() error {
		w := bufio.NewWriterSize(p.conn, 64<<10)
		start := time.Now()
		for i, b := range packets {
			if rate > 0 && i%100 == 0 {
				if ahead := time.Duration(i)*time.Second/time.Duration(rate) - time.Since(start); ahead > 0 {
					if err := w.Flush(); err != nil {
						return err
					}
					select {
					case <-time.After(ahead):
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			}
			select {
			case slots <- struct{}{}:
			default:
				if err := w.Flush(); err != nil {
					return err
				}
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			topic := int(binary.BigEndian.Uint16(b[lengthBytes(b):]))
			binary.BigEndian.PutUint16(b[lengthBytes(b)+2+topic:], uint16(i%65535)+1)
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
		return w.Flush()
	})
	return group.Wait()
}

// lengthBytes returns where the variable header of a packet begins.
func lengthBytes(packet []byte) int {
	n := 1
	for packet[n]&0x80 != 0 {
		n++
	}
	return n + 1
}

func (p *publisher) close() { p.conn.Close() }

// frames makes messages of batch frames each, of devices in turn.
func frames(t testing.TB, messages, batch, devices int) [][]byte {
	t.Helper()
	next := make([]uint64, devices)
	now := time.Now().UnixMilli()
	packets := make([][]byte, 0, messages)
	list := make([]telemetry.Frame, batch)
	for i := range messages {
		d := i % devices
		id := fmt.Sprintf("bench-%04d", d)
		for j := range list {
			f := &list[j]
			*f = telemetry.Frame{
				ID: id, Name: "Bench " + id, PlaceID: fmt.Sprintf("house-%02d", d%50), Timestamp: now + int64(next[d]),
				Sequenced: true, Epoch: 5577006791947779, Seq: next[d],
			}
			next[d]++
			f.Payload.Set(telemetry.Temperature, telemetry.Micro(21_370_000+10_000*(i%500)))
			f.Payload.Set(telemetry.Humidity, 44_200_000)
			f.Payload.Set(telemetry.Pressure, 1_013_250_000)
			f.Payload.Set(telemetry.Luminosity, 312_500_000)
		}
		packets = append(packets, packet(telemetry.Topic(id, telemetry.Frames), telemetry.AppendBatch(nil, list)))
	}
	return packets
}
