package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// Accept stores a delivery under its GUID and returns when it is on disk. created is false when the GUID is stored
// already. On ErrFull, ErrUnavailable or any other error GitHub must not be told that it was accepted; to try again is
// always right.
func (q *Queue) Accept(ctx context.Context, d jobs.Delivery) (created bool, err error) {
	if !jobs.ValidGUID(d.GUID) {
		return false, fmt.Errorf("accept delivery: %w: %.80q is no GUID", ErrBadKey, d.GUID)
	}
	if len(d.Body) > jobs.MaxBody {
		return false, fmt.Errorf("accept delivery %s: %w: %d bytes, at most %d", d.GUID, ErrTooLarge, len(d.Body), jobs.MaxBody)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if created, err = storeDelivery(ctx, q.shard(d.GUID), d); err != nil {
		return false, fmt.Errorf("accept delivery %s: %w", d.GUID, err)
	}
	return created, nil
}

// shard returns the stream that holds the GUID. The mapping is part of what is on disk.
func (q *Queue) shard(guid string) stream {
	h := fnv.New32a()
	h.Write([]byte(guid))
	return q.shards[h.Sum32()%uint32(len(q.shards))]
}

// Delivery returns the stored delivery, or jobs.ErrNotFound; decided ones may have gone.
func (q *Queue) Delivery(ctx context.Context, guid string) (jobs.Delivery, error) {
	if !jobs.ValidGUID(guid) {
		return jobs.Delivery{}, jobs.ErrNotFound
	}
	s := q.shard(guid)
	m, err := s.last(ctx, deliveryPrefix+guid)
	if err == nil {
		var d jobs.Delivery
		if d, err = loadDelivery(ctx, s, m); err == nil {
			return d, nil
		}
	}
	if errors.Is(err, errNoMessage) {
		err = jobs.ErrNotFound
	}
	return jobs.Delivery{}, fmt.Errorf("read delivery %s: %w", guid, err)
}

// A StoredDelivery is a line in the list of deliveries. Its Body is empty.
type StoredDelivery struct {
	jobs.Delivery
	Stored time.Time `json:"stored"`
	Size   int       `json:"size"` // of the body in bytes

	shard int
	seq   uint64
}

// ErrBadCursor means that a cursor is not one that ListDeliveries returned.
var ErrBadCursor = errors.New("the cursor is malformed")

// ListDeliveries lists the n newest deliveries, newest first, without their bodies. cursor is "" at first, then the
// next that the call before returned; next is "" at the end.
func (q *Queue) ListDeliveries(ctx context.Context, cursor string, n int) (list []StoredDelivery, next string, err error) {
	n = max(n, 1)
	ends, err := parseCursor(cursor, len(q.shards))
	if err != nil {
		return nil, "", err
	}
	for i, s := range q.shards {
		if cursor != "" && ends[i] <= 1 {
			continue
		}
		r := reading{to: ends[i], filter: deliveryPrefix + "*", headersOnly: true}
		err := backwards(ctx, s, r, n, func(m message) error {
			e, err := openEnvelope(m)
			if err != nil {
				e.GUID = strings.TrimPrefix(m.subject, deliveryPrefix) // shown all the same
			}
			list = append(list, StoredDelivery{Delivery: e.Delivery, Stored: m.time, Size: e.Size, shard: i, seq: m.seq})
			return nil
		})
		if err != nil {
			return nil, "", fmt.Errorf("list deliveries: %w", err)
		}
		if ends[i] == 0 {
			state, err := s.state(ctx)
			if err != nil {
				return nil, "", fmt.Errorf("list deliveries: %w", err)
			}
			ends[i] = state.last + 1
		}
	}
	slices.SortStableFunc(list, func(a, b StoredDelivery) int {
		return cmp.Or(b.Stored.Compare(a.Stored), cmp.Compare(a.shard, b.shard), cmp.Compare(b.seq, a.seq))
	})
	more := len(list) > n
	if more {
		list = slices.Clip(list[:n])
	} else if len(list) < n {
		return list, "", nil
	}
	for _, d := range list {
		ends[d.shard] = min(ends[d.shard], d.seq)
	}
	return list, formatCursor(ends), nil
}

// A cursor holds, for every shard, the sequence below which to go on.
func formatCursor(ends []uint64) string {
	var b strings.Builder
	for i, end := range ends {
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(strconv.FormatUint(end, 36))
	}
	return b.String()
}

func parseCursor(cursor string, shards int) ([]uint64, error) {
	ends := make([]uint64, shards)
	if cursor == "" {
		return ends, nil
	}
	fields := strings.Split(cursor, "-")
	if len(fields) != shards {
		return nil, ErrBadCursor
	}
	for i, field := range fields {
		end, err := strconv.ParseUint(field, 36, 64)
		if err != nil || end == 0 {
			return nil, ErrBadCursor
		}
		ends[i] = end
	}
	return ends, nil
}
