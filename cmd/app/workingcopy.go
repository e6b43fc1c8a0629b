package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// git answers what git says in dir, without the newline at its end.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Stderr = dir, &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// fromWorkingCopy makes the event that pushing the working copy's HEAD, or opening a pull request with it, would cause.
// What is not committed counts as changed, so that a file can be tried before it is committed. What had to be guessed is told.
func fromWorkingCopy(ctx context.Context, as, base string) (e jobs.Event, dir string, guesses []string, err error) {
	if as != string(jobs.EventPush) && as != string(jobs.EventPullRequest) {
		return e, "", nil, fmt.Errorf("--as %s: it must be push or pull_request", as)
	}
	if base == "" {
		return e, "", nil, errors.New("--base is missing: the commit that the working copy is compared with, such as origin/main")
	}
	if dir, err = git(ctx, ".", "rev-parse", "--show-toplevel"); err != nil {
		return e, "", nil, err
	}
	head, err := git(ctx, dir, "rev-parse", "--verify", "HEAD^{commit}")
	if err != nil {
		return e, "", nil, err
	}
	from, err := git(ctx, dir, "merge-base", "--", base, "HEAD")
	if err != nil {
		return e, "", nil, err
	}
	branch, err := git(ctx, dir, "symbolic-ref", "--quiet", "--short", "HEAD")
	if err != nil {
		return e, "", nil, errors.New("HEAD is on no branch; check out the one you would push")
	}
	message, err := git(ctx, dir, "log", "-1", "--format=%B", head)
	if err != nil {
		return e, "", nil, err
	}
	e = jobs.Event{
		Kind: jobs.EventKind(as), Delivery: "offline-plan", Installation: 1, Repository: origin(ctx, dir),
		Sender: jobs.Actor{ID: 1, Login: "whoever pushes", Type: "User"}, Before: from, After: head, Message: message, Ref: "refs/heads/" + branch,
	}
	if e.Changes, err = changed(ctx, dir, from); err != nil {
		return e, "", nil, err
	}
	names := remotes(ctx, dir)
	var note string
	if e.Repository.DefaultBranch, note = defaultBranch(ctx, dir, branch, names); note != "" {
		guesses = append(guesses, note)
	}
	if e.Kind == jobs.EventPullRequest {
		target := branchOf(ctx, dir, base, names)
		if target == "" {
			target = e.Repository.DefaultBranch
			guesses = append(guesses, fmt.Sprintf("--base %s is no branch: the pull request is taken to be one into %s", base, target))
		}
		e.PullRequest = &jobs.PullRequest{
			Number: 1, State: "open", Title: message, Author: e.Sender, HeadRef: branch, HeadSHA: head, HeadRepo: e.Repository.ID,
			BaseRef: target, BaseSHA: from,
		}
		e.Action, e.Ref, e.Before, e.After = "synchronize", "", "", ""
	}
	return e, dir, guesses, nil
}

// changed lists the files that differ from a commit, those git does not know yet included.
func changed(ctx context.Context, dir, from string) (jobs.Changes, error) {
	tracked, err := git(ctx, dir, "diff", "--name-only", "-z", "--no-renames", from)
	if err != nil {
		return jobs.Changes{}, err
	}
	untracked, err := git(ctx, dir, "ls-files", "--others", "--exclude-standard", "-z")
	if err != nil {
		return jobs.Changes{}, err
	}
	files := strings.FieldsFunc(tracked+"\x00"+untracked, func(r rune) bool { return r == 0 })
	slices.Sort(files)
	return jobs.Changes{Known: true, Files: slices.Compact(files)}, nil
}

// origin says which repository this is, from its remote's address, or else from the folder's name.
func origin(ctx context.Context, dir string) jobs.Repository {
	r := jobs.Repository{ID: 1, Owner: "local", Name: filepath.Base(dir)}
	if address, err := git(ctx, dir, "remote", "get-url", "origin"); err == nil {
		if u, err := url.Parse(address); err == nil && u.Scheme != "" {
			address = u.Path
		} else if _, scp, ok := strings.Cut(address, ":"); ok {
			address = scp
		}
		if owner, name := path.Split(strings.TrimSuffix(strings.Trim(address, "/"), ".git")); owner != "" && name != "" {
			r.Owner, r.Name = path.Base(owner), name
		}
	}
	return r
}

// What git calls branches, and what it knows of those of remotes.
const (
	localBranches  = "refs/heads/"
	remoteBranches = "refs/remotes/"
)

// remotes are the names of the remotes: origin first.
func remotes(ctx context.Context, dir string) []string {
	out, err := git(ctx, dir, "remote")
	if err != nil {
		return nil
	}
	names := strings.Fields(out)
	if i := slices.Index(names, "origin"); i > 0 {
		names[0], names[i] = names[i], names[0]
	}
	return names
}

// branchOf is the name that a branch of ours or of a remote has at GitHub; "" for all that is no branch, HEAD included.
func branchOf(ctx context.Context, dir, ref string, remotes []string) string {
	if ref == "HEAD" || ref == "@" {
		return ""
	}
	full, err := git(ctx, dir, "rev-parse", "--symbolic-full-name", "--verify", "--quiet", ref)
	if err != nil {
		return ""
	}
	if name, ok := strings.CutPrefix(full, localBranches); ok {
		return name
	}
	name := ""
	for _, remote := range remotes { // a remote's name may hold a slash, so that the longest one counts
		if rest, ok := strings.CutPrefix(full, remoteBranches+remote+"/"); ok && rest != "HEAD" && (name == "" || len(rest) < len(name)) {
			name = rest
		}
	}
	return name
}

// defaultBranch finds out which branch is the default one: a remote's HEAD tells. Otherwise it is guessed, which note says.
func defaultBranch(ctx context.Context, dir, current string, remotes []string) (name, note string) {
	for _, remote := range remotes {
		prefix := remoteBranches + remote + "/"
		if head, err := git(ctx, dir, "symbolic-ref", "--quiet", prefix+"HEAD"); err == nil && strings.HasPrefix(head, prefix) {
			return strings.TrimPrefix(head, prefix), ""
		}
	}
	usual, _ := git(ctx, dir, "config", "init.defaultBranch") // empty when it is not set
	name = current
	for _, candidate := range []string{usual, "main", "master"} {
		if candidate != "" && isBranch(ctx, dir, candidate, remotes) {
			name = candidate
			break
		}
	}
	note = fmt.Sprintf("the default branch is taken to be %s", name)
	if len(remotes) > 0 {
		note += fmt.Sprintf("; `git remote set-head %s --auto` lets git know it", remotes[0])
	}
	return name, note
}

// isBranch tells whether there is a branch of a name, here or at a remote as far as git knows.
func isBranch(ctx context.Context, dir, name string, remotes []string) bool {
	refs := []string{localBranches + name}
	for _, remote := range remotes {
		refs = append(refs, remoteBranches+remote+"/"+name)
	}
	return slices.ContainsFunc(refs, func(ref string) bool {
		_, err := git(ctx, dir, "show-ref", "--verify", "--quiet", ref)
		return err == nil
	})
}
