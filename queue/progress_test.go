package queue

import (
	"testing"
	"time"
)

// The watermark never passes what is still needed: an undecided delivery, its parts, and parts whose delivery may
// still come.
func TestProgress(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := newProgress(0, newMemoryStream(shardPolicy(0, 1, Limits{})), watermark{Below: 10})
	step := func(what string, do func(), want uint64) {
		t.Helper()
		do()
		below, _, _ := p.needed()
		equal(t, "watermark after "+what, below, want)
	}
	step("the start", func() {}, 10)
	step("a delivery", func() { p.found(10, start, nil) }, 10)
	step("another", func() { p.found(11, start, nil) }, 10)
	step("the second is decided", func() { p.decided(11) }, 10)
	step("the first is decided", func() { p.decided(10) }, 12)
	step("a leftover part", func() { p.part(12, start) }, 12)
	step("a part", func() { p.part(13, start.Add(2*time.Minute)) }, 12)
	step("a delivery between", func() { p.found(14, start.Add(3*time.Minute), nil) }, 12)
	step("it is decided", func() { p.decided(14) }, 12)
	step("the delivery of the part", func() { p.found(15, start.Add(4*time.Minute), []uint64{13}) }, 12)
	step("much later, a delivery", func() { p.found(16, start.Add(partsAge+time.Second), nil) }, 13)
	step("the one with the part is decided", func() { p.decided(15) }, 16)
	step("all is decided", func() { p.decided(16) }, 17)

	// After a restart an old large delivery is read again, parts first: they wait for it however old they are.
	p = newProgress(0, p.stream, watermark{Below: 13})
	step("an old part", func() { p.part(13, start) }, 13)
	step("its delivery", func() { p.found(15, start.Add(time.Minute), []uint64{13}) }, 13)
	_, next, needed := p.needed()
	equal(t, "next", next, 16)
	equal(t, "number needed", len(needed), 2)
	step("its decision", func() { p.decided(15) }, 16)
}
