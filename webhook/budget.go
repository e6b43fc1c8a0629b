package webhook

import (
	"errors"
	"io"
	"sync/atomic"
)

var (
	errBusy  = errors.New("the budget of bytes in flight is used up")
	errLarge = errors.New("the body is too large")
)

// firstRead is how many bytes of a body are made room for before any has arrived. Most payloads fit.
const firstRead = 32 << 10

// A budget bounds the bytes of all bodies in memory. Room is taken as a body's bytes arrive, not when they are
// announced: who announces much and sends little holds little.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

// read reads a body of the announced length (-1: unknown) and at most most bytes. free gives its room back; it is
// never nil.
func (b *budget) read(r io.Reader, announced, most int64) (body []byte, free func(), err error) {
	var held int64
	free = func() { b.used.Add(-held) }
	grow := func(to int64) bool {
		// One byte more than may come shows that there is more.
		if to = min(to, most+1); !b.take(to - held) {
			return false
		}
		held = to
		bigger := make([]byte, len(body), to)
		copy(bigger, body)
		body = bigger
		return true
	}
	room := int64(firstRead)
	if announced >= 0 && announced < room {
		room = announced + 1 // and the end of the body
	}
	if !grow(room) {
		return nil, free, errBusy
	}
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > most:
			return nil, free, errLarge
		case err == io.EOF && announced >= 0 && int64(len(body)) < announced:
			return nil, free, io.ErrUnexpectedEOF
		case err == io.EOF:
			return body, free, nil
		case err != nil:
			return nil, free, err
		}
		if len(body) == cap(body) && !grow(2*int64(cap(body))) {
			return nil, free, errBusy
		}
	}
}
