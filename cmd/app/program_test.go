package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

var update = flag.Bool("update", false, "write what commands print into the scripts that compare it")

// program is the slipway that scripts run: the real one, but for what a script may ask for by environment:
//
//	PRETEND=1             its kinds of jobs only note what they were asked to do
//	CRASH=STEP:WHEN[:N]   it dies, as by kill -9, right before or after the Nth time it takes a step such as
//	                      decisions.create; the step "*" never comes, but lets it print every step it takes
//	DUE=DURATION          what a pipeline schedules comes due so long after it was pushed, and over and over
//	CLAIM=DURATION        a worker that is silent for so long has lost its job, and the leader sweeps often
//	RECOVER=DURATION      GitHub's log of deliveries is read so often; -1s: never, nor are heads compared
//	SEARCH=DURATION       a workflow run that nobody named is looked for so long
//	POLL=DURATION         GitHub is asked about a workflow run or a check after so long a silence
//	SETTLE=DURATION       a head without a decision was missed after so long
func program() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, func(s *stores) {
		if os.Getenv("PRETEND") != "" {
			for name, slot := range s.slots {
				slot.Kind = pretender{name}
				s.slots[name] = slot
			}
		}
		if text := os.Getenv("CLAIM"); text != "" {
			ttl, err := time.ParseDuration(text)
			if err != nil {
				panic(err)
			}
			s.timing.claimTTL, s.timing.sweep = ttl, 500*time.Millisecond
		}
		s.timing.recover, s.timing.settle = duration("RECOVER"), duration("SETTLE")
		s.timing.search, s.timing.polling.First = duration("SEARCH"), duration("POLL")
		if wait := duration("DUE"); wait > 0 {
			s.timing.due = func(_ jobs.ScheduleEntry, after time.Time) time.Time { return after.Add(wait) }
		}
		if at := os.Getenv("CRASH"); at != "" {
			newCrash(at).wrap(s)
		}
	}))
}

// A pretender is a kind that notes each job it is given in the file $BUILT. How the job's image or release is called
// decides what becomes of it: "fails" fails, "waits" and "waits-too" take until the file $GATE or $GATE-too is there, "fails-late"
// fails when $GATE is there, "slow" takes until it is no longer wanted, "trouble" meets trouble of ours the first two times. All others succeed at once.
type pretender struct{ kind jobs.KindName }

func (p pretender) Run(ctx context.Context, task jobs.Task) (jobs.Result, error) {
	name, image, err := p.called(task.Spec)
	if err != nil {
		return jobs.Result{}, err
	}
	times, err := p.note(task)
	if err != nil {
		return jobs.Result{}, err
	}
	fmt.Fprintf(task.Log, "pretending to %s\n", p.kind)
	failed := jobs.Result{Conclusion: jobs.Failure, Summary: "it was meant to fail", Tail: []string{"the last line"}}
	switch name {
	case "fails":
		return failed, nil
	case "slow":
		<-ctx.Done()
		return jobs.Result{}, ctx.Err()
	case "waits", "waits-too", "fails-late":
		gate := os.Getenv("GATE")
		if name == "waits-too" {
			gate += "-too"
		}
		err := wait(ctx, "the gate to open", func() (bool, error) {
			_, err := os.Stat(gate)
			return err == nil, nil
		})
		if err != nil {
			return jobs.Result{}, err
		}
		if name == "fails-late" {
			return failed, nil
		}
	case "trouble":
		if times <= 2 {
			return jobs.Result{}, errors.New("pretended trouble")
		}
	}
	return jobs.Result{
		Conclusion: jobs.Success, Summary: "pretended",
		Outputs: map[string]any{"digest": "sha256:" + strings.Repeat("0", 64), "image": image},
	}, nil
}

// called is the last part of the image's name, or the first release's name.
func (p pretender) called(spec json.RawMessage) (name, image string, err error) {
	if p.kind == jobs.KindBuild {
		var s jobs.BuildSpec
		err = json.Unmarshal(spec, &s)
		return s.Image[strings.LastIndexByte(s.Image, '/')+1:], s.Image, err
	}
	var s jobs.DeploySpec
	if err := json.Unmarshal(spec, &s); err != nil {
		return "", "", err
	}
	return s.Helm[0].Release, "", nil
}

// note writes the job down and says how often it has come by now.
func (p pretender) note(task jobs.Task) (times int, err error) {
	f, err := os.OpenFile(os.Getenv("BUILT"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	key := fmt.Sprintf("%s of %s: ", task.Job, task.Run.ID)
	trust := ""
	if task.Run.Trust.Level != jobs.Trusted {
		trust = fmt.Sprintf(" (%s, granted %d)", task.Run.Trust.Level, len(task.Grant.Push)+len(task.Grant.Environments))
	}
	_, err = fmt.Fprintf(f, "%s%s%s\n", key, task.Spec, trust)
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	all, err := os.ReadFile(os.Getenv("BUILT"))
	return bytes.Count(all, []byte(key)), err
}
