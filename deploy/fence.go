package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// ErrLeaseLost is wrapped by the error of a rollout whose lease ran out or was taken
// over. It wrote nothing after that; the caller tries again.
var ErrLeaseLost = errors.New("lease of the release was lost")

// fence is how long the holder of a lease may write. Kubernetes itself does not check
// leases, so the transport does: a write past the fence does not leave the process.
type fence struct {
	mu      sync.Mutex
	until   time.Time
	lost    bool
	refused bool
}

// extend lets writes pass until t, unless the lease was lost before.
func (f *fence) extend(t time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.lost {
		f.until = t
	}
}

// lose stops all writes for good.
func (f *fence) lose() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = true
}

// pass returns until when a write that starts now must be answered.
func (f *fence) pass() (time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost || !time.Now().Before(f.until) {
		f.refused = true
		return time.Time{}, ErrLeaseLost
	}
	return f.until, nil
}

// expired says whether writes are refused now.
func (f *fence) expired() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost || !time.Now().Before(f.until)
}

// tripped says whether the lease is lost or a write was refused.
func (f *fence) tripped() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost || f.refused
}

// fenced wraps a transport: requests outside the confinement and writes past the fence
// are refused, every other request but a watch or a followed log ends in time.
func fenced(next http.RoundTripper, f *fence, c *confinement, readLimit time.Duration) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		refuse := func(err error) (*http.Response, error) {
			if req.Body != nil {
				_ = req.Body.Close()
			}
			return nil, err
		}
		if err := c.check(req); err != nil {
			return refuse(err)
		}
		var deadline time.Time
		switch req.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			q := req.URL.Query()
			if q.Get("watch") == "true" || q.Get("watch") == "1" || q.Get("follow") == "true" {
				return next.RoundTrip(req)
			}
			deadline = time.Now().Add(readLimit)
		default:
			var err error
			if deadline, err = f.pass(); err != nil {
				return refuse(fmt.Errorf("%s %s refused: %w", req.Method, req.URL.Path, err))
			}
		}
		ctx, cancel := context.WithDeadline(req.Context(), deadline)
		resp, err := next.RoundTrip(req.WithContext(ctx))
		if err != nil {
			cancel()
			return nil, err
		}
		resp.Body = &cancelBody{resp.Body, cancel}
		return resp, nil
	})
}

// cancelBody frees a request's deadline when its answer has been read.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *cancelBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
