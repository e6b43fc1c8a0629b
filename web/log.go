package web

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"html"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-ci/slipway/jobs"
)

// LogEvent is the data of the events of a log stream. Event "lines" carries lines, event "end" says that nothing
// follows. The event's ID is the number of its last line; a client that connects again goes on after that.
type LogEvent struct {
	First int      `json:"first,omitempty"` // number of the first line, from 1
	Lines []string `json:"lines,omitempty"` // without escape sequences and other control characters
	HTML  string   `json:"html,omitempty"`  // instead of Lines, for our own page: the lines as safe HTML
}

// counter numbers the lines of a log's chunks. A chunk that was lost leaves a gap, which shows.
type counter struct{ next int }

func (n *counter) first(chunk jobs.LogChunk) int {
	if n.next == 0 {
		n.next = 1
	}
	first := max(n.next, chunk.First)
	n.next = first + len(chunk.Lines)
	return first
}

// logOf finds the log a request is about. attempt 0 in the query is the newest.
func (s *Server) logOf(c echo.Context) (jobs.Run, jobs.Job, jobs.LogKey, error) {
	run, _, err := s.findRun(c.Request().Context(), param(c, "id"))
	if err != nil {
		return run, jobs.Job{}, jobs.LogKey{}, err
	}
	job := run.Job(param(c, "job"))
	if job == nil {
		return run, jobs.Job{}, jobs.LogKey{}, refuse(http.StatusNotFound, "The run has no such job.")
	}
	newest := max(job.Attempt, 1)
	attempt, err := number(c, "attempt")
	if err != nil {
		return run, *job, jobs.LogKey{}, err
	}
	if attempt == 0 {
		attempt = uint64(newest)
	}
	if attempt > uint64(newest) {
		return run, *job, jobs.LogKey{}, refuse(http.StatusNotFound, "The job has had %s so far.", count(newest, "attempt"))
	}
	return run, *job, jobs.LogKey{Run: cmp.Or(job.ReusedFrom, run.ID), Job: job.Name, Attempt: int(attempt)}, nil
}

// logOver reports whether nothing more can come to a log, although no last chunk may ever have been written.
func logOver(job *jobs.Job, key jobs.LogKey) bool {
	return job == nil || job.State.Over() || max(job.Attempt, 1) > key.Attempt
}

// logTail is the end of a log as pages show it.
type logTail struct {
	Rows  template.HTML
	First int // number of the first line shown
	Last  int // number of the last line there is
	Ended bool
}

// readTail reads the last n lines of a log. page is as in writeRow.
func (s *Server) readTail(ctx context.Context, key jobs.LogKey, page string, n int) (logTail, error) {
	var t logTail
	var numbers counter
	var b bytes.Buffer
	err := s.o.Logs.Read(ctx, key, jobs.LogRange{Tail: n}, func(chunk jobs.LogChunk) error {
		first := numbers.first(chunk)
		for i, text := range chunk.Lines {
			writeRow(&b, page, first+i, text)
			t.Last = first + i
			if t.First == 0 {
				t.First = t.Last
			}
		}
		t.Ended = t.Ended || chunk.Last
		return nil
	})
	t.Rows = template.HTML(b.String()) // safe: writeRow escapes
	if err != nil && !errors.Is(err, jobs.ErrNotFound) {
		return t, fmt.Errorf("read the log of %s/%s: %w", key.Run, key.Job, err)
	}
	return t, nil
}

// writeRow writes a line of a log with its number, which is a link to the line. page is the address of the log's page, or
// "" when the line is written on that page.
func writeRow(b *bytes.Buffer, page string, number int, text string) {
	n := strconv.Itoa(number)
	id := `id="L` + n
	if page != "" {
		id = `value="` + n
	}
	b.WriteString(`<li ` + id + `"><a href="` + html.EscapeString(page) + `#L` + n + `" tabindex="-1">` + n + `</a><span>`)
	writeANSI(b, text)
	b.WriteString("</span></li>\n")
}

// downloadLog sends a whole log as text, exactly as it was printed.
func (s *Server) downloadLog(c echo.Context) error {
	_, _, key, err := s.logOf(c)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%s-%d.log", key.Run, safeName(key.Job), key.Attempt)
	c.Response().Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	return s.textLog(c, key, jobs.LogRange{}, true)
}

// textLog sends a log as text. Unless raw is set, escape sequences and control characters can't reach a terminal.
func (s *Server) textLog(c echo.Context, key jobs.LogKey, what jobs.LogRange, raw bool) error {
	return s.longLived(c, func(ctx context.Context) error {
		res := c.Response()
		res.Header().Set(echo.HeaderContentType, echo.MIMETextPlainCharsetUTF8)
		if c.Request().Method == http.MethodHead {
			res.WriteHeader(http.StatusOK)
			return nil
		}
		st := s.stream(res)
		var n counter
		write := func(e logPart) error {
			var b strings.Builder
			for _, line := range e.lines {
				if !raw {
					line = Plain(line)
				}
				b.WriteString(line)
				b.WriteByte('\n')
			}
			return st.write(b.String())
		}
		var err error
		if what.Follow {
			res.WriteHeader(http.StatusOK)
			err = s.followLog(ctx, key, what.Tail, st.flush, write)
		} else {
			err = s.o.Logs.Read(ctx, key, what, func(chunk jobs.LogChunk) error {
				return write(logPart{n.first(chunk), chunk.Lines})
			})
		}
		var gone *goneError
		if errors.Is(err, jobs.ErrNotFound) || errors.As(err, &gone) || (err != nil && ctx.Err() != nil) {
			err = nil
		}
		if err == nil && !res.Committed {
			res.WriteHeader(http.StatusOK)
		}
		return err
	})
}

