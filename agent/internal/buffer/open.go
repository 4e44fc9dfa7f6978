package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

const (
	identityName  = "identity"
	identityFresh = "identity.new"
	lockName      = "lock"
)

// Open opens the buffer in o.Dir, making it if there is none. What a crash or
// rot took is declared lost in the stream. The error is ErrNewerFormat or
// ErrLocked, or wraps the disk's.
func Open(o Options) (*Buffer, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	folder := o.FS
	if folder == nil {
		var err error
		if folder, err = OS(o.Dir); err != nil {
			return nil, fmt.Errorf("open buffer: %w", err)
		}
	}
	b := &Buffer{
		o: o, fs: folder,
		updated: o.updated,
		sensors: map[sensorKey]*sensor{},
		boots:   map[uint64]*bootClock{},
		indexes: map[label]uint64{},
	}
	if b.updated == nil {
		b.updated = make(chan struct{}, 1)
	}
	if err := b.open(); err != nil {
		return nil, fmt.Errorf("open buffer %s: %w", o.Dir, err)
	}
	return b, nil
}

func (b *Buffer) open() (err error) {
	// Before the lock, which would touch the folder.
	if _, _, err := b.readIdentity(); err != nil {
		return err
	}
	if b.lock, err = b.fs.Lock(lockName); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			if b.file != nil {
				err = errors.Join(err, b.file.Close())
			}
			err = errors.Join(err, b.lock.Close())
		}
	}()
	headers, err := b.listSegments()
	if err != nil {
		return err
	}
	if err := b.establishIdentity(headers); err != nil {
		return err
	}
	b.enc.salt = b.id.salt
	b.slow.Lock()
	defer b.slow.Unlock()
	return b.recover(headers)
}

// readIdentity returns the identity and whether there is a whole one.
func (b *Buffer) readIdentity() (identity, bool, error) {
	p, err := b.readFile(identityName, identitySize)
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, false, nil
	}
	if err != nil {
		return identity{}, false, err
	}
	return decodeIdentity(p)
}

// readFile returns at most the first n bytes of a file.
func (b *Buffer) readFile(name string, n int) ([]byte, error) {
	f, err := b.fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := make([]byte, n)
	m, err := f.ReadAt(p, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		b.o.Logger.Error("buffer file not readable", slog.String("file", name), slog.Any("error", err))
	}
	return p[:m], nil
}

// listSegments fills segs, without their ends, and returns the headers that
// are whole.
func (b *Buffer) listSegments() (map[Position]header, error) {
	names, err := b.fs.Names()
	if err != nil {
		return nil, err
	}
	headers := map[Position]header{}
	for _, name := range names {
		base, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		size, err := b.fileSize(name)
		if err != nil {
			return nil, err
		}
		b.segs = append(b.segs, segment{base: base, size: size})
		p, err := b.readFile(name, headerSize)
		if err != nil {
			return nil, err
		}
		if h, ok := decodeHeader(p); ok && h.base == base {
			headers[base] = h
		}
	}
	return headers, nil
}

func (b *Buffer) fileSize(name string) (int64, error) {
	f, err := b.fs.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Size()
}

// establishIdentity reads the identity, restores it from a segment, or makes
// a new one.
func (b *Buffer) establishIdentity(headers map[Position]header) error {
	id, whole, err := b.readIdentity()
	if err != nil {
		return err
	}
	if whole {
		b.id = id
		return nil
	}
	found := false
	for _, seg := range b.segs {
		if h, ok := headers[seg.base]; ok {
			id, found = h.identity, true
		}
	}
	if !found {
		if id, err = drawIdentity(b.o.Rand); err != nil {
			return err
		}
	}
	if len(b.segs) > 0 {
		b.o.Logger.Error("buffer identity damaged", slog.Bool("restored", found))
	}
	b.id = id
	return b.writeIdentity()
}

func drawIdentity(r io.Reader) (identity, error) {
	var p [12]byte
	if _, err := io.ReadFull(r, p[:]); err != nil {
		return identity{}, fmt.Errorf("draw epoch: %w", err)
	}
	return identity{
		epoch: binary.LittleEndian.Uint64(p[:]) & telemetry.MaxSeq,
		salt:  binary.LittleEndian.Uint32(p[8:]),
	}, nil
}

func (b *Buffer) writeIdentity() error {
	f, err := b.fs.Create(identityFresh)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b.id.encode(), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := b.fs.Rename(identityFresh, identityName); err != nil {
		return err
	}
	return b.fs.SyncDir()
}
