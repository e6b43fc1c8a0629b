package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/githubapp"
)

// What of the App is looked at, and how far it may be off.
const (
	skewWarned  = 10 * time.Second // the App's tokens bear a minute: they say they were made that long ago
	skewRefused = 50 * time.Second
	maxNamed    = 20 // installations that are named each
)

// privateFile tells whether others than a file's owner may read it.
func privateFile(path string) finding {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fail(err.Error(), "put the file there")
	case !info.Mode().IsRegular():
		return fail(path+" is not a file", "put a file there")
	}
	mode := info.Mode().Perm()
	text := fmt.Sprintf("%s has mode %04o", path, mode)
	f, err := os.Open(path)
	if err != nil {
		return fail(fmt.Sprintf("%s can't be read by this user: %v", path, err), "let the server's user read it")
	}
	_ = f.Close()
	switch {
	case mode&0o007 != 0:
		return fail(text+": every user of this machine may use it", "chmod 600 "+path)
	case mode&0o070 != 0:
		return warn(text+": its group may use it", "chmod 600 "+path+", unless the group is the server's own")
	}
	return good("%s", text)
}

func (p *exam) key(context.Context) []finding {
	file := p.c.GitHub.PrivateKeyFile
	if file == "" {
		return []finding{fail("no key is configured", "set github.private_key_file")}
	}
	found := []finding{privateFile(file)}
	if p.appErr != nil && found[0].Verdict != failure && strings.Contains(p.appErr.Error(), "private key") {
		found = append(found, fail(p.appErr.Error(), "download a private key from the App's settings, and put it there as it is"))
	}
	return found
}

func (p *exam) secrets(context.Context) []finding {
	files := p.c.GitHub.WebhookSecretFiles
	if len(files) == 0 && p.c.GitHub.Polls() {
		return []finding{good("none is needed with github.intake poll")}
	}
	if len(files) == 0 {
		return []finding{fail("no webhook secret is configured", "set github.webhook_secret_files")}
	}
	var found []finding
	for _, file := range files {
		one := privateFile(file)
		if one.Verdict != failure {
			secrets, err := readSecrets([]string{file})
			switch {
			case err != nil:
				one = fail(err.Error(), "put the App's webhook secret into it")
			case len(secrets[0]) < 16:
				one = warn(fmt.Sprintf("%s holds a secret of %d characters, which can be guessed", file, len(secrets[0])), "use 32 random ones or more, here and in the App's settings")
			}
		}
		found = append(found, one)
	}
	if len(files) > 1 {
		found = append(found, warn(fmt.Sprintf("%d secrets are accepted, as while one is replaced", len(files)),
			"when GitHub signs with the new one, take the old one out of github.webhook_secret_files"))
	}
	return found
}

// unasked is said where GitHub can't be asked because of what another check tells.
func (p *exam) unasked() ([]finding, bool) {
	if p.app != nil {
		return nil, false
	}
	return []finding{fail("not looked at: GitHub can't be asked without the App's ID and key", "put config and key right first")}, true
}

// unanswered is said where GitHub did not tell.
func unanswered(err error) finding {
	return fail(err.Error(), "see what app says above; where nothing answers, look at github.api_url, the network and outgoing")
}

func (p *exam) identity(ctx context.Context) []finding {
	if found, no := p.unasked(); no {
		return found
	}
	id, err := p.app.Health().Identity(ctx)
	var found []finding
	switch {
	case err != nil && strings.Contains(err.Error(), "401"):
		found = append(found, fail(err.Error(), fmt.Sprintf("GitHub knows no App %d with this key: check github.app_id, the key file, github.api_url and the clock", p.c.GitHub.AppID)))
	case err != nil:
		found = append(found, fail(err.Error(), "let this machine reach "+p.apiHost()+"; a proxy or private authority belongs into outgoing"))
	case id.ID != p.c.GitHub.AppID:
		found = append(found, fail(fmt.Sprintf("the key belongs to %s, the configuration says %d", id, p.c.GitHub.AppID), "correct github.app_id, or the key"))
	default:
		found = append(found, good("%s: the key is accepted", id))
	}
	if id.SkewKnown {
		found = append(found, clockFinding(id.Skew))
	}
	if err == nil {
		found = append(found, permissionFindings(id)...)
	}
	return found
}

