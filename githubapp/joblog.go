package githubapp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/slipway-ci/slipway/jobs"
)

const (
	maxLog         = 16 << 20 // bytes of a job's log that are read
	maxLogLine     = 1000     // bytes of a line that are kept
	maxLogLines    = 1000
	storageTimeout = time.Minute // GitHub's addresses of logs and artifacts live as long, too
)

// WorkflowLog reads the end of a job's log, at most so many lines, at most 1,000: the last ones up to the last error that the log
// tells, because what GitHub does to tidy up comes after it; without an error the very last ones. The times at the lines' beginnings
// and what colours them are gone. Only 16 MB are read, and the last line says so when there is more.
//
// There are no lines, and no error, before the job is done and when GitHub has the log no longer.
func (a *App) WorkflowLog(ctx context.Context, installation int64, repo jobs.Repository, job int64, lines int) ([]string, error) {
	attempt := fmt.Sprintf("read the log of job %d of %s", job, repo.FullName())
	c, err := a.clientFor(installation, repo, scopeActions)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", attempt, err)
	}
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	stream, err := a.stored(asking(ctx, priorityNew, "actions/download-job-logs-for-workflow-run"), c,
		fmt.Sprintf("repos/%s/%s/actions/jobs/%d/logs", repo.Owner, repo.Name, job), "the log")
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, permanentForWorkflows(fmt.Errorf("%s: %w", attempt, err), repo)
	}
	defer stream.Close()
	tail, err := tailOf(stream, min(max(lines, 1), maxLogLines), maxLog)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", attempt, &Unavailable{Operation: "download the log", After: troubleFirst, Cause: bare(err)})
	}
	return tail, nil
}

// tailOf reads a log, at most most bytes, and returns its end, at most n lines.
func tailOf(stream io.Reader, n int, most int64) ([]string, error) {
	limited := &io.LimitedReader{R: stream, N: most + 1}
	in := bufio.NewReader(limited)
	var toError, since tail
	for {
		raw, err := readLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if raw != "" {
			if line, show := tidy(raw); show {
				since.add(line, n)
			}
			if strings.Contains(raw, "##[error]") {
				toError.append(since, n)
				since = nil
			}
		}
		if err != nil {
			break
		}
	}
	list := since
	if len(toError) > 0 {
		list = toError
	}
	if limited.N <= 0 {
		list.add(fmt.Sprintf("… the log goes on; only its first %d MB were read", most>>20), n)
	}
	return list.newest(n), nil
}

// A tail is the newest lines of a text, and some before them that are let go in bulk.
type tail []string

func (t *tail) add(line string, n int) {
	if *t = append(*t, line); len(*t) >= 2*n {
		*t = append((*t)[:0], (*t)[len(*t)-n:]...)
	}
}

func (t *tail) append(more tail, n int) {
	for _, line := range more.newest(n) {
		t.add(line, n)
	}
}

func (t tail) newest(n int) []string { return t[max(0, len(t)-n):] }

// readLine reads a line with its end, and keeps only the beginning of a long one.
func readLine(in *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if keep := maxLogLine + 200 - len(line); keep > 0 { // room for the time and what is tidied away
			line = append(line, part[:min(len(part), keep)]...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return string(line), err
		}
	}
}

var (
	logTime   = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z ?`)
	logEscape = regexp.MustCompile(`\x1b(\[[0-9;:?<=>]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[ -/]*[0-~])?`)
	logMark   = regexp.MustCompile(`^(##)?\[(group|endgroup|section|command|error|warning|notice|debug|add-matcher|remove-matcher)[^\]]*\]`)
)

// tidy makes a line of GitHub's log one to show; show is false when there is nothing in it to show.
func tidy(raw string) (line string, show bool) {
	line = strings.TrimRight(strings.ToValidUTF8(raw, "�"), "\r\n")
	line = strings.TrimPrefix(line, "\ufeff") // GitHub's logs begin with a byte order mark
	line = logTime.ReplaceAllString(line, "")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 { // a progress bar: its last state
		line = line[i+1:]
	}
	line = logEscape.ReplaceAllString(line, "")
	if mark := logMark.FindStringSubmatch(line); mark != nil {
		line = line[len(mark[0]):]
		switch mark[2] {
		case "endgroup", "add-matcher", "remove-matcher":
			return "", false
		case "error", "warning", "notice", "debug":
			line = strings.ToUpper(mark[2][:1]) + mark[2][1:] + ": " + line
		}
	}
	line = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return -1
		}
		return r
	}, line)
	return jobs.Cut(strings.TrimRight(line, " \t"), maxLogLine), true
}
