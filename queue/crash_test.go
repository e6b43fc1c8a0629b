package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/slipway-ci/slipway/jobs"
)

// The crash tests run this test binary once more as a child that works on a data folder and prints what the queue
// has promised; it is killed with SIGKILL, and the promises are checked.
const (
	childMode = "SLIPWAY_QUEUE_CHILD"
	childDir  = "SLIPWAY_QUEUE_CHILD_DIR"
	childArg  = "SLIPWAY_QUEUE_CHILD_ARG"
)

var children = map[string]func(ctx context.Context, dir, arg string) error{
	"accept": childAccepts,
	"write":  childWrites,
	"lease":  childLeases,
	"follow": childFollows,
	"hold":   childHolds,
	"server": childServes,
}

func TestMain(m *testing.M) {
	mode := os.Getenv(childMode)
	if mode == "" {
		os.Exit(m.Run())
	}
	if err := children[mode](context.Background(), os.Getenv(childDir), os.Getenv(childArg)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A child is a process of this test binary.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
}

func start(t *testing.T, mode, dir, arg string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(os.Args[0]), lines: make(chan string)}
	c.cmd.Env = append(os.Environ(), childMode+"="+mode, childDir+"="+dir, childArg+"="+arg)
	c.cmd.Stderr = t.Output()
	out, err := c.cmd.StdoutPipe()
	must(t, err)
	must(t, c.cmd.Start())
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { c.kill() })
	return c
}

// line returns the child's next line.
func (c *child) line() string {
	c.t.Helper()
	select {
	case line, ok := <-c.lines:
		if !ok {
			c.t.Fatal("the child ended by itself")
		}
		return line
	case <-within(c.t).Done():
		c.t.Fatal("the child says nothing")
	}
	return ""
}

// kill kills the child with SIGKILL and returns what it had still printed.
func (c *child) kill() (rest []string) {
	_ = c.cmd.Process.Kill()
	for line := range c.lines {
		rest = append(rest, line)
	}
	_ = c.cmd.Wait() // killed, it says
	return rest
}

