package jobs

import (
	"encoding/json"
	"fmt"
)

// Conclusion is how a job ended.
type Conclusion string

// The conclusions a job can have.
const (
	Success   Conclusion = "success"
	Failure   Conclusion = "failure"
	Cancelled Conclusion = "cancelled"
	TimedOut  Conclusion = "timed_out"
	Skipped   Conclusion = "skipped"
	Neutral   Conclusion = "neutral" // counts as success
)

// Limits of a Result; what is beyond is cut, and says so.
const (
	MaxSummary     = 500     // bytes of Result.Summary
	MaxDetails     = 6 << 10 // bytes of Result.Details
	MaxTail        = 20      // lines of Result.Tail, each at most MaxTailLine bytes
	MaxTailLine    = 200
	MaxAnnotations = 20
	MaxOutputs     = 2 << 10 // bytes of Result.Outputs as JSON
)

// A Result is how an attempt ended, in two voices: Summary for the developer, Cause for the operator.
type Result struct {
	Conclusion  Conclusion     `json:"conclusion"`
	Summary     string         `json:"summary"`           // one sentence: what happened, where, and what to do
	Details     string         `json:"details,omitempty"` // Markdown shown below it
	Cause       string         `json:"cause,omitempty"`   // for the operator's log and page
	Outputs     map[string]any `json:"outputs,omitempty"` // string, bool, int64 or float64; what later jobs read as needs.X.outputs.Y
	Annotations []Annotation   `json:"annotations,omitempty"`
	Tail        []string       `json:"tail,omitempty"` // last lines that explain a failure
}

// An Annotation points at a place in a file of the commit.
type Annotation struct {
	Path    string `json:"path"`
	Line    int    `json:"line"` // from 1
	EndLine int    `json:"end_line,omitempty"`
	Level   string `json:"level"` // failure, warning, notice
	Title   string `json:"title,omitempty"`
	Message string `json:"message"`
}

// A Fault is one thing wrong in a file, with its place.
type Fault struct {
	Path    string `json:"path,omitempty"`
	Line    int    `json:"line,omitempty"` // from 1; 0 when the fault has no line
	Column  int    `json:"column,omitempty"`
	Job     string `json:"job,omitempty"` // the job it spoils; empty when it spoils the file
	Message string `json:"message"`
}

// Bound cuts a result to the limits.
func (r Result) Bound() Result {
	r.Summary = Cut(r.Summary, MaxSummary)
	// Half an output would be a wrong one: all stay, or none.
	if data, err := json.Marshal(r.Outputs); err != nil || len(data) > MaxOutputs {
		r.Outputs = nil
		r.Details = fmt.Sprintf("The outputs are left out: together they have more than %d bytes.\n\n%s", MaxOutputs, r.Details)
	}
	r.Details = Cut(r.Details, MaxDetails)
	r.Cause = Cut(r.Cause, MaxSummary*2)
	if len(r.Tail) > MaxTail {
		r.Tail = r.Tail[len(r.Tail)-MaxTail:]
	}
	for i := range r.Tail {
		r.Tail[i] = Cut(r.Tail[i], MaxTailLine)
	}
	if n := len(r.Annotations); n > MaxAnnotations {
		r.Annotations = r.Annotations[:MaxAnnotations]
	}
	for i := range r.Annotations {
		r.Annotations[i].Message = Cut(r.Annotations[i].Message, 1000)
		r.Annotations[i].Title = Cut(r.Annotations[i].Title, 200)
	}
	return r
}

// Cut shortens s to at most n bytes at a rune's edge, ending in "…" when something was cut.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const mark = "…"
	n -= len(mark)
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:max(n, 0)] + mark
}
