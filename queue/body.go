package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/slipway-ci/slipway/jobs"
)

// A delivery is stored as one message: its fields in a header, its body as data, compressed when that pays. A body
// above what a message may carry is divided: first the parts, under a subject of their own, then the message itself
// with their sequences. So a delivery is either wholly there or not at all; parts without it are leftovers of a crash.
const (
	headerDelivery = "Slipway-Delivery"
	deliveryPrefix = "d."
	partPrefix     = "p."
)

// partsAge is how long parts may wait for their delivery. The one who stores it gives up well before.
const (
	partsAge  = 10 * time.Minute
	storeTime = 5 * time.Minute
)

// An envelope is what a delivery's header holds.
type envelope struct {
	jobs.Delivery
	Size  int      `json:"size"` // of the body in bytes, as received
	CRC   uint32   `json:"crc"`  // CRC-32C of the body as received
	Gzip  bool     `json:"gzip,omitempty"`
	Parts []uint64 `json:"parts,omitempty"` // sequences of the parts, in order
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func openEnvelope(m message) (envelope, error) {
	var e envelope
	if err := json.Unmarshal([]byte(m.header.Get(headerDelivery)), &e); err != nil {
		return e, fmt.Errorf("decode delivery at %d: %w", m.seq, err)
	}
	if e.Size < 0 || e.Size > jobs.MaxBody {
		return e, fmt.Errorf("delivery %s claims %d bytes, at most %d", e.GUID, e.Size, jobs.MaxBody)
	}
	return e, nil
}

// storeDelivery stores d if its GUID is new to the stream.
func storeDelivery(ctx context.Context, s stream, d jobs.Delivery) (created bool, err error) {
	e := envelope{Delivery: d, Size: len(d.Body), CRC: crc32.Checksum(d.Body, castagnoli)}
	data := d.Body
	if len(data) > compressFrom {
		if small := compress(data); len(small) < len(data) {
			data, e.Gzip = small, true
		}
	}
	subject := deliveryPrefix + d.GUID
	if len(data) > s.limit() {
		switch _, err := s.last(ctx, subject); {
		case err == nil:
			return false, nil
		case !errors.Is(err, errNoMessage):
			return false, err
		}
		if e.Parts, err = storeParts(ctx, s, d.GUID, data); err != nil {
			return false, err
		}
		data = nil
	}
	header, err := json.Marshal(e)
	if err != nil {
		return false, fmt.Errorf("encode: %w", err)
	}
	_, err = s.write(ctx, writing{
		subject: subject, data: data, header: nats.Header{headerDelivery: {string(header)}}, expect: 0,
	})
	if errors.Is(err, errMismatch) {
		return false, nil // the parts, if any, go when deliveries around them are evicted
	}
	return err == nil, err
}

func storeParts(ctx context.Context, s stream, guid string, data []byte) (parts []uint64, err error) {
	for len(data) > 0 {
		n := min(len(data), s.limit())
		seq, err := s.write(ctx, writing{subject: partPrefix + guid, data: data[:n], expect: anySeq})
		if err != nil {
			return nil, err
		}
		parts, data = append(parts, seq), data[n:]
	}
	return parts, nil
}

// loadDelivery reads the whole delivery that m holds.
func loadDelivery(ctx context.Context, s stream, m message) (jobs.Delivery, error) {
	e, err := openEnvelope(m)
	if err != nil {
		return jobs.Delivery{}, err
	}
	body := m.data
	for _, seq := range e.Parts {
		part, err := s.get(ctx, seq)
		if err != nil {
			return e.Delivery, fmt.Errorf("read delivery %s, part at %d: %w", e.GUID, seq, err)
		}
		if len(body)+len(part.data) > jobs.MaxBody+compressFrom {
			return e.Delivery, fmt.Errorf("read delivery %s: its parts are above %d bytes", e.GUID, jobs.MaxBody)
		}
		body = append(body, part.data...)
	}
	if e.Gzip {
		if body, err = decompress(body, e.Size); err != nil {
			return e.Delivery, fmt.Errorf("decompress delivery %s: %w", e.GUID, err)
		}
	}
	if len(body) != e.Size || crc32.Checksum(body, castagnoli) != e.CRC {
		return e.Delivery, fmt.Errorf("delivery %s is damaged: its body is not what was stored", e.GUID)
	}
	e.Delivery.Body = body
	return e.Delivery, nil
}
