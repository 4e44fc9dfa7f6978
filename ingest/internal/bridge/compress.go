package bridge

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// zstdMagic begins a zstd frame (RFC 8878, 3.1.1) and no JSON text.
var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// errTooLarge says that a message, or the window that it asks for, is greater than
// it may be.
var errTooLarge = errors.New("too large to decompress")

func compressed(payload []byte) bool { return bytes.HasPrefix(payload, zstdMagic) }

// decompressor decompresses messages of up to limit bytes. Its memory is made
// for the first one and reused: the decoder's, and limit bytes.
type decompressor struct {
	limit   int64
	decoder *zstd.Decoder
	text    []byte
}

// decompress returns the content of payload, until the next call. The error is
// errTooLarge, or says what is wrong with payload.
func (d *decompressor) decompress(payload []byte) ([]byte, error) {
	if d.decoder == nil {
		decoder, err := zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxMemory(uint64(d.limit)), // bounds the window, too
		)
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		d.decoder, d.text = decoder, make([]byte, 0, d.limit)
	}
	text, err := d.decoder.DecodeAll(payload, d.text)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return nil, errTooLarge
	}
	return text, err
}
