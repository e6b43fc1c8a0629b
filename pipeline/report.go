package pipeline

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/slipway-ci/slipway/jobs"
)

// Bounds on the faults of one file.
const (
	maxFaults = 100  // told
	maxKept   = 1000 // looked for
)

// A report gathers what is wrong in a file, all at once.
type report struct {
	path   string
	job    string // the job being read; empty outside of jobs
	faults []fault
}

type fault struct {
	jobs.Fault
	structural bool // the JSON Schema can see it too
}

// structure reports something of the wrong form: the JSON Schema refuses it as well.
func (r *report) structure(at *node, format string, args ...any) { r.add(at, true, format, args...) }

// meaning reports something of the right form that can't be meant.
func (r *report) meaning(at *node, format string, args ...any) { r.add(at, false, format, args...) }

func (r *report) add(at *node, structural bool, format string, args ...any) {
	if len(r.faults) > maxKept {
		return
	}
	if len(r.faults) == maxKept {
		// Nothing may be taken for good only because its fault was not kept.
		r.faults = append(r.faults, fault{Fault: jobs.Fault{Path: r.path, Message: fmt.Sprintf("the file has more than %d faults", maxKept)}, structural: structural})
		return
	}
	f := fault{Fault: jobs.Fault{Path: r.path, Job: shorten(r.job), Message: jobs.Cut(fmt.Sprintf(format, args...), 500)}, structural: structural}
	if at != nil {
		f.Line, f.Column = at.line, at.col
	}
	if !slices.ContainsFunc(r.faults, func(g fault) bool { return g.Fault == f.Fault }) {
		r.faults = append(r.faults, f)
	}
}

// list returns the faults in the file's order, at most maxFaults of them and one that says so; nil when there is none.
func (r *report) list() []jobs.Fault {
	if len(r.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(r.faults, func(a, b fault) int { return compareFaults(a.Fault, b.Fault) })
	list := make([]jobs.Fault, 0, len(r.faults))
	for i, f := range r.faults {
		if i == maxFaults {
			rest := jobs.Fault{Path: r.path, Message: fmt.Sprintf("and %d more faults, which are not listed", len(r.faults)-maxFaults)}
			// A cut that hid a fault of the whole file must not hide that the file can't be used.
			if !slices.ContainsFunc(r.faults[i:], func(f fault) bool { return f.Job == "" }) {
				rest.Job = f.Job
			}
			return append(list, rest)
		}
		list = append(list, f.Fault)
	}
	return list
}

// whole reports whether the file as a whole can't be used.
func (r *report) whole() bool {
	return slices.ContainsFunc(r.faults, func(f fault) bool { return f.Job == "" })
}

// first returns a job's first fault in the file's order, or nil.
func (r *report) first(job string) *jobs.Fault {
	var first *jobs.Fault
	for i := range r.faults {
		f := &r.faults[i].Fault
		if f.Job == job && (first == nil || compareFaults(*f, *first) < 0) {
			first = f
		}
	}
	return first
}

// compareFaults orders faults by their place.
func compareFaults(a, b jobs.Fault) int {
	return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
}