func (p *exam) apiHost() string {
	if u, err := url.Parse(p.c.GitHub.APIURL); err == nil && u.Host != "" {
		return u.Host
	}
	return "api.github.com"
}

func clockFinding(skew time.Duration) finding {
	where := "ahead of"
	if skew < 0 {
		where = "behind"
	}
	text := fmt.Sprintf("this machine is %s %s GitHub", skew.Abs().Round(time.Second), where)
	f := good("%s", text)
	switch remedy := "set the clock; run an NTP client such as chrony or systemd-timesyncd"; {
	case skew.Abs() >= skewRefused:
		f = fail(text+": GitHub refuses what is signed by this clock", remedy)
	case skew.Abs() >= skewWarned:
		f = warn(text, remedy)
	}
	f.Check = "clock"
	return f
}

// permissionFindings compares what the App asks for with what Slipway needs.
func permissionFindings(id githubapp.Identity) []finding {
	d := githubapp.Compare(id.Permissions, id.Events)
	var found []finding
	add := func(name string, f finding) {
		f.Check = name
		found = append(found, f)
	}
	settings := "in the App's settings, Permissions & events"
	for _, need := range d.Missing {
		text := fmt.Sprintf("%s: %s is missing, needed %s", need.Name, need.Level, need.Why)
		if need.Optional {
			add("permissions", warn(text, "add it "+settings+", if you want that"))
		} else {
			add("permissions", fail(text, "add it "+settings+"; then each installation has to accept it"))
		}
	}
	if len(d.Superfluous) > 0 {
		var names []string
		for name, level := range d.Superfluous {
			names = append(names, name+": "+level)
		}
		slices.Sort(names)
		add("permissions", warn(strings.Join(names, ", ")+" is more than Slipway needs", "take it away "+settings))
	}
	if len(d.Missing)+len(d.Superfluous) == 0 {
		add("permissions", good("%d, as needed", len(id.Permissions)))
	}
	for _, event := range d.Unsent {
		text := fmt.Sprintf("%s is not subscribed to, needed %s", event.Name, event.Why)
		if event.Name == "push" || event.Name == "pull_request" {
			add("events", fail(text, "subscribe to it "+settings))
		} else {
			add("events", warn(text, "subscribe to it "+settings))
		}
	}
	if len(d.Unused) > 0 {
		add("events", warn(strings.Join(d.Unused, ", ")+": sent, and nothing is done with it", "unsubscribe "+settings))
	}
	if len(d.Unsent)+len(d.Unused) == 0 {
		add("events", good("%d, as needed", len(id.Events)))
	}
	return found
}

func (p *exam) webhook(ctx context.Context) []finding {
	if found, no := p.unasked(); no {
		return found
	}
	hook, err := p.app.Health().Hook(ctx)
	if err != nil {
		return []finding{unanswered(err)}
	}
	u, err := url.Parse(hook.URL)
	if hook.URL == "" || err != nil || u.Host == "" {
		return []finding{fail("the App has no webhook URL", "set it in the App's settings: "+p.ownWebhook())}
	}
	shown := u.Redacted()
	if p.c.GitHub.Polls() {
		return []finding{good("%s; what is sent there is fetched from GitHub's log (github.intake poll)", shown)}
	}
	var found []finding
	switch want := p.ownWebhook(); {
	case !strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/webhook"):
		found = append(found, fail(shown+" does not end in /webhook, where this server listens, unless a proxy rewrites it", "set it in the App's settings: "+want))
	case p.c.Server.URL == "":
		found = append(found, warn(shown+" can't be compared: server.url is not set", "set server.url"))
	case strings.TrimRight(hook.URL, "/") != want:
		found = append(found, warn(fmt.Sprintf("GitHub sends to %s, server.url suggests %s", shown, want), "correct one of the two, unless both lead here"))
	default:
		found = append(found, good("%s", shown))
	}
	if hook.ContentType != "json" {
		found = append(found, fail("content type is "+hook.ContentType+", which is not understood", "choose application/json in the App's settings"))
	}
	if hook.InsecureSSL && u.Scheme == "https" {
		found = append(found, warn("GitHub does not check the server's certificate", "enable SSL verification in the App's settings"))
	}
	if u.Scheme != "https" {
		found = append(found, warn("deliveries travel unencrypted", "give the server https, and the App its new webhook URL"))
	}
	return found
}