func childQueue(ctx context.Context, dir string) (*Queue, error) {
	return Open(ctx, Config{Embedded: Embedded{Dir: dir}}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

// seeded returns the body of delivery i: mostly 20 KB, some so large that they are divided.
func seeded(i int) []byte {
	size := 20 << 10
	if i%40 == 39 {
		size = 7 << 20
	}
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(b) // never fails
	return b
}

// childAccepts accepts deliveries from arg on, several at once, and prints the number of each that was accepted.
func childAccepts(ctx context.Context, dir, arg string) error {
	q, err := childQueue(ctx, dir)
	if err != nil {
		return err
	}
	var first int
	if _, err := fmt.Sscan(arg, &first); err != nil {
		return err
	}
	var mu sync.Mutex
	failed := make(chan error)
	for range 8 {
		go func() {
			for {
				mu.Lock()
				i := first
				first++
				mu.Unlock()
				if _, err := q.Accept(ctx, delivery(i, seeded(i))); err != nil {
					failed <- err
				}
				mu.Lock()
				fmt.Println(i)
				mu.Unlock()
			}
		}()
	}
	return <-failed
}

func TestKilledWhileAccepting(t *testing.T) {
	dir := t.TempDir()
	accepted := map[string]int{}
	note := func(lines ...string) {
		for _, line := range lines {
			var i int
			_, err := fmt.Sscan(line, &i)
			must(t, err)
			accepted[guid(i)] = i
		}
	}
	for round := range 3 {
		c := start(t, "accept", dir, fmt.Sprint(round*10_000))
		for range 150 {
			note(c.line())
		}
		note(c.kill()...)
		check := func() {
			q := open(t, Config{Embedded: Embedded{Dir: dir}})
			for id, i := range accepted {
				got, err := q.Delivery(t.Context(), id)
				must(t, err)
				sameDelivery(t, got, delivery(i, seeded(i)))
				created, err := q.Accept(t.Context(), delivery(i, seeded(i)))
				must(t, err)
				equal(t, "created again after the crash", created, false)
			}
			missing := len(accepted)
			all, seen := make(chan struct{}), map[string]bool{}
			var mu sync.Mutex
			stop := follow(t, q, func(_ context.Context, d jobs.Delivery) error {
				mu.Lock()
				defer mu.Unlock()
				if _, ok := accepted[d.GUID]; ok && !seen[d.GUID] {
					seen[d.GUID] = true
					if missing--; missing == 0 {
						close(all)
					}
				}
				return errNotYet // so that the next round sees it too
			})
			select {
			case <-all:
			case <-within(t).Done():
				t.Errorf("%d accepted deliveries were not handed over", missing)
			}
			stop()
			must(t, q.Close(t.Context()))
		}
		check()
	}
	t.Logf("%d deliveries accepted over three kills, all there", len(accepted))
}

// childWrites creates, updates and deletes records and prints what was done, each word after the queue's own.
func childWrites(ctx context.Context, dir, arg string) error {
	q, err := childQueue(ctx, dir)
	if err != nil {
		return err
	}
	s := Set[record](q, Runs)
	for i := 0; ; i++ {
		key := fmt.Sprintf("r-%s-%d", arg, i)
		revision, err := s.Create(ctx, key, record{Text: key, Count: 1})
		if err != nil {
			return err
		}
		fmt.Println(key, 1)
		for n := 2; n <= 1+i%3; n++ {
			if revision, err = s.Update(ctx, key, record{Text: key, Count: n}, revision); err != nil {
				return err
			}
			fmt.Println(key, n)
		}
		if i%4 == 3 {
			if err := s.Delete(ctx, key, revision); err != nil {
				return err
			}
			fmt.Println(key, 0)
		}
	}
}

func TestKilledWhileWritingRecords(t *testing.T) {
	dir := t.TempDir()
	newest := map[string]int{} // 0 when deleted
	last := map[string]bool{}  // what each child did last may have taken effect without being printed
	for round := range 3 {
		c := start(t, "write", dir, fmt.Sprint(round))
		var key string
		note := func(line string) {
			var count int
			_, err := fmt.Sscan(line, &key, &count)
			must(t, err)
			newest[key] = count
		}
		for range 200 {
			note(c.line())
		}
		for _, line := range c.kill() {
			note(line)
		}
		last[key] = true
		q := open(t, Config{Embedded: Embedded{Dir: dir}})
		s := Set[record](q, Runs)
		for key, count := range newest {
			got, revision, err := s.Get(t.Context(), key)
			switch {
			case count == 0 || last[key] && errors.Is(err, jobs.ErrNotFound):
				mustBe(t, err, jobs.ErrNotFound)
				continue
			case last[key]:
				must(t, err)
				if got.Count < count {
					t.Fatalf("%s: count %d, printed was %d", key, got.Count, count)
				}
			default:
				must(t, err)
				equal(t, key, got, record{Text: key, Count: count})
			}
			_, err = s.Create(t.Context(), key, record{})
			mustBe(t, err, jobs.ErrExists)
			_, err = s.Update(t.Context(), key, got, revision)
			must(t, err)
		}
		must(t, q.Close(t.Context()))
	}
	t.Logf("%d records over three kills, all as promised", len(newest))
}

// childLeases takes the lease and renews it for ever.
func childLeases(ctx context.Context, dir, arg string) error {
	q, err := childQueue(ctx, dir)
	if err != nil {
		return err
	}
	revision, err := q.Leases().Acquire(ctx, "leader", arg, time.Hour)
	for err == nil {
		fmt.Println(revision)
		revision, err = q.Leases().Renew(ctx, "leader", arg, time.Hour, revision)
	}
	return err
}

func TestKilledWhileHoldingALease(t *testing.T) {
	dir := t.TempDir()
	fence := uint64(0)
	for round := range 3 {
		// The folder's lock tells that the holder is gone: each child takes the lease of an hour at once.
		c := start(t, "lease", dir, fmt.Sprint("child-", round))
		for i := range 50 {
			var revision uint64
			_, err := fmt.Sscan(c.line(), &revision)
			must(t, err)
			if revision <= fence {
				t.Fatalf("round %d, renewal %d: revision %d does not follow %d", round, i, revision, fence)
			}
			fence = revision
		}
		c.kill()
	}
}

// childFollows decides 50 deliveries, waits until that is remembered, then takes 10 more and decides none.
func childFollows(ctx context.Context, dir, _ string) error {
	q, err := childQueue(ctx, dir)
	if err != nil {
		return err
	}
	decided, held := make(chan struct{}), make(chan struct{})
	go func() {
		_ = q.Follow(ctx, func(_ context.Context, d jobs.Delivery) error {
			if d.GUID < guid(50) {
				decided <- struct{}{}
				return nil
			}
			held <- struct{}{}
			select {}
		})
	}()
	for i := range 50 {
		if _, err := q.Accept(ctx, delivery(i, seeded(i))); err != nil {
			return err
		}
		<-decided
	}
	for i := range q.shards {
		for {
			state, err := q.shards[i].state(ctx)
			if err != nil {
				return err
			}
			watermark, err := q.watermark(ctx, i)
			if err != nil {
				return err
			}
			if watermark.Below > state.last {
				break
			}
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the watermark is saved behind the scenes; nothing tells when
		}
	}
	for i := 50; i < 60; i++ {
		if _, err := q.Accept(ctx, delivery(i, seeded(i))); err != nil {
			return err
		}
		<-held
	}
	fmt.Println("holding")
	select {}
}

func TestKilledWhileFollowing(t *testing.T) {
	dir := t.TempDir()
	c := start(t, "follow", dir, "")
	equal(t, "word of the child", c.line(), "holding")
	c.kill()
	q := open(t, Config{Embedded: Embedded{Dir: dir}})
	came := make(chan jobs.Delivery, 60)
	follow(t, q, func(_ context.Context, d jobs.Delivery) error { came <- d; return nil })
	for id := range collect(t, came, 10) {
		if id < guid(50) {
			t.Errorf("%s came again, although it was remembered as decided", id)
		}
	}
	accept(t, q, delivery(60, nil))
	if d := <-came; d.GUID != guid(60) {
		t.Errorf("%s came beside the ten", d.GUID)
	}
}

// childHolds opens the queue and stays.
func childHolds(ctx context.Context, dir, _ string) error {
	if _, err := childQueue(ctx, dir); err != nil {
		return err
	}
	fmt.Println("open")
	select {}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := start(t, "hold", dir, "")
	equal(t, "word of the child", c.line(), "open")
	_, err := Open(t.Context(), Config{Embedded: Embedded{Dir: dir}}, testLog(t))
	if err == nil || !strings.Contains(err.Error(), "another Slipway uses the data folder "+dir) {
		t.Fatalf("got %v", err)
	}
	c.kill()
	first := open(t, Config{Embedded: Embedded{Dir: dir}})
	// The same within one process.
	if _, err := Open(t.Context(), Config{Embedded: Embedded{Dir: dir}}, testLog(t)); err == nil {
		t.Fatal("opened twice")
	}
	must(t, first.Healthy(within(t)))
	for _, folder := range []string{dir, filepath.Join(dir, server.JetStreamStoreDir)} {
		info, err := os.Stat(folder)
		must(t, err)
		equal(t, "mode of "+folder, info.Mode().Perm(), 0o700)
	}
}

// childServes is a NATS server on the address in arg.
func childServes(_ context.Context, dir, arg string) error {
	opts := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, DisableJetStreamBanner: true,
		JetStream: true, StoreDir: dir, SyncAlways: true, JetStreamMaxStore: 64 << 30,
	}
	if arg != "" {
		if _, err := fmt.Sscan(arg, &opts.Port); err != nil {
			return err
		}
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		return errors.New("not ready")
	}
	fmt.Println(s.ClientURL())
	select {}
}

func TestExternalServerKilled(t *testing.T) {
	dir, ctx := t.TempDir(), within(t)
	c := start(t, "server", dir, "")
	url := c.line()
	q := open(t, Config{URL: url})
	came := make(chan jobs.Delivery, 100)
	follow(t, q, func(_ context.Context, d jobs.Delivery) error { came <- d; return nil })
	s := Set[record](q, Runs)
	changed, err := s.Watch(ctx)
	must(t, err)
	for i := range 20 {
		accept(t, q, delivery(i, nil))
	}
	collect(t, came, 20)
	revision, err := s.Create(ctx, "r-1", record{Count: 1})
	must(t, err)
	equal(t, "changed key", <-changed, "r-1")
	long, err := q.Leases().Acquire(ctx, "long", "me", time.Hour)
	must(t, err)
	_, err = q.Leases().Acquire(ctx, "short", "me", 2*time.Second)
	must(t, err)

	c.kill()
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = q.Accept(short, delivery(20, nil))
	mustBe(t, err, ErrUnavailable)
	mustBe(t, q.Healthy(short), ErrUnavailable)

	start(t, "server", dir, url[strings.LastIndexByte(url, ':')+1:]).line()
	for q.Healthy(ctx) != nil {
		must(t, ctx.Err())
	}
	// Leases outlast the server; their end does not wait for anyone either.
	holder, err := q.Leases().Holder(ctx, "long")
	must(t, err)
	equal(t, "holder", holder, "me")
	_, err = q.Leases().Renew(ctx, "long", "me", time.Hour, long)
	must(t, err)
	for err == nil {
		_, err = q.Leases().Holder(ctx, "short")
	}
	mustBe(t, err, jobs.ErrNotFound)
	// Follow and Watch go on where they were.
	if _, err := q.Accept(ctx, delivery(20, nil)); err != nil {
		t.Fatal(err)
	}
	if got := (<-came).GUID; got != guid(20) {
		t.Fatalf("got %s", got)
	}
	_, err = s.Update(ctx, "r-1", record{Count: 2}, revision)
	must(t, err)
	equal(t, "changed key", <-changed, "r-1")
}
