package main

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-ci/slipway/web"
)

// installation is the ID of the App's installation on an account.
func installation(ts *testscript.TestScript, owner string) int64 {
	for _, i := range worldOf(ts).app.Installations() {
		if i.Account.Login == owner {
			return i.ID
		}
	}
	ts.Fatalf("the App is not installed on %s", owner)
	panic("not reached")
}

// limited OWNER N REGEXP: waits until the server holds at least N calls about the account back, for this reason. ! limited OWNER:
// it holds none back.
func cmdLimited(ts *testscript.TestScript, neg bool, args []string) {
	least := 0
	if neg {
		arguments(ts, args, 1, 1, "! limited OWNER")
	} else {
		arguments(ts, args, 3, 3, "limited OWNER N REGEXP")
		var err error
		least, err = strconv.Atoi(args[1])
		must(ts, err)
	}
	ctx, cancel := patient()
	defer cancel()
	var state web.GitHubState
	holds := func() (bool, error) {
		state = web.GitHubState{}
		if err := worldOf(ts).ask(ctx, "/api/v1/github", &state); err != nil {
			return false, err
		}
		for _, e := range state.Installations {
			if e.Account == args[0] && e.Limited() {
				return neg || e.Waiting >= least && regexp.MustCompile(args[2]).MatchString(e.Reason), nil
			}
		}
		return false, nil
	}
	if neg {
		held, err := holds()
		must(ts, err)
		if held {
			ts.Fatalf("something is held back: %+v", state.Installations)
		}
		return
	}
	if err := wait(ctx, fmt.Sprintf("%d calls about %s to be held back", least, args[0]), holds); err != nil {
		ts.Fatalf("%v: %+v", err, state.Installations)
	}
}

// took OPERATION N: waits until GitHub took the operation so often since the script's last "asked reset".
func cmdTook(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 2, "took OPERATION N")
	n, err := strconv.Atoi(args[1])
	must(ts, err)
	ctx, cancel := patient()
	defer cancel()
	must(ts, wait(ctx, fmt.Sprintf("GitHub to take %s %d times", args[0], n), func() (bool, error) {
		took := 0
		for _, r := range worldOf(ts).github.Requests() {
			if r.Operation == args[0] && r.Status/100 == 2 {
				took++
			}
		}
		return took >= n, nil
	}))
}
