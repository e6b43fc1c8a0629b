package githubtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Repository is a repository with its git data, pull requests, checks and deployments. Its exported fields change only by
// Rename, Transfer and ChangeDefaultBranch.
type Repository struct {
	ID            int64
	Owner         *User
	Name          string
	DefaultBranch string
	Parent        *Repository // what it was forked from

	s        *Server
	git      gitDir
	pushing  sync.Mutex // one push at a time, so that refs can be compared before and after; taken before Server.mu
	private  bool
	deleted  bool
	archived bool
	created  time.Time
	pushed   time.Time

	roles          map[int64]string // by user ID
	pulls          []*Pull
	issues         []*Issue
	lastNumber     int
	suites         []*suite
	runs           []*checkRun
	comments       []*comment
	commitComments []*commitComment
	deployments    []*deployment
	releases       []*Release
	statuses       []*commitStatus
	queues         map[string]*mergeQueue // by base branch
	queueing       sync.Mutex             // one change of the queues at a time; taken before pushing
	workflows      map[string]*workflow   // by path of the file
	workflowRuns   []*WorkflowRun
	environments   []*environment
	autoSuites     map[int64]bool // App ID → whether a push makes a check suite; absent: yes
}

// RepositoryOptions are what can be chosen when a repository is made.
type RepositoryOptions struct {
	Private       bool
	DefaultBranch string // empty: main
}

// FullName is OWNER/NAME.
func (r *Repository) FullName() string { return r.Owner.Login + "/" + r.Name }

// CloneURL is where git reaches the repository; a password-free user name in it says who pushes:
// http://alice:x@127.0.0.1:PORT/acme/shop.git.
func (r *Repository) CloneURL(as *User) string {
	if as == nil {
		return r.s.URL + r.FullName() + ".git"
	}
	return strings.Replace(r.s.URL, "://", "://"+as.Login+":x@", 1) + r.FullName() + ".git"
}

// CreateRepository makes an empty repository "owner/name". An owner that doesn't exist becomes an organization.
func (s *Server) CreateRepository(fullName string, options RepositoryOptions) (*Repository, error) {
	owner, name, found := strings.Cut(fullName, "/")
	if !found || owner == "" || name == "" || strings.ContainsAny(name, "/ ") || strings.HasPrefix(name, ".git") && name != ".github" {
		return nil, fmt.Errorf("create repository %q: the name must look like owner/name", fullName)
	}
	if options.DefaultBranch == "" {
		options.DefaultBranch = "main"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repository(fullName) != nil {
		return nil, fmt.Errorf("create repository %s: it exists", fullName)
	}
	id := s.nextID()
	dir := s.gitPath(fullName, id)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("create repository %s: %w", fullName, err)
	}
	repo := &Repository{ID: id, Owner: s.account(owner, "Organization"), Name: name, DefaultBranch: options.DefaultBranch,
		s: s, git: newGitDir(dir), private: options.Private, created: s.now(), pushed: s.now(), roles: map[int64]string{}, autoSuites: map[int64]bool{}, queues: map[string]*mergeQueue{}}
	if err := repo.git.create(s.done, options.DefaultBranch); err != nil {
		return nil, fmt.Errorf("create repository %s: %w", fullName, err)
	}
	delete(s.moved, strings.ToLower(fullName))
	s.repositories[strings.ToLower(fullName)] = repo
	return repo, nil
}

// Fork copies a repository into a user's account, under the same name.
func (s *Server) Fork(parent *Repository, owner *User) (*Repository, error) {
	fork, err := s.CreateRepository(owner.Login+"/"+parent.Name, RepositoryOptions{Private: parent.private, DefaultBranch: parent.DefaultBranch})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fork.Parent = parent
	if _, err := fork.git.run(s.done, nil, "fetch", "--quiet", "--no-write-fetch-head", parent.git.path, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"); err != nil {
		return nil, fmt.Errorf("fork %s: %w", parent.FullName(), err)
	}
	return fork, nil
}

// Repository finds a repository by "owner/name"; nil when there is none.
func (s *Server) Repository(fullName string) *Repository {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repository(fullName)
}

func (s *Server) repository(fullName string) *Repository {
	return s.repositories[strings.ToLower(fullName)]
}

// gitPath is where a new repository's git data goes. A renamed one keeps its folder, so that the name may be taken.
func (s *Server) gitPath(fullName string, id int64) string {
	path := filepath.Join(s.options.Dir, filepath.FromSlash(strings.ToLower(fullName)))
	if _, err := os.Stat(path + ".git"); err == nil {
		path += fmt.Sprintf("-%d", id)
	}
	return path + ".git"
}

// SetPermission gives a user a role on the repository: admin, maintain, write, triage, read or none.
func (r *Repository) SetPermission(u *User, role string) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if !slices.Contains([]string{"admin", "maintain", "write", "triage", "read", "none"}, role) {
		panic("githubtest: no such role: " + role)
	}
	r.roles[u.ID] = role
}

