package main

import (
	"bytes"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-ci/slipway/githubapp"
	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// What the App's owner and an organization's do in a script, and a person who sets a server up.

// secret TEXT: from now on GitHub signs with another secret.
func cmdSecret(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 1, "secret TEXT")
	p, err := worldOf(ts).any()
	must(ts, err)
	worldOf(ts).app.SetWebhook("http://"+p.webhook+"/webhook", args[0])
}

// hook URL json|form: from now on GitHub sends there, so the App's settings say.
func cmdHook(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 2, "hook URL json|form")
	app := worldOf(ts).app
	app.SetWebhook(args[0], app.Secret())
	app.SetHookForm(args[1], false)
}

// adopt OWNER/NAME…: the App is installed on the first repository, which is made if needed; the others are added one by one.
func cmdAdopt(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 9, "adopt OWNER/NAME…")
	w := worldOf(ts)
	var inst *githubtest.Installation
	for _, name := range args {
		r := w.github.Repository(name)
		if r == nil {
			var err error
			r, err = w.github.CreateRepository(name, githubtest.RepositoryOptions{})
			must(ts, err)
		}
		if inst == nil {
			inst = w.app.InstallOn(r)
		} else {
			inst.Add(r)
		}
	}
}

// wrote N: so many requests changed something at GitHub, since the script's last "asked reset". Asking for a
// token does not, nor what a person sent by a form.
func cmdWrote(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 1, "wrote N")
	ctx, cancel := patient()
	defer cancel()
	must(ts, worldOf(ts).github.WaitIdle(ctx))
	var wrote []string
	for _, r := range worldOf(ts).github.Requests() {
		if r.Method != http.MethodGet && r.Operation != "git" && r.Operation != "manifest" && r.Operation != "apps/create-installation-access-token" {
			wrote = append(wrote, r.Method+" "+r.Path)
		}
	}
	if strconv.Itoa(len(wrote)) != args[0] {
		ts.Fatalf("GitHub was written to %d times, want %s: %v", len(wrote), args[0], wrote)
	}
}

// permit [pending] [NAME=LEVEL…]: the App asks for what Slipway needs, with these permissions changed ("none" takes one
// away); every installation accepts that unless it is said to be pending.
func cmdPermit(ts *testscript.TestScript, _ bool, args []string) {
	w, pending := worldOf(ts), len(args) > 0 && args[0] == "pending"
	if pending {
		args = args[1:]
	}
	permissions, events := map[string]string{}, []string{}
	for _, p := range githubapp.Permissions() {
		permissions[p.Name] = p.Level
	}
	for _, s := range githubapp.Subscriptions() {
		events = append(events, s.Name)
	}
	for _, arg := range args {
		name, level, ok := strings.Cut(arg, "=")
		if !ok {
			ts.Fatalf("usage: permit [pending] [NAME=LEVEL…]")
		}
		if permissions[name] = level; level == "none" {
			delete(permissions, name)
		}
	}
	w.app.Request(permissions, events)
	if !pending {
		for _, i := range w.app.Installations() {
			i.AcceptPermissions()
		}
	}
}

// freeport: $PORT is a port that nobody listens on.
func cmdFreePort(ts *testscript.TestScript, _ bool, _ []string) {
	addresses, err := worldOf(ts).ports(1)
	must(ts, err)
	ts.Setenv("PORT", addresses[0][strings.LastIndexByte(addresses[0], ':')+1:])
}

var formForm = regexp.MustCompile(`(?s)<form method="post" action="([^"]*)"><input type="hidden" name="manifest" value="([^"]*)">`)

// agree PORT [forged]: a person opens slipway setup's page, goes on to GitHub, agrees there, and comes back; or somebody
// else sends the page a code of theirs, which must be refused.
func cmdAgree(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 2, "agree PORT [forged]")
	ctx, cancel := patient()
	defer cancel()
	address := "http://127.0.0.1:" + args[0] + "/"
	browser := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	visit := func(address string) (status int, body string, err error) {
		answer, err := browser.Get(address)
		if err != nil {
			return 0, "", err
		}
		defer answer.Body.Close()
		var text bytes.Buffer
		_, err = io.Copy(&text, answer.Body)
		return answer.StatusCode, text.String(), err
	}
	var page string
	must(ts, wait(ctx, "setup's page", func() (bool, error) {
		status, body, err := visit(address)
		page = body
		return err == nil && status == http.StatusOK, nil
	}))
	if len(args) == 2 {
		for _, query := range []string{"?code=theirs", "?code=theirs&state=guessed", "?state=", ""} {
			if status, _, err := visit(address + "made" + query); err != nil || status != http.StatusForbidden {
				ts.Fatalf("a forged answer got %d %v", status, err)
			}
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		must(ts, err)
		r.Host = "evil.example.com"
		answer, err := browser.Do(r)
		must(ts, err)
		answer.Body.Close()
		if answer.StatusCode != http.StatusMisdirectedRequest {
			ts.Fatalf("the page answers under another name with %s", answer.Status)
		}
		return
	}
	form := formForm.FindStringSubmatch(page)
	if form == nil {
		ts.Fatalf("the page has no form:\n%s", page)
	}
	answer, err := browser.PostForm(html.UnescapeString(form[1]), url.Values{"manifest": {html.UnescapeString(form[2])}})
	must(ts, err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusFound {
		ts.Fatalf("GitHub answered the form with %s", answer.Status)
	}
	status, body, err := visit(answer.Header.Get("Location"))
	must(ts, err)
	if status != http.StatusOK || !strings.Contains(body, "The App was made") {
		ts.Fatalf("the page answered %d:\n%s", status, body)
	}
	apps := worldOf(ts).github.Apps()
	ts.Setenv("MADE", strconv.FormatInt(apps[len(apps)-1].ID, 10))
	must(ts, os.WriteFile(filepath.Join(ts.Getenv("WORK"), "made.secret"), []byte(apps[len(apps)-1].Secret()+"\n"), 0o600))
}
