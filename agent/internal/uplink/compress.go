package uplink

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// reach is how far back the encoder looks for what repeats, and about what it
// keeps of a message in memory. Readings of a sensor resemble the ones just
// before: a longer reach gains next to nothing.
const reach = 32 << 10

// newEncoder returns an encoder of single messages, in little memory, or nil if
// none is wanted. See RFC 8878.
func newEncoder(wanted bool) (*zstd.Encoder, error) {
	if !wanted {
		return nil, nil
	}
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(reach),
	)
	if err != nil {
		return nil, fmt.Errorf("uplink: %w", err)
	}
	return e, nil
}