func (st *stream) flush() error { return st.write("") }

// log is the API's log: text, or a stream of events.
func (a api) log(c echo.Context) error {
	_, _, key, err := a.logOf(c)
	if err != nil {
		return err
	}
	tail, err := number(c, "tail")
	if err != nil {
		return err
	}
	what := jobs.LogRange{Tail: int(min(tail, 1<<30)), Follow: c.QueryParam("follow") == "true"}
	if strings.Contains(c.Request().Header.Get("Accept"), "text/event-stream") {
		return a.streamLog(c, key, what.Tail, func(p logPart) LogEvent {
			e := LogEvent{First: p.first, Lines: make([]string, len(p.lines))}
			for i, line := range p.lines {
				e.Lines[i] = Plain(line)
			}
			return e
		})
	}
	return a.textLog(c, key, what, c.QueryParam("raw") == "true")
}

// liveLog streams a log to our own page.
func (s *Server) liveLog(c echo.Context) error {
	_, _, key, err := s.logOf(c)
	if err != nil {
		return err
	}
	return s.streamLog(c, key, 0, func(p logPart) LogEvent {
		var b bytes.Buffer
		for i, line := range p.lines {
			writeRow(&b, "", p.first+i, line)
		}
		return LogEvent{First: p.first, HTML: b.String()}
	})
}

// logPart is some lines of a log.
type logPart struct {
	first int
	lines []string
}

// streamLog sends a log's lines as events, beginning after the line in Last-Event-ID or with the one in the query's
// "from". Unless tail is 0, only the last tail lines of what is there are sent before what comes.
func (s *Server) streamLog(c echo.Context, key jobs.LogKey, tail int, shape func(logPart) LogEvent) error {
	from, err := number(c, "from")
	if err != nil {
		return err
	}
	start := int(min(from, 1<<30))
	if id, err := strconv.Atoi(c.Request().Header.Get("Last-Event-ID")); err == nil && id >= 0 {
		start = id + 1
	}
	return s.live(c, func(ctx context.Context, st *stream) error {
		err := s.followLog(ctx, key, tail, st.beat, func(p logPart) error {
			if skip := start - p.first; skip > 0 {
				if skip >= len(p.lines) {
					return nil
				}
				p.first, p.lines = start, p.lines[skip:]
			}
			return st.send("lines", strconv.Itoa(p.first+len(p.lines)-1), shape(p))
		})
		if err != nil {
			return err
		}
		return st.send("end", "", LogEvent{})
	})
}

// followLog calls each with the lines that a log has, or with the last tail of them unless tail is 0, and then with new
// ones as they come, until the log or the job ends. beat is called now and then.
func (s *Server) followLog(ctx context.Context, key jobs.LogKey, tail int, beat func() error, each func(logPart) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := make(chan logPart)
	read := make(chan error, 1)
	var n counter
	start := func() {
		read <- s.o.Logs.Read(ctx, key, jobs.LogRange{Tail: tail, Follow: true}, func(chunk jobs.LogChunk) error {
			first := n.first(chunk)
			if len(chunk.Lines) == 0 {
				return nil
			}
			select {
			case parts <- logPart{first, chunk.Lines}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}
	go start()
	missing := false // there is no log yet
	sweep, beats := time.NewTicker(s.pace.sweep), time.NewTicker(s.pace.beat)
	defer sweep.Stop()
	defer beats.Stop()
	quiet := false // the job was over at the last look, and no line has come since
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p := <-parts:
			quiet = false
			if err := each(p); err != nil {
				return err
			}
		case err := <-read:
			if missing = errors.Is(err, jobs.ErrNotFound); missing {
				continue
			}
			if err != nil {
				return fmt.Errorf("follow the log of %s/%s: %w", key.Run, key.Job, err)
			}
			return nil
		case <-beats.C:
			if err := beat(); err != nil {
				return err
			}
		case <-sweep.C:
			// A worker that died wrote no last chunk.
			run, _, err := s.findRun(ctx, key.Run)
			if err != nil && !errors.Is(err, jobs.ErrNotFound) {
				return err
			}
			over := err != nil || logOver(run.Job(key.Job), key)
			if over && quiet {
				return nil
			}
			quiet = over
			if missing {
				missing = false
				go start()
			}
		}
	}
}

// safeName makes a file name of a job's name.
func safeName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, s)
}
