package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"time"

	"github.com/slipway-ci/slipway/githubapp"
)

// A manifestPage is the page that a person agrees on: a form for GitHub, and what GitHub redirects to.
type manifestPage struct {
	address string // host:port it is served on
	state   string // random; GitHub hands it back
	view    manifestView
	codes   chan string
}

type manifestView struct {
	Manifest, Action, Owner, URL string
	Permissions                  []githubapp.Permission
	Subscriptions                []githubapp.Subscription
}

func newManifestPage(site githubapp.Site, f setupFlags, address string) (*manifestPage, error) {
	p := &manifestPage{address: address, state: rand.Text(), codes: make(chan string, 1)}
	manifest, err := json.Marshal(githubapp.NewManifest(f.name, f.url, "http://"+address+"/made"))
	if err != nil {
		return nil, fmt.Errorf("write the App's manifest: %w", err)
	}
	p.view = manifestView{Manifest: string(manifest), Owner: f.org, URL: f.url, Permissions: githubapp.Permissions(), Subscriptions: githubapp.Subscriptions()}
	p.view.Action, err = site.RegisterURL(f.org, p.state)
	return p, err
}

// wait serves the page until GitHub has redirected a browser to it with a code.
func (p *manifestPage) wait(ctx context.Context, on net.Listener) (code string, err error) {
	server := &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 32 << 10}
	served := make(chan error, 1)
	go func() { served <- server.Serve(on) }()
	select {
	case code = <-p.codes:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case err = <-served:
		return "", fmt.Errorf("serve the page: %w", err)
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second) // for the browser to read the answer
	defer cancel()
	if stop := server.Shutdown(late); stop != nil {
		_ = server.Close()
	}
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return code, err
}

func (p *manifestPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	switch {
	case r.Host != p.address: // another site's name that was made to lead here
		http.Error(w, "open http://"+p.address+"/", http.StatusMisdirectedRequest)
	case r.Method != http.MethodGet:
		http.Error(w, "this page is only looked at", http.StatusMethodNotAllowed)
	case r.URL.Path == "/":
		header.Set("Content-Type", "text/html; charset=utf-8")
		_ = manifestHTML.ExecuteTemplate(w, "agree", p.view)
	case r.URL.Path == "/made":
		p.made(w, r)
	default:
		http.NotFound(w, r)
	}
}

// made takes the code, once, from whoever knows the state.
func (p *manifestPage) made(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if !githubapp.Same(query.Get("state"), p.state) || query.Get("code") == "" {
		http.Error(w, "This is not the answer to what was asked here. Open http://"+p.address+"/ and begin again.", http.StatusForbidden)
		return
	}
	select {
	case p.codes <- query.Get("code"):
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = manifestHTML.ExecuteTemplate(w, "made", nil)
	default:
		http.Error(w, "The App was taken over already.", http.StatusConflict)
	}
}

var manifestHTML = template.Must(template.New("").Parse(`
{{define "head"}}<!doctype html><html lang="en"><meta charset="utf-8"><title>Slipway setup</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:3rem auto;padding:0 1rem}td{padding:.2rem 1rem .2rem 0;vertical-align:top}
button{font:inherit;padding:.5rem 1rem}</style>{{end}}
{{define "agree"}}{{template "head"}}
<h1>A GitHub App for {{or .Owner "your account"}}</h1>
<p>It asks for these permissions and no others:</p>
<table>{{range .Permissions}}<tr><td><code>{{.Name}}</code><td>{{.Level}}<td>{{.Why}}{{if .Optional}} (optional){{end}}{{end}}</table>
<p>It is sent these events at <code>{{.URL}}/webhook</code>:</p>
<table>{{range .Subscriptions}}<tr><td><code>{{.Name}}</code><td>{{.Why}}{{end}}</table>
<form method="post" action="{{.Action}}"><input type="hidden" name="manifest" value="{{.Manifest}}">
<p><button>Go on to GitHub</button> where you choose its name and agree.</form>{{end}}
{{define "made"}}{{template "head"}}<h1>Done</h1><p>The App was made. Go on in the terminal; this page can be closed.</p>{{end}}
`))
