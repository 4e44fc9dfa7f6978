package refusal

import (
	"errors"
	"net"
)

// Alert returns the TLS alert in err by which one side told the other that it will
// not go on (RFC 8446, 6.2), nil if there is none. It may come after the
// handshake: a server of TLS 1.3 that wants a client's certificate says so then.
// crypto/tls shows no type of its own for it.
func Alert(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error") {
		return op
	}
	return nil
}