// ownWebhook is where this server expects its webhooks.
func (p *exam) ownWebhook() string {
	base := strings.TrimRight(p.c.Server.URL, "/")
	if base == "" {
		base = "https://YOUR-HOST"
	}
	return base + "/webhook"
}

func (p *exam) installations(ctx context.Context) []finding {
	if found, no := p.unasked(); no {
		return found
	}
	health := p.app.Health()
	list, cut, err := health.Installations(ctx)
	if err != nil {
		return []finding{unanswered(err)}
	}
	if len(list) == 0 {
		return []finding{warn("the App is installed nowhere", "install it from its page; nothing is posted by that")}
	}
	id, err := health.Identity(ctx)
	if err != nil {
		return []finding{unanswered(err)}
	}
	var found []finding
	accounts := make([]string, 0, len(list))
	for _, i := range list {
		accounts = append(accounts, i.Account)
		var f finding
		switch pending := i.Pending(id.Permissions); {
		case i.Suspended:
			f = warn(i.Account+" has suspended it: nothing comes from there", "unsuspend it at "+i.URL)
		case len(pending) > 0:
			f = fail(fmt.Sprintf("%s has not granted %s", i.Account, strings.Join(pending, ", ")), "let an owner of "+i.Account+" accept the new permissions at "+i.URL)
			if onlyOptional(i) {
				f.Verdict = warning
			}
		default:
			continue
		}
		if found = append(found, f); len(found) == maxNamed {
			found = append(found, warn("there are more that need a look; only the first are named", "put these right, and look again"))
			break
		}
	}
	if len(found) > 0 {
		return found
	}
	more := ""
	if cut {
		more = " of more"
	}
	if len(accounts) > maxNamed {
		accounts = append(accounts[:maxNamed], "…")
	}
	return []finding{good("%d%s, with all permissions granted: %s", len(list), more, strings.Join(accounts, ", "))}
}

// onlyOptional tells whether an installation granted all that is not optional.
func onlyOptional(i githubapp.Installed) bool {
	for _, p := range githubapp.Compare(i.Permissions, nil).Missing {
		if !p.Optional {
			return false
		}
	}
	return true
}

func (p *exam) deliveries(ctx context.Context) []finding {
	if found, no := p.unasked(); no {
		return found
	}
	recent, err := p.app.Health().Recent(ctx)
	switch {
	case err != nil:
		return []finding{unanswered(err)}
	case p.c.GitHub.Polls():
		return []finding{good("GitHub's log tells of %d events lately; they are fetched (github.intake poll)", recent.Events)}
	case recent.Events == 0:
		return []finding{good("GitHub has sent nothing yet")}
	case recent.Failed == 0:
		return []finding{good("the last %d events arrived", recent.Events)}
	}
	text := fmt.Sprintf("%d of the last %d events did not arrive, the newest of them at %s: %s", recent.Failed, recent.Events,
		recent.Last.UTC().Format(time.RFC3339), recent.Status)
	remedy := "see Recent Deliveries in the App's settings; check that GitHub reaches the webhook, and that its secret is one of ours"
	if recent.Failed == recent.Events {
		return []finding{fail(text, remedy)}
	}
	return []finding{warn(text, remedy)}
}
