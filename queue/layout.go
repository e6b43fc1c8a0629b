package queue

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// A Bucket names a set of records.
type Bucket string

// The buckets. What is kept for a limited time counts from the record's last change.
const (
	Decisions  Bucket = "decisions"  // by delivery GUID; kept 35 days: proof that a delivery was handled
	Runs       Bucket = "runs"       // active runs, by run ID; kept until deleted
	Archive    Bucket = "archive"    // finished runs, by run ID; kept 90 days, the oldest go first when full
	Refs       Bucket = "refs"       // by jobs.RefKey; kept 400 days
	Results    Bucket = "results"    // by jobs.ResultKey; kept 90 days, the oldest go first when full
	Reports    Bucket = "reports"    // by run and check; kept 90 days
	Approvals  Bucket = "approvals"  // by jobs.ApprovalKey and jobs.EnvironmentApprovalKey; kept 400 days
	Replies    Bucket = "replies"    // by jobs.ReplyKey; kept 35 days: proof that a comment was answered
	Causes     Bucket = "causes"     // by a digest of a request's content; kept 35 days
	Watches    Bucket = "watches"    // by jobs.WorkflowTopic and jobs.CommitTopic; kept 35 days
	Workflows  Bucket = "workflows"  // by jobs.WorkflowKey; kept 35 days
	Dispatches Bucket = "dispatches" // of package jobs/dispatch; kept 90 days: proof of what was asked of GitHub
	Rollouts   Bucket = "rollouts"   // by run, job and attempt: how far those came that wait half-way; kept 90 days
	Requests   Bucket = "requests"   // by run ID: what the API was asked for; kept 35 days
	Tokens     Bucket = "tokens"     // of the API, by ID; kept until deleted
	Schedules  Bucket = "schedules"  // by jobs.TimetableKey; kept until deleted
	Meta       Bucket = "meta"       // small facts of the installation itself; kept until deleted
)

// A policy is what a stream keeps and how.
type policy struct {
	name     string // of the stream, and first part of its subjects
	keyed    bool   // only the newest message of a subject is kept
	maxAge   time.Duration
	maxBytes int64
	dropOld  bool // when full the oldest go; otherwise writes are refused
	async    bool // writes return before they are on disk
	work     bool // a message goes away when it is acknowledged
}

const day = 24 * time.Hour

// policies lists every stream but the shards of the deliveries.
func policies(l Limits) []policy {
	records := limitBytes(l.Records, defaultRecords)
	bucket := func(b Bucket, maxAge time.Duration, dropOld bool) policy {
		return policy{name: string(b), keyed: true, maxAge: maxAge, maxBytes: records, dropOld: dropOld}
	}
	return []policy{
		bucket(Decisions, 35*day, false),
		bucket(Runs, 0, false),
		bucket(Archive, 90*day, true),
		bucket(Refs, 400*day, false),
		bucket(Results, 90*day, true),
		bucket(Reports, 90*day, false),
		bucket(Approvals, 400*day, false),
		bucket(Replies, 35*day, false),
		bucket(Causes, 35*day, false),
		bucket(Watches, 35*day, false),
		bucket(Workflows, 35*day, false),
		bucket(Dispatches, 90*day, false),
		bucket(Rollouts, 90*day, false),
		bucket(Requests, 35*day, false),
		{name: string(Tokens), keyed: true, maxBytes: 64 << 20},
		{name: string(Schedules), keyed: true, maxBytes: 64 << 20},
		{name: string(Meta), keyed: true, maxBytes: 64 << 20},
		{name: factsStream, keyed: true, maxBytes: 64 << 20},
		{name: leasesStream, keyed: true, maxBytes: 64 << 20},
		{name: indexStream, maxAge: 90 * day, maxBytes: records / 4, dropOld: true},
		{name: logsStream, maxAge: 90 * day, maxBytes: limitBytes(l.Logs, defaultLogs), dropOld: true, async: true},
		{name: workStream, keyed: true, maxAge: 7 * day, maxBytes: 64 << 20, dropOld: true, async: true, work: true},
	}
}

// The streams behind what has methods of its own.
const (
	factsStream  = "queue" // what the queue knows about itself: number of shards, watermarks
	leasesStream = "leases"
	indexStream  = "index"
	logsStream   = "logs"
	workStream   = "work"
)

func shardPolicy(i, of int, l Limits) policy {
	return policy{
		name:     fmt.Sprintf("deliveries_%d", i),
		maxBytes: limitBytes(l.Deliveries, defaultDeliveries) / int64(of),
	}
}

// keyForm is what a key may look like: subjects give dots, wildcards and blanks a meaning of their own.
var (
	tokenForm = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	keyForm   = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

const maxKey = 512

func checkKey(key string) error {
	if len(key) > maxKey || !keyForm.MatchString(key) {
		return fmt.Errorf("%w: %.80q may hold letters, digits, '-', '_' and single dots between them", ErrBadKey, key)
	}
	return nil
}

// tokens joins names into a subject; none of them may hold a dot or anything else with a meaning there.
func tokens(names ...string) (string, error) {
	for _, name := range names {
		if len(name) > maxKey/len(names) || !tokenForm.MatchString(name) {
			return "", fmt.Errorf("%w: %.80q may hold only letters, digits, '-' and '_'", ErrBadKey, name)
		}
	}
	return strings.Join(names, "."), nil
}
