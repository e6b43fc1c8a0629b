package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain is the program itself when a script starts it.
func TestMain(m *testing.M) {
	if os.Getenv("SLIPWAY_TEST_PROGRAM") == "slipway" {
		program()
		return
	}
	testscript.Main(m, map[string]func(){"slipway": program})
}

// patience is how long a script waits for anything.
const patience = 120 * time.Second

// TestScripts plays the scripts that need no engines: their kinds of jobs only pretend (program_test.go).
func TestScripts(t *testing.T) {
	p := params(nil)
	p.Dir = "testdata/script"
	testscript.Run(t, p)
}

// params sets a world up for every script. env is added to what the script finds set.
func params(env map[string]string) testscript.Params {
	return testscript.Params{
		UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			for key, value := range usual(e.WorkDir) {
				e.Setenv(key, value)
			}
			for key, value := range env {
				e.Setenv(key, value)
			}
			t := e.T().(testing.TB)
			w, err := newWorld(t, e.WorkDir, e.Vars)
			if err != nil {
				return err
			}
			e.Values[worldKey{}] = w
			e.Setenv("GITHUB", w.github.URL)
			e.Defer(func() {
				if err := w.end(); err != nil {
					t.Error(err)
				}
				if t.Failed() {
					for name, p := range w.servers {
						t.Log("server " + name + " said:\n" + p.log.String())
					}
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"repo": cmdRepo, "role": cmdRole, "install": cmdInstall, "push": cmdPush, "pull": cmdPull, "github": cmdGitHub, "nats": cmdNATS,
			"comment": cmdComment, "edit": cmdEdit, "press": cmdPress, "rerun": cmdRerun, "change": cmdChange,
			"reacted": cmdReacted, "answered": cmdAnswered, "comments": cmdComments, "deployed": cmdDeployed,
			"delete": cmdDelete, "rename": cmdRename, "transfer": cmdTransfer, "copy": cmdCopy, "draft": cmdDraft, "publish": cmdPublish, "queue": cmdQueue, "team": cmdTeam, "state": cmdState,
			"hold": cmdHold, "release": cmdRelease, "redeliver": cmdRedeliver, "resend": cmdResend,
			"secret": cmdSecret, "hook": cmdHook, "adopt": cmdAdopt, "wrote": cmdWrote, "permit": cmdPermit, "freeport": cmdFreePort, "agree": cmdAgree, "proxy": cmdProxy, "proxied": cmdProxied,
			"serve": cmdServe, "shutdown": cmdShutdown, "kill9": cmdKill9, "died": cmdDied, "begin": cmdBegin, "finish": cmdFinish,

			"settled": cmdSettled, "check": cmdCheck, "checks": cmdChecks, "annotated": cmdAnnotated, "decided": cmdDecided,
			"runs": cmdRuns, "job": cmdJob, "said": cmdSaid, "built": cmdBuilt, "asked": cmdAsked, "logged": cmdLogged, "undelivered": cmdUndelivered,

			"actions": cmdActions, "workflow": cmdWorkflow, "workflows": cmdWorkflows, "status": cmdStatus, "shows": cmdShows,

			"token": cmdToken, "api": cmdAPI, "receiver": cmdReceiver, "called": cmdCalled,

			"limited": cmdLimited, "took": cmdTook,

			"storm": cmdStorm, "tags": cmdTags, "unreachable": cmdUnreachable, "now": cmdNow, "delivery": cmdDelivery, "recovered": cmdRecovered,
		},
	}
}

// usual is what the names in testdata/config.yaml stand for unless a script says otherwise.
func usual(dir string) map[string]string {
	return map[string]string{
		"BUILT": filepath.Join(dir, "built"), "GATE": filepath.Join(dir, "gate"), "MODE": "run", "ALLOW": "acme/*", "INTAKE": "webhook",
		"QUEUE": "embedded: {dir: data}", "REGISTRY": "registry.example.com", "BUILDKIT": "unix:///nowhere.sock",
		"KUBECONFIG": filepath.Join(dir, "nowhere.kubeconfig"), "NAMESPACE": "shop", "BRANCHES": "$default",
	}
}

// must ends the script on an error.
func must(ts *testscript.TestScript, err error) {
	if err != nil {
		ts.Fatalf("%v", err)
	}
}

func arguments(ts *testscript.TestScript, args []string, least, most int, usage string) {
	if len(args) < least || len(args) > most {
		ts.Fatalf("usage: %s", usage)
	}
}

func patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}
