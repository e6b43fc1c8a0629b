package githubapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// stored opens a file that GitHub doesn't keep at its API: an archive, a log, an artifact. GitHub answers with a redirect to another
// host, whose address is a secret by itself and which gets no token of ours. ctx names the operation and bounds the time. what is
// how the file is called in errors. An answer without a file is a *refused, or an *Unavailable when it came from the other host.
func (a *App) stored(ctx context.Context, c *client, path, what string) (io.ReadCloser, error) {
	req, err := c.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return nil, bare(err)
	}
	// Past the http.Client, which would follow the redirect or cut the stream off after a call's time.
	transport := c.Client.Client().Transport
	for range 3 {
		resp, err := transport.RoundTrip(req.WithContext(ctx))
		if err != nil {
			return nil, bare(err)
		}
		if resp.StatusCode == http.StatusOK {
			return resp.Body, nil
		}
		if resp.StatusCode/100 != 3 {
			return nil, refusedBy(resp, what)
		}
		drop(resp)
		to, err := req.URL.Parse(resp.Header.Get("Location"))
		if err != nil || resp.Header.Get("Location") == "" {
			return nil, fmt.Errorf("GitHub's redirect to %s leads nowhere", what)
		}
		// A renamed repository: the API sends us to another address of its own.
		if sameOrigin(to, a.api) && resp.StatusCode != http.StatusFound {
			req.URL = to
			continue
		}
		return a.stream(ctx, to, what)
	}
	return nil, fmt.Errorf("GitHub redirects to %s in circles", what)
}

// refusedBy is an answer of the API's that holds no file.
func refusedBy(resp *http.Response, what string) error {
	var said struct {
		Message string `json:"message"`
	}
	_ = json.NewDecoder(io.LimitReader(resp.Body, maxErrorBody)).Decode(&said)
	drop(resp)
	if said.Message == "" {
		said.Message = "nothing was said about " + what
	}
	return &refused{resp.StatusCode, jobs.Cut(said.Message, 500)}
}

// stream opens the file's own address, without a token.
func (a *App) stream(ctx context.Context, from *url.URL, what string) (io.ReadCloser, error) {
	plain := &http.Client{Transport: a.base, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) > 3 || !a.mayFetch(req.URL) {
			return fmt.Errorf("the redirect of %s is refused", what)
		}
		return nil
	}}
	if !a.mayFetch(from) {
		return nil, fmt.Errorf("the redirect to %s leads to an address that is not https", what)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("GitHub's redirect to %s is not a URL", what)
	}
	req.Header.Set("User-Agent", "slipway")
	resp, err := plain.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Unavailable{Operation: "download " + what, After: troubleFirst, Cause: bare(err)}
	}
	if resp.StatusCode != http.StatusOK {
		drop(resp)
		return nil, &Unavailable{Operation: "download " + what, Status: resp.StatusCode, After: 5 * time.Second}
	}
	return resp.Body, nil
}

// mayFetch tells whether an address may be fetched: https, or what the API itself uses, as a test's does.
func (a *App) mayFetch(u *url.URL) bool {
	return u.Host != "" && (u.Scheme == "https" || u.Scheme == a.api.Scheme)
}

// absent reports whether a stored file is not there, by GitHub or by where GitHub points: never was, or expired.
func absent(err error) bool {
	var down *Unavailable
	code := status(err)
	if errors.As(err, &down) {
		code = down.Status
	}
	return code == http.StatusNotFound || code == http.StatusGone
}