// role is what a user may do: everyone reads a public repository, its owner administers it.
func (r *Repository) role(u *User) string {
	role, given := r.roles[u.ID]
	switch {
	case u == r.Owner:
		return "admin"
	case given && (role != "none" || r.private):
		return role
	case !r.private:
		return "read"
	}
	return "none"
}

func (r *Repository) mayPush(u *User) bool {
	return u != nil && !r.archived && slices.Contains([]string{"write", "maintain", "admin"}, r.role(u))
}

// mayPushTo is mayPush for one branch: who may push to a repository may also push to the branches of forks that open pull
// requests offer to it.
func (r *Repository) mayPushTo(u *User, branch string) bool {
	if r.mayPush(u) {
		return true
	}
	return r.Parent != nil && r.Parent.mayPush(u) && slices.ContainsFunc(r.Parent.pulls, func(p *Pull) bool {
		return p.state == "open" && p.head == r && p.headBranch == branch
	})
}

// refuseUnlocked is the error of a push that GitHub wouldn't take.
func (r *Repository) refuseUnlocked(u *User, branch string) error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.mayPushTo(u, branch) {
		return nil
	}
	return fmt.Errorf("%s may not push to %s: SetPermission can change that", u.Login, r.FullName())
}

// repositoryShape has every field of GitHub's four shapes of a repository.
func (s *Server) repositoryShape(r *Repository) object {
	self := s.api("repos/%s", r.FullName())
	visibility := "public"
	if r.private {
		visibility = "private"
	}
	forks := 0
	for _, other := range s.repositories {
		if other.Parent == r {
			forks++
		}
	}
	open := 0
	for _, pull := range r.pulls {
		if pull.state == "open" {
			open++
		}
	}
	shape := object{
		"id": r.ID, "node_id": nodeID("R", r.ID), "name": r.Name, "full_name": r.FullName(), "private": r.private, "visibility": visibility,
		"owner": s.userShape(r.Owner), "html_url": s.html("%s", r.FullName()), "description": nil, "fork": r.Parent != nil, "url": self,
		"created_at": stamp(r.created), "updated_at": stamp(r.pushed), "pushed_at": stamp(r.pushed), "default_branch": r.DefaultBranch,
		"git_url": "git" + strings.TrimPrefix(s.html("%s.git", r.FullName()), "http"), "ssh_url": "git@localhost:" + r.FullName() + ".git",
		"clone_url": s.html("%s.git", r.FullName()), "svn_url": s.html("%s", r.FullName()), "homepage": nil, "mirror_url": nil, "language": nil, "license": nil,
		"size": 1, "stargazers_count": 0, "watchers_count": 0, "watchers": 0, "forks_count": forks, "forks": forks, "open_issues_count": open, "open_issues": open,
		"network_count": forks, "subscribers_count": 0, "has_issues": true, "has_projects": true, "has_downloads": true, "has_wiki": true, "has_pages": false,
		"has_discussions": false, "archived": r.archived, "disabled": false, "allow_forking": true, "is_template": false, "topics": []string{},
		"web_commit_signoff_required": false,
	}
	for name, path := range repositoryLinks {
		shape[name] = self + path
	}
	return shape
}

var repositoryLinks = map[string]string{
	"archive_url": "/{archive_format}{/ref}", "assignees_url": "/assignees{/user}", "blobs_url": "/git/blobs{/sha}", "branches_url": "/branches{/branch}",
	"collaborators_url": "/collaborators{/collaborator}", "comments_url": "/comments{/number}", "commits_url": "/commits{/sha}",
	"compare_url": "/compare/{base}...{head}", "contents_url": "/contents/{+path}", "contributors_url": "/contributors", "deployments_url": "/deployments",
	"downloads_url": "/downloads", "events_url": "/events", "forks_url": "/forks", "git_commits_url": "/git/commits{/sha}", "git_refs_url": "/git/refs{/sha}",
	"git_tags_url": "/git/tags{/sha}", "hooks_url": "/hooks", "issue_comment_url": "/issues/comments{/number}", "issue_events_url": "/issues/events{/number}",
	"issues_url": "/issues{/number}", "keys_url": "/keys{/key_id}", "labels_url": "/labels{/name}", "languages_url": "/languages", "merges_url": "/merges",
	"milestones_url": "/milestones{/number}", "notifications_url": "/notifications{?since,all,participating}", "pulls_url": "/pulls{/number}",
	"releases_url": "/releases{/id}", "stargazers_url": "/stargazers", "statuses_url": "/statuses/{sha}", "subscribers_url": "/subscribers",
	"subscription_url": "/subscription", "tags_url": "/tags", "teams_url": "/teams", "trees_url": "/git/trees{/sha}",
}

func getRepository(c *call) answer {
	shape := c.s.repositoryShape(c.repo)
	if parent := c.repo.Parent; parent != nil && !parent.deleted {
		shape["parent"], shape["source"] = c.s.repositoryShape(parent), c.s.repositoryShape(parent)
	}
	return ok(shape)
}
