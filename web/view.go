package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-ci/slipway/jobs"
)

// page is what every template gets.
type page struct {
	Title string
	Nav   string // the entry of the navigation that this page belongs to
	// Live is the address of the events that make this page fetch itself again; Refresh is after how many seconds a
	// browser without scripts loads it again. Both are zero on pages that don't change.
	Live    string
	Refresh int
	Body    any
}

func (s *Server) render(c echo.Context, status int, name string, p page) error {
	// Into memory first: what fails halfway becomes an error page, not half a page.
	var b bytes.Buffer
	if err := s.templates[name].Execute(&b, p); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	return c.HTMLBlob(status, b.Bytes())
}

// functions are what templates call.
func (s *Server) functions() template.FuncMap {
	return template.FuncMap{
		"asset":      func(name string) string { return "/assets/" + s.assets.hashed[name] },
		"version":    func() string { return s.o.Version },
		"state":      stateOf,
		"age":        s.age,
		"moment":     moment,
		"took":       s.took,
		"nodeTook":   s.nodeTook,
		"sha":        jobs.Abbreviate,
		"github":     s.github,
		"blob":       s.blob,
		"source":     s.source,
		"markdown":   newMarkdown(),
		"ansi":       ansi,
		"prose":      prose,
		"pretty":     pretty,
		"value":      value,
		"address":    address,
		"logPath":    logPath,
		"layout":     layout,
		"tailLines":  func() int { return tailLines },
		"add":        func(a, b int) int { return a + b },
		"queryRuns":  queryRuns,
		"queryHooks": queryDeliveries,
		"count":      count,
		"join":       strings.Join,
	}
}

// stateView is how a state looks: a colour class, an icon of templates/parts.html and a word.
type stateView struct{ Class, Icon, Word string }

// stateOf knows the states of runs and jobs and the outcomes of decisions; where they share a name they share a look.
func stateOf(v any) stateView {
	switch name := fmt.Sprint(v); name {
	case "active":
		return stateView{"live", "spin", "In progress"}
	case "running":
		return stateView{"live", "spin", "Running"}
	case "succeeded":
		return stateView{"ok", "check", "Succeeded"}
	case "failed":
		return stateView{"bad", "cross", "Failed"}
	case "fault":
		return stateView{"bad", "cross", "Faulty pipeline"}
	case "cancelled":
		return stateView{"quiet", "stop", "Cancelled"}
	case "held":
		return stateView{"held", "pause", "Held"}
	case "nothing":
		return stateView{"quiet", "minus", "Nothing to do"}
	case "waiting":
		return stateView{"quiet", "ring", "Waiting"}
	case "queued", "offered":
		return stateView{"held", "clock", "Queued"}
	case "waits":
		return stateView{"held", "pause", "Waits for approval"}
	case "skipped":
		return stateView{"quiet", "skip", "Skipped"}
	case "run":
		return stateView{"ok", "play", "Run started"}
	case "observe":
		return stateView{"held", "eye", "Observed only"}
	case "acted":
		return stateView{"ok", "check", "Done"}
	case "refused":
		return stateView{"bad", "minus", "Refused"}
	case "noted":
		return stateView{"quiet", "check", "Passed on"}
	case "ignored":
		return stateView{"quiet", "minus", "Ignored"}
	case "undecided":
		return stateView{"live", "clock", "Undecided"}
	case "":
		return stateView{"quiet", "minus", "Not kept"}
	default:
		return stateView{"quiet", "minus", name}
	}
}

// span is a length of time for people. assets/app.js counts on in the same form.
func span(from, to time.Time) string {
	d := to.Sub(from)
	switch {
	case from.IsZero() || d < 0:
		return "0s"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Truncate(100*time.Millisecond).Seconds(), 'f', -1, 64) + "s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd %dh", int(d.Hours())/24, int(d.Hours())%24)
}

