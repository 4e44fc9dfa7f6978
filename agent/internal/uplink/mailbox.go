package uplink

import (
	"sync"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// maxReceipts bounds the receipts that wait to be looked at. One that finds no
// room costs a retransmission, nothing else.
const maxReceipts = 64

// mailbox takes the news of the link for Run. There is at most one
// acknowledgement in it for each publish under way.
type mailbox struct {
	signal chan struct{} // cap 1: there is news

	mu sync.Mutex
	news
}

type news struct {
	connected bool
	session   uint64 // how many connections there have been
	acks      []ack
	receipts  []telemetry.Receipt
}

// ack is the end of a publish: the broker's PUBACK, or the error instead of it.
type ack struct {
	batch batch
	err   error
}

// leave lets change write in the mailbox, and signals.
func (m *mailbox) leave(change func(*news)) {
	m.mu.Lock()
	change(&m.news)
	m.mu.Unlock()
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// take returns the news since the last time.
func (m *mailbox) take() news {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.news
	m.acks, m.receipts = nil, nil
	return n
}