// took is how long something took, or takes so far; then it counts on in browsers with scripts.
func (s *Server) took(from, to time.Time) template.HTML {
	switch {
	case from.IsZero():
		return ""
	case to.IsZero():
		return template.HTML(fmt.Sprintf(`<time data-since="%d">%s</time>`, from.UnixMilli(), soFar(from, s.o.Now()))) // safe: numbers
	}
	return template.HTML(span(from, to)) // safe: numbers
}

// age is how long ago a moment was.
func (s *Server) age(t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s" data-age="%d">%s</time>`, // safe: numbers
		t.UTC().Format(time.RFC3339), moment(t), t.UnixMilli(), ago(s.o.Now().Sub(t))))
}

func ago(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours())/24)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// github is an address at GitHub; path elements are escaped, slashes in them stay.
func (s *Server) github(repository string, elements ...any) string {
	address := s.base + "/" + escapePath(repository)
	for _, e := range elements {
		address += "/" + escapePath(fmt.Sprint(e))
	}
	return address
}

// blob is the address of a line of a file at a commit.
func (s *Server) blob(repository, sha, path string, line int) string {
	address := s.github(repository, "blob", sha, path)
	if line > 0 {
		address += "#L" + strconv.Itoa(line)
	}
	return address
}

// source is the address of what a run is for: pull request, tag or branch.
func (s *Server) source(r Run) string {
	switch {
	case r.PullRequest > 0:
		return s.github(r.Repository, "pull", r.PullRequest)
	case r.Tag != "":
		return s.github(r.Repository, "tree", r.Tag)
	case r.Branch != "":
		return s.github(r.Repository, "tree", r.Branch)
	}
	return s.github(r.Repository)
}

func escapePath(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
		if parts[i] == "." || parts[i] == ".." {
			parts[i] = "%2E" + parts[i][1:]
		}
	}
	return strings.Join(parts, "/")
}

func ansi(line string) template.HTML {
	var b bytes.Buffer
	writeANSI(&b, line)
	return template.HTML(b.String()) // safe: writeANSI escapes
}

// prose is a sentence in which `words between backquotes` are code.
func prose(sentence string) template.HTML {
	parts := strings.Split(sentence, "`")
	if len(parts)%2 == 0 { // a backquote without a partner stays as it is
		last := len(parts) - 1
		parts = append(parts[:last-1], parts[last-1]+"`"+parts[last])
	}
	var b strings.Builder
	for i, part := range parts {
		if i%2 == 1 {
			b.WriteString("<code>" + template.HTMLEscapeString(part) + "</code>")
		} else {
			b.WriteString(template.HTMLEscapeString(part))
		}
	}
	return template.HTML(b.String()) // safe: escaped
}

// pretty is JSON with line breaks.
func pretty(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return b.String()
}

// value is an output as text.
func value(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// address is an output's value when that is a link: its name ends in _url, and it is a web address. Otherwise it is "".
func address(name string, v any) string {
	text, ok := v.(string)
	if !ok || !strings.HasSuffix(name, "_url") || !isWeb(text) {
		return ""
	}
	return text
}

func queryRuns(q runQuery, state jobs.RunState, before uint64) string {
	return query("/", q.Repository, "state", string(state), strconv.FormatUint(before, 10))
}

func queryDeliveries(q deliveryQuery, outcome jobs.Outcome, before string) string {
	return query("/deliveries", q.Repository, "outcome", string(outcome), before)
}

func query(path, repository, name, filter, before string) string {
	v := url.Values{}
	if repository != "" {
		v.Set("repository", repository)
	}
	if filter != "" {
		v.Set(name, filter)
	}
	if before != "" && before != "0" {
		v.Set("before", before)
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// soFar is span in whole seconds, for what still counts on.
func soFar(from, now time.Time) string {
	return span(from, from.Add(now.Sub(from).Truncate(time.Second)))
}

// nodeTook is how long a job took, or takes so far, as plain text for the graph.
func (s *Server) nodeTook(j Job) string {
	if j.Finished.IsZero() {
		return soFar(j.Started, s.o.Now())
	}
	return span(j.Started, j.Finished)
}
